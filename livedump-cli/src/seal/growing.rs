// SPDX-License-Identifier: BSD-2-Clause
//! A file that is read while it is written.

use livedump_vmcore::source::Stored;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// ZFS syncs what was written before it answers where the holes are. It is not
/// to be made to again and again.
const SLOW: Duration = Duration::from_millis(20);

/// A file that is read while it is written: as the writer has it open, so that
/// every file system returns what was written. Holes are looked for as opened a
/// second time: lseek(2) moves an offset, which must not be the writer's.
#[derive(Debug)]
pub struct Growing {
    file: File,
    again: File,
    asks_for_holes: AtomicBool,
}

impl Growing {
    /// Of a duplicate of the writer's descriptor, and one of the same file with
    /// an offset of its own.
    #[must_use]
    pub fn new(file: File, again: File) -> Self {
        Self { file, again, asks_for_holes: AtomicBool::new(true) }
    }

    /// The file's length: both have to agree.
    pub(super) fn len(&self) -> u64 {
        let len = |file: &File| file.metadata().map_or(0, |meta| meta.len());
        len(&self.file).min(len(&self.again))
    }
}

impl Stored for Growing {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buf, at)
    }

    fn next_data(&self, at: u64) -> u64 {
        if !self.asks_for_holes.load(Ordering::Relaxed) {
            return at;
        }
        let asked = Instant::now();
        let next = Stored::next_data(&self.again, at);
        if asked.elapsed() > SLOW {
            self.asks_for_holes.store(false, Ordering::Relaxed);
        }
        next
    }
}
