// SPDX-License-Identifier: BSD-2-Clause
//! A file without a name, in TMPDIR, for a copy of a guest's memory.

#![forbid(unsafe_code)]

use livedump_vmcore::path::escape_path;
use nix::sys::statvfs::fstatvfs;
use std::fs::File;
use std::io;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It cannot be made, or written.
    #[error("a file for the guest's memory in {directory} (TMPDIR)")]
    Temporary {
        /// Where.
        directory: String,
        /// Why not.
        source: io::Error,
    },
    /// There is no room for it.
    #[error(
        "the guest's memory of {} has no room in {directory} (TMPDIR): {} free",
        crate::report::human(*need), crate::report::human(*free)
    )]
    Room {
        /// Where.
        directory: String,
        /// Bytes of memory.
        need: u64,
        /// Bytes free.
        free: u64,
    },
}

/// What went wrong with it.
#[must_use]
pub fn temporary(source: io::Error) -> SpoolError {
    let directory = escape_path(&std::env::temp_dir());
    SpoolError::Temporary { directory, source }
}

/// Opens one that has room for so many bytes.
///
/// # Errors
/// It cannot be made, or there is less room.
pub fn spool(need: u64) -> Result<File, SpoolError> {
    let spool = tempfile::tempfile().map_err(temporary)?;
    let stat = fstatvfs(&spool).map_err(|e| temporary(e.into()))?;
    #[allow(clippy::useless_conversion)]
    let free = u64::from(stat.blocks_available())
        .saturating_mul(u64::from(stat.fragment_size()));
    if free < need {
        let directory = escape_path(&std::env::temp_dir());
        return Err(SpoolError::Room { directory, need, free });
    }
    Ok(spool)
}
