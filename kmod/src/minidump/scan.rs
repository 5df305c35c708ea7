// SPDX-License-Identifier: BSD-2-Clause
//! The walk: what the kernel's page tables map is added to the private
//! bitset. Each entry is loaded once, since it may change between two looks.

use super::directory::Directory;
use super::kinds::Kinds;
use crate::error::Result;
use crate::kpi::{Caller, Heap, Memory, Target};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::{ENTRIES, Entry, Machine, span};
use memdev::bitset::Bitset;
use memdev::dump_avail::DumpAvail;

/// Walks everything below `directory`, filling its copies and, where somebody
/// wants to know, what each page is.
pub(super) fn scan<K: Caller + Heap + Memory>(
    kpi: &K,
    target: &Target,
    avail: DumpAvail<'_>,
    set: Bitset<&mut [u64]>,
    directory: &mut Directory<K>,
    kinds: Option<&mut Kinds<K>>,
) -> Result<()> {
    let level = target.machine.pmap_level(target.minidump_version);
    let bits = set.bits();
    let (mapped, tables) = match kinds {
        Some(Kinds { mapped, tables }) => {
            (Bitset::new(&mut **mapped, bits), Bitset::new(&mut **tables, bits))
        }
        None => (None, None),
    };
    let machine = target.machine;
    let mut scan = Scan { kpi, machine, avail, set, mapped, tables };
    let pages = usize::try_from(directory.pmap_pages()).unwrap_or(0);
    for i in 0..pages {
        match directory.entry(i) {
            Entry::Invalid => continue,
            Entry::Mapped(pa) => scan.block(pa, level + 1)?,
            Entry::Table(pa) if !kpi.phys_in_dmap(pa) => continue,
            Entry::Table(pa) => {
                let copy = directory.copy_of(i);
                scan.table(pa, level, copy)?;
            }
        }
        kpi.sig_intr()?;
        kpi.maybe_yield();
    }
    Ok(())
}

struct Scan<'a, K: Caller + Memory> {
    kpi: &'a K,
    machine: Machine,
    avail: DumpAvail<'a>,
    set: Bitset<&'a mut [u64]>,
    mapped: Option<Bitset<&'a mut [u64]>>,
    tables: Option<Bitset<&'a mut [u64]>>,
}

impl<K: Caller + Memory> Scan<'_, K> {
    /// A table of `level`; its entries also go to `copy`, where one is kept.
    fn table(
        &mut self,
        table: Paddr,
        level: u32,
        mut copy: Option<&mut [u64]>,
    ) -> Result<()> {
        for index in 0..ENTRIES {
            let raw = self.kpi.load_entry(table, index);
            if let Some(copy) = &mut copy
                && let Some(slot) = copy.get_mut(index as usize)
            {
                *slot = raw;
            }
            match self.machine.decode(level, raw) {
                Entry::Invalid => {}
                Entry::Mapped(pa) if level == 0 => self.page(pa),
                Entry::Mapped(pa) => self.block(pa, level)?,
                // amd64: leaf tables are ordinary pages of the dump.
                Entry::Table(pa) => {
                    self.page(pa);
                    if let Some(tables) = &mut self.tables
                        && let Some(bit) = self.avail.bit_of(pa)
                    {
                        tables.set(bit);
                    }
                    if self.kpi.phys_in_dmap(pa) {
                        self.table(pa, level - 1, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, pa: Paddr, level: u32) -> Result<()> {
        let pages = span(level) / PAGE_SIZE as u64;
        for i in 0..pages {
            self.page(Paddr(pa.0 + i * PAGE_SIZE as u64));
        }
        self.kpi.sig_intr()
    }

    /// A page in no range of dump_avail (device memory) has no bit.
    /// C: `vm_page_dump_add`, where `PHYS_IN_DMAP && vm_phys_is_dumpable`.
    fn page(&mut self, pa: Paddr) {
        let Some(bit) = self.avail.bit_of(pa) else { return };
        if let Some(mapped) = &mut self.mapped {
            mapped.set(bit);
        }
        if !self.set.test(bit)
            && self.kpi.phys_in_dmap(pa)
            && self.kpi.vm_phys_is_dumpable(pa)
        {
            self.set.set(bit);
        }
    }
}
