// SPDX-License-Identifier: BSD-2-Clause
//! Copying and compression, by several threads, in order. Only this fans out:
//! it alone is bound by the CPU.
//!
//! A ring of slots. The walking thread puts a full chunk into the next slot;
//! when what was in there is still being worked on, the ring is full, and the
//! walking thread works on one itself or waits. A slot that is done is written
//! before it is used again, so the order of slots is the order of the file.
//! Memory is the ring, of slots with room for what one chunk becomes, one
//! codec a thread, and one chunk's front pages.

use super::block::BlockWriter;
use super::chunk::{Chunk, MAX_PAGES};
use super::codec::Codec;
use super::level::{Pace, Rungs};
use super::seek::SeekTable;
use super::{Output, Plan, Source};
use crate::error::{Errno, Result, Stage};
use crate::kpi::{Kpi, Monitor, compress_bound};
use crate::progress::Progress;
use memdev::addr::PAGE_SIZE;
use memdev::kerneldump::Compression;

/// Threads when the caller does not say.
const DEFAULT_WORKERS: usize = 16;
/// Threads where there is nothing to compress: one copies while one writes.
const PLAIN_WORKERS: usize = 2;
/// Slots for each thread: one in work, and others, since chunks of zeros are
/// done sooner and a thread is seldom to wait for a place to put the next.
pub(super) const FEW_SLOTS: usize = 3;
/// With so many no thread waits for the walking one, which may be at work on a
/// chunk itself: 5 % of the time of a dump of mostly zeros.
pub(super) const SLOTS: usize = 8;
/// Pages of all slots, 16 MB, where that is more than two a thread (one, of
/// large chunks).
const MANY_PAGES: usize = 4096;

/// Threads that copy and compress, the walking one among them.
pub(super) fn workers<K: Kpi>(kpi: &K, output: &Output<'_, K>) -> usize {
    let workers = match output.workers {
        0 => kpi.ncpus().clamp(1, DEFAULT_WORKERS),
        n => n as usize,
    };
    match output.format {
        Compression::None => workers.min(PLAIN_WORKERS),
        _ => workers,
    }
}

fn slots(each: usize, workers: usize, pages: usize) -> usize {
    let many = MANY_PAGES.checked_div(pages).unwrap_or(1);
    let least = if pages > MAX_PAGES { workers + 1 } else { workers * 2 };
    (workers * each).min(many.max(least))
}

/// A chunk, and room for what it becomes.
struct Slot<K: Kpi> {
    chunk: Chunk,
    /// Its pages, or a page of room and a frame.
    out: K::Pages,
    /// Of its level.
    rung: usize,
    /// The frame's length.
    packed: Result<usize>,
}

/// Where a slot is.
enum Cell<K: Kpi> {
    Empty(Slot<K>),
    Ready(Slot<K>),
    /// With a thread.
    Out,
    Done(Slot<K>),
}

struct Ring<K: Kpi> {
    cells: K::Array<Cell<K>>,
    codecs: K::Array<Option<Codec<K>>>,
    /// Chunks put in so far; the next goes to `submitted % cells`.
    submitted: usize,
    /// Chunks taken to be compressed so far.
    taken: usize,
    closed: bool,
    /// Threads that wait for something to do.
    idle: usize,
    /// The cell that the walking thread waits for. Nobody is woken for nothing.
    awaited: Option<usize>,
}

/// The ring, and who waits for it.
pub(super) struct Queue<K: Kpi> {
    ring: K::Monitor<Ring<K>>,
}

impl<K: Kpi> Queue<K> {
    pub(super) fn new(
        kpi: &K,
        format: Compression,
        plan: &Plan,
    ) -> Result<Self> {
        let &Plan { rungs, workers, pages, slots: each } = plan;
        let out_pages = match format {
            Compression::None => pages,
            // A frame begins at the second page.
            _ => 1 + compress_bound(pages * PAGE_SIZE).div_ceil(PAGE_SIZE),
        };
        let codecs = kpi.malloc_array(workers, |_| {
            Codec::new(kpi, format, rungs, pages).map(Some)
        })?;
        let cells = kpi.malloc_array(slots(each, workers, pages), |_| {
            Ok(Cell::Empty(Slot {
                chunk: Chunk::new(pages),
                out: kpi.malloc_pages(out_pages)?,
                rung: 0,
                packed: Ok(0),
            }))
        })?;
        let ring = Ring {
            cells,
            codecs,
            submitted: 0,
            taken: 0,
            closed: false,
            idle: 0,
            awaited: None,
        };
        Ok(Self { ring: kpi.monitor(ring)? })
    }

