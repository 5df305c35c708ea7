// SPDX-License-Identifier: BSD-2-Clause
//! Where a dump goes: pages in, whole blocks out. C: `struct dumperinfo`,
//! `dump_start`, `dump_append`, `dump_finish`, kern_shutdown.c.
//!
//! ```text
//!  append --> chunk (256 KB ..) --> copy --+-----------------> sink
//!                                          '--> pack --> block --> sink
//! ```
//! A page is copied from the machine once; an uncompressed chunk is written
//! from there. A compressed chunk is one gzip member or one zstd frame, so
//! that a reader can seek; a table of the frames ends a zstd stream. Chunks
//! are copied and packed by several threads and written in order by one.

mod block;
mod chunk;
mod codec;
mod level;
mod pack;
mod seek;
mod sink;

use crate::error::{Errno, Result, Stage};
use crate::kpi::{Kpi, Target};
use crate::progress::Progress;
use block::BlockWriter;
use chunk::Chunk;
use level::Rungs;
use memdev::addr::Page;
use memdev::kerneldump::Compression;
use pack::{Packer, Queue};
use sink::header;

pub use level::Level;
pub use sink::Sink;

/// Where to, and how packed.
pub struct Output<'a, K: Kpi> {
    /// The caller's file.
    pub sink: Sink<'a, K::File>,
    /// What to compress with.
    pub format: Compression,
    /// Compression level.
    pub level: Level,
    /// Threads that copy and compress, the caller's among them; 0 is as many
    /// as CPUs, up to a limit.
    pub workers: u32,
}

/// Copies data pages: the nth, which has that bit, and those behind it; on any
/// thread.
pub type Source<'a> = dyn Fn(usize, u64, &mut [Page]) -> Result<()> + Sync + 'a;

/// How a dump is packed, and what memory that takes.
struct Plan {
    rungs: Rungs,
    workers: usize,
    /// Of a chunk.
    pages: usize,
    /// Chunks under way, for each thread.
    slots: usize,
}

impl Plan {
    fn new<K: Kpi>(kpi: &K, output: &Output<'_, K>, extent: u64) -> Self {
        let workers = pack::workers(kpi, output);
        let rungs = Rungs::of(output.level);
        let pages = chunk::pages_for(output.format, rungs, workers, extent);
        let slots = match output.format {
            Compression::None => pack::FEW_SLOTS,
            _ => pack::SLOTS,
        };
        Self { rungs, workers, pages, slots }
    }

    /// Rather a slower or larger dump of a small machine than none: with fewer
    /// slots, with smaller chunks, or one level for all of it, or a lower one
    /// where none was asked for.
    fn less<K: Kpi>(
        &self,
        output: &Output<'_, K>,
        extent: u64,
    ) -> Option<Self> {
        let Self { rungs, workers, pages, slots } = *self;
        if slots > pack::FEW_SLOTS {
            return Some(Self { slots: pack::FEW_SLOTS, ..*self });
        }
        if pages > chunk::MAX_PAGES {
            return Some(Self { pages: chunk::MAX_PAGES, ..*self });
        }
        if output.format != Compression::Zstd {
            return None;
        }
        let rungs = rungs.less(output.level)?;
        let usual = chunk::pages_for(output.format, rungs, workers, extent);
        Some(Self { rungs, pages: usual.min(pages), ..*self })
    }
}

