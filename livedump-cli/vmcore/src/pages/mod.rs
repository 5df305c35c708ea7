// SPDX-License-Identifier: BSD-2-Clause
//! Where the file has a physical page: dump_avail gives its bit, the bits
//! below it that are set give its place among the data pages.
//!
//! The bitset stays in the file (`rank`). Bits behind the last page of
//! dump_avail do not count: stock kernels of 14 and 15 leave heap garbage
//! there.

mod build;
pub(crate) mod rank;

use super::image::Run;
use super::source::{Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::dump_avail::{DumpAvail, DumpAvailError};
use rank::RankedBits;
use std::ops::ControlFlow;

const PAGE: u64 = PAGE_SIZE as u64;

/// Why pages cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// The file ends inside the section.
    #[error(
        "the file ends at {end:#x}, inside or before its {section} at \
         {offset:#x} to {section_end:#x}"
    )]
    Truncated {
        /// dump_avail or bitmap.
        section: &'static str,
        /// Where the section starts.
        offset: u64,
        /// Where it should end.
        section_end: u64,
        /// Where the file does.
        end: u64,
    },
    /// Part of the section never arrived.
    #[error("its {section} at {offset:#x} did not arrive")]
    Lost {
        /// dump_avail or bitmap.
        section: &'static str,
        /// Where the section starts.
        offset: u64,
    },
    /// The ranges make no sense.
    #[error("reading dump_avail at offset {offset:#x}")]
    DumpAvail {
        /// Where it stands.
        offset: u64,
        /// What is wrong with it.
        source: DumpAvailError,
    },
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl PagesError {
    /// Whether it is this host that could not read them.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Source(e) if e.is_environment())
    }
}

/// What the dump knows about a physical page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// Its bytes should stand at this offset, and some never arrived.
    Lost(u64),
    /// Its bytes stand at this offset of the unpacked dump.
    Present(u64),
    /// It is memory, but its bit is clear: user memory, a free page, or one
    /// that must not be dumped.
    NotDumped,
    /// No range of dump_avail has it.
    OutsideMemory,
    /// It was dumped, to this offset; the file ends before.
    BeyondEnd(u64),
}

/// The index. C: `vm_page_dump` and `dump_avail[]`.
#[derive(Debug)]
pub struct Pages {
    ranges: Vec<(u64, u64)>,
    /// Pages of dump_avail, and so bits that mean something.
    bits: u64,
    /// Bits that the bitmap section can hold.
    capacity: u64,
    first_page: u64,
    set: RankedBits,
}

impl Pages {
    /// The ranges of physical memory. C: `dump_avail[]`.
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    fn avail(&self) -> Option<DumpAvail<'_>> {
        DumpAvail::new(&self.ranges).ok()
    }

    /// Pages of memory that dump_avail describes.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// Bits that fit into the bitmap section.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Pages in the dump: bits set.
    #[must_use]
    pub fn count_set(&self) -> u64 {
        self.set.total()
    }

    /// Bits set behind the last page of dump_avail.
    #[must_use]
    pub fn excess_bits(&self) -> u64 {
        self.set.excess()
    }

    /// What the dump has of the page that holds `pa`.
    pub(super) fn find(
        &self,
        source: &dyn Source,
        pa: Paddr,
    ) -> Result<PageState, SourceError> {
        let Some(bit) = self.avail().and_then(|a| a.bit_of(pa)) else {
            return Ok(PageState::OutsideMemory);
        };
        let (rank, set) = self.set.rank(source, bit)?;
        let offset = self.offset(rank);
        Ok(match source.known_len() {
            _ if !set => PageState::NotDumped,
            Some(end) if offset >= end => PageState::BeyondEnd(offset),
            _ => PageState::Present(offset),
        })
    }

    /// How many of the pages `[pa, pa + n)` are in the dump, and how many are
    /// memory at all.
    pub(super) fn count_range(
        &self,
        source: &dyn Source,
        pa: Paddr,
        n: u64,
    ) -> Result<(u64, u64), SourceError> {
        let first = pa.0 / PAGE;
        let last = first.saturating_add(n);
        let (mut present, mut memory) = (0u64, 0u64);
        let mut below = 0u64;
        for &(start, end) in &self.ranges {
            let (start, end) = (start / PAGE, end.div_ceil(PAGE));
            let from = first.max(start);
            let to = last.min(end);
            if from < to {
                let bit = |page: u64| {
                    below.saturating_add(page.saturating_sub(start))
                };
                let pages = to.saturating_sub(from);
                let (a, first) = self.set.rank(source, bit(from))?;
                let set = if pages == 1 {
                    u64::from(first)
                } else {
                    let (b, _) = self.set.rank(source, bit(to))?;
                    b.saturating_sub(a)
                };
                present = present.saturating_add(set);
                memory = memory.saturating_add(pages);
            }
            below = below.saturating_add(end.saturating_sub(start));
        }
        Ok((present, memory))
    }

    /// How many blocks of the bitset were read to find pages.
    pub(super) fn blocks_read(&self) -> u64 {
        self.set.blocks_read()
    }

    /// The first run of pages in the dump at or after `from`, and the rank
    /// of its first page.
    pub(super) fn next_run(
        &self,
        source: &dyn Source,
        from: Paddr,
    ) -> Result<Option<(Run, u64)>, SourceError> {
        let Some(avail) = self.avail() else { return Ok(None) };
        let from = from.0.div_ceil(PAGE);
        // The first page of memory that is not below it.
        let at = self.ranges.iter().find_map(|&(start, end)| {
            let at = from.max(start / PAGE);
            (at < end.div_ceil(PAGE)).then(|| at.saturating_mul(PAGE))
        });
        let Some(bit) = at.and_then(|at| avail.bit_of(Paddr(at))) else {
            return Ok(None);
        };
        let Some((bit, end)) = self.set.next_run(source, bit)? else {
            return Ok(None);
        };
        let Some(Paddr(start)) = avail.pa_of(bit) else { return Ok(None) };
        // Bits of two ranges are adjacent, their pages need not be.
        let range = self.ranges.iter().find(|&&(a, b)| {
            (a / PAGE..b.div_ceil(PAGE)).contains(&(start / PAGE))
        });
        let last = range.map_or(start, |range| range.1);
        let last = last.div_ceil(PAGE).saturating_mul(PAGE);
        let bytes = end.saturating_sub(bit).saturating_mul(PAGE);
        let end = start.saturating_add(bytes).min(last);
        let (rank, _) = self.set.rank(source, bit)?;
        Ok((start < end).then_some((Run { start, end }, rank)))
    }

    /// Where the page of a rank stands.
    fn offset(&self, rank: u64) -> u64 {
        self.first_page.saturating_add(rank.saturating_mul(PAGE))
    }

    /// Calls `f` with every page in the dump and its offset, in the order of
    /// the file, until it breaks.
    pub(super) fn for_each(
        &self,
        source: &dyn Source,
        mut f: impl FnMut(Paddr, u64) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let Some(avail) = self.avail() else { return Ok(()) };
        self.set.for_each(source, |rank, bit| match avail.pa_of(bit) {
            Some(pa) => f(pa, self.offset(rank)),
            None => ControlFlow::Continue(()),
        })
    }
}
