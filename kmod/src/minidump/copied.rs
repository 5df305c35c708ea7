// SPDX-License-Identifier: BSD-2-Clause
//! Copies of the pages of a dump, made while all CPUs are stopped: in memory
//! that is in no dump, with four bytes for each page that say where its copy
//! is. Pages of zeros have none.

use crate::error::{Errno, Result};
use crate::kpi::{Copies, DirectMap, Heap};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use memdev::addr::{PAGE_SIZE, Paddr, Page};

/// What memory for the copies there is to be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// Data pages that the dump may have.
    pub(super) pages: usize,
    /// Copies that may be made.
    pub(super) copies: usize,
    /// Pages of the pmap section, where no other copy of those is kept.
    pub(super) tables: usize,
    /// Pages of the message buffer's text.
    pub(super) msgbuf: usize,
}

impl Room {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let copies = self.copies as u64 * (PAGE_SIZE as u64 + 8);
        copies + 4 * (self.pages + self.tables) as u64
    }
}

/// The copies.
pub(super) struct Copied<K: Heap> {
    copies: K::Copies,
    /// For each data page, 1 + where its copy is; 0 is a page of zeros.
    places: K::Array<AtomicU32>,
    /// The same for each page of the pmap section.
    tables: K::Array<AtomicU32>,
    msgbuf: usize,
    used: AtomicUsize,
}

impl<K: Heap> Copied<K> {
    pub(super) fn allocate(kpi: &K, room: Room) -> Result<Self> {
        let none = |n| kpi.malloc_array(n, |_| Ok(AtomicU32::new(0)));
        Ok(Self {
            places: none(room.pages)?,
            tables: none(room.tables)?,
            copies: kpi.copies(room.copies)?,
            msgbuf: room.msgbuf,
            used: AtomicUsize::new(room.msgbuf),
        })
    }

    /// Forgets all copies.
    pub(super) fn restart(&self) {
        self.used.store(self.msgbuf, Relaxed);
    }

    /// Pages of the pmap section that are copied here.
    pub(super) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Copies the nth data page.
    pub(super) fn take_page<M: DirectMap>(
        &self,
        memory: &M,
        nth: usize,
        pa: Paddr,
    ) -> Result<()> {
        self.take(memory, self.places.get(nth), pa)
    }

    /// Copies page `i` of the pmap section.
    pub(super) fn take_table<M: DirectMap>(
        &self,
        memory: &M,
        i: usize,
        pa: Paddr,
    ) -> Result<()> {
        self.take(memory, self.tables.get(i), pa)
    }

    fn take<M: DirectMap>(
        &self,
        memory: &M,
        place: Option<&AtomicU32>,
        pa: Paddr,
    ) -> Result<()> {
        let place = place.ok_or(Errno::ENOBUFS)?;
        if memory.page_is_zero(pa) {
            place.store(0, Relaxed);
            return Ok(());
        }
        let at = self.used.fetch_add(1, Relaxed);
        if at >= self.copies.places() {
            return Err(Errno::ENOBUFS);
        }
        self.copies.copy_page(at, pa)?;
        let nth = u32::try_from(at + 1).map_err(|_| Errno::E2BIG)?;
        place.store(nth, Relaxed);
        Ok(())
    }

    /// Pages of the message buffer's text.
    pub(super) fn msgbuf_pages(&self) -> usize {
        self.msgbuf
    }

    /// Copies page `nth` of it.
    pub(super) fn take_msgbuf(&self, nth: usize) -> Result<()> {
        self.copies.copy_msgbuf(nth, nth)
    }

    /// The copies of data pages from the nth on.
    pub(super) fn pages(&self, nth: usize, pages: &mut [Page]) -> Result<()> {
        let places = self.places.get(nth..).unwrap_or(&[]);
        if places.len() < pages.len() {
            return Err(Errno::EINTEGRITY);
        }
        for (page, place) in pages.iter_mut().zip(places) {
            self.read(place, page)?;
        }
        Ok(())
    }

    /// The copy of page `i` of the pmap section.
    pub(super) fn table(&self, i: usize, page: &mut Page) -> Result<()> {
        self.read(self.tables.get(i).ok_or(Errno::EINTEGRITY)?, page)
    }

    /// The copy of page `nth` of the message buffer.
    pub(super) fn msgbuf(&self, nth: usize, page: &mut Page) -> Result<()> {
        self.copies.read(nth, page)
    }

    fn read(&self, place: &AtomicU32, page: &mut Page) -> Result<()> {
        match (place.load(Relaxed) as usize).checked_sub(1) {
            Some(at) => self.copies.read(at, page),
            None => {
                page.fill(0);
                Ok(())
            }
        }
    }
}
