// SPDX-License-Identifier: BSD-2-Clause
//! The page tables that were read last: a walk loads one table's entries one
//! after the other, and goes back to the one above in between.

use memdev::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr, Page, trunc_page};
use parking_lot::Mutex;

const SLOTS: usize = 64;

#[derive(Debug)]
struct Slot {
    pa: u64,
    page: Box<Page>,
}

#[derive(Debug)]
pub(super) struct TableCache {
    slots: Mutex<Vec<Option<Slot>>>,
}

impl TableCache {
    pub(super) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| None).collect();
        Self { slots: Mutex::new(slots) }
    }

    /// Entry `index` of the table at `pa`, which `read` fetches.
    pub(super) fn entry(
        &self,
        pa: Paddr,
        index: u64,
        read: impl FnOnce(&mut Page),
    ) -> u64 {
        let pa = trunc_page(pa.0);
        let mut slots = self.slots.lock();
        let at = (pa >> PAGE_SHIFT) as usize % SLOTS;
        let Some(slot) = slots.get_mut(at) else { return 0 };
        let slot = slot.get_or_insert_with(|| {
            // No table is at an address that is not a page's.
            Slot { pa: u64::MAX, page: Box::new([0; PAGE_SIZE]) }
        });
        if slot.pa != pa {
            read(&mut slot.page);
            slot.pa = pa;
        }
        let entry = usize::try_from(index)
            .ok()
            .and_then(|i| slot.page.as_chunks().0.get(i));
        entry.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}
