// SPDX-License-Identifier: BSD-2-Clause
//! The upper page tables of the kernel map, copied: for each page of the pmap
//! section the entry above it, and on amd64 the directory page itself.
//!
//! A 2 MB page that is demoted to 4 KB pages while the dump is written gets a
//! page table that is not in the bitset. The copy still has the 2 MB page, so
//! the dump can be read. On arm64 the section is leaf tables, an entry for
//! every 4 KB of the map: too many to keep, they are read when written.

use crate::error::{Errno, Result};
use crate::kpi::{DirectMap, Heap, Memory, Target};
use core::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};
use memdev::arch::{ENTRIES, Entry, Machine, span};

/// Tables that may be added between counting them and copying them.
const MORE_TABLES: usize = 8;

/// A table that is to be read where it is, for want of a copy.
const ELSEWHERE: u32 = u32::MAX;

/// One entry for each page of the pmap section.
pub(super) struct Directory<K: Heap> {
    machine: Machine,
    /// Level of the tables that are the section's pages.
    level: u32,
    /// Where the map ended when this was made.
    kva_end: Vaddr,
    above: K::Array<AtomicU64>,
    /// Entries that lead somewhere, ascending, and how many there are.
    present: K::Array<AtomicU32>,
    presents: AtomicUsize,
    /// Copied tables, one behind the other; none on arm64.
    tables: K::Array<AtomicU64>,
    /// For entry i, 1 + where its copy is among `tables`; 0 is no copy, or
    /// [`ELSEWHERE`].
    copies: K::Array<AtomicU32>,
}

impl<K: Heap + Memory> Directory<K> {
    /// Memory for the entries and copies of a map that is as large as now.
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
        let copied = machine == Machine::Amd64;
        let mut directory = Self {
            machine,
            level,
            kva_end: target.kva_end,
            above: kpi.malloc_array(n, |_| Ok(AtomicU64::new(0)))?,
            present: kpi.malloc_array(n, |_| Ok(AtomicU32::new(0)))?,
            presents: AtomicUsize::new(0),
            tables: kpi.malloc_array(0, |_| Ok(AtomicU64::new(0)))?,
            copies: kpi.malloc_array(n, |_| Ok(AtomicU32::new(0)))?,
        };
        if copied {
            directory.read(kpi.direct_map(), target);
            let met = (0..n)
                .filter(|&i| matches!(directory.entry(i), Entry::Table(_)));
            let room = (met.count() + MORE_TABLES) * ENTRIES as usize;
            directory.tables =
                kpi.malloc_array(room, |_| Ok(AtomicU64::new(0)))?;
        }
        Ok(directory)
    }
}

impl<K: Heap> Directory<K> {
    /// Reads the tables above the section's, each entry once, and says which
    /// of those below are copied, and to where. Takes no memory.
    pub(super) fn read<M: DirectMap>(&self, memory: &M, target: &Target) {
        for entry in self.above.iter() {
            entry.store(0, Relaxed);
        }
        let walk = Upper { memory, target, directory: self };
        walk.table(target.root, target.root_level, 0);
        let (mut presents, mut copies) = (0, 0);
        for i in 0..self.above.len() {
            let entry = self.entry(i);
            if let Some(slot) = self.present.get(presents)
                && entry != Entry::Invalid
            {
                slot.store(i as u32, Relaxed);
                presents += 1;
            }
            let fits = (copies + 1) * ENTRIES as usize <= self.tables.len();
            let copy = match entry {
                Entry::Table(pa)
                    if !memory.phys_in_dmap(pa)
                        || !memory.vm_phys_is_dumpable(pa) =>
                {
                    0
                }
                Entry::Table(_) if fits => {
                    copies += 1;
                    copies as u32
                }
                Entry::Table(_) => ELSEWHERE,
                _ => 0,
            };
            if let Some(slot) = self.copies.get(i) {
                slot.store(copy, Relaxed);
            }
        }
        self.presents.store(presents, Relaxed);
    }

    /// Whether all that there is to copy has its place, and the map has not
    /// grown since the memory was taken.
    pub(super) fn has_room<M: DirectMap>(&self, memory: &M) -> bool {
        let copied = self.machine == Machine::Amd64;
        let elsewhere = |c: &AtomicU32| c.load(Relaxed) == ELSEWHERE;
        let all = !copied || !self.copies.iter().any(elsewhere);
        all && memory.kva_end() <= self.kva_end
    }