    /// What a thread does, until the queue is closed.
    pub(super) fn work(&self, source: &Source<'_>) {
        let mut ring = self.ring.lock();
        let Some(mut codec) = ring.codec() else { return };
        while !ring.closed {
            match ring.next_job() {
                Some(job) => {
                    drop(ring);
                    let job = job.work(source, &mut codec);
                    ring = self.ring.lock();
                    ring.put(job.at, Cell::Done(job.slot));
                    if ring.awaited == Some(job.at) {
                        self.ring.notify();
                    }
                }
                None => {
                    ring.idle += 1;
                    ring = self.ring.wait(ring);
                    ring.idle = ring.idle.saturating_sub(1);
                }
            }
        }
        ring.return_codec(codec);
    }

    /// Sends the threads home; what is in the ring stays.
    pub(super) fn close(&self) {
        self.ring.lock().closed = true;
        self.ring.notify();
    }
}

/// A slot taken out to be worked on.
struct Job<K: Kpi> {
    at: usize,
    slot: Slot<K>,
}

impl<K: Kpi> Job<K> {
    fn work(mut self, source: &Source<'_>, codec: &mut Codec<K>) -> Self {
        let Slot { chunk, out, rung, packed } = &mut self.slot;
        *packed = codec.pack(source, chunk, *rung, out);
        self
    }
}

/// The cell of the nth chunk. (No ring is empty; a division that could panic
/// has no place in a kernel all the same.)
fn ring_index(nth: usize, cells: usize) -> usize {
    nth.checked_rem(cells).unwrap_or(0)
}

impl<K: Kpi> Ring<K> {
    fn codec(&mut self) -> Option<Codec<K>> {
        self.codecs.iter_mut().find_map(Option::take)
    }

    /// So that it is freed by the thread that allocated it.
    fn return_codec(&mut self, codec: Codec<K>) {
        if let Some(slot) = self.codecs.iter_mut().find(|s| s.is_none()) {
            *slot = Some(codec);
        }
    }

    /// The oldest chunk that nobody works on.
    fn next_job(&mut self) -> Option<Job<K>> {
        let at = ring_index(self.taken, self.cells.len());
        let cell = self.cells.get_mut(at)?;
        match core::mem::replace(cell, Cell::Out) {
            Cell::Ready(slot) => {
                self.taken += 1;
                Some(Job { at, slot })
            }
            other => {
                *cell = other;
                None
            }
        }
    }

    fn put(&mut self, at: usize, cell: Cell<K>) {
        if let Some(to) = self.cells.get_mut(at) {
            *to = cell;
        }
    }

    /// The slot of cell `at`, when it is with no thread.
    fn take_idle(&mut self, at: usize) -> Option<IdleSlot<K>> {
        let cell = self.cells.get_mut(at)?;
        match core::mem::replace(cell, Cell::Out) {
            Cell::Empty(slot) => Some(IdleSlot { slot, unwritten: false }),
            Cell::Done(slot) => Some(IdleSlot { slot, unwritten: true }),
            other => {
                *cell = other;
                None
            }
        }
    }
}

struct IdleSlot<K: Kpi> {
    slot: Slot<K>,
    unwritten: bool,
}

/// The walking thread's side.
pub(super) struct Packer<'a, K: Kpi> {
    kpi: &'a K,
    queue: &'a Queue<K>,
    source: &'a Source<'a>,
    codec: Codec<K>,
    table: SeekTable<K>,
    /// One; not on a kernel's stack.
    pace: K::Array<Pace>,
    compresses: bool,
    zero_pages: u64,
}

impl<'a, K: Kpi> Packer<'a, K> {
    pub(super) fn new(
        kpi: &'a K,
        queue: &'a Queue<K>,
        (format, rungs): (Compression, Rungs),
        dumpextent: u64,
        pages: usize,
        source: &'a Source<'a>,
    ) -> Result<Self> {
        let codec = queue.ring.lock().codec().ok_or(Errno::EINTEGRITY)?;
        let table = SeekTable::new(kpi, format, dumpextent, pages)?;
        let now_ns = kpi.nanouptime();
        let pace = kpi.malloc_array(1, |_| Ok(Pace::new(rungs, now_ns)))?;
        let compresses = format != Compression::None;
        let zero_pages = 0;
        Ok(Self {
            kpi,
            queue,
            source,
            codec,
            table,
            pace,
            compresses,
            zero_pages,
        })
    }

