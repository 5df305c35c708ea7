// SPDX-License-Identifier: BSD-2-Clause
//! A dump device, or an image of one: what a panicking kernel left at its
//! end. Mirrors the device side of `DoFile` in savecore.c; what is written is
//! by `dump_write_headers` and `textdump_dumpsys`.
//!
//! ```text
//!  ...                      the first 64 KB are never touched
//!  leading header           one block, as all headers
//!  key block                dumpkeysize bytes; none if not encrypted
//!  dump                     dumplength bytes of dumpextent reserved ones
//!  trailing header          the last block of the device
//! ```
//!
//! In a textdump(4) the blocks of the dump are in reverse order.
//!
//! Everything in the headers may be wrong; nothing outside the device is
//! read. Saving a dump writes nothing but the trailing header; [`write`] writes a
//! whole dump.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod contents;
pub mod disk;
mod locate;
mod occupied;
pub mod scan;
mod swap;
pub mod write;

pub use crate::ekcd::KeyError;
pub use locate::LocatedDump;

use memdev::kerneldump::{HEADER_SIZE, HeaderError, clear};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why there is nothing to save, or it cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device cannot be opened.
    #[error("opening {}{hint}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What may help.
        hint: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A directory, or a pipe.
    #[error("{} is not a device or an image of one", path.display())]
    Kind {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{doing} at offset {at} of {}", path.display())]
    Io {
        /// "reading", "clearing the header".
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// No trailing header.
    #[error(
        "no dump at the end of {} ({size} bytes); in an image of a disk, use \
         the dump partition; --list finds dumps anywhere",
        path.display()
    )]
    NoDump {
        /// Which.
        path: PathBuf,
        /// How large it is.
        size: u64,
    },
    /// No header there.
    #[error("no dump at offset {at} of {} (--list finds them)", path.display())]
    NoDumpAt {
        /// Which.
        path: PathBuf,
        /// Where.
        at: u64,
    },
    /// It was saved before.
    #[error(
        "the dump on {} was already saved (-f saves it again)",
        path.display()
    )]
    Cleared {
        /// Which.
        path: PathBuf,
    },
    /// Another process is at it.
    #[error("the dump on {} is being saved by another process", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// It is no place for a dump, whatever the wish.
    #[error("{}: {text}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is in the way.
        text: String,
    },
    /// Somebody uses it.
    #[error("{} is {by}", path.display())]
    Used {
        /// Which.
        path: PathBuf,
        /// What it is.
        by: String,
    },
    /// It is not known whether it may be written to.
    #[error("{}: {text} (-f writes to it anyway)", path.display())]
    Doubt {
        /// Which.
        path: PathBuf,
        /// What is not known.
        text: String,
    },
    /// A dump that is not to be lost.
    #[error(
        "{} has a dump that was not saved{}: save it (livedump save), or -f \
         to overwrite it",
        path.display(),
        if *damaged { ", with a damaged header" } else { "" }
    )]
    Unsaved {
        /// Which.
        path: PathBuf,
        /// Whether its header has a parity error.
        damaged: bool,
    },
    /// Something that is not to be lost.
    #[error("{} has {what} (-f overwrites its end)", path.display())]
    Data {
        /// Which.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A header that cannot be read.
    #[error("a header of {}", path.display())]
    Header {
        /// Which.
        path: PathBuf,
        /// Why.
        source: HeaderError,
    },
    /// Something that `-f` lets pass.
    #[error("{text} (-f saves it anyway)")]
    Odd {
        /// What it is.
        text: String,
    },
    /// Something that makes no sense whatever the wish.
    #[error("a header of {}: {text}", path.display())]
    Shape {
        /// Which.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// The key block of an encrypted dump.
    #[error("the key block of {}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
}

impl Error {
    /// Whether there is nothing to save, which is not a failure.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(
            self,
            Self::NoDump { .. } | Self::NoDumpAt { .. } | Self::Cleared { .. }
        )
    }
}

/// That this process saves what is on a device; until dropped.
#[derive(Debug)]
pub struct Claim(Option<Flock<File>>);

impl Claim {
    /// The descriptor that holds the lock, for the sandbox to limit.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|lock| lock.as_fd())
    }
}

