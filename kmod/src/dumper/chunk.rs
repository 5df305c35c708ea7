// SPDX-License-Identifier: BSD-2-Clause
//! Pages on their way out: what is compressed as one frame, or written in one
//! go. Of data pages a chunk knows only the first, and how many; whichever
//! thread takes the chunk copies them.

use super::Source;
use super::block::BlockWriter;
use super::level::Rungs;
use crate::error::{Errno, Result};
use crate::kpi::Kpi;
use core::ops::Range;
use memdev::addr::{PAGE_SIZE, Page};
use memdev::kerneldump::Compression;

const MIN_PAGES: usize = 64;
pub(super) const MAX_PAGES: usize = 256;
/// For levels of zstd that look further back, from 3 and from 6 on.
const DEEP_PAGES: usize = 512;
const DEEPEST_PAGES: usize = 1024;
/// Threads with which that takes no more memory than any other dump may.
const DEEP_WORKERS: usize = 3;
/// Chunks above which they get larger instead of more: the seek table keeps
/// four bytes for each in memory.
const MANY_CHUNKS: u64 = 1 << 22;

/// Adjacent zero pages that are worth a write of their own on either side.
const HOLE_PAGES: usize = 8;

/// Pages of a chunk in a dump of `dumpextent` bytes. With zstd up to level 1,
/// 256 KB make a dump no larger than one stream, and unpack in well under a
/// millisecond. Higher levels look further back: there this size of chunk costs
/// up to 1 % of a kernel's memory, 2 % of programs' code, and half of it about
/// twice that. Dumps above 1 TB get 1 MB, and so do the high levels with many
/// threads.
pub(super) fn pages_for(
    format: Compression,
    rungs: Rungs,
    workers: usize,
    dumpextent: u64,
) -> usize {
    let level = match rungs {
        Rungs::One(level) => level,
        Rungs::Ladder => 1,
    };
    let mut pages = match (format, level) {
        (Compression::Zstd, 2..) if workers > DEEP_WORKERS => MAX_PAGES,
        (Compression::Zstd, 6..) => DEEPEST_PAGES,
        (Compression::Zstd, 3..) => DEEP_PAGES,
        (Compression::Zstd, 2) => MAX_PAGES,
        _ => MIN_PAGES,
    };
    let many = |pages: usize| {
        let chunks = dumpextent.checked_div((pages * PAGE_SIZE) as u64);
        chunks.is_some_and(|chunks| chunks > MANY_CHUNKS)
    };
    while pages < MAX_PAGES && many(pages) {
        pages *= 2;
    }
    pages
}

pub(super) struct Chunk {
    /// Pages it has room for.
    pages: usize,
    used: usize,
    /// Pages before the data pages, which the walking thread made.
    front: usize,
    /// Of all data pages, which the first is, and its bit.
    nth: usize,
    bit: u64,
    /// Bit n: page n holds only zeros. For what is not compressed, which has
    /// no more pages.
    zero: [u64; MAX_PAGES / 64],
    zeros: usize,
    data: DataPages,
}

/// Data pages that were copied, and how many of them hold only zeros.
#[derive(Clone, Copy, Default)]
pub(super) struct DataPages {
    pub(super) all: usize,
    pub(super) zeros: usize,
}

impl Chunk {
    pub(super) fn new(pages: usize) -> Self {
        Self {
            pages,
            used: 0,
            front: 0,
            nth: 0,
            bit: 0,
            zero: [0; MAX_PAGES / 64],
            zeros: 0,
            data: DataPages::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.used == self.pages
    }

    /// Pages.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn bytes(&self) -> usize {
        self.used * PAGE_SIZE
    }

    pub(super) fn has_front(&self) -> bool {
        self.front > 0
    }

    /// Full, and of nothing but zeros.
    pub(super) fn is_full_of_zeros(&self) -> bool {
        self.is_full() && self.zeros == self.used
    }

    pub(super) fn data(&self) -> DataPages {
        self.data
    }

    pub(super) fn reset(&mut self) {
        self.used = 0;
        self.front = 0;
        self.zero = [0; MAX_PAGES / 64];
        self.zeros = 0;
        self.data = DataPages::default();
    }