    /// The level of most of what was compressed.
    pub(super) fn level(&self) -> i32 {
        self.pace.first().map_or(0, Pace::level)
    }

    /// Data pages in the file that hold only zeros.
    pub(super) fn zero_pages(&self) -> u64 {
        self.zero_pages
    }

    /// Puts `chunk` into the ring and leaves an empty one in its place. One
    /// that has pages in `front` is worked on here and now.
    pub(super) fn submit(
        &mut self,
        chunk: &mut Chunk,
        front: &mut K::Pages,
        block: &mut BlockWriter<'_, K>,
        progress: &Progress,
    ) -> Result<()> {
        let monitor = &self.queue.ring;
        let at = {
            let ring = monitor.lock();
            ring_index(ring.submitted, ring.cells.len())
        };
        let mut slot = self.reclaim_slot(at, block, progress)?;
        slot.chunk.reset();
        slot.rung = self.pace.first().map_or(0, Pace::rung);
        core::mem::swap(&mut slot.chunk, chunk);
        let mut job = Job { at, slot };
        let has_front = job.slot.chunk.has_front();
        if has_front {
            self.codec.take_front(front, &mut job.slot.out);
            job = job.work(self.source, &mut self.codec);
        }
        let mut ring = monitor.lock();
        ring.submitted += 1;
        if has_front {
            ring.taken += 1;
            ring.put(at, Cell::Done(job.slot));
        } else {
            ring.put(at, Cell::Ready(job.slot));
        }
        let wanted = ring.idle > 0;
        drop(ring);
        if wanted {
            monitor.notify();
        }
        Ok(())
    }

    /// Writes all that is still in the ring, then the seek table.
    pub(super) fn finish(
        &mut self,
        block: &mut BlockWriter<'_, K>,
        progress: &Progress,
    ) -> Result<()> {
        let (submitted, cells) = {
            let ring = self.queue.ring.lock();
            (ring.submitted, ring.cells.len())
        };
        for nth in 0..cells {
            let at = ring_index(submitted + nth, cells);
            let slot = self.reclaim_slot(at, block, progress)?;
            self.queue.ring.lock().put(at, Cell::Empty(slot));
        }
        progress.stage(Stage::Finish);
        self.table.write(block)
    }

    /// Takes the slot of cell `at` when its chunk, if it has one, is filled,
    /// compressed and written. Works on others while it waits.
    fn reclaim_slot(
        &mut self,
        at: usize,
        block: &mut BlockWriter<'_, K>,
        progress: &Progress,
    ) -> Result<Slot<K>> {
        let monitor = &self.queue.ring;
        let mut ring = monitor.lock();
        let idle = loop {
            if let Some(idle) = ring.take_idle(at) {
                break idle;
            }
            match ring.next_job() {
                Some(job) => {
                    drop(ring);
                    let job = job.work(self.source, &mut self.codec);
                    ring = monitor.lock();
                    ring.put(job.at, Cell::Done(job.slot));
                }
                None => {
                    ring.awaited = Some(at);
                    ring = monitor.wait(ring);
                    ring.awaited = None;
                }
            }
        };
        drop(ring);
        let IdleSlot { mut slot, unwritten } = idle;
        if unwritten {
            self.write(&mut slot, block)?;
            let data = slot.chunk.data();
            progress.pages_done(data.all);
            self.zero_pages += data.zeros as u64;
        }
        Ok(slot)
    }

    fn write(
        &mut self,
        slot: &mut Slot<K>,
        block: &mut BlockWriter<'_, K>,
    ) -> Result<()> {
        let packed = slot.packed?;
        if !self.compresses {
            return slot.chunk.write_runs(&slot.out, block);
        }
        self.table.add(packed, slot.chunk.bytes())?;
        let Some(pace) = self.pace.first_mut().filter(|pace| pace.is_open())
        else {
            return block.append_frame(&mut slot.out, packed);
        };
        let start = self.kpi.nanouptime();
        block.append_frame(&mut slot.out, packed)?;
        let end = self.kpi.nanouptime();
        pace.wrote(slot.rung, slot.chunk.len(), start, end);
        Ok(())
    }
}
