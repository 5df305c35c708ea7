// SPDX-License-Identifier: BSD-2-Clause
//! Pages that only make sense together: those that link processes and threads
//! into lists. They are copied in one go, while the lists are locked, and the
//! copies are what the dump has; all other pages are read when they are
//! written. Without this a list whose head was written before a process left
//! it may lead nowhere: on 12.x, where an exiting process moves to another
//! list, two of three dumps under a storm of forks had no whole list.
//!
//! Best effort: a list that outgrows the memory taken for it, or [`MAX_LINKED`], is
//! copied as far as it fits.

use super::shared::SharedSet;
use crate::error::Result;
use crate::kpi::{Heap, LinkedPage, Memory, Processes};
use memdev::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr, Page};
use memdev::dump_avail::DumpAvail;

/// Pages that are copied at most: 16 MB.
const MAX_LINKED: usize = 4096;
/// Cells of the table; a power of two, at most half of them used.
const CELLS: usize = 2 * MAX_LINKED;
/// Bits of a cell for which copy it is, counted from 1; above them the page.
const NTH_BITS: u32 = 12 + 1;

/// The copies, found by page.
pub(super) struct Linked<K: Heap> {
    cells: K::Words,
    copies: K::Pages,
    used: usize,
}

impl<K: Heap + Memory + Processes> Linked<K> {
    /// Copies what [`Processes::linked_pages`] names, and adds it to `set`: a page
    /// that came into use after the bitset was copied belongs to it, too.
    pub(super) fn take(
        kpi: &K,
        avail: DumpAvail<'_>,
        set: SharedSet<'_>,
    ) -> Result<Self> {
        let mut linked = Self {
            cells: kpi.malloc_words(CELLS)?,
            copies: kpi.malloc_pages(0)?,
            used: 0,
        };
        let belongs = |pa| kpi.phys_in_dmap(pa) && kpi.vm_phys_is_dumpable(pa);
        // How many there are, and then the copies: memory cannot be waited
        // for while the lists are locked.
        let mut pages = 0;
        kpi.linked_pages(&mut |page| {
            if let LinkedPage::Page(pa) = page
                && belongs(pa)
                && linked.insert(pa, MAX_LINKED).is_some()
            {
                pages = linked.used;
            }
        });
        linked.cells.fill(0);
        linked.used = 0;
        let room = MAX_LINKED.min(pages + pages / 4);
        linked.copies = kpi.malloc_pages(room)?;
        kpi.linked_pages(&mut |page| {
            let LinkedPage::Page(pa) = page else { return };
            let Some(bit) = avail.bit_of(pa).filter(|_| belongs(pa)) else {
                return;
            };
            // Also a page that no copy can be kept of.
            set.set(bit);
            if let Some(nth) = linked.insert(pa, room)
                && let Some(copy) = linked.copies.get_mut(nth)
            {
                // It was checked above that this memory can be read.
                let _ = kpi.read_page(pa, copy);
            }
        });
        Ok(linked)
    }

    /// Page `pa` as it was when the lists hung together, or as it is now.
    pub(super) fn read(
        &self,
        kpi: &K,
        pa: Paddr,
        page: &mut Page,
    ) -> Result<()> {
        kpi.read_page(pa, page)?;
        self.overlay(pa, core::slice::from_mut(page));
        Ok(())
    }

    /// Makes adjacent pages what they were when the lists hung together.
    pub(super) fn overlay(&self, start: Paddr, pages: &mut [Page]) {
        if self.used == 0 {
            return;
        }
        for (nth, page) in pages.iter_mut().enumerate() {
            let pa = Paddr(start.0 + (nth * PAGE_SIZE) as u64);
            let copy = self.find(pa).ok().and_then(|n| self.copies.get(n));
            if let Some(copy) = copy {
                page.copy_from_slice(copy);
            }
        }
    }

    /// Which copy is that of `pa`, or the empty cell where it would be.
    fn find(&self, pa: Paddr) -> core::result::Result<usize, Option<usize>> {
        let pfn = pa.0 >> PAGE_SHIFT;
        let from = (pfn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        for at in (0..CELLS).map(|i| (from + i) % CELLS) {
            match self.cells.get(at) {
                None | Some(0) => return Err(Some(at)),
                Some(cell) if cell >> NTH_BITS == pfn => {
                    let nth = cell & ((1 << NTH_BITS) - 1);
                    return Ok(nth as usize - 1);
                }
                Some(_) => {}
            }
        }
        Err(None)
    }

    /// The copy for `pa`, a new one if there is none yet; `None` when all of
    /// `room` is used.
    fn insert(&mut self, pa: Paddr, room: usize) -> Option<usize> {
        let at = match self.find(pa) {
            Ok(nth) => return Some(nth),
            Err(at) => at?,
        };
        if self.used >= room {
            return None;
        }
        let nth = self.used;
        let cell = self.cells.get_mut(at)?;
        *cell = (pa.0 >> PAGE_SHIFT) << NTH_BITS | (nth as u64 + 1);
        self.used += 1;
        Some(nth)
    }
}
