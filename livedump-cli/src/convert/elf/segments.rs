// SPDX-License-Identifier: BSD-2-Clause
//! Which kernel addresses have which pages: the direct map, then the kernel
//! map, or the other way round where that is lower.

use super::super::tables::WithTables;
use super::super::{Error, PAGE, Runs};
use livedump_vmcore::Vmcore;
use livedump_vmcore::image::Run;
use livedump_vmcore::mappings::{Mapping, Unfollowed};
use memdev::addr::{Paddr, Vaddr};

/// Pages that are adjacent in memory, in the file and by their kernel
/// addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub va: Vaddr,
    pub pa: Paddr,
    pub bytes: u64,
    /// How many pages are before the first in the file.
    pub rank: u64,
}

type Take<'f> = dyn FnMut(Segment) -> Result<(), Error> + 'f;

/// Joins what is adjacent.
struct Joined<'f, 'g> {
    f: &'f mut Take<'g>,
    pending: Option<Segment>,
    /// Pages of the file that are there.
    there: u64,
}

impl Joined<'_, '_> {
    fn add(&mut self, mut new: Segment) -> Result<(), Error> {
        let left = self.there.saturating_sub(new.rank);
        new.bytes = new.bytes.min(left.saturating_mul(PAGE));
        if new.bytes == 0 {
            return Ok(());
        }
        if let Some(last) = &mut self.pending
            && last.va.0.checked_add(last.bytes) == Some(new.va.0)
            && last.pa.0.checked_add(last.bytes) == Some(new.pa.0)
            && last.rank.checked_add(last.bytes / PAGE) == Some(new.rank)
        {
            last.bytes = last.bytes.saturating_add(new.bytes);
            return Ok(());
        }
        self.flush()?;
        self.pending = Some(new);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        match self.pending.take() {
            Some(segment) => (self.f)(segment),
            None => Ok(()),
        }
    }
}

/// All that a core has addresses of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments<'a> {
    pub core: &'a Vmcore,
    /// With page tables that the dump lacks.
    pub tables: Option<&'a WithTables<'a>>,
    /// Pages of the dump's file that are there.
    pub there: u64,
}

impl Segments<'_> {
    /// Calls `f` with all of them.
    pub(super) fn for_each(
        self,
        f: &mut Take<'_>,
    ) -> Result<Unfollowed, Error> {
        let Self { core, there, .. } = self;
        let mut all = Joined { f, pending: None, there };
        let h = core.header();
        let direct_first = h.dmapbase < h.kernbase;
        if direct_first {
            direct(core, &mut all)?;
            self.tables(&mut all)?;
        }
        let unfollowed =
            core.for_each_mapping(&mut |m| mapped(core, m, &mut all))?;
        if !direct_first {
            direct(core, &mut all)?;
            self.tables(&mut all)?;
        }
        all.flush()?;
        Ok(unfollowed)
    }

    /// The tables are after the pages.
    fn tables(self, all: &mut Joined<'_, '_>) -> Result<(), Error> {
        let pages = self.core.pages().map_or(0, |pages| pages.count_set());
        all.there = u64::MAX;
        let first = pages.min(self.there);
        let tables = self.tables.iter().flat_map(|tables| tables.pages());
        for (rank, (pa, _)) in (first..).zip(tables) {
            if let Some(va) = direct_address(self.core, pa.0) {
                all.add(Segment { va: Vaddr(va), pa, bytes: PAGE, rank })?;
            }
        }
        all.flush()?;
        all.there = self.there;
        Ok(())
    }
}

/// Where the direct map has a page.
fn direct_address(core: &Vmcore, pa: u64) -> Option<u64> {
    let h = core.header();
    let into = pa.checked_sub(h.dmapphys)?;
    let va = h.dmapbase.0.checked_add(into)?;
    (va < h.dmapend.0).then_some(va)
}

/// Every page has an address there.
fn direct(core: &Vmcore, all: &mut Joined<'_, '_>) -> Result<(), Error> {
    let h = core.header();
    let mut runs = Runs::new(core);
    let mut rank = 0u64;
    while let Some(Run { start, end }) = runs.next()? {
        let all_bytes = end.saturating_sub(start);
        if let Some(va) = direct_address(core, start) {
            let bytes = all_bytes.min(h.dmapend.0.saturating_sub(va));
            let (va, pa) = (Vaddr(va), Paddr(start));
            all.add(Segment { va, pa, bytes, rank })?;
        }
        rank = rank.saturating_add(all_bytes / PAGE);
    }
    all.flush()
}

/// What of a mapping is in the dump.
fn mapped(
    core: &Vmcore,
    mapping: Mapping,
    all: &mut Joined<'_, '_>,
) -> Result<(), Error> {
    let Mapping { va, pa, bytes } = mapping;
    let last = pa.0.saturating_add(bytes);
    let mut at = pa.0;
    while at < last {
        let Some((run, rank)) = core.next_pages(Paddr(at))? else { break };
        let end = run.end.min(last);
        if run.start < end {
            let into = run.start.saturating_sub(pa.0);
            let Some(va) = va.0.checked_add(into) else { break };
            let bytes = end.saturating_sub(run.start);
            let (va, pa) = (Vaddr(va), Paddr(run.start));
            all.add(Segment { va, pa, bytes, rank })?;
        }
        at = run.end.max(at.saturating_add(PAGE));
    }
    Ok(())
}
