// SPDX-License-Identifier: BSD-2-Clause
//! The pages that a kernel has marked in `vm_page_dump`: what it would dump
//! besides the kernel map.

use super::{KernelError, KernelMemory, PAGE};
use memdev::addr::Paddr;
use memdev::dump_avail::DumpAvail;

/// What an image has of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// How many are marked.
    pub marked: u64,
    /// How many of these the image lacks.
    pub missing: u64,
    /// One of these.
    pub first: Option<Paddr>,
}

impl KernelMemory {
    /// Looks for the pages that the kernel has marked.
    ///
    /// # Errors
    /// The image lacks a part of the bitset.
    pub fn marked(&self) -> Result<Marked, KernelError> {
        let name = "vm_page_dump";
        let avail = DumpAvail::new(&self.dump_avail);
        // C: 12.x has page numbers.
        let absolute = self.dump_avail_bytes == 0;
        let address = |bit: u64| match (&avail, absolute) {
            (_, true) => bit.checked_mul(PAGE).map(Paddr),
            (Ok(avail), false) => avail.pa_of(bit),
            (Err(_), false) => None,
        };
        let mut all = Marked::default();
        let bytes = self.bitset_bits.div_ceil(8);
        self.for_each_page(name, self.bitset, bytes, &mut |at, part| {
            for (byte, n) in part.iter().zip(at..) {
                let bits = (0..8u64).filter(|bit| byte >> bit & 1 != 0);
                for bit in bits {
                    let bit = n.saturating_mul(8).saturating_add(bit);
                    let pa = address(bit).filter(|_| bit < self.bitset_bits);
                    let Some(pa) = pa.filter(|&pa| self.is_memory(pa)) else {
                        continue;
                    };
                    all.marked = all.marked.saturating_add(1);
                    if !self.has_page(pa) {
                        all.missing = all.missing.saturating_add(1);
                        all.first.get_or_insert(pa);
                    }
                }
            }
        })?;
        Ok(all)
    }

    /// Whether an address is within dump_avail.
    #[must_use]
    pub fn is_memory(&self, pa: Paddr) -> bool {
        let within = |&(start, end): &(u64, u64)| (start..end).contains(&pa.0);
        self.dump_avail.iter().any(within)
    }
}
