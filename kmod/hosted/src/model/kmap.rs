// SPDX-License-Identifier: BSD-2-Clause
//! The kernel map: addresses given out upwards, the entries that map them, and
//! the free pages behind it all. C: `kernel_map`, `kmem_malloc`,
//! `vm_thread_new`.

use super::frames::Frames;
use super::memory::Memory;
use super::rng::Rng;
use super::tables::{Prot, Tables, leaf};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::span;

const PAGE: u64 = PAGE_SIZE as u64;

/// A page of malloc(9)'s, that may be unmapped or mapped elsewhere.
#[derive(Debug)]
pub(super) struct Slot {
    /// The leaf entry that maps it.
    pub(super) entry: Paddr,
    /// The page it maps, while it does.
    pub(super) page: Option<u64>,
}

/// A block of 2 MB, that may be split and put together again.
#[derive(Debug)]
pub(super) struct Block {
    /// The directory's entry.
    pub(super) entry: Paddr,
    pub(super) pa: u64,
    /// The table page that maps it while it is split.
    pub(super) split: Option<u64>,
}

/// Some pages in the kernel map that stay where they are.
#[derive(Clone, Debug)]
pub(super) struct Wired {
    pub(super) va: u64,
    pub(super) pages: Vec<u64>,
}

impl Wired {
    /// Physical address of `va`, which lies in it.
    pub(super) fn pa(&self, va: u64) -> Option<Paddr> {
        let at = va.checked_sub(self.va)?;
        let page = self.pages.get((at / PAGE) as usize)?;
        Some(Paddr(page + at % PAGE))
    }

    /// First address behind it.
    pub(super) fn end(&self) -> u64 {
        self.va + self.pages.len() as u64 * PAGE
    }
}

/// The kernel map.
#[derive(Debug)]
pub(super) struct Kmap {
    pub(super) tables: Tables,
    pub(super) frames: Frames,
    /// First address that was not given out.
    pub(super) next: u64,
    pub(super) slots: Vec<Slot>,
    pub(super) blocks: Vec<Block>,
}

impl Kmap {
    /// Addresses for `bytes` bytes.
    pub(super) fn reserve(&mut self, bytes: u64, align: u64) -> u64 {
        let va = self.next.next_multiple_of(align);
        self.next = va + bytes;
        va
    }

    /// Maps `pa` at `va` by an entry of `level`; returns where the entry is.
    pub(super) fn map(
        &mut self,
        mem: &Memory,
        va: u64,
        level: u32,
        pa: u64,
        prot: Prot,
    ) -> Option<Paddr> {
        let frames = &mut self.frames;
        let mut page = || frames.allocate_high(PAGE, PAGE);
        let entry = self.tables.entry(mem, &mut page, va, level)?;
        mem.phys
            .store(entry, leaf(self.tables.machine, level, pa, prot))
            .ok()?;
        Some(entry)
    }

    /// Maps a range that is in one piece.
    pub(super) fn map_range(
        &mut self,
        mem: &Memory,
        (va, pa, bytes): (u64, u64, u64),
        level: u32,
        prot: Prot,
    ) -> Option<()> {
        for at in (0..bytes).step_by(span(level) as usize) {
            self.map(mem, va + at, level, pa + at, prot)?;
        }
        Some(())
    }

    /// Zeroed pages behind an unmapped one. C: `kstack_alloc`.
    pub(super) fn wired(
        &mut self,
        mem: &Memory,
        rng: &mut Rng,
        pages: u64,
    ) -> Option<Wired> {
        let va = self.reserve((pages + 1) * PAGE, PAGE) + PAGE;
        let mut wired = Wired { va, pages: Vec::new() };
        for i in 0..pages {
            let pa = self.frames.allocate_any(rng)?;
            mem.fill(pa, None).ok()?;
            self.map(mem, va + i * PAGE, 0, pa, Prot::Data)?;
            wired.pages.push(pa);
        }
        Some(wired)
    }

    /// A page of malloc(9)'s at the next address, that may go away again.
    pub(super) fn add_slot(&mut self, mem: &Memory, pa: u64) -> Option<()> {
        let va = self.reserve(PAGE, PAGE);
        let entry = self.map(mem, va, 0, pa, Prot::Data)?;
        self.slots.push(Slot { entry, page: Some(pa) });
        Some(())
    }
}
