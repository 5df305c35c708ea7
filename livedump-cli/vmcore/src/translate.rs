// SPDX-License-Identifier: BSD-2-Clause
//! Kernel addresses to physical ones: the pmap section first (the kernel map
//! from kernbase up), then the direct map. Where both could answer the order
//! decides, and it is libkvm's: `_amd64_minidump_vatop`,
//! `_aarch64_minidump_vatop`. All bounds come from the header; they differ
//! between releases.

use super::{MemoryError, Vmcore};
use memdev::addr::{Paddr, Vaddr};
use memdev::arch::{ENTRIES, Entry, span};
use std::sync::{Mutex, PoisonError};

const SLOTS: usize = 256;
const ENTRY_BYTES: u64 = 8;

/// What was found last: the page at a page number, and the entry at an index
/// of the pmap section.
#[derive(Debug, Default)]
pub(super) struct Translations {
    pages: Slots<Paddr>,
    entries: Slots<u64>,
}

/// The last values, one for each of 256 numbers.
#[derive(Debug)]
struct Slots<T>(Mutex<Vec<Option<(u64, T)>>>);

impl<T: Copy> Default for Slots<T> {
    fn default() -> Self {
        Self(Mutex::new(vec![None; SLOTS]))
    }
}

impl<T: Copy> Slots<T> {
    fn slot(number: u64) -> usize {
        number as usize % SLOTS
    }

    fn get(&self, number: u64) -> Option<T> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, value) = (*slots.get(Self::slot(number))?)?;
        (found == number).then_some(value)
    }

    fn put(&self, number: u64, value: T) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(Self::slot(number)) {
            *slot = Some((number, value));
        }
    }
}

/// Entries of `level` that so many bytes take.
fn entries(bytes: u64, level: u32) -> u64 {
    bytes.checked_div(span(level)).unwrap_or(0)
}

/// What is left of an address within its entry of `level`.
fn within(address: u64, level: u32) -> u64 {
    address & span(level).saturating_sub(1)
}

impl Vmcore {
    /// The physical address at a kernel address.
    ///
    /// # Errors
    /// It is not mapped, or not by anything a minidump carries.
    pub fn translate(&self, va: Vaddr) -> Result<Paddr, MemoryError> {
        let (vpn, offset) = (entries(va.0, 0), within(va.0, 0));
        if let Some(pa) = self.translations.pages.get(vpn) {
            return Ok(Paddr(pa.0 | offset));
        }
        let pa = self.walk(Vaddr(va.0 & !offset))?;
        self.translations.pages.put(vpn, pa);
        Ok(Paddr(pa.0 | offset))
    }

    fn walk(&self, va: Vaddr) -> Result<Paddr, MemoryError> {
        let h = &self.header;
        let level = h.machine.pmap_level(h.version);
        if let Some(above) = va.0.checked_sub(h.kernbase.0) {
            let index = entries(above, level);
            if index < u64::from(h.pmapsize) / ENTRY_BYTES {
                let entry = self.pmap_entry(index)?;
                return self.resolve(va, level, entry);
            }
        }
        if va < h.dmapbase || va >= h.dmapend {
            return Err(MemoryError::NoMap);
        }
        let above = va.0.saturating_sub(h.dmapbase.0);
        match above.checked_add(h.dmapphys) {
            Some(pa) => Ok(Paddr(pa)),
            None => Err(MemoryError::NoMap),
        }
    }

    /// One entry of the pmap section.
    fn pmap_entry(&self, index: u64) -> Result<u64, MemoryError> {
        if let Some(entry) = self.translations.entries.get(index) {
            return Ok(entry);
        }
        let at =
            self.layout.pmap.saturating_add(index.saturating_mul(ENTRY_BYTES));
        if self.lost.has(at, ENTRY_BYTES) {
            return Err(MemoryError::Lost { offset: at });
        }
        let mut bytes = [0; ENTRY_BYTES as usize];
        let got = self.source.read_at(at, &mut bytes)?;
        if got < bytes.len() {
            return Err(MemoryError::PmapBeyondEnd { offset: at });
        }
        let entry = u64::from_le_bytes(bytes);
        self.translations.entries.put(index, entry);
        Ok(entry)
    }

    /// Follows an entry of a table of `level` down to a page.
    fn resolve(
        &self,
        va: Vaddr,
        level: u32,
        entry: u64,
    ) -> Result<Paddr, MemoryError> {
        let machine = self.header.machine;
        let (mut level, mut entry) = (level, entry);
        loop {
            match machine.decode(level, entry) {
                Entry::Invalid => return Err(MemoryError::NotMapped),
                Entry::Mapped(pa) => {
                    return Ok(Paddr(pa.0 | within(va.0, level)));
                }
                Entry::Table(table) => {
                    let Some(next) = level.checked_sub(1) else {
                        return Err(MemoryError::NotMapped);
                    };
                    level = next;
                    let index = entries(va.0, level) % ENTRIES;
                    let at = index.saturating_mul(ENTRY_BYTES);
                    let at = table.0.saturating_add(at);
                    let mut bytes = [0; ENTRY_BYTES as usize];
                    self.read_in_page(Paddr(at), &mut bytes).map_err(
                        |why| MemoryError::Table { table, why: Box::new(why) },
                    )?;
                    entry = u64::from_le_bytes(bytes);
                }
            }
        }
    }
}
