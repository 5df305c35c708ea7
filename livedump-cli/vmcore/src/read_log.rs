// SPDX-License-Identifier: BSD-2-Clause
//! Which pages of a dump are read, for whoever asks afterwards how many of
//! them changed while the dump was written.

use super::Vmcore;
use super::changes::Changes;
use memdev::addr::{PAGE_SIZE, Paddr};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages that are remembered: of 4 GB.
const MAX_PAGES: usize = 1 << 20;

/// Physical page numbers, once they are requested.
#[derive(Debug, Default)]
pub(super) struct ReadLog(Mutex<Option<HashSet<u64>>>);

impl ReadLog {
    fn lock(&self) -> MutexGuard<'_, Option<HashSet<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page is read.
    pub(super) fn add(&self, pa: Paddr) {
        if let Some(pages) = self.lock().as_mut()
            && pages.len() < MAX_PAGES
        {
            pages.insert(pa.0 / PAGE);
        }
    }
}

impl Vmcore {
    /// From here on remembers the pages that are read, and none before.
    /// Page tables are not among them.
    pub fn remember_reads(&self) {
        *self.reads.lock() = Some(HashSet::new());
    }

    /// How many pages that is, and how many of them changed.
    #[must_use]
    pub fn changed_reads(&self, changes: &Changes) -> (u64, u64) {
        let reads = self.reads.lock();
        let pages = reads.iter().flatten();
        let at = |n: &&u64| Paddr(n.saturating_mul(PAGE));
        let changed =
            pages.clone().filter(|n| changes.changed(at(n)).is_some());
        (pages.count() as u64, changed.count() as u64)
    }
}
