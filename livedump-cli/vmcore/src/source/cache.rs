// SPDX-License-Identifier: BSD-2-Clause
//! The last few unpacked frames or pages, by where they start. Bounded by
//! bytes, not by entries: what the frames hold is the file's choice.

use lru::LruCache;
use std::sync::{Arc, Mutex, PoisonError};

const MAX_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Cache {
    max_bytes: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    by_start: LruCache<u64, Arc<[u8]>>,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl Cache {
    /// One that keeps no more than this, or one entry.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let entries = Entries { by_start: LruCache::unbounded(), bytes: 0 };
        Self { max_bytes, entries: Mutex::new(entries) }
    }

    pub(crate) fn get(&self, key: u64) -> Option<Arc<[u8]>> {
        let mut entries =
            self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_start.get(&key).map(Arc::clone)
    }

    pub(crate) fn put(&self, key: u64, data: Arc<[u8]>) {
        let mut entries =
            self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let more = data.len();
        let less = entries.by_start.put(key, data).map_or(0, |d| d.len());
        entries.bytes = entries.bytes.saturating_add(more).saturating_sub(less);
        while entries.bytes > self.max_bytes && entries.by_start.len() > 1 {
            let gone = entries.by_start.pop_lru().map_or(0, |(_, d)| d.len());
            entries.bytes = entries.bytes.saturating_sub(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let c = Cache::default();
        let third: Arc<[u8]> = vec![0; MAX_BYTES / 3].into();
        for key in 0..3 {
            c.put(key, Arc::clone(&third));
        }
        assert!(c.get(0).is_some());
        c.put(3, third);
        assert!(c.get(1).is_none());
        assert!(c.get(0).is_some() && c.get(2).is_some());
    }

    #[test]
    fn one_entry_stays_however_large() {
        let c = Cache::default();
        c.put(1, vec![0; 10].into());
        c.put(2, vec![0; MAX_BYTES + 1].into());
        assert!(c.get(1).is_none());
        assert!(c.get(2).is_some());
    }
}
