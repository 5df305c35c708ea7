// SPDX-License-Identifier: BSD-2-Clause
//! A kernel's page tables in physical memory, walked from the root.

use super::super::MemoryImage;
use super::variables::{Bounds, kernbase};
use crate::MemoryError;
use crate::elf::Kernel;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::arch::{ENTRIES, Entry, Machine, span};
use std::collections::HashMap;
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;
/// Level of the root, leaf tables being level 0. C: `KPML4phys`, also under
/// LA57; `pm_l0_paddr`.
pub const ROOT_LEVEL: u32 = 3;
/// Bytes of `kernel_pmap_store` in which arm64's root is looked for.
const PMAP_BYTES: usize = 512;

/// Tables that are looked for: those of 2 TiB of kernel map.
const MAX_TABLES: usize = 1 << 20;

/// Tables by address and level, and whether the image has them.
#[derive(Debug, Default)]
struct Missing {
    seen: HashMap<(u64, u32), bool>,
    memory: Vec<(u64, u64)>,
    first: Option<Paddr>,
}

/// Virtual addresses of a kernel in an image.
#[derive(Debug)]
pub struct Walker {
    image: Arc<dyn MemoryImage>,
    machine: Machine,
    base: Paddr,
    root: Paddr,
    pub(super) bounds: Bounds,
}

impl Walker {
    /// The kernel that is loaded at `base`, if its tables say the same.
    pub(super) fn at(
        image: Arc<dyn MemoryImage>,
        kernel: &Kernel,
        base: u64,
    ) -> Result<Self, String> {
        let machine = kernel.machine();
        let mut walker = Self {
            image,
            machine,
            base: Paddr(base),
            root: Paddr(0),
            bounds: Bounds::default(),
        };
        let roots = walker.roots(kernel)?;
        let text = Vaddr(kernbase(machine).saturating_add(2 << 20));
        let want = base.saturating_add(2 << 20);
        let root = roots.into_iter().find(|&root| {
            walker.root = root;
            walker.walk(text).is_ok_and(|pa| pa.0 == want)
        });
        walker.root = root.ok_or("its page tables do not lead there")?;
        walker.bounds = Bounds::read(&walker, kernel)?;
        Ok(walker)
    }

    /// The kernel with these tables, of which nothing was checked.
    pub(super) fn with(
        image: Arc<dyn MemoryImage>,
        machine: Machine,
        (base, root): (Paddr, Paddr),
        bounds: Bounds,
    ) -> Self {
        Self { image, machine, base, root, bounds }
    }

