// SPDX-License-Identifier: BSD-2-Clause
//! A file that a command writes: standard output for `-`, else a file of that
//! name.
//!
//! The file is written under a temporary name in its directory and renamed
//! when it is whole: what had the name before is there until then, also when
//! the dump cannot be read. It is opened before the dump is, and so that the
//! program can be confined meanwhile; that it is none of the files that are
//! read is checked when those are open.

use crate::error::Error;
use crate::sandbox::Purpose;
use livedump_vmcore::path::escape_path;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, fchown, linkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How many names are tried for a temporary file.
const TRIES: u32 = 100;

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file cannot be made, written or named.
    #[error("writing {}", escape_path(path))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It would replace an input.
    #[error("writing {}: this file is an input", escape_path(path))]
    IsInput {
        /// Which.
        path: PathBuf,
    },
    /// It is there, and is not to be replaced.
    #[error("writing {}: it exists (-f replaces it)", escape_path(path))]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Two outputs have the same destination.
    #[error("two outputs are written to the same file, {}", escape_path(path))]
    Twice {
        /// Which.
        path: PathBuf,
    },
    /// Standard output does not take it.
    #[error("writing to standard output")]
    Stdout(#[source] io::Error),
}

impl From<OutputError> for Error {
    fn from(e: OutputError) -> Self {
        match e {
            OutputError::Stdout(e) => Self::Output(e),
            e => Self::of_command(e),
        }
    }
}

/// A file, whatever it is called.
type Identity = (u64, u64);

/// An open one.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, or a device.
    File(PathBuf, Target),
}

/// How a file is written.
#[derive(Debug)]
pub enum Target {
    /// Under a temporary name first.
    Replaced(Replacement),
    /// As it is: a device or a pipe, or a file in a directory that takes no
    /// other.
    InPlace(File, Identity),
}

/// A file that is to get the name of another one.
#[derive(Debug)]
pub struct Replacement {
    directory: OwnedFd,
    /// That of the directory.
    place: Identity,
    temporary: OsString,
    name: OsString,
    file: File,
    /// The file that has the name.
    before: Option<Identity>,
    /// Whether drop removes the temporary one.
    armed: bool,
    /// Whether it replaces nothing.
    is_new: bool,
}

