// SPDX-License-Identifier: BSD-2-Clause
//! Do the page tables lead to pages that are in the dump? Every entry of the
//! pmap section is followed once, and every table below it once, so that the
//! work is bounded by the size of the file. A small file may unpack to a
//! section of any size: [`Walk::cost`] bounds what is done for it.
//!
//! The tables went on changing while the dump was taken: a table that is
//! missing here and there is a race, more than one in a hundred is not; nor is
//! any in a dump of one instant. Mapped
//! memory that was not dumped proves nothing (real panic dumps lack one page
//! in a hundred): it may be marked as not to be dumped. Where a tenth of it is
//! missing and no list was walked, it cannot be told which it is.

use super::super::pages::{PageState, Pages};
use super::super::source::SourceError;
use super::super::{Vmcore, pages::PagesError};
use super::Verification;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::{Entry, span};
use std::collections::HashSet;

const PAGE: u64 = PAGE_SIZE as u64;

/// What the walk may cost, and by how much more for each data page: entries,
/// the tables they lead to, look-ups of pages in the bitset, and pages of that
/// which are read for them.
const BASE_COST: u64 = 8 << 20;
const PAGE_COST: u64 = 8;
const TABLE_COST: u64 = 512;
const LOOKUP_COST: u64 = 4;
const BLOCK_COST: u64 = 64;

/// How much of the memory that the kernel has mapped is in the dump.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coverage {
    memory: u64,
    missing: u64,
}

impl Coverage {
    /// All that tells whether the pages are there when no list was walked. A
    /// stock 13.2 live dump lacks seven of eight.
    pub(super) fn verify(self, v: &mut Verification) {
        let Self { memory, missing } = self;
        if missing.saturating_mul(10) > memory {
            v.undetermined(
                "coverage",
                format!(
                    "{missing} of {memory} mapped pages of RAM are not \
                     dumped: whether they should be is known only after a \
                     check with the dump's kernel (-k)"
                ),
            );
        }
    }
}

/// What was counted. Mappings are in pages of 4 KiB.
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
    /// What may still be done.
    cost: u64,
    /// Contiguous pages that are looked up together.
    run: (u64, u64),
}

impl Vmcore {
    /// `data` are the unpacked bytes that are there.
    pub(super) fn verify_tables(
        &self,
        v: &mut Verification,
        data: Option<u64>,
    ) -> Option<Coverage> {
        let name = "pagetables";
        let pages = match self.pages() {
            Ok(pages) => pages,
            Err(PagesError::Truncated { .. }) => {
                v.skip("page tables: the file ends before them");
                return None;
            }
            Err(_) => {
                v.skip("page tables: no page can be found");
                return None;
            }
        };
        let there = data.unwrap_or(0).saturating_sub(self.layout().pages);
        let count = pages.count_set().min(there / PAGE);
        let mut walk = Walk {
            core: self,
            pages,
            counts: Counts::default(),
            seen: HashSet::new(),
            cost: BASE_COST.saturating_add(count.saturating_mul(PAGE_COST)),
            run: (0, 0),
        };
        match walk.section() {
            Ok(Walked::All) => {}
            Ok(Walked::UpToEnd) => {
                v.fail(name, "the file ends inside the pmap section");
            }
            Ok(Walked::UpToLimit) => v.undetermined(
                name,
                format!(
                    "too many for {count} data pages, not all were followed"
                ),
            ),
            Err(e) => {
                v.error(name, &e, e.is_environment());
                return None;
            }
        }
        let c = walk.counts;
        let missing = c.memory.saturating_sub(c.present);
        let device = c.mapped.saturating_sub(c.memory);
        let mut text = format!("{} pages are mapped", c.mapped);
        if c.tables > 0 {
            text.push_str(&format!(" by {} tables", c.tables));
        }
        text.push_str(&format!(
            "; {} dumped, {missing} not dumped, {device} not RAM",
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
            v.fail(name, "they map nothing");
        } else if c.missing_tables > 0 && self.image().is_some() {
            // Its writer left them out: that is no race and no damage.
            v.undetermined(name, text);
        } else if too_many(c.missing_tables, c.tables)
            || self.is_frozen() && c.missing_tables > 0
        {
            v.fail(name, text);
        } else if c.missing_tables > 0 {
            v.warn(name, text);
        } else {
            v.ok(name, text);
        }
        Some(Coverage { memory: c.memory, missing })
    }
}

/// How far a walk went.
enum Walked {
    All,
    UpToEnd,
    UpToLimit,
}

/// More than one in a hundred.
pub(super) fn too_many(part: u64, of: u64) -> bool {
    part.saturating_mul(100) > of
}

impl Walk<'_> {
    /// The whole pmap section.
    fn section(&mut self) -> Result<Walked, SourceError> {
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
                    return Ok(Walked::UpToEnd);
                }
            }
            if self.cost == 0 {
                return Ok(Walked::UpToLimit);
            }
            at = next;
        }
        self.flush()?;
        Ok(Walked::All)
    }

    fn table(&mut self, level: u32, bytes: &[u8]) -> Result<(), SourceError> {
        let machine = self.core.header().machine;
        for &entry in bytes.as_chunks::<8>().0 {
            let entry = machine.decode(level, u64::from_le_bytes(entry));
            if !matches!(entry, Entry::Invalid) {
                self.cost = self.cost.saturating_sub(1);
            }
            if self.cost == 0 {
                return Ok(());
            }
            match entry {
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
        self.cost = self.cost.saturating_sub(TABLE_COST);
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
        let before = self.pages.blocks_read();
        let (present, memory) =
            self.pages.count_range(source, Paddr(start), n)?;
        let read = self.pages.blocks_read().saturating_sub(before);
        let cost = read.saturating_mul(BLOCK_COST).saturating_add(LOOKUP_COST);
        self.cost = self.cost.saturating_sub(cost);
        let c = &mut self.counts;
        c.mapped = c.mapped.saturating_add(n);
        c.memory = c.memory.saturating_add(memory);
        c.present = c.present.saturating_add(present);
        Ok(())
    }
}
