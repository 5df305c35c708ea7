// SPDX-License-Identifier: BSD-2-Clause
//! Bytes that the dump shows in place of what memory holds. The live kernel
//! never sees them.

use super::kextract::kextract;
use crate::error::Result;
use crate::kpi::{Kpi, Target};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};

/// Bytes at a physical address, never across pages.
#[derive(Clone, Copy, Default)]
struct Spot {
    pa: u64,
    /// Where they are among the overlay's.
    at: usize,
    len: usize,
}

/// The spots, by address.
pub(super) struct Overlay<K: Kpi> {
    spots: K::Array<Spot>,
    used: usize,
    bytes: K::Pages,
    filled: usize,
}

impl<K: Kpi> Overlay<K> {
    /// Room for so many spots and bytes, of which the first `pages` pages are
    /// filled by the caller.
    pub(super) fn new(
        kpi: &K,
        spots: usize,
        pages: usize,
        bytes: usize,
    ) -> Result<Self> {
        Ok(Self {
            spots: kpi.malloc_array(spots, |_| Ok(Spot::default()))?,
            used: 0,
            bytes: kpi.malloc_pages(pages + bytes.div_ceil(PAGE_SIZE))?,
            filled: pages * PAGE_SIZE,
        })
    }

    /// The pages that the caller fills.
    pub(super) fn pages(&mut self) -> &mut [Page] {
        let n = self.filled / PAGE_SIZE;
        self.bytes.get_mut(..n).unwrap_or_default()
    }

    /// Shows `bytes` at `pa`, within a page. What finds no room is not shown.
    pub(super) fn show(&mut self, pa: Paddr, bytes: &[u8]) {
        if let Some(at) = self.keep(bytes) {
            self.insert(Spot { pa: pa.0, at, len: bytes.len() });
        }
    }

    /// Shows `bytes` at an address of the kernel's, which may be 0.
    pub(super) fn show_at(
        &mut self,
        kpi: &K,
        target: &Target,
        va: Vaddr,
        bytes: &[u8],
    ) {
        if va.0 != 0
            && let Some(at) = self.keep(bytes)
        {
            self.show_filled(kpi, target, va, at, bytes.len());
        }
    }

    /// Shows bytes from offset `at` on, filled before, at an address of the
    /// kernel's.
    pub(super) fn show_filled(
        &mut self,
        kpi: &K,
        target: &Target,
        va: Vaddr,
        at: usize,
        len: usize,
    ) {
        let mut done = 0;
        while done < len {
            let Some(va) = va.0.checked_add(done as u64) else { return };
            let in_page = PAGE_SIZE - (va % PAGE_SIZE as u64) as usize;
            let n = in_page.min(len - done);
            if let Some(pa) = kextract(kpi, target, Vaddr(va)) {
                self.insert(Spot { pa: pa.0, at: at + done, len: n });
            }
            done += n;
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Option<usize> {
        let at = self.filled;
        let room = self.bytes.as_flattened_mut().get_mut(at..)?;
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.filled += bytes.len();
        Some(at)
    }

    fn insert(&mut self, spot: Spot) {
        let known = self.spots.get(..self.used).unwrap_or(&[]);
        let to = known.partition_point(|s| s.pa <= spot.pa);
        let mut carried = spot;
        // By hand: what the library has for it can panic.
        let Some(part) = self.spots.get_mut(to..=self.used) else { return };
        for slot in part {
            core::mem::swap(slot, &mut carried);
        }
        self.used += 1;
    }

    /// Makes adjacent pages what the dump shows.
    pub(super) fn apply(&self, start: Paddr, pages: &mut [Page]) {
        let pages = pages.as_flattened_mut();
        let spots = self.spots.get(..self.used).unwrap_or(&[]);
        let first = spots.partition_point(|s| s.pa < start.0);
        for spot in spots.iter().skip(first) {
            let from = spot.pa.saturating_sub(start.0);
            let to = usize::try_from(from).ok().and_then(|from| {
                pages.get_mut(from..).and_then(|p| p.get_mut(..spot.len))
            });
            let bytes = self.bytes.as_flattened().get(spot.at..);
            match (to, bytes.and_then(|b| b.get(..spot.len))) {
                (Some(to), Some(bytes)) => copy(to, bytes),
                _ => return,
            }
        }
    }
}

/// Of one length, as both ends of a spot are; a copy that would panic
/// otherwise has no place in a kernel.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
