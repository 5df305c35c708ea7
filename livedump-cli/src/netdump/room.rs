// SPDX-License-Identifier: BSD-2-Clause
//! How many bytes dumps may still take: what the file system has free beyond
//! minfree, and what is left of a budget for all dumps in the directory.

use crate::crashdir::CrashDir;
use crate::report::note;
use livedump_vmcore::chain;
use std::time::{Duration, Instant};

/// How often the free space is looked at.
const FREE: Duration = Duration::from_secs(1);
/// How often the files are.
const FILES: Duration = Duration::from_secs(10);

/// Space for dumps.
#[derive(Debug)]
pub struct Room<'d> {
    directory: &'d CrashDir,
    max_bytes: Option<u64>,
    minfree: u64,
    left: u64,
    /// Bytes of disk that dumps with a name take.
    kept: u64,
    measured: Option<Instant>,
    counted: Option<Instant>,
    /// That the files cannot be counted was reported.
    told: bool,
}

impl<'d> Room<'d> {
    /// Nothing, before it is measured.
    #[must_use]
    pub fn new(directory: &'d CrashDir, max_bytes: Option<u64>) -> Self {
        // As for the dump of a panic on a dump device.
        let minfree = directory.minfree_bytes().unwrap_or_else(|e| {
            note(format_args!("{}: using 0", chain(&e)));
            0
        });
        Self {
            directory,
            max_bytes,
            minfree,
            left: 0,
            kept: 0,
            measured: None,
            counted: None,
            told: false,
        }
    }

    /// How many bytes may come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// So many have come.
    pub fn take(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Looks once more, if it is time; `arriving` are bytes of dumps that have
    /// no name yet.
    pub fn measure(&mut self, arriving: &[u64]) {
        let old = |at: Option<Instant>, age| {
            at.is_none_or(|at: Instant| at.elapsed() >= age)
        };
        if !old(self.measured, FREE) {
            return;
        }
        self.measured = Some(Instant::now());
        // What cannot be told is no reason to lose a dump: writing it is.
        let free = self.directory.free_bytes().unwrap_or(u64::MAX);
        self.left = free.saturating_sub(self.minfree);
        let Some(max) = self.max_bytes else { return };
        if old(self.counted, FILES) {
            self.counted = Some(Instant::now());
            match self.directory.dumps() {
                Ok(dumps) => {
                    self.kept = dumps.iter().fold(0, |sum, dump| {
                        u64::saturating_add(sum, dump.disk_bytes)
                    });
                    self.told = false;
                }
                // What was counted before, and what has come since, is known.
                Err(e) if !self.told => {
                    note(format_args!("--max-bytes: {}", chain(&e)));
                    self.told = true;
                }
                Err(_) => {}
            }
        }
        let used = arriving
            .iter()
            .fold(self.kept, |sum, bytes| sum.saturating_add(*bytes));
        self.left = self.left.min(max.saturating_sub(used));
    }

    /// A dump of so many bytes is over. It may not have its name yet.
    pub fn ended(&mut self, bytes: u64) {
        self.kept = self.kept.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_that_are_there_and_those_that_arrive_count() {
        let tmp = tempfile::tempdir().unwrap();
        let directory = CrashDir::open(tmp.path()).unwrap();
        let mut room = Room::new(&directory, Some(1 << 20));
        assert_eq!(room.left(), 0);
        room.measure(&[]);
        assert_eq!(room.left(), 1 << 20);
        room.take(1 << 10);
        assert_eq!(room.left(), (1 << 20) - (1 << 10));
        std::fs::write(tmp.path().join("vmcore.0"), [1; 64 << 10]).unwrap();
        (room.measured, room.counted) = (None, None);
        room.measure(&[100, 200]);
        assert!(room.left() <= (1 << 20) - (64 << 10) - 300);
        let left = room.left();
        room.ended(1 << 10);
        room.measured = None;
        room.measure(&[]);
        assert!(room.left() <= left + 300 - (1 << 10));
        room.take(u64::MAX);
        assert_eq!(room.left(), 0);
    }

    #[test]
    fn minfree_stays_free() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("minfree"), "999999999999\n").unwrap();
        let directory = CrashDir::open(tmp.path()).unwrap();
        let mut room = Room::new(&directory, None);
        room.measure(&[]);
        assert_eq!(room.left(), 0);
    }
}
