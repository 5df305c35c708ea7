// SPDX-License-Identifier: BSD-2-Clause
//! dump_avail: the ranges of physical memory that can be dumped, and the one
//! place where a physical address becomes a bit of the page bitset.
//! C: `dump_avail[]`, `vm_page_dump_index_to_pa`, <vm/vm_dumpset.h>.
//!
//! Since 13.0 the bits of all ranges stand one after the other; before (and
//! in minidump versions without the section) bit n is page n.

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr};

/// Pairs that one page can hold.
pub const MAX_RANGES: usize = PAGE_SIZE / 16;

/// The ranges, as (start, end) pairs.
#[derive(Clone, Copy, Debug)]
pub struct DumpAvail<'a> {
    ranges: &'a [(u64, u64)],
}

/// Why ranges cannot be a dump_avail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpAvailError {
    /// A range ends before it starts, or runs past the address space.
    Range {
        /// Which.
        index: usize,
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
    /// A range starts below the end of the one before it.
    Order {
        /// Which.
        index: usize,
    },
}

impl core::fmt::Display for DumpAvailError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Range { index, start, end } => {
                write!(f, "dump_avail range {index} is [{start:#x}, {end:#x})")
            }
            Self::Order { index } => {
                write!(f, "dump_avail range {index} is out of order")
            }
        }
    }
}

impl core::error::Error for DumpAvailError {}

const fn pages((start, end): (u64, u64)) -> u64 {
    end.div_ceil(PAGE_SIZE as u64).saturating_sub(start >> PAGE_SHIFT)
}

/// Physical addresses have 52 bits at most on amd64 and arm64.
const MAX_PADDR: u64 = 1 << 52;

impl<'a> DumpAvail<'a> {
    /// Checks that the ranges ascend and do not overlap.
    ///
    /// # Errors
    /// The first range that does not.
    pub fn new(ranges: &'a [(u64, u64)]) -> Result<Self, DumpAvailError> {
        let mut below = 0;
        for (index, &(start, end)) in ranges.iter().enumerate() {
            if end < start || end > MAX_PADDR {
                return Err(DumpAvailError::Range { index, start, end });
            }
            if start < below {
                return Err(DumpAvailError::Order { index });
            }
            below = end;
        }
        Ok(Self { ranges })
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &'a [(u64, u64)] {
        self.ranges
    }

    /// Bits of a bitset over these ranges.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.ranges.iter().map(|&r| pages(r)).sum()
    }

    /// The bit of the page that holds `pa`; `None` outside all ranges.
    #[must_use]
    pub fn bit_of(&self, pa: Paddr) -> Option<u64> {
        let page = pa.0 >> PAGE_SHIFT;
        let mut below = 0;
        for &r in self.ranges {
            let first = r.0 >> PAGE_SHIFT;
            if page >= first && page - first < pages(r) {
                return Some(below + page - first);
            }
            below += pages(r);
        }
        None
    }

    /// The page of a bit; `None` after the last one.
    #[must_use]
    pub fn pa_of(&self, bit: u64) -> Option<Paddr> {
        let mut left = bit;
        for &r in self.ranges {
            if left < pages(r) {
                return Some(Paddr(((r.0 >> PAGE_SHIFT) + left) << PAGE_SHIFT));
            }
            left -= pages(r);
        }
        None
    }
}

/// Reads the section of a dump: pairs of 64-bit addresses in the machine's
/// byte order up to a pair whose end is 0. Returns how many were stored; as
/// many as fit in `out`.
pub fn decode(section: &[u8], out: &mut [(u64, u64)]) -> usize {
    let mut n = 0;
    for (pair, slot) in section.chunks_exact(16).zip(out) {
        let start = u64::from_le_bytes(crate::bytes::get(pair, 0));
        let end = u64::from_le_bytes(crate::bytes::get(pair, 8));
        if end == 0 {
            break;
        }
        *slot = (start, end);
        n += 1;
    }
    n
}

/// Writes the section's page: the ranges, then zeros. Ranges that do not fit
/// with their terminating pair are left out ([`MAX_RANGES`] - 1 fit).
pub fn encode(ranges: &[(u64, u64)], page: &mut crate::addr::Page) {
    page.fill(0);
    for (i, &(start, end)) in ranges.iter().take(MAX_RANGES - 1).enumerate() {
        crate::bytes::put(page, 16 * i, &start.to_le_bytes());
        crate::bytes::put(page, 16 * i + 8, &end.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a real 128 MB amd64 guest.
    const REAL: [(u64, u64); 2] = [(0, 0x9f000), (0x10_4000, 0x7fd_f000)];

    #[test]
    fn a_real_guest_has_the_bits_it_should() {
        let d = DumpAvail::new(&REAL).unwrap();
        assert_eq!(d.bits(), 32634);
        assert_eq!(d.bit_of(Paddr(0x9efff)), Some(158));
        assert_eq!(d.bit_of(Paddr(0x9f000)), None);
        assert_eq!(d.bit_of(Paddr(0x10_4000)), Some(159));
        assert_eq!(d.pa_of(159), Some(Paddr(0x10_4000)));
        assert_eq!(d.pa_of(32633), Some(Paddr(0x7fd_e000)));
        assert_eq!(d.pa_of(32634), None);
    }

    #[test]
    fn an_unaligned_range_counts_both_its_ends() {
        let r = [(0x1800, 0x3001)];
        let d = DumpAvail::new(&r).unwrap();
        assert_eq!(d.bits(), 3);
        assert_eq!(d.pa_of(0), Some(Paddr(0x1000)));
        assert_eq!(d.bit_of(Paddr(0x3fff)), Some(2));
    }

    #[test]
    fn bits_and_pages_undo_each_other() {
        let d = DumpAvail::new(&REAL).unwrap();
        for bit in 0..d.bits() {
            assert_eq!(d.bit_of(d.pa_of(bit).unwrap()), Some(bit));
        }
    }

    #[test]
    fn hostile_ranges_are_refused() {
        assert!(matches!(
            DumpAvail::new(&[(8, 4)]),
            Err(DumpAvailError::Range { index: 0, .. })
        ));
        assert!(matches!(
            DumpAvail::new(&[(0, u64::MAX)]),
            Err(DumpAvailError::Range { .. })
        ));
        assert_eq!(
            DumpAvail::new(&[(0, 0x2000), (0x1000, 0x3000)]).unwrap_err(),
            DumpAvailError::Order { index: 1 }
        );
    }

    #[test]
    fn the_section_ends_at_a_pair_whose_end_is_zero() {
        let mut page = [0xff; PAGE_SIZE];
        encode(&REAL, &mut page);
        assert_eq!(
            page[..16],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 9, 0, 0, 0, 0, 0]
        );
        assert!(page[32..].iter().all(|&b| b == 0));
        let mut out = [(0, 0); 8];
        assert_eq!(decode(&page, &mut out), 2);
        assert_eq!(out[..2], REAL);
        assert_eq!(decode(&[0xff; 64], &mut out[..3]), 3);
        assert_eq!(decode(&[1, 2, 3], &mut out), 0);
    }
}