    /// One more page that the walking thread made. Data pages come last.
    pub(super) fn push_front(&mut self) -> Result<()> {
        if self.used > self.front || self.is_full() {
            return Err(Errno::EINTEGRITY);
        }
        self.front += 1;
        self.used += 1;
        Ok(())
    }

    /// The nth data page, and its bit.
    pub(super) fn push_data(&mut self, nth: usize, bit: u64) -> Result<()> {
        if self.is_full() {
            return Err(Errno::EINTEGRITY);
        }
        if self.used == self.front {
            (self.nth, self.bit) = (nth, bit);
        }
        self.used += 1;
        Ok(())
    }

    /// Copies the data pages into `pages`, behind the front pages that are
    /// there.
    pub(super) fn fill(
        &mut self,
        source: &Source<'_>,
        pages: &mut [Page],
    ) -> Result<()> {
        self.note_zeros(pages, 0..self.front);
        let zeros = self.zeros;
        let data = pages.get_mut(self.front..self.used).ok_or(Errno::E2BIG)?;
        let all = data.len();
        if all > 0 {
            source(self.nth, self.bit, data)?;
        }
        self.note_zeros(pages, self.front..self.used);
        self.data = DataPages { all, zeros: self.zeros - zeros };
        Ok(())
    }

    /// Which of these hold only zeros.
    fn note_zeros(&mut self, pages: &[Page], which: Range<usize>) {
        let skipped = which.start;
        for (at, page) in pages.iter().enumerate().take(which.end).skip(skipped)
        {
            if is_zero(page) {
                self.zeros += 1;
                if let Some(w) = self.zero.get_mut(at / 64) {
                    *w |= 1 << (at % 64);
                }
            }
        }
    }

    /// Writes the pages as they are, leaving holes for longer runs of zeros:
    /// the file was emptied, so what is not written reads as zero.
    pub(super) fn write_runs<K: Kpi>(
        &self,
        pages: &[Page],
        block: &mut BlockWriter<'_, K>,
    ) -> Result<()> {
        let mut at = 0;
        while at < self.used {
            let hole = self.hole_at(at);
            if hole > 0 {
                block.skip(hole * PAGE_SIZE)?;
                at += hole;
                continue;
            }
            let end = (at + 1..self.used)
                .find(|&i| self.hole_at(i) > 0)
                .unwrap_or(self.used);
            let run = pages.get(at..end).ok_or(Errno::E2BIG)?;
            block.write_through(run.as_flattened())?;
            at = end;
        }
        Ok(())
    }

    /// Zero pages from `at` on, where they are worth a hole: many, or all
    /// that is left.
    fn hole_at(&self, at: usize) -> usize {
        let n = (at..self.used).take_while(|&i| self.page_is_zero(i)).count();
        if n >= HOLE_PAGES || at + n == self.used { n } else { 0 }
    }

    fn page_is_zero(&self, i: usize) -> bool {
        self.zero.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)
    }
}

fn is_zero(page: &Page) -> bool {
    // A line at a time: most pages are told by their first. By words, since
    // the kernel has no wider registers.
    let (words, _) = page.as_chunks();
    let (lines, _) = words.as_chunks::<8>();
    lines.iter().all(|line| {
        line.iter().fold(0, |acc, &w| acc | u64::from_ne_bytes(w)) == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_further_back_gets_more_where_few_share_the_memory() {
        let zstd = |level, workers, bytes| {
            pages_for(Compression::Zstd, Rungs::One(level), workers, bytes)
        };
        assert_eq!(zstd(1, 2, 1 << 30), 64);
        assert_eq!(zstd(1, 16, 2 << 40), 128);
        assert_eq!(zstd(1, 2, 1 << 50), 256);
        assert_eq!(zstd(-5, 2, 1 << 30), 64);
        assert_eq!(zstd(2, 2, 1 << 30), 256);
        assert_eq!(zstd(3, 2, 1 << 30), 512);
        assert_eq!(zstd(3, 16, 1 << 30), 256);
        assert_eq!(zstd(6, 2, 1 << 30), 1024);
        assert_eq!(zstd(6, 16, 1 << 30), 256);
        assert_eq!(pages_for(Compression::Gzip, Rungs::One(9), 2, 1 << 30), 64);
    }
}