    /// Pages of the pmap section.
    pub(super) fn pmap_pages(&self) -> u64 {
        self.above.len() as u64
    }

    /// Level of the tables that are its pages.
    pub(super) fn level(&self) -> u32 {
        self.level
    }

    /// How many of its pages have something above them.
    pub(super) fn presents(&self) -> usize {
        self.presents.load(Relaxed)
    }

    /// Which page the nth of those is.
    pub(super) fn present(&self, nth: usize) -> usize {
        self.present.get(nth).map_or(0, |i| i.load(Relaxed) as usize)
    }

    /// What stands above page `i` of the section.
    pub(super) fn entry(&self, i: usize) -> Entry {
        self.machine.decode(self.level + 1, self.raw(i))
    }

    fn raw(&self, i: usize) -> u64 {
        self.above.get(i).map_or(0, |e| e.load(Relaxed))
    }

    /// The copy of table `i`; `None` where none is kept.
    pub(super) fn copy_of(&self, i: usize) -> Option<&[AtomicU64]> {
        let nth = self.copies.get(i)?.load(Relaxed);
        let nth = nth.checked_sub(1).filter(|_| nth != ELSEWHERE)?;
        let at = usize::try_from(nth).ok()? * ENTRIES as usize;
        self.tables.get(at..at + ENTRIES as usize)
    }

    /// The table that page `i` of the section is, where no copy of it is kept
    /// and it may be dumped.
    pub(super) fn elsewhere(&self, i: usize) -> Option<Paddr> {
        let copy = self.copies.get(i)?.load(Relaxed);
        match self.entry(i) {
            Entry::Table(pa) if copy == ELSEWHERE => Some(pa),
            _ => None,
        }
    }

    /// Fills page `i` of the pmap section; `table` reads one that is
    /// [`Directory::elsewhere`].
    pub(super) fn page(
        &self,
        i: usize,
        page: &mut Page,
        table: impl FnOnce(Paddr, &mut Page) -> Result<()>,
    ) -> Result<()> {
        match self.entry(i) {
            Entry::Invalid => page.fill(0),
            Entry::Mapped(_) => {
                let raw = self.raw(i);
                fill(page, |e| {
                    self.machine.split_block(raw, self.level + 1, e)
                });
            }
            Entry::Table(_) => {
                if let Some(pa) = self.elsewhere(i) {
                    return table(pa, page);
                }
                let copy = self.copy_of(i);
                fill(page, |e| {
                    copy.and_then(|copy| copy.get(e as usize))
                        .map_or(0, |entry| entry.load(Relaxed))
                });
            }
        }
        Ok(())
    }
}

fn fill(page: &mut Page, entry: impl Fn(u64) -> u64) {
    for (e, raw) in page.chunks_exact_mut(8).enumerate() {
        raw.copy_from_slice(&entry(e as u64).to_le_bytes());
    }
}

/// The walk from the root down to the entries above the section. Addresses
/// in it have no sign extension.
struct Upper<'a, K: Heap, M> {
    memory: &'a M,
    target: &'a Target,
    directory: &'a Directory<K>,
}

impl<K: Heap, M: DirectMap> Upper<'_, K, M> {
    /// One table, whose first entry maps `base`. As deep as there are levels.
    fn table(&self, table: Paddr, level: u32, base: u64) {
        if !self.memory.phys_in_dmap(table) {
            return;
        }
        for (index, start) in self.indices(level, base) {
            let raw = self.memory.load_entry(table, index);
            if level == self.directory.level + 1 {
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
    fn block(&self, raw: u64, level: u32, base: u64) {
        for (index, start) in self.indices(level - 1, base) {
            let part = self.target.machine.split_block(raw, level, index);
            if level - 1 == self.directory.level + 1 {
                self.store(start, part);
            } else {
                self.block(part, level - 1, start);
            }
        }
    }

    fn store(&self, start: u64, raw: u64) {
        let (first, _) = self.bounds();
        let page = start.saturating_sub(first) / span(self.directory.level + 1);
        if let Ok(i) = usize::try_from(page)
            && let Some(slot) = self.directory.above.get(i)
        {
            slot.store(raw, Relaxed);
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
    ) -> impl Iterator<Item = (u64, u64)> + use<K, M> {
        let (first, end) = self.bounds();
        let step = span(level);
        let from = first.saturating_sub(base) / step;
        let to = end.saturating_sub(base).div_ceil(step).min(ENTRIES);
        (from..to).map(move |i| (i, base + i * step))
    }
}
