// SPDX-License-Identifier: BSD-2-Clause
//! savecore(8)'s crash directory: `livecore.N`, `vmcore.N`, `info.N`,
//! `bounds`, `minfree` and the `.last` links. Mirrors the directory side of
//! savecore.c.
//!
//! What must hold, at whatever instant the tool is killed:
//!
//! * a file named `livecore.N` or `vmcore.N` is whole;
//! * a dump that was there before is still there, until the one that takes
//!   its number is on disk under its name;
//! * `info.N` describes the dump beside it or is missing.
//!
//! Everything is done relative to a descriptor of the directory, so a
//! relative path, or one whose directory is renamed meanwhile, is no matter.
//! Files that savecore would not have made (a directory or a link with a
//! dump's name) are neither followed nor replaced.

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

mod bounds;
mod dumps;
mod finish;
mod info;
mod instance;
mod links;
mod names;
mod prune;
mod report;
mod retention;
mod temp;

pub use bounds::{MAX_BOUNDS, NextNumber};
pub use dumps::{SavedDump, Stored, compression_in, judge_core};
pub use finish::{Finished, Saved, Step};
pub use info::{InfoText, dump_status, info_text};
pub use instance::Instance;
pub use names::{Basename, Companion};
pub use prune::Pruned;
pub use retention::{Plan, Retention, Weight};
pub use temp::Temp;

use crate::sleep::sleep;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statvfs::fstatvfs;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Others hold the lock while they sync a directory, which takes moments.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// What went wrong in the crash directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{doing} {}", path.display())]
    Io {
        /// "opening", "writing", "syncing".
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A rename failed.
    #[error("renaming {} to {to}", from.display())]
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new name, in the same directory.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// Something with the name of a file to be written is no plain file.
    #[error("{} is in the way: it is {what}", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// "a directory".
        what: &'static str,
    },
    /// Somebody holds the directory's lock and does not let go.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// Another watch is at work here.
    #[error(
        "{} is already watched{}",
        path.display(),
        pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Watched {
        /// Where.
        path: PathBuf,
        /// By whom.
        pid: Option<u32>,
    },
    /// With `-m 1`, say.
    #[error(
        "the dump is not sound and was not kept: it would replace the only \
         sound one in {} (a larger -m keeps both)",
        path.display()
    )]
    OnlySound {
        /// Where.
        path: PathBuf,
    },
    /// Another has taken its number, or it was removed.
    #[error("{} is not there any more", path.display())]
    Gone {
        /// The dump.
        path: PathBuf,
    },
    /// `bounds` or `minfree` holds something else than a number.
    #[error(
        "{} holds {text:?}, which is not {wanted}",
        path.display()
    )]
    Number {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        text: String,
        /// What it should hold.
        wanted: &'static str,
    },
}

/// An open crash directory.
#[derive(Debug)]
pub struct CrashDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// A file to lock where the file system does not lock directories: NFS takes
/// an exclusive lock only on what is open for writing.
const LOCK_FILE: &str = "livedump.lock";

/// The directory's lock, held while files are given their names. Neither is
/// there where the file system has no locks at all: savecore(8) does not lock
/// either. Such a file system is never believed when it says that a file is
/// not in use.
#[derive(Debug)]
pub struct DirLock {
    _directory: Option<Flock<OwnedFd>>,
    _file: Option<Flock<File>>,
}

