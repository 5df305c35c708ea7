// SPDX-License-Identifier: BSD-2-Clause
//! Where a dump goes: pages in, whole blocks out. C: `struct dumperinfo`,
//! `dump_start`, `dump_append`, `dump_finish`, kern_shutdown.c.
//!
//! ```text
//!  append_pages --> chunk (256 KB ..) --+----------------------> vnode
//!                                       '--> pack ----> block --> vnode
//! ```
//! A page is copied from the machine straight into the chunk; an uncompressed
//! chunk is written from there. A compressed chunk is one gzip member or one
//! zstd frame, so that a reader can seek; a table of the frames ends a zstd
//! stream. Chunks are packed by several threads and written in order by one.

mod block;
mod chunk;
mod pack;
mod seek;
mod stream;
mod vnode;

use crate::error::{Errno, Result, Stage};
use crate::kpi::{Kpi, Target};
use crate::progress::Progress;
use block::BlockWriter;
use chunk::Chunk;
use memdev::addr::Page;
use memdev::kerneldump::Compression;
use pack::{Packer, Queue};

/// Where to, and how packed.
pub struct Output<'a, K: Kpi> {
    /// The caller's file, range-locked.
    pub file: &'a K::File,
    /// What to compress with.
    pub format: Compression,
    /// Compression level; 0 is the codec's default.
    pub level: i32,
    /// Compressing threads, the caller's among them; 0 is as many as CPUs, up
    /// to a limit.
    pub workers: u32,
}

/// Takes all the memory that writing `dumpextent` bytes needs, starts the
/// compressing threads, and lets `body` write the dump. The threads are gone
/// when this returns, whatever `body` answered. C: `dumper_create`.
///
/// # Errors
/// `ENOMEM`, the compressor's, and `body`'s.
pub fn run<K: Kpi, R>(
    kpi: &K,
    output: &Output<'_, K>,
    dumpextent: u64,
    progress: &Progress,
    body: impl FnOnce(&mut Dumper<'_, K>) -> Result<R>,
) -> Result<R> {
    let workers = pack::workers(kpi, output);
    let mut pages =
        chunk::pages_for(output.format, output.level, workers, dumpextent);
    let queue = match output.format {
        Compression::None => None,
        _ => match Queue::new(kpi, output, workers, pages) {
            // Rather a larger dump of a small machine than none.
            Err(Errno::ENOMEM) if pages > chunk::MAX_PAGES => {
                pages = chunk::MAX_PAGES;
                Some(Queue::new(kpi, output, workers, pages)?)
            }
            queue => Some(queue?),
        },
    };
    let chunk = Chunk::new(kpi, pages)?;
    let block = BlockWriter::new(kpi, output.file, progress)?;
    let mut dumper = Dumper {
        kpi,
        output,
        progress,
        dumpextent,
        chunk,
        packer: None,
        block,
        zero_pages: 0,
    };
    let Some(queue) = queue else {
        return body(&mut dumper);
    };
    dumper.packer = Some(Packer::new(kpi, &queue, output, dumpextent, pages)?);
    let mut body = Some(body);
    let mut result = Err(Errno::EINTEGRITY);
    kpi.with_workers(workers - 1, &|| queue.work(), &mut || {
        if let Some(body) = body.take() {
            result = body(&mut dumper);
        }
        queue.close();
    });
    result
}

/// A dump being written. C: `struct dumperinfo`.
#[doc(alias = "dumperinfo")]
pub struct Dumper<'a, K: Kpi> {
    kpi: &'a K,
    output: &'a Output<'a, K>,
    progress: &'a Progress,
    dumpextent: u64,
    chunk: Chunk<K>,
    packer: Option<Packer<'a, K>>,
    block: BlockWriter<'a, K>,
    zero_pages: u64,
}

impl<K: Kpi> Dumper<'_, K> {
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
        fill: impl Fn(&mut Page) -> Result<()>,
    ) -> Result<()> {
        self.append_pages(1, |_, pages| pages.iter_mut().try_for_each(&fill))
    }

    /// Appends `n` pages. `fill` writes some of them in place, told how many
    /// were written before, until there are so many.
    ///
    /// # Errors
    /// `fill`'s, and those of writing a chunk that is full.
    pub fn append_pages(
        &mut self,
        n: usize,
        fill: impl Fn(usize, &mut [Page]) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < n {
            if self.chunk.is_full() {
                self.flush_chunk()?;
            }
            let (pages, zeros) =
                self.chunk.push(n - done, |pages| fill(done, pages))?;
            done += pages;
            if self.progress.current_stage() == Stage::Pages {
                self.zero_pages += zeros as u64;
            }
        }
        Ok(())
    }

    /// One chunk out: between two of them a signal ends the dump.
    fn flush_chunk(&mut self) -> Result<()> {
        self.kpi.sig_intr()?;
        match &mut self.packer {
            None => {
                self.chunk.write_runs(&mut self.block)?;
                self.chunk.reset();
                Ok(())
            }
            Some(packer) => packer.submit(&mut self.chunk, &mut self.block),
        }
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
        if let Some(packer) = &mut self.packer {
            packer.finish(&mut self.block)?;
        }
        let dumplength = self.block.finish()?;
        if self.packer.is_none() && dumplength != self.dumpextent {
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
