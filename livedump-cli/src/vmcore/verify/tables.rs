// SPDX-License-Identifier: BSD-2-Clause
//! Do the page tables lead to pages that are in the dump? Every entry of the
//! pmap section is followed once, and every table below it once, so that the
//! work is bounded by the size of the file.
//!
//! The tables went on changing while the dump was taken: a table that is
//! missing here and there is a race, more than one in a hundred is not. Mapped
//! memory that was not dumped proves nothing (real panic dumps lack one page
//! in a hundred): it may be marked as not to be dumped.

use super::super::pages::{PageState, Pages};
use super::super::source::SourceError;
use super::super::{Vmcore, pages::PagesError};
use super::Verification;
use crate::error::chain;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::{Entry, span};
use std::collections::HashSet;

const PAGE: u64 = PAGE_SIZE as u64;

/// What was counted. Mappings are in pages of 4 KB.
#[derive(Debug, Default)]
struct Counts {
    tables: u64,
    missing_tables: u64,
    first_missing: Option<Paddr>,
    mapped: u64,
    memory: u64,
    present: u64,
}

struct Walk<'a> {
    core: &'a Vmcore,
    pages: &'a Pages,
    counts: Counts,
    seen: HashSet<u64>,
    /// Contiguous pages that are looked up together.
    run: (u64, u64),
}

impl Vmcore {
    pub(super) fn verify_tables(&self, v: &mut Verification) {
        let name = "pagetables";
        let pages = match self.pages() {
            Ok(pages) => pages,
            Err(PagesError::Source(_) | PagesError::Truncated { .. }) => {
                return v.skip("page tables: the file ends before them");
            }
            Err(_) => return v.skip("page tables: no page can be found"),
        };
        let mut walk = Walk {
            core: self,
            pages,
            counts: Counts::default(),
            seen: HashSet::new(),
            run: (0, 0),
        };
        match walk.section() {
            Ok(true) => {}
            Ok(false) => {
                v.wrong(name, "the file ends inside the pmap section");
            }
            Err(e) => return v.wrong(name, chain(&e)),
        }
        let c = walk.counts;
        let lost = c.memory.saturating_sub(c.present);
        let device = c.mapped.saturating_sub(c.memory);
        let mut text = format!("{} pages are mapped", c.mapped);
        if c.tables > 0 {
            text.push_str(&format!(" by {} tables", c.tables));
        }
        text.push_str(&format!(
            "; {} are dumped, {lost} are memory that is not, {device} are \
             no memory",
            c.present
        ));
        if let Some(first) = c.first_missing {
            text.push_str(&format!(
                "; {} tables are not in the dump, the first at physical \
                 {first}",
                c.missing_tables
            ));
        }
        if c.mapped == 0 {
            v.wrong(name, "they map nothing");
        } else if too_many(c.missing_tables, c.tables) {
            v.wrong(name, text);
        } else if c.missing_tables > 0 {
            v.warn(name, text);
        } else {
            v.ok(name, text);
        }
    }
}

/// More than one in a hundred.
pub(super) fn too_many(part: u64, of: u64) -> bool {
    part.saturating_mul(100) > of
}

impl Walk<'_> {
    /// The whole pmap section; false where the file ends inside it.
    fn section(&mut self) -> Result<bool, SourceError> {
        let h = self.core.header();
        let level = h.machine.pmap_level(h.version);
        let source = self.core.source();
        let mut at = self.core.layout().pmap;
        let end = self.core.layout().pages;
        let mut buf = vec![0; 16 * PAGE_SIZE];
        while at < end {
            let n = end.saturating_sub(at).min(buf.len() as u64);
            let next = at.saturating_add(n);
            if source.next_data(at) < next {
                let Some(part) = buf.get_mut(..n as usize) else { break };
                let got = source.read_at(at, part)?;
                let part = part.get(..got).unwrap_or_default();
                self.table(level, part)?;
                if (got as u64) < n {
                    self.flush()?;
                    return Ok(false);
                }
            }
            at = next;
        }
        self.flush()?;
        Ok(true)
    }

    fn table(&mut self, level: u32, bytes: &[u8]) -> Result<(), SourceError> {
        let machine = self.core.header().machine;
        for &entry in bytes.as_chunks::<8>().0 {
            match machine.decode(level, u64::from_le_bytes(entry)) {
                Entry::Invalid => {}
                Entry::Mapped(pa) => self.mapped(pa, span(level) / PAGE)?,
                Entry::Table(table) => self.below(level, table)?,
            }
        }
        Ok(())
    }

    fn below(&mut self, level: u32, table: Paddr) -> Result<(), SourceError> {
        let Some(level) = level.checked_sub(1) else { return Ok(()) };
        if self.seen.contains(&table.0) {
            return Ok(());
        }
        self.counts.tables = self.counts.tables.saturating_add(1);
        let source = self.core.source();
        let mut page = [0; PAGE_SIZE];
        let got = match self.pages.find(source, table)? {
            PageState::Present(at) => source.read_at(at, &mut page)?,
            _ => 0,
        };
        if got == PAGE_SIZE {
            self.seen.insert(table.0);
            return self.table(level, &page);
        }
        let c = &mut self.counts;
        c.missing_tables = c.missing_tables.saturating_add(1);
        c.first_missing.get_or_insert(table);
        Ok(())
    }

    fn mapped(&mut self, pa: Paddr, n: u64) -> Result<(), SourceError> {
        let (start, end) = self.run;
        if pa.0 == end && end > start {
            self.run.1 = end.saturating_add(n.saturating_mul(PAGE));
            return Ok(());
        }
        self.flush()?;
        self.run = (pa.0, pa.0.saturating_add(n.saturating_mul(PAGE)));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        let (start, end) = std::mem::take(&mut self.run);
        let n = end.saturating_sub(start) / PAGE;
        if n == 0 {
            return Ok(());
        }
        let source = self.core.source();
        let (present, memory) =
            self.pages.count_range(source, Paddr(start), n)?;
        let c = &mut self.counts;
        c.mapped = c.mapped.saturating_add(n);
        c.memory = c.memory.saturating_add(memory);
        c.present = c.present.saturating_add(present);
        Ok(())
    }
}
