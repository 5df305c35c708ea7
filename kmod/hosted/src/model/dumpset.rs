// SPDX-License-Identifier: BSD-2-Clause
//! The page bitset, in the machine's own memory, and PG_NODUMP.
//! C: `vm_page_dump`, `dump_add_page`, `dump_drop_page`, <vm/vm_dumpset.h>.

use super::memory::Memory;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::bitset::words_for;
use memdev::dump_avail::DumpAvail;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: u64 = PAGE_SIZE as u64;

/// The bitset.
#[derive(Debug)]
pub(super) struct DumpSet {
    /// What its bits count along: dump_avail, or all of physical memory.
    ranges: Vec<(u64, u64)>,
    ram: Vec<(u64, u64)>,
    pub(super) bits: u64,
    /// Where its words are.
    pub(super) storage: u64,
    nodump: Vec<AtomicU64>,
}

fn bit_of(ranges: &[(u64, u64)], pa: u64) -> Option<u64> {
    DumpAvail::new(ranges).ok()?.bit_of(Paddr(pa))
}

fn bits_of(ranges: &[(u64, u64)]) -> u64 {
    DumpAvail::new(ranges).map_or(0, |avail| avail.bits())
}

impl DumpSet {
    /// A bitset over `ram`: relative to its ranges (13.0 and later) or one bit
    /// for each page from address 0, in whole pages of words (12.x).
    pub(super) fn new(ram: &[(u64, u64)], relative: bool) -> Self {
        let ranges = if relative {
            ram.to_vec()
        } else {
            let top = ram.last().map_or(0, |r| r.1.div_ceil(PAGE));
            let bits = top.next_multiple_of(8 * PAGE);
            [(0, bits * PAGE)].into()
        };
        let words = words_for(bits_of(ram)) as usize;
        Self {
            bits: bits_of(&ranges),
            ranges,
            ram: ram.to_vec(),
            storage: 0,
            nodump: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Bytes of its words, in whole pages.
    pub(super) fn bytes(&self) -> u64 {
        (words_for(self.bits) * 8).next_multiple_of(PAGE)
    }

    pub(super) fn ram(&self) -> &[(u64, u64)] {
        &self.ram
    }

    fn change(&self, mem: &Memory, pa: u64, f: impl Fn(u64, u64) -> u64) {
        if let Some(bit) = bit_of(&self.ranges, pa) {
            let word = Paddr(self.storage + bit / 64 * 8);
            // The storage is memory: it was taken from there.
            let _ = mem.phys.update(word, |w| f(w, 1 << (bit % 64)));
        }
    }

    /// C: `dump_add_page`.
    pub(super) fn add(&self, mem: &Memory, pa: u64) {
        self.change(mem, pa, |word, bit| word | bit);
    }

    /// C: `dump_drop_page`.
    pub(super) fn drop_page(&self, mem: &Memory, pa: u64) {
        self.change(mem, pa, |word, bit| word & !bit);
    }

    /// Adds `bytes` of pages.
    pub(super) fn add_all(&self, mem: &Memory, pa: u64, bytes: u64) {
        for pa in (pa..pa + bytes).step_by(PAGE_SIZE) {
            self.add(mem, pa);
        }
    }

    /// Each word from the `first` on as it is now; zeros behind the last.
    pub(super) fn copy(&self, mem: &Memory, first: usize, words: &mut [u64]) {
        let count = words_for(self.bits);
        for (nth, to) in (first as u64..).zip(words) {
            let at = Paddr(self.storage + nth * 8);
            *to = match nth < count {
                true => mem.phys.load(at).unwrap_or(0),
                false => 0,
            };
        }
    }

    /// Sets or clears PG_NODUMP.
    pub(super) fn set_nodump(&self, pa: u64, on: bool) {
        let Some(bit) = bit_of(&self.ram, pa) else { return };
        if let Some(word) = self.nodump.get((bit / 64) as usize) {
            let mask = 1 << (bit % 64);
            match on {
                true => word.fetch_or(mask, Ordering::Relaxed),
                false => word.fetch_and(!mask, Ordering::Relaxed),
            };
        }
    }

    /// C: `vm_phys_is_dumpable`.
    pub(super) fn is_dumpable(&self, pa: u64) -> bool {
        bit_of(&self.ram, pa).is_some_and(|bit| {
            self.nodump.get((bit / 64) as usize).is_some_and(|w| {
                w.load(Ordering::Relaxed) >> (bit % 64) & 1 == 0
            })
        })
    }
}
