// SPDX-License-Identifier: BSD-2-Clause
//! Bytes that the dump shows in place of what memory holds. The live kernel
//! never sees them.

use super::kextract::kextract;
use crate::error::Result;
use crate::kpi::{Heap, Memory, Target};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};

/// Bytes at a physical address, never across pages.
#[derive(Clone, Copy, Default)]
struct Patch {
    pa: u64,
    /// Where they are among the overlay's.
    at: usize,
    len: usize,
}

/// The patches, sorted by address.
pub(super) struct Overlay<K: Heap> {
    patches: K::Array<Patch>,
    used: usize,
    bytes: K::Pages,
    filled: usize,
}

impl<K: Heap + Memory> Overlay<K> {
    /// Room for so many patches and bytes, of which the first `pages` pages are
    /// filled by the caller.
    pub(super) fn new(
        kpi: &K,
        patches: usize,
        pages: usize,
        bytes: usize,
    ) -> Result<Self> {
        Ok(Self {
            patches: kpi.malloc_array(patches, |_| Ok(Patch::default()))?,
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
    pub(super) fn patch(&mut self, pa: Paddr, bytes: &[u8]) {
        if let Some(at) = self.store(bytes) {
            self.insert(Patch { pa: pa.0, at, len: bytes.len() });
        }
    }

    /// Shows `bytes` at an address of the kernel's, which may be 0.
    pub(super) fn patch_va(
        &mut self,
        kpi: &K,
        target: &Target,
        va: Vaddr,
        bytes: &[u8],
    ) {
        if va.0 != 0
            && let Some(at) = self.store(bytes)
        {
            self.patch_filled_va(kpi, target, va, at, bytes.len());
        }
    }

    /// Shows bytes from offset `at` on, filled before, at an address of the
    /// kernel's. Whether all of them are shown: not where nothing is mapped,
    /// or there is no room.
    pub(super) fn patch_filled_va(
        &mut self,
        kpi: &K,
        target: &Target,
        va: Vaddr,
        at: usize,
        len: usize,
    ) -> bool {
        let mut done = 0;
        let mut all = true;
        while done < len {
            let Some(va) = va.0.checked_add(done as u64) else { return false };
            let in_page = PAGE_SIZE - (va % PAGE_SIZE as u64) as usize;
            let n = in_page.min(len - done);
            all &= match kextract(kpi, target, Vaddr(va)) {
                Some(pa) => {
                    self.insert(Patch { pa: pa.0, at: at + done, len: n })
                }
                None => false,
            };
            done += n;
        }
        all
    }

    fn store(&mut self, bytes: &[u8]) -> Option<usize> {
        let at = self.filled;
        let room = self.bytes.as_flattened_mut().get_mut(at..)?;
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.filled += bytes.len();
        Some(at)
    }

    fn insert(&mut self, patch: Patch) -> bool {
        let current = self.patches.get(..self.used).unwrap_or(&[]);
        let to = current.partition_point(|s| s.pa <= patch.pa);
        let mut moved = patch;
        // By hand: what the library has for it can panic.
        let Some(part) = self.patches.get_mut(to..=self.used) else {
            return false;
        };
        for slot in part {
            core::mem::swap(slot, &mut moved);
        }
        self.used += 1;
        true
    }

    /// Makes adjacent pages what the dump shows.
    pub(super) fn apply(&self, start: Paddr, pages: &mut [Page]) {
        let pages = pages.as_flattened_mut();
        let patches = self.patches.get(..self.used).unwrap_or(&[]);
        let first = patches.partition_point(|s| s.pa < start.0);
        for patch in patches.iter().skip(first) {
            let from = patch.pa.saturating_sub(start.0);
            let to = usize::try_from(from).ok().and_then(|from| {
                pages.get_mut(from..).and_then(|p| p.get_mut(..patch.len))
            });
            let bytes = self.bytes.as_flattened().get(patch.at..);
            match (to, bytes.and_then(|b| b.get(..patch.len))) {
                (Some(to), Some(bytes)) => copy(to, bytes),
                _ => return,
            }
        }
    }
}

/// Of one length, as both ends of a patch are; a copy that would panic
/// otherwise has no place in a kernel.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