/// Takes all the memory that writing `dumpextent` bytes needs, starts the
/// threads that copy and compress, and lets `body` write the dump. They are
/// gone when this returns, whatever `body` answered. C: `dumper_create`.
///
/// # Errors
/// `ENOMEM`, the compressor's, and `body`'s.
pub fn run<K: Kpi, R>(
    kpi: &K,
    output: &Output<'_, K>,
    dumpextent: u64,
    progress: &Progress,
    source: &Source<'_>,
    body: impl FnOnce(&mut Dumper<'_, K>) -> Result<R>,
) -> Result<R> {
    let mut plan = Plan::new(kpi, output, dumpextent);
    let mut body = Some(body);
    loop {
        let less = plan.less(output, dumpextent);
        // Memory is waited for where nothing else is left to try.
        kpi.set_waits(less.is_none());
        let result = attempt(
            kpi, output, dumpextent, progress, source, &plan, &mut body,
        );
        kpi.set_waits(true);
        match (result, less) {
            (Err(Errno::ENOMEM), Some(less)) if body.is_some() => plan = less,
            (result, _) => return result,
        }
    }
}

/// `body` is taken once there is memory for it.
#[inline(never)]
fn attempt<K: Kpi, R>(
    kpi: &K,
    output: &Output<'_, K>,
    dumpextent: u64,
    progress: &Progress,
    source: &Source<'_>,
    plan: &Plan,
    body: &mut Option<impl FnOnce(&mut Dumper<'_, K>) -> Result<R>>,
) -> Result<R> {
    let &Plan { rungs, workers, pages, .. } = plan;
    let front = kpi.malloc_pages(pages)?;
    let queue = Queue::new(kpi, output.format, plan)?;
    let mut dumper = Dumper {
        kpi,
        output,
        progress,
        dumpextent,
        chunk: Chunk::new(pages),
        front,
        packer: Packer::new(
            kpi,
            &queue,
            (output.format, rungs),
            dumpextent,
            pages,
            source,
        )?,
        block: BlockWriter::new(kpi, output.sink, progress)?,
        data_pages: 0,
    };
    kpi.set_waits(true);
    let mut result = Err(Errno::EINTEGRITY);
    kpi.with_workers(workers - 1, &|| queue.work(source), &mut || {
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
    chunk: Chunk,
    /// The chunk's pages that are not data pages.
    front: K::Pages,
    packer: Packer<'a, K>,
    block: BlockWriter<'a, K>,
    /// Appended so far, written or not.
    data_pages: usize,
}

impl<K: Kpi> Dumper<'_, K> {
    /// Data pages in the file that hold only zeros.
    pub fn zero_pages(&self) -> u64 {
        self.packer.zero_pages()
    }

    /// The compression level of most of the dump; 0 where nothing is compressed.
    pub fn level(&self) -> i32 {
        match self.output.format {
            Compression::None => 0,
            _ => self.packer.level(),
        }
    }

    /// Appends one page, which `fill` writes in place. C: `dump_append`.
    ///
    /// # Errors
    /// `fill`'s, and those of writing a chunk that is full. `EINTEGRITY`
    /// behind a data page.
    pub fn append_page(
        &mut self,
        fill: impl FnOnce(&mut Page) -> Result<()>,
    ) -> Result<()> {
        if self.data_pages > 0 {
            return Err(Errno::EINTEGRITY);
        }
        self.make_room()?;
        fill(self.front.get_mut(self.chunk.len()).ok_or(Errno::E2BIG)?)?;
        self.chunk.push_front()
    }

    /// Appends the data page of a bit, which is copied later, in any order.
    ///
    /// # Errors
    /// Those of copying and writing chunks that are full.
    pub fn append_data(&mut self, bit: u64) -> Result<()> {
        if self.data_pages == 0 {
            self.end_front()?;
        }
        self.make_room()?;
        self.chunk.push_data(self.data_pages, bit)?;
        self.data_pages += 1;
        Ok(())
    }

    /// What comes before the data pages is compressed by itself: the chunks of
    /// data then begin where the memory does, which is given to files and
    /// programs in pieces of such sizes, and few chunks hold some of each.
    fn end_front(&mut self) -> Result<()> {
        let plain = self.output.format == Compression::None;
        if plain || self.chunk.len() == 0 {
            return Ok(());
        }
        self.flush_chunk()
    }

    fn make_room(&mut self) -> Result<()> {
        if self.chunk.is_full() { self.flush_chunk() } else { Ok(()) }
    }

    /// One chunk out: between two of them a signal ends the dump.
    fn flush_chunk(&mut self) -> Result<()> {
        self.kpi.sig_intr()?;
        self.packer.submit(
            &mut self.chunk,
            &mut self.front,
            &mut self.block,
            self.progress,
        )
    }

    /// What is left, the seek table, padding, and the kernel dump header, by
    /// which a dump is one: not before `check` has said that it is what was
    /// asked for. Returns dumplength. C: `dump_finish`.
    ///
    /// # Errors
    /// Those of writing, and `check`'s; there is no dump then.
    pub fn dump_finish(
        &mut self,
        target: &Target,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<u64> {
        if self.chunk.len() > 0 {
            self.flush_chunk()?;
        }
        self.packer.finish(&mut self.block, self.progress)?;
        let dumplength = self.block.finish()?;
        let plain = self.output.format == Compression::None;
        if plain && dumplength != self.dumpextent {
            return Err(Errno::EINTEGRITY);
        }
        check()?;
        let sizes = header::Sizes { dumplength, dumpextent: self.dumpextent };
        let scratch = &mut self.front;
        header::write_header(self.kpi, self.output, target, scratch, sizes)?;
        self.kpi.livedumper_dump(None)?;
        self.progress.stage(Stage::Done);
        Ok(dumplength)
    }
}
