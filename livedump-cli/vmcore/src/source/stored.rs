// SPDX-License-Identifier: BSD-2-Clause
//! The bytes that a dump is stored as: a file, or what a file holds once it
//! is decrypted. Who decrypts brings an implementation: the reader knows no
//! cipher.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes with offsets, read from any thread.
pub trait Stored: Send + Sync + std::fmt::Debug {
    /// Reads at `at`; 0 bytes only at the end. As pread(2), it may read fewer
    /// than `buf` has.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// The first offset at or after `at` that is not in a hole; the largest
    /// number where nothing but a hole follows.
    fn next_data(&self, at: u64) -> u64 {
        at
    }

    /// The first offset at or after `at` that is in a hole; the largest number
    /// where that is not known.
    fn next_hole(&self, _at: u64) -> u64 {
        u64::MAX
    }
}

impl Stored for File {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, at)
    }

    fn next_data(&self, at: u64) -> u64 {
        seek::data(self, at)
    }

    fn next_hole(&self, at: u64) -> u64 {
        seek::hole(self, at)
    }
}

/// SEEK_DATA and SEEK_HOLE; a file system that does not know holes has none.
/// The file's own offset, which this moves, is used by nobody.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
mod seek {
    use nix::errno::Errno;
    use nix::unistd::{Whence, lseek};
    use std::fs::File;

    pub(super) fn data(file: &File, at: u64) -> u64 {
        seek(file, at, Whence::SeekData).unwrap_or(at)
    }

    pub(super) fn hole(file: &File, at: u64) -> u64 {
        seek(file, at, Whence::SeekHole).unwrap_or(u64::MAX)
    }

    fn seek(file: &File, at: u64, whence: Whence) -> Option<u64> {
        let offset = i64::try_from(at).ok()?;
        match lseek(file, offset, whence) {
            Ok(found) => u64::try_from(found).ok(),
            // Nothing but a hole from here to the end.
            Err(Errno::ENXIO) => Some(u64::MAX),
            Err(_) => None,
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
mod seek {
    use std::fs::File;

    pub(super) fn data(_: &File, at: u64) -> u64 {
        at
    }

    pub(super) fn hole(_: &File, _: u64) -> u64 {
        u64::MAX
    }
}
