// SPDX-License-Identifier: BSD-2-Clause
//! Where a dump goes: pages in, whole blocks out. C: `struct dumperinfo`,
//! `dump_start`, `dump_append`, `dump_finish`, kern_shutdown.c.
//!
//! ```text
//!  append_page --> chunk (128 KB ..) --+----------------------> vnode
//!                                      '--> compress --> block --> vnode
//! ```
//! A page is copied from the machine straight into the chunk; an uncompressed
//! chunk is written from there. A compressed chunk is one gzip member or one
//! zstd frame, so that a reader can seek; a table of the frames ends a zstd
//! stream.

mod block;
mod chunk;
mod seek;
mod vnode;

use crate::error::{Errno, Result, Stage};
use crate::kpi::{Compressor, Kpi, Target, compress_bound};
use crate::progress::Progress;
use block::BlockWriter;
use chunk::Chunk;
use memdev::addr::{PAGE_SIZE, Page};
use memdev::kerneldump::Compression;
use seek::SeekTable;

/// Where to, and how packed.
pub struct Output<'a, K: Kpi> {
    /// The caller's file, range-locked.
    pub file: &'a K::File,
    /// What to compress with.
    pub format: Compression,
    /// Compression level; 0 is the codec's default.
    pub level: i32,
}

/// A dump being written. C: `struct dumperinfo`.
#[doc(alias = "dumperinfo")]
pub struct Dumper<'a, K: Kpi> {
    kpi: &'a K,
    output: &'a Output<'a, K>,
    progress: &'a Progress,
    dumpextent: u64,
    chunk: Chunk<K>,
    packed: Option<Packed<K>>,
    block: BlockWriter<'a, K>,
    zero_pages: u64,
}

/// What a compressed dump needs besides.
struct Packed<K: Kpi> {
    stream: K::Compressor,
    /// One chunk, compressed.
    frame: K::Pages,
    table: SeekTable<K>,
}

impl<'a, K: Kpi> Dumper<'a, K> {
    /// Takes all the memory that writing `dumpextent` bytes needs. Nothing is
    /// written yet. C: `dumper_create`.
    ///
    /// # Errors
    /// `ENOMEM`, and the compressor's.
    pub fn new(
        kpi: &'a K,
        output: &'a Output<'a, K>,
        dumpextent: u64,
        progress: &'a Progress,
    ) -> Result<Self> {
        let pages = chunk::pages_for(dumpextent);
        let packed = match output.format {
            Compression::None => None,
            _ => Some(Packed::new(kpi, output, dumpextent, pages)?),
        };
        Ok(Self {
            kpi,
            output,
            progress,
            dumpextent,
            chunk: Chunk::new(kpi, pages)?,
            packed,
            block: BlockWriter::new(kpi, output.file, progress)?,
            zero_pages: 0,
        })
    }

    /// Data pages so far that hold only zeros.
    pub fn zero_pages(&self) -> u64 {
        self.zero_pages
    }

    /// Appends one page, which `fill` writes in place. C: `dump_append`.
    ///
    /// # Errors
    /// `fill`'s, and those of writing a chunk that is full.
    pub fn append_page(
        &mut self,
        fill: impl FnOnce(&mut Page) -> Result<()>,
    ) -> Result<()> {
        if self.chunk.is_full() {
            self.flush_chunk()?;
        }
        let zero = self.chunk.push(fill)?;
        if zero && self.progress.current_stage() == Stage::Pages {
            self.zero_pages += 1;
        }
        Ok(())
    }

    /// One chunk out: between two of them a signal ends the dump.
    fn flush_chunk(&mut self) -> Result<()> {
        self.kpi.sig_intr()?;
        match &mut self.packed {
            None => self.chunk.write_runs(&mut self.block)?,
            Some(packed) => packed.flush(&self.chunk, &mut self.block)?,
        }
        self.chunk.reset();
        Ok(())
    }

    /// What is left, the seek table, padding, and the kernel dump header.
    /// Returns dumplength. C: `dump_finish`.
    ///
    /// # Errors
    /// Those of writing; there is no dump then.
    pub fn dump_finish(&mut self, target: &Target) -> Result<u64> {
        if !self.chunk.is_empty() {
            self.flush_chunk()?;
        }
        self.progress.stage(Stage::Finish);
        if let Some(packed) = &self.packed {
            packed.table.write(&mut self.block)?;
        }
        let dumplength = self.block.finish()?;
        if self.packed.is_none() && dumplength != self.dumpextent {
            return Err(Errno::EINTEGRITY);
        }
        let sizes = vnode::Sizes { dumplength, dumpextent: self.dumpextent };
        let scratch = self.chunk.scratch();
        vnode::write_header(self.kpi, self.output, target, scratch, sizes)?;
        self.kpi.livedumper_dump(None)?;
        self.progress.stage(Stage::Done);
        Ok(dumplength)
    }
}

impl<K: Kpi> Packed<K> {
    fn new(
        kpi: &K,
        output: &Output<'_, K>,
        dumpextent: u64,
        pages: usize,
    ) -> Result<Self> {
        let bytes = pages * PAGE_SIZE;
        let bound = compress_bound(bytes).div_ceil(PAGE_SIZE);
        let Output { format, level, .. } = *output;
        Ok(Self {
            stream: kpi.compressor_init(format, bytes, level)?,
            frame: kpi.malloc_pages(bound)?,
            table: SeekTable::new(kpi, format, dumpextent, bytes)?,
        })
    }

    fn flush(
        &mut self,
        chunk: &Chunk<K>,
        block: &mut BlockWriter<'_, K>,
    ) -> Result<()> {
        let frame = self.frame.as_flattened_mut();
        let len = self.stream.compress(chunk.bytes(), frame)?;
        let frame = frame.get(..len).ok_or(Errno::E2BIG)?;
        self.table.add(len, chunk.bytes().len())?;
        block.append(frame)
    }
}
