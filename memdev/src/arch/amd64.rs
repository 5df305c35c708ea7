// SPDX-License-Identifier: BSD-2-Clause
//! amd64 page-table entries. C: <machine/pmap.h>, `PG_V`, `PG_PS`.

use super::{Entry, span};
use crate::addr::Paddr;

/// Valid. C: `PG_V`.
pub const PG_V: u64 = 1 << 0;
/// A 2 MB page in a directory, a 1 GB page above it. C: `PG_PS`.
pub const PG_PS: u64 = 1 << 7;
/// Address bits of an entry; the bits above are NX and software's.
/// C: `PG_FRAME`.
pub const PG_FRAME: u64 = 0x000f_ffff_ffff_f000;

pub(super) fn decode(level: u32, e: u64) -> Entry {
    if e & PG_V == 0 {
        return Entry::Invalid;
    }
    let frame = e & PG_FRAME;
    match level {
        0 => Entry::Mapped(Paddr(frame)),
        1 | 2 if e & PG_PS != 0 => {
            Entry::Mapped(Paddr(frame & !(span(level) - 1)))
        }
        _ => Entry::Table(Paddr(frame)),
    }
}

// A 1 GB entry and a 2 MB entry have the same bits, so each of the 512 is the
// one before plus 2 MB. Below 2 MB, PS is PAT and must go.
pub(super) fn split_block(block: u64, level: u32, index: u64) -> u64 {
    let step = span(level.saturating_sub(1)) * index;
    match level {
        2 => block.wrapping_add(step),
        _ => (block & !PG_PS).wrapping_add(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_entries_decode() {
        // From a real dump: hz's directory entry, and one with bits 63 and 54.
        assert_eq!(
            decode(1, 0x8000_0000_01c0_01e3),
            Entry::Mapped(Paddr(0x1c0_0000))
        );
        assert_eq!(
            decode(1, 0x8040_0000_0420_09e3),
            Entry::Mapped(Paddr(0x420_0000))
        );
        assert_eq!(decode(1, 0x1003), Entry::Table(Paddr(0x1000)));
        assert_eq!(
            decode(0, 0x8000_0000_0000_50e3),
            Entry::Mapped(Paddr(0x5000))
        );
        assert_eq!(decode(2, 0xc000_01e3), Entry::Mapped(Paddr(0xc000_0000)));
        assert_eq!(decode(3, 0x20e3), Entry::Table(Paddr(0x2000)));
        assert_eq!(decode(0, 0x5000), Entry::Invalid);
    }

    #[test]
    fn a_gigabyte_splits_into_directories_entries() {
        let gb = 0x8000_0000_4000_01e3;
        assert_eq!(split_block(gb, 2, 0), gb);
        assert_eq!(split_block(gb, 2, 511), gb + 511 * (2 << 20));
        assert_eq!(
            decode(1, split_block(gb, 2, 3)),
            Entry::Mapped(Paddr(0x4060_0000))
        );
        assert_eq!(
            decode(0, split_block(0x20_00e3, 1, 2)),
            Entry::Mapped(Paddr(0x20_2000))
        );
    }
}