    /// Where the root may be.
    fn roots(&self, kernel: &Kernel) -> Result<Vec<Paddr>, String> {
        let name = match self.machine {
            Machine::Amd64 => "KPML4phys",
            Machine::Arm64 => "kernel_pmap_store",
        };
        let symbol = kernel.find(name);
        let symbol = symbol.ok_or_else(|| format!("no symbol {name}"))?;
        let bytes = match self.machine {
            Machine::Amd64 => 8,
            Machine::Arm64 => PMAP_BYTES,
        };
        let mut buf = vec![0; bytes];
        self.loaded(symbol.address, &mut buf)
            .map_err(|e| format!("{name}: {}", crate::chain(&e)))?;
        let words = buf.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b));
        // arm64: bit 0 is CnP, the upper 16 bits the ASID.
        Ok(words
            .map(|w| w & 0x000f_ffff_ffff_f000 & !(u64::MAX << 52))
            .filter(|&w| w != 0)
            .map(Paddr)
            .collect())
    }

    /// Reads what is at its place in the loaded kernel: without tables.
    pub(super) fn loaded(
        &self,
        va: Vaddr,
        buf: &mut [u8],
    ) -> Result<(), MemoryError> {
        let into = va.0.checked_sub(kernbase(self.machine));
        let pa = into.and_then(|into| self.base.0.checked_add(into));
        let pa = pa.ok_or(MemoryError::NoMap)?;
        self.image.read(Paddr(pa), buf)
    }

    /// The memory.
    #[must_use]
    pub fn image(&self) -> &Arc<dyn MemoryImage> {
        &self.image
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Physical address at KERNBASE.
    #[must_use]
    pub fn base(&self) -> Paddr {
        self.base
    }

    /// The root of the page tables, a table of level 3.
    #[must_use]
    pub fn root(&self) -> Paddr {
        self.root
    }

    /// C: `DMAP_MIN_ADDRESS`.
    #[must_use]
    pub fn dmapbase(&self) -> Vaddr {
        self.bounds.dmapbase
    }

    /// C: `DMAP_MAX_ADDRESS`.
    #[must_use]
    pub fn dmapend(&self) -> Vaddr {
        self.bounds.dmapend
    }

    /// C: `DMAP_MIN_PHYSADDR`.
    #[must_use]
    pub fn dmapphys(&self) -> u64 {
        self.bounds.dmapphys
    }

    /// One entry of a table.
    ///
    /// # Errors
    /// The image lacks it.
    pub fn entry(&self, table: Paddr, index: u64) -> Result<u64, MemoryError> {
        let at = (index % ENTRIES).saturating_mul(8);
        let mut bytes = [0; 8];
        self.image
            .read(Paddr(table.0.saturating_add(at)), &mut bytes)
            .map_err(|why| MemoryError::Table { table, why: Box::new(why) })?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The entry of `level`, or one above it, that maps an address, and its
    /// level.
    ///
    /// # Errors
    /// A table that is needed is not in the image.
    pub fn entry_for(
        &self,
        va: Vaddr,
        level: u32,
    ) -> Result<(u32, u64), MemoryError> {
        let (mut table, mut at) = (self.root, ROOT_LEVEL);
        loop {
            let index = va.0.checked_div(span(at)).unwrap_or(0) % ENTRIES;
            let entry = self.entry(table, index)?;
            if at <= level {
                return Ok((at, entry));
            }
            match self.machine.decode(at, entry) {
                Entry::Table(below) => table = below,
                Entry::Invalid | Entry::Mapped(_) => return Ok((at, entry)),
            }
            at = at.saturating_sub(1);
        }
    }

    /// How many tables of the addresses from `start` to `end` the image lacks,
    /// or are not within `memory`, and one of them.
    #[must_use]
    pub fn missing_tables(
        &self,
        start: Vaddr,
        end: Vaddr,
        memory: &[(u64, u64)],
    ) -> (u64, Option<Paddr>) {
        let memory = memory.to_vec();
        let mut missing = Missing { memory, ..Missing::default() };
        self.look(self.root, ROOT_LEVEL, (start.0, end.0), &mut missing);
        (
            missing.seen.iter().filter(|seen| !seen.1).count() as u64,
            missing.first,
        )
    }

    fn look(
        &self,
        table: Paddr,
        level: u32,
        (start, end): (u64, u64),
        missing: &mut Missing,
    ) {
        let mut page = [0; PAGE_SIZE];
        let within = |r: &(u64, u64)| (r.0..r.1).contains(&table.0);
        let there = missing.memory.iter().any(within)
            && self.image.read(table, &mut page).is_ok();
        missing.seen.insert((table.0, level), there);
        if !there {
            missing.first.get_or_insert(table);
        }
        let Some(below) = level.checked_sub(1).filter(|_| there) else {
            return;
        };
        let each = span(level);
        let base = start & !each.saturating_mul(ENTRIES).saturating_sub(1);
        for (n, slot) in (0u64..).zip(page.as_chunks().0) {
            let at = base.saturating_add(n.saturating_mul(each));
            let last = at.saturating_add(each.saturating_sub(1));
            let entry = self.machine.decode(level, u64::from_le_bytes(*slot));
            let Entry::Table(table) = entry else { continue };
            if last < start || at >= end {
                continue;
            }
            // A table in two places is looked at once, whatever it is part of.
            let known = missing.seen.contains_key(&(table.0, below));
            if !known && missing.seen.len() < MAX_TABLES {
                let within = (at.max(start), last.saturating_add(1).min(end));
                self.look(table, below, within, missing);
            }
        }
    }

    /// The physical address at a kernel address, by the tables alone.
    ///
    /// # Errors
    /// Nothing is mapped there, or a table is not in the image.
    pub fn walk(&self, va: Vaddr) -> Result<Paddr, MemoryError> {
        let (level, entry) = self.entry_for(va, 0)?;
        match self.machine.decode(level, entry) {
            Entry::Mapped(pa) => {
                let within = va.0 & span(level).saturating_sub(1);
                Ok(Paddr(pa.0 | within))
            }
            Entry::Invalid | Entry::Table(_) => Err(MemoryError::NotMapped),
        }
    }

    /// Reads kernel memory, through the direct map or the tables.
    ///
    /// # Errors
    /// Part of it is not in the image.
    pub fn read(&self, va: Vaddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let mut at = va.0;
        let mut left = buf;
        while !left.is_empty() {
            let n = PAGE.saturating_sub(at % PAGE) as usize;
            let n = n.min(left.len());
            let Some((part, rest)) = left.split_at_mut_checked(n) else {
                break;
            };
            let pa = match self.direct(Vaddr(at)) {
                Some(pa) => pa,
                None => self.walk(Vaddr(at))?,
            };
            self.image.read(pa, part)?;
            left = rest;
            at = at.checked_add(n as u64).ok_or(MemoryError::NoMap)?;
        }
        Ok(())
    }

    /// The same; what is not there is zero.
    pub(super) fn copy(&self, va: Vaddr, out: &mut [u8]) {
        let mut at = va.0;
        let mut left = out;
        while !left.is_empty() {
            let n = PAGE.saturating_sub(at % PAGE) as usize;
            let n = n.min(left.len());
            let Some((part, rest)) = left.split_at_mut_checked(n) else {
                break;
            };
            if self.read(Vaddr(at), part).is_err() {
                part.fill(0);
            }
            left = rest;
            at = at.saturating_add(n as u64);
        }
    }

    /// The same tables, found in a copy of the memory.
    pub(super) fn with_image(self, image: Arc<dyn MemoryImage>) -> Self {
        Self { image, ..self }
    }

    /// Where the direct map has an address.
    pub(super) fn direct(&self, va: Vaddr) -> Option<Paddr> {
        let b = &self.bounds;
        if va < b.dmapbase || va >= b.dmapend {
            return None;
        }
        let into = va.0.checked_sub(b.dmapbase.0)?;
        into.checked_add(b.dmapphys).map(Paddr)
    }
}
