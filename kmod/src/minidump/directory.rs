// SPDX-License-Identifier: BSD-2-Clause
//! The upper page tables of the kernel map, copied: for each page of the pmap
//! section the entry above it, and on amd64 the directory page itself.
//!
//! A 2 MB page that is demoted to 4 KB pages while the dump is written gets a
//! page table that is not in the bitset. The copy still has the 2 MB page, so
//! the dump can be read. On arm64 the section is leaf tables, an entry for
//! every 4 KB of the map: too many to keep, they are read when written.

use crate::error::{Errno, Result};
use crate::kpi::{Heap, Memory, Target};
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use memdev::arch::{ENTRIES, Entry, Machine, span};

/// One entry for each page of the pmap section.
pub(super) struct Directory<K: Heap> {
    machine: Machine,
    /// Level of the tables that are the section's pages.
    level: u32,
    above: K::Words,
    /// Copied tables, one behind the other; none on arm64.
    tables: K::Words,
    tables_used: usize,
    /// For entry i, 1 + where its copy is among `tables`; 0 is none.
    copies: K::Words,
}

impl<K: Heap + Memory> Directory<K> {
    /// Reads the tables above the section's, each entry once, and takes the
    /// memory for the copies.
    pub(super) fn allocate(kpi: &K, target: &Target) -> Result<Self> {
        let machine = target.machine;
        let level = machine.pmap_level(target.minidump_version);
        let bytes = target.kva_end.0.checked_sub(target.kernbase.0);
        let bytes = bytes.ok_or(Errno::EINTEGRITY)?;
        let entries = bytes.div_ceil(span(level + 1));
        // pmapsize is a 32-bit number of bytes.
        if entries > u64::from(u32::MAX) / PAGE_SIZE as u64 {
            return Err(Errno::E2BIG);
        }
        let n = usize::try_from(entries).map_err(|_| Errno::E2BIG)?;
        let mut above = kpi.malloc_words(n)?;
        let mut walk = Upper { kpi, target, level, above: &mut above };
        walk.table(target.root, target.root_level, 0);
        let copied = machine == Machine::Amd64;
        let is_table = |e: &&u64| {
            matches!(machine.decode(level + 1, **e), Entry::Table(_))
        };
        let met = above.iter().filter(is_table).count();
        let room = if copied { met } else { 0 };
        Ok(Self {
            machine,
            level,
            above,
            tables: kpi.malloc_words(room * ENTRIES as usize)?,
            tables_used: 0,
            copies: kpi.malloc_words(if copied { n } else { 0 })?,
        })
    }

    /// Pages of the pmap section.
    pub(super) fn pmap_pages(&self) -> u64 {
        self.above.len() as u64
    }

    /// What stands above page `i` of the section.
    pub(super) fn entry(&self, i: usize) -> Entry {
        self.machine.decode(self.level + 1, self.raw(i))
    }

    fn raw(&self, i: usize) -> u64 {
        self.above.get(i).copied().unwrap_or(0)
    }

    /// Room for the copy of table `i`; `None` where none are kept. There is
    /// room for each table of the private entries, asked for once.
    pub(super) fn copy_of(&mut self, i: usize) -> Option<&mut [u64]> {
        let slot = self.copies.get_mut(i)?;
        let at = self.tables_used * ENTRIES as usize;
        let copy = self.tables.get_mut(at..at + ENTRIES as usize)?;
        self.tables_used += 1;
        *slot = self.tables_used as u64;
        Some(copy)
    }

    /// Fills page `i` of the pmap section.
    pub(super) fn page(
        &self,
        kpi: &K,
        i: usize,
        page: &mut Page,
    ) -> Result<()> {
        match self.entry(i) {
            Entry::Invalid => page.fill(0),
            Entry::Mapped(_) => {
                let raw = self.raw(i);
                fill(page, |e| {
                    self.machine.split_block(raw, self.level + 1, e)
                });
            }
            Entry::Table(pa) => {
                if !kpi.phys_in_dmap(pa) || !kpi.vm_phys_is_dumpable(pa) {
                    page.fill(0);
                } else if let Some(copy) = self.copy(i) {
                    let at = |e| usize::try_from(e).ok();
                    fill(page, |e| {
                        at(e).and_then(|e| copy.get(e)).copied().unwrap_or(0)
                    });
                } else {
                    kpi.read_page(pa, page)?;
                }
            }
        }
        Ok(())
    }

    fn copy(&self, i: usize) -> Option<&[u64]> {
        let nth = usize::try_from(*self.copies.get(i)?).ok()?.checked_sub(1)?;
        let at = nth * ENTRIES as usize;
        self.tables.get(at..at + ENTRIES as usize)
    }
}

fn fill(page: &mut Page, entry: impl Fn(u64) -> u64) {
    for (e, raw) in page.chunks_exact_mut(8).enumerate() {
        raw.copy_from_slice(&entry(e as u64).to_le_bytes());
    }
}

/// The walk from the root down to the entries above the section. Addresses
/// in it have no sign extension.
struct Upper<'a, K: Memory> {
    kpi: &'a K,
    target: &'a Target,
    level: u32,
    above: &'a mut [u64],
}

impl<K: Memory> Upper<'_, K> {
    /// One table, whose first entry maps `base`. As deep as there are levels.
    fn table(&mut self, table: Paddr, level: u32, base: u64) {
        if !self.kpi.phys_in_dmap(table) {
            return;
        }
        for (index, start) in self.indices(level, base) {
            let raw = self.kpi.load_entry(table, index);
            if level == self.level + 1 {
                self.store(start, raw);
                continue;
            }
            match self.target.machine.decode(level, raw) {
                Entry::Invalid => {}
                Entry::Table(below) => self.table(below, level - 1, start),
                Entry::Mapped(_) => self.block(raw, level, start),
            }
        }
    }

    /// A block larger than what one entry above the section covers: cut up
    /// as if there were tables.
    fn block(&mut self, raw: u64, level: u32, base: u64) {
        for (index, start) in self.indices(level - 1, base) {
            let part = self.target.machine.split_block(raw, level, index);
            if level - 1 == self.level + 1 {
                self.store(start, part);
            } else {
                self.block(part, level - 1, start);
            }
        }
    }

    fn store(&mut self, start: u64, raw: u64) {
        let (first, _) = self.bounds();
        let page = start.saturating_sub(first) / span(self.level + 1);
        if let Ok(i) = usize::try_from(page)
            && let Some(slot) = self.above.get_mut(i)
        {
            *slot = raw;
        }
    }

    /// The kernel map.
    fn bounds(&self) -> (u64, u64) {
        let Target { kernbase, kva_end, root_level, .. } = *self.target;
        let first = kernbase.0 & (span(root_level + 1) - 1);
        (first, first.saturating_add(kva_end.0.saturating_sub(kernbase.0)))
    }

    /// The entries of a table that map part of the kernel map, and where each
    /// begins.
    fn indices(
        &self,
        level: u32,
        base: u64,
    ) -> impl Iterator<Item = (u64, u64)> + use<K> {
        let (first, end) = self.bounds();
        let step = span(level);
        let from = first.saturating_sub(base) / step;
        let to = end.saturating_sub(base).div_ceil(step).min(ENTRIES);
        (from..to).map(move |i| (i, base + i * step))
    }
}
