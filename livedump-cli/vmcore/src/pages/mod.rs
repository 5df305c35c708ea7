// SPDX-License-Identifier: BSD-2-Clause
//! Where the file has a physical page: dump_avail gives its bit, the bits
//! below it that are set give its place among the data pages.
//!
//! The bitset stays in the file. In memory there is one running total for
//! each of its pages (32768 bits), so that a dump of a terabyte opens with an
//! index of 64 KB, and a look-up counts the bits of one page at most. Bits
//! behind the last page of dump_avail do not count: stock kernels of 14 and
//! 15 leave heap garbage there.

mod build;

use super::source::{Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::bitset::{Bitset, WORD_BITS};
use memdev::dump_avail::{DumpAvail, DumpAvailError};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const PAGE: u64 = PAGE_SIZE as u64;
/// Bits in one page of the bitset.
const BLOCK_BITS: u64 = PAGE * 8;

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

/// One page of the bitset.
#[derive(Debug)]
struct Block {
    index: u64,
    set: Bitset<Vec<u64>>,
}

/// The index. C: `vm_page_dump` and `dump_avail[]`.
#[derive(Debug)]
pub struct Pages {
    ranges: Vec<(u64, u64)>,
    /// Pages of dump_avail, and so bits that mean something.
    bits: u64,
    /// Bits that the bitmap section can hold.
    capacity: u64,
    bitmap: u64,
    first_page: u64,
    /// Bits set before each block, and behind the last one all of them.
    totals: Vec<u64>,
    excess: u64,
    last: Mutex<Option<Arc<Block>>>,
    /// How many blocks were read.
    read: AtomicU64,
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
        self.totals.last().copied().unwrap_or(0)
    }

    /// Bits set behind the last page of dump_avail.
    #[must_use]
    pub fn excess_bits(&self) -> u64 {
        self.excess
    }

    /// The block of the bitset with this index; `None` behind the last one.
    fn block(
        &self,
        source: &dyn Source,
        index: u64,
    ) -> Result<Option<Arc<Block>>, SourceError> {
        let first = index.saturating_mul(BLOCK_BITS);
        let bits = self.bits.min(self.capacity).saturating_sub(first);
        if bits == 0 {
            return Ok(None);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(b) = last.as_ref().filter(|b| b.index == index) {
            return Ok(Some(Arc::clone(b)));
        }
        let mut page = [0; PAGE_SIZE];
        let at = self.bitmap.saturating_add(index.saturating_mul(PAGE));
        source.read_at(at, &mut page)?;
        self.read.fetch_add(1, Ordering::Relaxed);
        let new = block(&page, bits).map(|set| Arc::new(Block { index, set }));
        last.clone_from(&new);
        Ok(new)
    }

    /// How many bits below `bit` are set, and whether it is itself.
    fn rank(
        &self,
        source: &dyn Source,
        bit: u64,
    ) -> Result<(u64, bool), SourceError> {
        let index = bit / BLOCK_BITS;
        let Some(b) = self.block(source, index)? else {
            return Ok((self.count_set(), false));
        };
        let at = usize::try_from(index).ok();
        let below = at.and_then(|i| self.totals.get(i)).copied();
        let bit = bit % BLOCK_BITS;
        let word = bit / WORD_BITS;
        let part = b.set.word(word) & !(u64::MAX << (bit % WORD_BITS));
        let whole = (0..word).map(|i| b.set.word(i));
        let rank = whole
            .chain([part])
            .map(|w| u64::from(w.count_ones()))
            .fold(below.unwrap_or(0), u64::saturating_add);
        Ok((rank, b.set.test(bit)))
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
        let (rank, set) = self.rank(source, bit)?;
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
                let (a, _) = self.rank(source, bit(from))?;
                let (b, _) = self.rank(source, bit(to))?;
                present = present.saturating_add(b.saturating_sub(a));
                memory = memory.saturating_add(to.saturating_sub(from));
            }
            below = below.saturating_add(end.saturating_sub(start));
        }
        Ok((present, memory))
    }

    /// How many blocks of the bitset were read to find pages.
    pub(super) fn blocks_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
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
        let blocks = self.totals.len().saturating_sub(1);
        for (index, &below) in self.totals.iter().enumerate().take(blocks) {
            if self.totals.get(index.saturating_add(1)) == Some(&below) {
                continue;
            }
            let index = index as u64;
            let Some(b) = self.block(source, index)? else { break };
            for (rank, bit) in (below..).zip(b.set.iter()) {
                let bit = index.saturating_mul(BLOCK_BITS).saturating_add(bit);
                let Some(pa) = avail.pa_of(bit) else { continue };
                if f(pa, self.offset(rank)).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A page of the bitset, of which at most `bits` bits exist.
fn block(page: &[u8], bits: u64) -> Option<Bitset<Vec<u64>>> {
    let words: Vec<u64> =
        page.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)).collect();
    Bitset::new(words, bits.min(BLOCK_BITS))
}
