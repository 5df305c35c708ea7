// SPDX-License-Identifier: BSD-2-Clause
//! The walk: what the kernel's page tables map is added to the private
//! bitset. Each entry is loaded once, since it may change between two looks.

use super::directory::Directory;
use super::kinds::KindSets;
use super::shared::SharedSet;
use crate::kpi::{DirectMap, Heap};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::{ENTRIES, Entry, Machine, span};
use memdev::dump_avail::DumpAvail;

/// Units of work for each page of the pmap section, where it has tables below.
const PARTS: usize = 32;
/// Entries that are loaded at once; a part begins and ends between them.
const AT_ONCE: usize = 16;

/// What the walk of one page of the pmap section needs.
pub(super) struct Scan<'a, M> {
    pub(super) memory: &'a M,
    pub(super) machine: Machine,
    pub(super) avail: DumpAvail<'a>,
    pub(super) set: SharedSet<'a>,
    /// What each page is, where somebody wants to know.
    pub(super) kinds: Option<KindSets<'a>>,
}

/// Units of work below `directory`.
pub(super) fn units<K: Heap>(directory: &Directory<K>) -> usize {
    directory.presents().saturating_mul(parts(directory.level()))
}

fn parts(level: u32) -> usize {
    if level > 0 { PARTS } else { 1 }
}

impl<M: DirectMap> Scan<'_, M> {
    /// Walks what a unit is of, and fills that part of the page's copy.
    pub(super) fn unit<K: Heap>(&self, directory: &Directory<K>, unit: usize) {
        let level = directory.level();
        let parts = parts(level);
        let (page, part) = (directory.present(unit / parts), unit % parts);
        match directory.entry(page) {
            Entry::Mapped(pa) if part == 0 => self.block(pa, level + 1),
            Entry::Table(pa) if self.memory.phys_in_dmap(pa) => {
                let step = ENTRIES / parts as u64;
                let from = part as u64 * step;
                let copy = directory.copy_of(page);
                self.table(pa, level, from..from + step, copy);
            }
            _ => {}
        }
    }

    /// Entries of a table of `level`; they also go to `copy`, where one is
    /// kept.
    fn table(
        &self,
        table: Paddr,
        level: u32,
        entries: Range<u64>,
        copy: Option<&[AtomicU64]>,
    ) {
        let mut loaded = [0; AT_ONCE];
        for index in entries {
            let at = index as usize % AT_ONCE;
            if at == 0 {
                self.memory.load_entries(table, index, &mut loaded);
            }
            let raw = loaded.get(at).copied().unwrap_or(0);
            if let Some(slot) = copy.and_then(|c| c.get(index as usize)) {
                slot.store(raw, Relaxed);
            }
            match self.machine.decode(level, raw) {
                Entry::Invalid => {}
                Entry::Mapped(pa) if level == 0 => self.page(pa),
                Entry::Mapped(pa) => self.block(pa, level),
                // amd64: leaf tables are ordinary pages of the dump.
                Entry::Table(pa) => {
                    self.page(pa);
                    if let Some(kinds) = &self.kinds
                        && let Some(bit) = self.avail.bit_of(pa)
                    {
                        kinds.tables.set(bit);
                    }
                    if self.memory.phys_in_dmap(pa) {
                        self.table(pa, level - 1, 0..ENTRIES, None);
                    }
                }
            }
        }
    }

    fn block(&self, pa: Paddr, level: u32) {
        let pages = span(level) / PAGE_SIZE as u64;
        for i in 0..pages {
            self.page(Paddr(pa.0 + i * PAGE_SIZE as u64));
        }
    }

    /// A page in no range of dump_avail (device memory) has no bit.
    /// C: `vm_page_dump_add`, where `PHYS_IN_DMAP && vm_phys_is_dumpable`.
    fn page(&self, pa: Paddr) {
        let Some(bit) = self.avail.bit_of(pa) else { return };
        if let Some(kinds) = &self.kinds {
            kinds.mapped.set(bit);
        }
        if !self.set.test(bit)
            && self.memory.phys_in_dmap(pa)
            && self.memory.vm_phys_is_dumpable(pa)
        {
            self.set.set(bit);
        }
    }
}