/// An open dump device.
#[derive(Debug)]
pub struct DumpDev {
    file: File,
    path: PathBuf,
    size: u64,
}

impl DumpDev {
    /// Opens a device or an image; for writing where the dump is to be
    /// cleared.
    ///
    /// # Errors
    /// Why not.
    pub fn open(path: &Path, write: bool) -> Result<Self, Error> {
        Self::open_as(path, write, 0, |e| match e {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
                if write =>
            {
                " for reading and writing (--keep only reads)"
            }
            _ => "",
        })
    }

    /// Opens a device or an image for a dump. What is mounted, or is used by
    /// another device, cannot be opened.
    ///
    /// # Errors
    /// Why not.
    pub fn open_for_dump(path: &Path) -> Result<Self, Error> {
        // FreeBSD's devices are opened exclusively by who uses them; Linux'
        // have to be asked for that.
        let is_block = std::fs::metadata(path)
            .is_ok_and(|meta| meta.file_type().is_block_device());
        let flags = match is_block {
            true => nix::libc::O_EXCL,
            false => 0,
        };
        Self::open_as(path, true, flags, |e| match e {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy => {
                " for writing (it may be mounted, or part of another device)"
            }
            _ => "",
        })
    }

    fn open_as(
        path: &Path,
        write: bool,
        flags: i32,
        hint: impl Fn(io::ErrorKind) -> &'static str,
    ) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(write).custom_flags(flags);
        let opened = options.open(path);
        let mut file = opened.map_err(|source| Error::Open {
            path: path.into(),
            hint: hint(source.kind()),
            source,
        })?;
        let no_kind = || Error::Kind { path: path.into() };
        let meta = file.metadata().map_err(|_| no_kind())?;
        if meta.is_dir() {
            return Err(no_kind());
        }
        // A device has no length of its own, but an end to seek to.
        let size = file.seek(SeekFrom::End(0)).map_err(|_| no_kind())?;
        Ok(Self { file, path: path.into(), size })
    }

    /// Claims the device until this is dropped, so that no other process
    /// saves the same dump. Where a device has no locks nothing is claimed:
    /// [`DumpDev::clear`] detects which was first.
    ///
    /// # Errors
    /// Another process has claimed it.
    pub fn claim(&self) -> Result<Claim, Error> {
        let Ok(file) = self.file.try_clone() else { return Ok(Claim(None)) };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Claim(Some(lock))),
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(Error::InUse { path: self.path.clone() })
            }
            Err(_) => Ok(Claim(None)),
        }
    }

    /// As it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, for the sandbox to limit.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Marks the dump as saved.
    ///
    /// # Errors
    /// Why it still looks unsaved; [`Error::Cleared`] where it does not,
    /// because another process has marked it.
    pub fn clear(&self, found: &LocatedDump) -> Result<(), Error> {
        let failed = |source| Error::Io {
            doing: "clearing the header",
            path: self.path.clone(),
            at: found.trailer_at,
            source,
        };
        // Whole blocks: a device takes nothing else.
        let mut block = vec![0; found.block];
        self.file
            .read_exact_at(&mut block, found.trailer_at)
            .map_err(failed)?;
        if let Some(header) = block.first_chunk_mut::<HEADER_SIZE>() {
            // What was found may have been cleared, or replaced by another
            // dump, since.
            if is_cleared(header, &found.trailer) {
                return Err(Error::Cleared { path: self.path.clone() });
            }
            if *header != found.trailer {
                return Err(failed(io::Error::other("it has changed")));
            }
            clear(header);
        }
        self.file.write_all_at(&block, found.trailer_at).map_err(failed)?;
        self.file.sync_all().map_err(failed)
    }

    fn read(&self, buf: &mut [u8], at: u64) -> Result<(), Error> {
        self.file.read_exact_at(buf, at).map_err(|source| Error::Io {
            doing: "reading",
            path: self.path.clone(),
            at,
            source,
        })
    }
}

/// Whether a header is what clearing another one leaves.
fn is_cleared(header: &[u8; HEADER_SIZE], before: &[u8; HEADER_SIZE]) -> bool {
    let mut cleared = *before;
    clear(&mut cleared);
    header == &cleared && header != before
}
