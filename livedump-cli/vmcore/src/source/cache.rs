// SPDX-License-Identifier: BSD-2-Clause
//! The last few unpacked frames or pages, by where they start. Bounded by
//! bytes, not by entries: what the frames hold is the file's choice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

const MAX_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Cache {
    max_bytes: usize,
    entries: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl Cache {
    /// One that keeps no more than this, or one entry.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, entries: Mutex::default() }
    }

    pub(crate) fn get(&self, key: u64) -> Option<Arc<[u8]>> {
        let mut entries =
            self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let at = entries.iter().position(|(k, _)| *k == key)?;
        let entry = entries.remove(at)?;
        let data = Arc::clone(&entry.1);
        entries.push_front(entry);
        Some(data)
    }

    pub(crate) fn put(&self, key: u64, data: Arc<[u8]>) {
        let mut entries =
            self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(k, _)| *k != key);
        entries.push_front((key, data));
        let mut bytes = 0usize;
        let keep = entries
            .iter()
            .take_while(|(_, d)| {
                bytes = bytes.saturating_add(d.len());
                bytes <= self.max_bytes
            })
            .count();
        entries.truncate(keep.max(1));
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