impl Output {
    /// Opens one.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn open(path: &Path) -> Result<Self, OutputError> {
        // Modified by umask(2).
        Self::open_mode(path, Mode::from_bits_truncate(0o666))
    }

    /// The same for memory of a kernel: a new file is its owner's only.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn open_private(path: &Path) -> Result<Self, OutputError> {
        Self::open_mode(path, Mode::from_bits_truncate(0o600))
    }

    /// The same for a file that nothing is to have the name of, neither now
    /// nor when it is finished.
    ///
    /// # Errors
    /// It cannot be made there, or something has the name.
    pub fn open_new(path: &Path) -> Result<Self, OutputError> {
        let mut output = Self::open_private(path)?;
        match &mut output {
            Self::Stdout => {}
            Self::File(_, Target::Replaced(it)) if it.before.is_none() => {
                it.is_new = true;
            }
            // A device or a pipe takes what it is given.
            Self::File(_, Target::InPlace(file, _))
                if file.metadata().is_ok_and(|meta| !meta.is_file()) => {}
            Self::File(..) => {
                return Err(OutputError::Exists { path: path.into() });
            }
        }
        Ok(output)
    }

    fn open_mode(path: &Path, mode: Mode) -> Result<Self, OutputError> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let fail = |source| OutputError::Io { path: path.into(), source };
        let target = Target::open(path, mode).map_err(fail)?;
        Ok(match target {
            // /dev/stdout
            Target::InPlace(_, identity) if stdout() == Some(identity) => {
                Self::Stdout
            }
            target => Self::File(path.into(), target),
        })
    }

    /// Whether it is standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// Checks that two outputs differ. The caller checks standard output.
    ///
    /// # Errors
    /// They do not.
    pub fn check_distinct(&self, other: &Self) -> Result<(), OutputError> {
        match (self, other) {
            (Self::File(path, a), Self::File(_, b)) if a.is_same(b) => {
                Err(OutputError::Twice { path: path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// That it replaces none of these files.
    ///
    /// # Errors
    /// It does.
    pub fn check_no_input(
        &self,
        inputs: &[BorrowedFd<'_>],
    ) -> Result<(), OutputError> {
        let Self::File(path, target) = self else { return Ok(()) };
        let before = target.before();
        let mut stats = inputs.iter().filter_map(|fd| fstat(fd).ok());
        match stats.any(|stat| Some(identity(&stat)) == before) {
            true => Err(OutputError::IsInput { path: path.clone() }),
            false => Ok(()),
        }
    }

    /// What has to stay open.
    pub fn descriptors(
        &self,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Purpose)> {
        let files = match self {
            Self::Stdout => [None, None],
            Self::File(_, Target::InPlace(file, _)) => {
                [Some((file.as_fd(), Purpose::Update)), None]
            }
            Self::File(_, Target::Replaced(it)) => [
                Some((it.file.as_fd(), Purpose::Update)),
                Some((it.directory.as_fd(), Purpose::Replace)),
            ],
        };
        files.into_iter().flatten()
    }

    /// The file to write to; `None` for standard output. One that is replaced
    /// gets its name by [`Output::finish`].
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match self {
            Self::Stdout => None,
            Self::File(_, target) => Some(target.file()),
        }
    }

    /// An error of writing to it.
    #[must_use]
    pub fn error(&self, source: io::Error) -> OutputError {
        match self {
            Self::Stdout => OutputError::Stdout(source),
            Self::File(path, _) => {
                OutputError::Io { path: path.clone(), source }
            }
        }
    }

    /// Gives a file its name, once everything is written to it.
    ///
    /// # Errors
    /// It cannot be synced or renamed.
    pub fn finish(self) -> Result<(), OutputError> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path, target) => target
                .finish()
                .map_err(|source| OutputError::Io { path, source }),
        }
    }

    /// Waits until what was written is on disk.
    ///
    /// # Errors
    /// What fsync(2) answers.
    pub fn sync(&self) -> Result<(), OutputError> {
        let synced = self.file().map_or(Ok(()), File::sync_all);
        synced.map_err(|source| self.error(source))
    }

    /// Removes the file that has the name until [`Output::finish`]; that there
    /// is none is no error.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_old(&self) -> Result<(), OutputError> {
        let removed = match self {
            Self::File(_, Target::Replaced(it)) => it.remove_old(),
            Self::Stdout | Self::File(_, Target::InPlace(..)) => self.clear(),
        };
        removed.map_err(|source| self.error(source))
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        let meta = self.file().map(File::metadata);
        meta.is_some_and(|meta| meta.is_ok_and(|meta| meta.is_file()))
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// It does not take it.
    pub fn write(self, text: &str) -> Result<(), OutputError> {
        let written = match self.file() {
            None => io::stdout().lock().write_all(text.as_bytes()),
            Some(mut file) => {
                self.clear().and_then(|()| file.write_all(text.as_bytes()))
            }
        };
        written.map_err(|source| self.error(source))?;
        self.finish()
    }

    /// Empties a file that is written in place.
    ///
    /// # Errors
    /// It cannot be emptied.
    pub fn clear(&self) -> io::Result<()> {
        match self.file() {
            Some(file) if file.metadata()?.is_file() => file.set_len(0),
            _ => Ok(()),
        }
    }
}

impl Target {
    fn open(path: &Path, mode: Mode) -> io::Result<Self> {
        // A link is followed: its target is what is replaced.
        let before = match path.metadata() {
            Ok(meta) => Some(meta),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let in_place = || {
            // Not truncated: it may be the dump.
            let mut options = OpenOptions::new();
            let file = options
                .write(true)
                .custom_flags(nix::libc::O_CLOEXEC)
                .open(path)?;
            let stat = fstat(&file)?;
            Ok(Self::InPlace(file, identity(&stat)))
        };
        if before.as_ref().is_some_and(|meta| !meta.is_file()) {
            return in_place();
        }
        match Replacement::new(path, before.as_ref(), mode) {
            Ok(it) => Ok(Self::Replaced(it)),
            // Whoever may write to the file need not be let into its
            // directory.
            Err(_) if before.is_some() => in_place(),
            Err(e) => Err(e),
        }
    }

    /// The file that is there.
    fn before(&self) -> Option<Identity> {
        match self {
            Self::Replaced(it) => it.before,
            Self::InPlace(_, identity) => Some(*identity),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Replaced(a), Self::Replaced(b)) => {
                (a.place, &a.name) == (b.place, &b.name)
            }
            _ => self.before().is_some() && self.before() == other.before(),
        }
    }

    fn file(&self) -> &File {
        match self {
            Self::Replaced(it) => &it.file,
            Self::InPlace(file, _) => file,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::InPlace(..) => Ok(()),
            Self::Replaced(mut it) => {
                it.file.sync_all()?;
                let (from, to) =
                    (it.temporary.as_os_str(), it.name.as_os_str());
                match it.is_new {
                    true => it.name_new()?,
                    false => {
                        renameat(&it.directory, from, &it.directory, to)?;
                    }
                }
                it.armed = false;
                // Where a directory cannot be synced, the file is there all
                // the same.
                let _ = nix::unistd::fsync(&it.directory);
                Ok(())
            }
        }
    }
}

impl Replacement {
    fn new(
        path: &Path,
        before: Option<&std::fs::Metadata>,
        mode: Mode,
    ) -> io::Result<Self> {
        let real = match before {
            Some(_) => path.canonicalize()?,
            None => path.to_path_buf(),
        };
        let no_name = || io::Error::from(io::ErrorKind::IsADirectory);
        let name = real.file_name().ok_or_else(no_name)?.to_os_string();
        let parent = match real.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = openat(AT_FDCWD, parent, flags, Mode::empty())?;
        let place = identity(&fstat(&directory)?);
        let (temporary, file) = temporary(&directory, mode)?;
        let it = Self {
            directory,
            place,
            temporary,
            name,
            file,
            before: before.map(|meta| (meta.dev(), meta.ino())),
            armed: true,
            is_new: false,
        };
        if let Some(meta) = before {
            // As it was, as far as we may.
            let (uid, gid) = (meta.uid().into(), meta.gid().into());
            let _ = fchown(&it.file, Some(uid), Some(gid));
            #[allow(clippy::cast_possible_truncation)]
            let mode = (meta.mode() & 0o777) as nix::libc::mode_t;
            let _ = fchmod(&it.file, Mode::from_bits_truncate(mode));
        }
        Ok(it)
    }
}

impl Replacement {
    /// Gives it a name that nothing has.
    fn name_new(&self) -> io::Result<()> {
        let (from, to) = (self.temporary.as_os_str(), self.name.as_os_str());
        let directory = &self.directory;
        match linkat(directory, from, directory, to, AtFlags::empty()) {
            Ok(()) => {
                let flag = UnlinkatFlags::NoRemoveDir;
                Ok(unlinkat(directory, from, flag)?)
            }
            Err(Errno::EEXIST) => Err(Errno::EEXIST.into()),
            // A file system without hard links.
            Err(_) => Ok(renameat(directory, from, directory, to)?),
        }
    }

    fn remove_old(&self) -> io::Result<()> {
        let (name, flag) = (self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        match unlinkat(&self.directory, name, flag) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if self.armed {
            let temporary = self.temporary.as_os_str();
            let flag = UnlinkatFlags::NoRemoveDir;
            let _ = unlinkat(&self.directory, temporary, flag);
        }
    }
}

/// A file of its own in a directory.
fn temporary(directory: &OwnedFd, mode: Mode) -> io::Result<(OsString, File)> {
    // Read again to be sealed.
    let flags = OFlag::O_RDWR
        | OFlag::O_CREAT
        | OFlag::O_EXCL
        | OFlag::O_NOFOLLOW
        | OFlag::O_CLOEXEC;
    for n in 0..TRIES {
        let name =
            OsString::from(format!(".livedump.{}.{n}", std::process::id()));
        let name_ref: &OsStr = &name;
        match openat(directory, name_ref, flags, mode) {
            Ok(fd) => return Ok((name, File::from(fd))),
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

// Narrower, or signed, on some systems.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn identity(stat: &FileStat) -> Identity {
    (stat.st_dev as u64, u64::from(stat.st_ino))
}

fn stdout() -> Option<Identity> {
    fstat(io::stdout()).ok().map(|stat| identity(&stat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(dir: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_had_the_name_is_there_until_the_new_file_is_whole() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("picture");
        drop(Output::open(&path).unwrap());
        assert!(names(tmp.path()).is_empty());
        fs::write(&path, "before").unwrap();
        let mode = fs::Permissions::from_mode(0o604);
        fs::set_permissions(&path, mode).unwrap();
        let output = Output::open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        drop(output);
        assert_eq!(names(tmp.path()), ["picture"]);
        assert_eq!(fs::read(&path).unwrap(), b"before");
        Output::open(&path).unwrap().write("after").unwrap();
        assert_eq!(names(tmp.path()), ["picture"]);
        assert_eq!(fs::read(&path).unwrap(), b"after");
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o604);
    }

    #[test]
    fn a_new_file_replaces_nothing_not_even_what_came_meanwhile() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("dump");
        Output::open_new(&path).unwrap().write("ours").unwrap();
        assert_eq!(names(tmp.path()), ["dump"]);
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let e = Output::open_new(&path).unwrap_err().to_string();
        assert!(e.ends_with("it exists (-f replaces it)"), "{e}");
        fs::remove_file(&path).unwrap();
        let output = Output::open_new(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(output.write("ours").is_err());
        assert_eq!(names(tmp.path()), ["dump"]);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        Output::open_new(Path::new("/dev/null")).unwrap().write("x").unwrap();
    }

    #[test]
    fn a_link_is_followed_and_a_device_is_written_to() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        fs::write(at("file"), "before").unwrap();
        symlink("file", at("link")).unwrap();
        Output::open(&at("link")).unwrap().write("after").unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"after");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        Output::open(Path::new("/dev/null")).unwrap().write("x").unwrap();
        assert!(Output::open(tmp.path()).is_err());
        assert!(Output::open(&at("none/file")).is_err());
    }

    #[test]
    fn an_input_by_any_name_and_one_file_for_two_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        fs::write(at("dump"), "a dump").unwrap();
        fs::hard_link(at("dump"), at("hard")).unwrap();
        symlink("dump", at("soft")).unwrap();
        let dump = File::open(at("dump")).unwrap();
        for name in ["dump", "hard", "soft"] {
            let output = Output::open(&at(name)).unwrap();
            let e = output.check_no_input(&[dump.as_fd()]).unwrap_err();
            assert!(e.to_string().contains("is an input"), "{e}");
        }
        let other = Output::open(&at("other")).unwrap();
        other.check_no_input(&[dump.as_fd()]).unwrap();
        for (a, b) in [("new", "new"), ("dump", "soft")] {
            let a = Output::open(&at(a)).unwrap();
            let b = Output::open(&at(b)).unwrap();
            assert!(a.check_distinct(&b).is_err());
            assert!(a.check_distinct(&other).is_ok());
        }
        assert_eq!(fs::read(at("dump")).unwrap(), b"a dump");
    }
}
