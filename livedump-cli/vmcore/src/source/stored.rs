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
}

impl Stored for File {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, at)
    }

    fn next_data(&self, at: u64) -> u64 {
        seek_data(self, at)
    }
}

/// SEEK_DATA; a file system that does not know holes has none. The file's
/// own offset, which this moves, is used by nobody.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn seek_data(file: &File, at: u64) -> u64 {
    use nix::errno::Errno;
    use nix::unistd::{Whence, lseek};
    let Ok(offset) = i64::try_from(at) else { return at };
    match lseek(file, offset, Whence::SeekData) {
        Ok(found) => u64::try_from(found).unwrap_or(at),
        // Nothing but a hole from here to the end.
        Err(Errno::ENXIO) => u64::MAX,
        Err(_) => at,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn seek_data(_: &File, at: u64) -> u64 {
    at
}