impl CrashDir {
    /// Opens a directory that exists.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).map_err(|e| {
            Error::Io {
                doing: "opening crash directory",
                path: path.into(),
                source: e.into(),
            }
        })?;
        Ok(Self { fd, path: path.into() })
    }

    /// Its descriptor, for who limits what may be done with it.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A name in the directory, for people.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits until nobody else names files here; not for ever, because
    /// whoever may read the directory may lock it.
    ///
    /// # Errors
    /// The directory cannot be opened once more, or stays locked.
    pub fn lock(&self) -> Result<DirLock, Error> {
        self.lock_within(LOCK_WAIT)
    }

    fn lock_within(&self, wait: Duration) -> Result<DirLock, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut fd = openat(&self.fd, ".", flags, Mode::empty())
            .map_err(|e| self.io("locking", ".", e))?;
        let started = Instant::now();
        loop {
            fd = match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    let _directory = Some(lock);
                    return Ok(DirLock { _directory, _file: None });
                }
                Err((fd, Errno::EWOULDBLOCK)) => fd,
                Err(_) => return self.lock_file_within(wait),
            };
            if started.elapsed() >= wait {
                return Err(Error::Locked { path: self.path.clone() });
            }
            sleep(LOCK_POLL);
        }
    }

    /// The same by a file, if that can be locked.
    fn lock_file_within(&self, wait: Duration) -> Result<DirLock, Error> {
        let none = DirLock { _directory: None, _file: None };
        // Somebody else's file is no reason to lose a dump.
        let Ok(Some(mut file)) = self.open_own(LOCK_FILE, true) else {
            return Ok(none);
        };
        let started = Instant::now();
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(DirLock { _file: Some(lock), ..none }),
                Err((file, Errno::EWOULDBLOCK)) => file,
                Err(_) => return Ok(none),
            };
            if started.elapsed() >= wait {
                return Err(Error::Locked { path: self.path.clone() });
            }
            sleep(LOCK_POLL);
        }
    }

    /// Bytes that may still be written by whoever is not root.
    ///
    /// # Errors
    /// What statvfs(3) answers.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        let fs = fstatvfs(&self.fd)
            .map_err(|e| self.io("checking the free space in", "", e))?;
        // Both are narrower on some systems.
        #[allow(clippy::useless_conversion)]
        let (blocks, size) =
            (u64::from(fs.blocks_available()), u64::from(fs.fragment_size()));
        // Root may have eaten into the reserve: then it is negative.
        let blocks = if blocks > i64::MAX as u64 { 0 } else { blocks };
        Ok(blocks.saturating_mul(size))
    }

    /// Makes the names given so far survive a power failure.
    ///
    /// # Errors
    /// What fsync(2) answers.
    pub fn sync(&self) -> Result<(), Error> {
        nix::unistd::fsync(&self.fd).map_err(|e| self.io("syncing", "", e))
    }

    /// The names in the directory.
    fn names(&self) -> Result<Vec<String>, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let failed = |e| self.io("reading", "", e);
        let mut dir =
            Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(failed)?;
            // Nothing of ours has a name that is not UTF-8.
            names.extend(entry.file_name().to_str().ok().map(String::from));
        }
        Ok(names)
    }

    /// What stands under a name, links not followed.
    fn stat(&self, name: &str) -> Result<Option<FileStat>, Error> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(self.io("checking", name, e)),
        }
    }

    /// Refuses what is neither a plain file nor nothing.
    fn check_not_foreign(&self, name: &str) -> Result<(), Error> {
        match self.stat(name)? {
            None => Ok(()),
            Some(stat) if kind(&stat) == SFlag::S_IFREG => Ok(()),
            Some(stat) => Err(self.in_the_way(name, kind_name(kind(&stat)))),
        }
    }

    /// Whether something has a name.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn has(&self, name: &str) -> Result<bool, Error> {
        Ok(self.stat(name)?.is_some())
    }

    /// Opens a plain file for reading; `None` when there is none. Others may
    /// write in the directory, so links are not followed, nothing blocks, and
    /// what was opened is checked, not only what was there before.
    ///
    /// # Errors
    /// It is no plain file, or cannot be opened.
    pub fn open_plain(&self, name: &str) -> Result<Option<File>, Error> {
        self.check_not_foreign(name)?;
        self.open_checked(name, OFlag::O_RDONLY)
    }

    /// Opens a file that is to be locked or written. It has to be one that
    /// nobody else made this name for: a plain file with one link, of the
    /// user that this runs as. It is never truncated here: that is for whoever
    /// has locked it.
    ///
    /// # Errors
    /// It is something else, or cannot be opened.
    pub(super) fn open_own(
        &self,
        name: &str,
        create: bool,
    ) -> Result<Option<File>, Error> {
        self.check_not_foreign(name)?;
        let create = if create { OFlag::O_CREAT } else { OFlag::empty() };
        let Some(file) = self.open_checked(name, OFlag::O_RDWR | create)?
        else {
            return Ok(None);
        };
        self.check_one_link(&file, name)?;
        let stat = fstat(&file).map_err(|e| self.io("checking", name, e))?;
        match stat.st_uid == nix::unistd::geteuid().as_raw() {
            true => Ok(Some(file)),
            false => Err(self.in_the_way(name, "a file of another user")),
        }
    }

    fn open_checked(
        &self,
        name: &str,
        flags: OFlag,
    ) -> Result<Option<File>, Error> {
        let flags =
            flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let fd = match openat(&self.fd, name, flags, mode) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => return Err(self.io("opening", name, e)),
        };
        let stat = fstat(&fd).map_err(|e| self.io("checking", name, e))?;
        match kind(&stat) {
            SFlag::S_IFREG => Ok(Some(File::from(fd))),
            other => Err(self.in_the_way(name, kind_name(other))),
        }
    }

    /// Refuses a file that has other names.
    fn check_one_link(&self, file: &File, name: &str) -> Result<(), Error> {
        let stat = fstat(file).map_err(|e| self.io("checking", name, e))?;
        match stat.st_nlink {
            // Unlinked meanwhile: nobody else has it.
            0 | 1 => Ok(()),
            _ => {
                Err(self
                    .in_the_way(name, "a file with other names (hard links)"))
            }
        }
    }

    fn in_the_way(&self, name: &str, what: &'static str) -> Error {
        Error::InTheWay { path: self.path(name), what }
    }

    fn io(&self, doing: &'static str, name: &str, e: Errno) -> Error {
        let path = match name {
            "" | "." => self.path.clone(),
            _ => self.path(name),
        };
        Error::Io { doing, path, source: e.into() }
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn kind_name(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFREG => "a plain file",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_waited_for_but_not_for_ever() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        let held = dir.lock().unwrap();
        let soon = Duration::from_millis(30);
        let e = dir.lock_within(soon).unwrap_err().to_string();
        assert!(e.ends_with("is locked by another process"), "{e}");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| dir.lock());
            sleep(soon);
            drop(held);
            assert!(waiting.join().unwrap().is_ok());
        });
    }

    #[test]
    fn what_is_no_directory_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let e = CrashDir::open(file.path()).unwrap_err().to_string();
        assert!(e.starts_with("opening crash directory /"), "{e}");
    }

    #[test]
    fn there_is_free_space_somewhere() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        assert!(dir.free_bytes().unwrap() > 0);
    }
}
