// SPDX-License-Identifier: BSD-2-Clause
//! A file that is read while it is written, or before it is on disk.

use livedump_vmcore::source::Stored;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that is read while it is written: as the writer has it open, so that
/// every file system returns what was written.
///
/// Where its holes are is not asked before it was synced: ZFS would sync it for
/// the answer, and may take data that is on its way to disk for a hole
/// (dnode_is_dirty() of OpenZFS before 2.1.14 and 2.2.2).
#[derive(Debug)]
pub struct Growing {
    file: File,
    synced: Arc<AtomicBool>,
}

impl Growing {
    /// Of a duplicate of the writer's descriptor.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self::until(file, Arc::default())
    }

    /// One that may be asked for holes once `synced` is true.
    pub(super) fn until(file: File, synced: Arc<AtomicBool>) -> Self {
        Self { file, synced }
    }

    pub(super) fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }
}

impl Stored for Growing {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buf, at)
    }

    fn next_data(&self, at: u64) -> u64 {
        match self.synced.load(Ordering::Acquire) {
            true => Stored::next_data(&self.file, at),
            false => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_asked_for_once_it_is_synced() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let next = Stored::next_data(&file, 0);
        let synced = Arc::new(AtomicBool::new(false));
        let growing = Growing::until(file, Arc::clone(&synced));
        assert_eq!(growing.next_data(0), 0);
        synced.store(true, Ordering::Release);
        assert_eq!(growing.next_data(0), next);
        if next == 0 {
            livedump_skip::skipped("the file system has no holes");
        }
    }
}
