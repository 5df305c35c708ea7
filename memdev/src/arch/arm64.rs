// SPDX-License-Identifier: BSD-2-Clause
//! arm64 descriptors, 4 KB granule. C: <machine/pte.h>, `ATTR_DESCR_*`,
//! `L1_BLOCK`, `L2_BLOCK`, `L3_PAGE`. FreeBSD's L3 is level 0 here.

use super::{Entry, span};
use crate::addr::Paddr;

/// Type bits. C: `ATTR_DESCR_MASK`.
pub const DESCR_MASK: u64 = 3;
/// A 1 GB or 2 MB block. C: `L1_BLOCK`, `L2_BLOCK`.
pub const BLOCK: u64 = 1;
/// A table above, a page in an L3 table. C: `L1_TABLE`, `L3_PAGE`.
pub const TABLE_OR_PAGE: u64 = 3;
/// Output address bits 49..12; 49 and 48 are zero but with LPA2, whose bits 51
/// and 50 are elsewhere. C: `ATTR_ADDR`.
pub const OUTPUT_MASK: u64 = 0x0003_ffff_ffff_f000;

pub(super) fn decode(level: u32, e: u64) -> Entry {
    let out = e & OUTPUT_MASK;
    match (level, e & DESCR_MASK) {
        (0, TABLE_OR_PAGE) => Entry::Mapped(Paddr(out)),
        (1 | 2, BLOCK) => Entry::Mapped(Paddr(out & !(span(level) - 1))),
        (1.., TABLE_OR_PAGE) => Entry::Table(Paddr(out)),
        _ => Entry::Invalid,
    }
}

// Made-up L3 pages: the block's attributes, the page's type and address.
pub(super) fn split_block(block: u64, level: u32, index: u64) -> u64 {
    let base = block & OUTPUT_MASK & !(span(level) - 1);
    let attrs = block & !OUTPUT_MASK & !DESCR_MASK;
    let below = level.saturating_sub(1);
    let kind = if below == 0 { TABLE_OR_PAGE } else { BLOCK };
    (base + span(below) * index) | attrs | kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_entries_decode() {
        // From a real dump: hz's and dumptid's L3 entries.
        assert_eq!(decode(0, 0x44a2_6703), Entry::Mapped(Paddr(0x44a2_6000)));
        assert_eq!(decode(0, 0x449f_3703), Entry::Mapped(Paddr(0x449f_3000)));
        assert_eq!(decode(0, 0x449f_3701), Entry::Invalid);
        assert_eq!(decode(1, 0x4420_0701), Entry::Mapped(Paddr(0x4420_0000)));
        assert_eq!(decode(2, 0x4000_0701), Entry::Mapped(Paddr(0x4000_0000)));
        assert_eq!(decode(1, 0x4420_1003), Entry::Table(Paddr(0x4420_1000)));
        assert_eq!(decode(3, 0x4420_1003), Entry::Table(Paddr(0x4420_1000)));
        assert_eq!(decode(3, 0x4420_1001), Entry::Invalid);
        assert_eq!(decode(1, 0x4420_1002), Entry::Invalid);
    }

    #[test]
    fn bits_48_and_49_are_of_the_address_and_those_above_are_not() {
        let high = 0x0003_0000_4420_0000;
        let attributes = 0xfffc_0000_0000_0f00;
        assert_eq!(
            decode(0, high | attributes | 3),
            Entry::Mapped(Paddr(high))
        );
        assert_eq!(decode(2, high | attributes | 3), Entry::Table(Paddr(high)));
        let page = split_block(high | attributes | 1, 1, 5);
        assert_eq!(decode(0, page), Entry::Mapped(Paddr(high + 0x5000)));
        assert_eq!(page & attributes, attributes);
    }

    #[test]
    fn blocks_split_into_pages_with_their_attributes() {
        let l2 = 0x0060_0000_4420_0701;
        assert_eq!(split_block(l2, 1, 3), 0x0060_0000_4420_3703);
        let l1 = 0x0060_0000_4000_0701;
        let sub = split_block(l1, 2, 2);
        assert_eq!(decode(1, sub), Entry::Mapped(Paddr(0x4040_0000)));
    }
}
