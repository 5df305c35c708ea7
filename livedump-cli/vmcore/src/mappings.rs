// SPDX-License-Identifier: BSD-2-Clause
//! The kernel map: what the pmap section and the tables below it map, in the
//! order of addresses.

use super::Vmcore;
use super::source::SourceError;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::arch::{Entry, span};

/// Entries that are looked at, and so many more for each page of the dump: a
/// small file may unpack to a section of any size.
const BASE_COST: u64 = 64 << 20;
const PAGE_COST: u64 = 64;

/// Memory that is mapped at one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its kernel address.
    pub va: Vaddr,
    /// Its physical address.
    pub pa: Paddr,
    /// Its bytes.
    pub bytes: u64,
}

/// What was not followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfollowed {
    /// Tables that cannot be read.
    pub tables: u64,
    /// The first of these.
    pub first: Option<Paddr>,
    /// The pmap section ends with the file.
    pub truncated: bool,
    /// There are more entries than a dump of this size has.
    pub limited: bool,
}

impl Unfollowed {
    /// In a sentence without an end; `None` where all of it was.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        if self.limited {
            Some("the kernel map is larger than any: not all of it".into())
        } else if self.truncated {
            Some("the file ends inside the pmap section".into())
        } else {
            let first = self.first?;
            let n = self.tables;
            let tables =
                if n == 1 { "page table is" } else { "page tables are" };
            Some(format!(
                "{n} {tables} not in the dump, the first at physical {first}: \
                 what they map has no kernel address"
            ))
        }
    }
}

struct Walk<'a, 'f, E> {
    core: &'a Vmcore,
    f: &'f mut dyn FnMut(Mapping) -> Result<(), E>,
    pending: Option<Mapping>,
    missing: Unfollowed,
    cost: u64,
}

impl Vmcore {
    /// Calls `f` with everything that the kernel map has; adjacent pages are
    /// one. Whether pages are in the dump is not looked at.
    ///
    /// # Errors
    /// What `f` returns, or that the pmap section cannot be read.
    pub fn for_each_mapping<E: From<SourceError>>(
        &self,
        f: &mut dyn FnMut(Mapping) -> Result<(), E>,
    ) -> Result<Unfollowed, E> {
        let pages = self.pages().map_or(0, |pages| pages.count_set());
        let cost = BASE_COST.saturating_add(pages.saturating_mul(PAGE_COST));
        let missing = Unfollowed::default();
        let mut walk = Walk { core: self, f, pending: None, missing, cost };
        walk.section()?;
        walk.flush()?;
        Ok(walk.missing)
    }
}

impl<E: From<SourceError>> Walk<'_, '_, E> {
    fn section(&mut self) -> Result<(), E> {
        let h = self.core.header();
        let level = h.machine.pmap_level(h.version);
        let each = h.machine.pmap_page_span(h.version);
        let source = self.core.source();
        let (start, end) = (self.core.layout().pmap, self.core.layout().pages);
        let mut page = [0; PAGE_SIZE];
        let mut va = h.kernbase.0;
        let mut at = start;
        while at < end && !self.missing.limited {
            let next = at.saturating_add(PAGE_SIZE as u64);
            if source.next_data(at) < next {
                let got = source.read_at(at, &mut page)?;
                if got < page.len() {
                    self.missing.truncated = true;
                    return Ok(());
                }
                self.table(va, level, &page)?;
            }
            let Some(after) = va.checked_add(each) else { break };
            (at, va) = (next, after);
        }
        Ok(())
    }

    fn table(
        &mut self,
        va: u64,
        level: u32,
        page: &[u8; PAGE_SIZE],
    ) -> Result<(), E> {
        self.cost = self.cost.saturating_sub(page.len() as u64 / 8);
        if self.cost == 0 {
            self.missing.limited = true;
            return Ok(());
        }
        let machine = self.core.header().machine;
        for (n, &entry) in (0u64..).zip(page.as_chunks().0) {
            let va = va.saturating_add(n.saturating_mul(span(level)));
            match machine.decode(level, u64::from_le_bytes(entry)) {
                Entry::Invalid => {}
                Entry::Mapped(pa) => self.mapped(Mapping {
                    va: Vaddr(va),
                    pa,
                    bytes: span(level),
                })?,
                Entry::Table(table) => self.below(va, level, table)?,
            }
        }
        Ok(())
    }

    fn below(&mut self, va: u64, level: u32, table: Paddr) -> Result<(), E> {
        let Some(level) = level.checked_sub(1) else { return Ok(()) };
        let mut page = [0; PAGE_SIZE];
        if self.core.read_phys(table, &mut page).is_ok() {
            return self.table(va, level, &page);
        }
        self.missing.tables = self.missing.tables.saturating_add(1);
        self.missing.first.get_or_insert(table);
        Ok(())
    }

    fn mapped(&mut self, new: Mapping) -> Result<(), E> {
        if let Some(last) = &mut self.pending
            && last.va.0.checked_add(last.bytes) == Some(new.va.0)
            && last.pa.0.checked_add(last.bytes) == Some(new.pa.0)
        {
            last.bytes = last.bytes.saturating_add(new.bytes);
            return Ok(());
        }
        self.flush()?;
        self.pending = Some(new);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), E> {
        match self.pending.take() {
            Some(mapping) => (self.f)(mapping),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Sample, VERSIONS, open};

    #[test]
    fn every_page_of_it_translates_as_the_walk_says() {
        for (machine, version) in VERSIONS {
            let core = open(&Sample::new(machine, version).bytes());
            let mut all = Vec::new();
            let missing = core
                .for_each_mapping::<SourceError>(&mut |m| {
                    all.push(m);
                    Ok(())
                })
                .unwrap();
            assert_eq!(missing.text(), None);
            assert!(!all.is_empty());
            for m in &all {
                assert!(m.bytes > 0 && m.bytes % 4096 == 0);
                for into in (0..m.bytes).step_by(4096) {
                    let found = core.translate(Vaddr(m.va.0 + into)).unwrap();
                    assert_eq!(found.0, m.pa.0 + into);
                }
            }
            assert!(all.is_sorted_by_key(|m| m.va));
            // And nothing else does.
            let h = core.header();
            let pages = u64::from(h.pmapsize) / 8;
            let pages = pages << (9 * machine.pmap_level(version));
            let mapped = (0..pages).filter(|n| {
                core.translate(Vaddr(h.kernbase.0 + n * 4096)).is_ok()
            });
            let bytes: u64 = all.iter().map(|m| m.bytes).sum();
            assert_eq!(mapped.count() as u64 * 4096, bytes);
        }
    }
}
