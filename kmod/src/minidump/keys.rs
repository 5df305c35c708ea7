// SPDX-License-Identifier: BSD-2-Clause
//! Whoever has a dump must not be able to read others: the keys that the
//! kernel encrypts its own dumps with stay in its memory, and are zeros in
//! what is dumped.

use super::overlay::Overlay;
use crate::error::{Errno, Result};
use crate::kpi::{Heap, Kpi, Target};
use memdev::addr::{Paddr, Page, Vaddr};
use memdev::keys::{KEY_BYTES, KeysRecord};

/// Dumpers that one could configure.
const MAX_KEYS: usize = 64;

/// The keys as they were before the first page was read.
pub(super) struct Keys<K: Heap> {
    blocks: K::Array<Vaddr>,
    /// `None`: nothing is known of them.
    known: Option<usize>,
    overlay: Overlay<K>,
}

impl<K: Kpi> Keys<K> {
    /// # Errors
    /// `ENOMEM`; `E2BIG` with more keys than could be overwritten, `EFAULT`
    /// with one whose memory cannot be found: a dump would have it.
    #[inline(never)] // Its stack is not everyone's.
    pub(super) fn find(kpi: &K, target: &Target) -> Result<Self> {
        let mut blocks = kpi.malloc_array(MAX_KEYS, |_| Ok(Vaddr(0)))?;
        // A block may cross into another page. All show the same zeros.
        let mut overlay = Overlay::new(kpi, 2 * MAX_KEYS, 1, 0)?;
        let known = match kpi.dump_keys(&mut blocks) {
            Ok(n) => Some(n),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        for &va in blocks.iter().take(known.unwrap_or(0)) {
            if !overlay.patch_filled_va(kpi, target, va, 0, KEY_BYTES) {
                return Err(Errno::EFAULT);
            }
        }
        Ok(Self { blocks, known, overlay })
    }

    /// Makes adjacent pages what the dump shows.
    pub(super) fn overwrite(&self, start: Paddr, pages: &mut [Page]) {
        self.overlay.apply(start, pages);
    }

    /// What the dump says of it.
    pub(super) fn record(&self) -> Option<KeysRecord> {
        let overwritten = u32::try_from(self.known?).ok()?;
        Some(KeysRecord { overwritten })
    }

    /// Whether the keys are where they were.
    ///
    /// # Errors
    /// `EAGAIN` where one was added or replaced: it may have been dumped.
    #[inline(never)]
    pub(super) fn check(&self, kpi: &K) -> Result<()> {
        let Some(known) = self.known else { return Ok(()) };
        // No dump that is written is to fail for want of memory.
        let mut blocks = [Vaddr(0); MAX_KEYS];
        let now = kpi.dump_keys(&mut blocks)?;
        let was = self.blocks.get(..known).unwrap_or(&[]);
        let is_new = |va: &Vaddr| !was.contains(va);
        match blocks.iter().take(now).any(is_new) {
            true => Err(Errno::EAGAIN),
            false => Ok(()),
        }
    }
}
