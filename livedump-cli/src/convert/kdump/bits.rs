// SPDX-License-Identifier: BSD-2-Clause
//! A bitmap that is written a block at a time: bits are set in ascending
//! order, and a block without any is a hole.

use super::super::{Error, PAGE};
use super::place::Place;
use memdev::addr::PAGE_SIZE;

const BLOCK_BITS: u64 = PAGE * 8;

/// The block that is being filled.
pub(super) struct Bits {
    at: u64,
    index: u64,
    any: bool,
    block: Box<[u8; PAGE_SIZE]>,
}

impl Bits {
    /// A bitmap at an offset of the file.
    pub(super) fn new(at: u64) -> Self {
        Self { at, index: 0, any: false, block: Box::new([0; PAGE_SIZE]) }
    }

    /// Sets the bits `[first, end)`; none before the last call's.
    pub(super) fn set(
        &mut self,
        first: u64,
        end: u64,
        place: &mut Place<'_>,
    ) -> Result<(), Error> {
        let mut bit = first;
        while bit < end {
            let index = bit / BLOCK_BITS;
            if index != self.index {
                self.flush(place)?;
                self.index = index;
            }
            let into = bit % BLOCK_BITS;
            let left = BLOCK_BITS.saturating_sub(into);
            let n = if into.is_multiple_of(8) && end.saturating_sub(bit) >= 8 {
                left.min(end.saturating_sub(bit)) / 8
            } else {
                0
            };
            let byte = (into / 8) as usize;
            if n > 0 {
                let last = byte.saturating_add(n as usize);
                self.block.get_mut(byte..last).unwrap_or_default().fill(0xff);
                bit = bit.saturating_add(n.saturating_mul(8));
            } else {
                if let Some(byte) = self.block.get_mut(byte) {
                    *byte |= 1 << (into % 8);
                }
                bit = bit.saturating_add(1);
            }
            self.any = true;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, place: &mut Place<'_>) -> Result<(), Error> {
        if self.any {
            let into = self.index.saturating_mul(PAGE);
            let at = self.at.saturating_add(into);
            place.put(self.block.as_slice(), at)?;
            self.block.fill(0);
            self.any = false;
        }
        Ok(())
    }
}
