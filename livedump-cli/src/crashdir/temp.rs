// SPDX-License-Identifier: BSD-2-Clause
//! Temporary files, `livecore.tmp.XXXXXX`: what a capture writes into before
//! the file may have its name. Removed when dropped; what a killed run leaves
//! is removed by the next one.
//!
//! A living run holds a lock on its files, so another does not take them for
//! left over. savecore(8) does not lock its own: names that cannot be ours
//! (we use digits) are left alone until nothing has touched them for an hour.
//! A file that cannot be locked gets such a name, too; and where it cannot be
//! told whether a file is locked, as on NFS without lockd, it may be in use
//! and stays.
//!
//! The backup of a file that a dump replaces is named
//! `livecore.tmp.NAME.INODE.NEXT`: its own name, the inode of that dump, and
//! the previous number in `bounds`. With it a later run finds out which of the
//! two dumps exists, and undoes the changes for the one that does not.

use super::bounds::after;
use super::{Companion, CrashDir, Error, kind, names};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PREFIX: &str = "livecore.tmp.";
const LETTERS: usize = 6;
/// How many names are tried before the directory is called full of them.
const TRIES: u32 = 1000;
/// After this time without a write, a file of savecore is stale.
const FOREIGN_AGE: Duration = Duration::from_secs(3600);

/// A file without a name of its own yet.
#[derive(Debug)]
pub struct Temp<'d> {
    dir: &'d CrashDir,
    name: String,
    file: File,
    /// Whether drop removes it.
    armed: bool,
    _lock: Option<Flock<File>>,
}

/// What a file is called that made room for a dump.
fn backup_name(name: &str, inode: u64, next: u32) -> String {
    format!("{PREFIX}{name}.{inode}.{next}")
}

impl CrashDir {
    /// Creates a temporary file, 0600, locked.
    ///
    /// # Errors
    /// Why the directory takes no file.
    pub fn temp(&self) -> Result<Temp<'_>, Error> {
        self.temp_with_mode(0o600)
    }

    pub(super) fn temp_with_mode(&self, mode: u32) -> Result<Temp<'_>, Error> {
        let flags = OFlag::O_RDWR
            | OFlag::O_CREAT
            | OFlag::O_EXCL
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        #[allow(clippy::cast_possible_truncation)]
        let mode = Mode::from_bits_truncate(mode as nix::libc::mode_t);
        let (name, fd) =
            self.fresh_name(|name| openat(&self.fd, name, flags, mode))?;
        let file = File::from(fd);
        let lock = file
            .try_clone()
            .ok()
            .and_then(|f| Flock::lock(f, FlockArg::LockExclusive).ok());
        let mut temp = Temp { dir: self, name, file, armed: true, _lock: lock };
        if temp._lock.is_none() {
            // Others may have locks although we have none.
            let name = unlocked_name(&temp.name);
            if self.rename(&temp.name, &name).is_ok() {
                temp.name = name;
            }
        }
        Ok(temp)
    }

    /// Gives `name` to a symbolic link to `target`, at once.
    pub(super) fn replace_link(
        &self,
        target: &str,
        name: &str,
    ) -> Result<(), Error> {
        let (temp, ()) =
            self.fresh_name(|temp| symlinkat(target, &self.fd, temp))?;
        self.rename(&temp, name).inspect_err(|_| {
            let _ = self.unlink(&temp);
        })
    }

    /// Renames a file to a temporary name, to
    /// free its name for the dump with this inode.
    pub(super) fn back_up(
        &self,
        name: &str,
        inode: u64,
        next: u32,
    ) -> Result<String, Error> {
        let temp = backup_name(name, inode, next);
        self.rename(name, &temp)?;
        Ok(temp)
    }

    /// The same for a file that is not there: an empty one.
    pub(super) fn back_up_missing(
        &self,
        name: &str,
        inode: u64,
        next: u32,
    ) -> Result<String, Error> {
        let temp = backup_name(name, inode, next);
        self.temp()?.persist(&temp)?;
        Ok(temp)
    }

    /// Whether there is a dump with this number.
    pub(super) fn has_dump(&self, number: u32) -> Result<bool, Error> {
        Ok(!self.dump_files(number)?.is_empty())
    }

    /// The dumps with this number, and their inodes.
    fn dump_files(&self, number: u32) -> Result<Vec<(String, u64)>, Error> {
        let mut files = Vec::new();
        for name in names::dumps(&number.to_string()) {
            let stat = self.stat(&name)?;
            let file = stat.filter(|stat| kind(stat) == SFlag::S_IFREG);
            // Narrower on some systems.
            #[allow(clippy::useless_conversion)]
            files.extend(file.map(|stat| (name, u64::from(stat.st_ino))));
        }
        Ok(files)
    }

    /// Restores the backups of a killed run, and `bounds`
    /// its number, if the dump they belong to still exists; removes them
    /// where another one is, and with it the older dump of that number, which
    /// such a run may have left. To be called under the directory's lock.
    pub(super) fn restore_backups(&self) -> Result<(), Error> {
        for temp in self.names()? {
            let Some(backup) = BackupName::parse(&temp) else { continue };
            let Some(stat) = self.stat(&temp)? else { continue };
            if kind(&stat) != SFlag::S_IFREG {
                continue;
            }
            let dumps = self.dump_files(backup.number)?;
            let new = dumps.iter().find(|(_, inode)| *inode == backup.inode);
            if let Some((new, _)) = new {
                self.finish_replacement(backup.number, new, dumps.len() > 1)?;
            }
            if dumps.is_empty() || new.is_some() {
                self.unlink(&temp)?;
                continue;
            }
            if self.read_bounds().ok().flatten() == Some(after(backup.number)) {
                self.bounds_temp(backup.next)?.persist("bounds")?;
            }
            match self.stat(backup.name)? {
                None if stat.st_size > 0 => self.rename(&temp, backup.name)?,
                _ => self.unlink(&temp)?,
            }
        }
        Ok(())
    }

    /// Ends the replacement of dump `number` by the file `new`: the older
    /// dump, if it still exists, is removed once the new one is on disk.
    fn finish_replacement(
        &self,
        number: u32,
        new: &str,
        replaces: bool,
    ) -> Result<(), Error> {
        if !replaces {
            return Ok(());
        }
        self.sync()?;
        // The companions of the older one are backed up, except its key.
        let mut keep = vec![new.to_string(), names::info(number)];
        for companion in Companion::ALL {
            if companion != Companion::Key || names::is_encrypted(new) {
                keep.push(companion.name(number));
            }
        }
        let keep: Vec<_> = keep.iter().map(String::as_str).collect();
        self.remove_old(number, &keep)?;
        let mut there = Vec::new();
        for name in keep {
            if self.stat(name)?.is_some() {
                there.push(name);
            }
        }
        // Links are for convenience.
        let _ = self.update_links(number, &there);
        Ok(())
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        renameat(&self.fd, from, &self.fd, to).map_err(|e| Error::Rename {
            from: self.path(from),
            to: to.into(),
            source: e.into(),
        })
    }

    /// Removes a name; that there is none is no error.
    pub(super) fn unlink(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(self.io("removing", name, e)),
        }
    }

    /// Removes what killed runs left, and returns the names; what they had
    /// backups are restored. To be called under the directory's lock: a
    /// file is created and locked under it.
    ///
    /// # Errors
    /// The directory cannot be read. A file that cannot be removed is none.
    pub fn remove_stale(&self) -> Result<Vec<String>, Error> {
        self.restore_backups()?;
        let mut names = self.names()?;
        names.retain(|name| self.is_stale(name) && self.unlink(name).is_ok());
        Ok(names)
    }

    fn is_stale(&self, name: &str) -> bool {
        let Some(letters) = name.strip_prefix(PREFIX) else { return false };
        if letters.len() != LETTERS
            || !letters.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return false;
        }
        let ours = letters.bytes().all(|b| b.is_ascii_digit());
        let Ok(Some(stat)) = self.stat(name) else { return false };
        match kind(&stat) {
            SFlag::S_IFLNK => ours,
            SFlag::S_IFREG if ours => !self.may_be_in_use(name),
            SFlag::S_IFREG => {
                age(stat.st_mtime) > FOREIGN_AGE && !self.may_be_in_use(name)
            }
            _ => false,
        }
    }

    /// Whether it may be in use, or that is unknown. NFS takes
    /// an exclusive lock only on what is open for writing.
    fn may_be_in_use(&self, name: &str) -> bool {
        let Ok(Some(file)) = self.open_own(name, false) else { return true };
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
    }

    fn fresh_name<T>(
        &self,
        create: impl Fn(&str) -> nix::Result<T>,
    ) -> Result<(String, T), Error> {
        let mut last = String::new();
        for _ in 0..TRIES {
            let name = random_name();
            match create(&name) {
                Ok(made) => return Ok((name, made)),
                Err(Errno::EEXIST) => last = name,
                Err(e) => return Err(self.io("creating", &name, e)),
            }
        }
        Err(self.io("creating", &last, Errno::EEXIST))
    }
}

/// The fields in the name of a backup.
struct BackupName<'n> {
    name: &'n str,
    number: u32,
    inode: u64,
    next: u32,
}

impl<'n> BackupName<'n> {
    fn parse(temp: &'n str) -> Option<Self> {
        let (name, next) = temp.strip_prefix(PREFIX)?.rsplit_once('.')?;
        let (name, inode) = name.rsplit_once('.')?;
        let number = name.split('.').nth(1)?.parse().ok()?;
        let ours = names::set(&u32::to_string(&number));
        let known = ours.iter().any(|n| n == name);
        let (inode, next) = (inode.parse().ok()?, next.parse().ok()?);
        known.then_some(Self { name, number, inode, next })
    }
}

impl Temp<'_> {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its name, for people.
    #[must_use]
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path(&self.name)
    }

    /// Its number in the file system; it keeps that when it is renamed.
    ///
    /// # Errors
    /// What fstat(2) answers.
    pub(super) fn inode(&self) -> Result<u64, Error> {
        let inode = self.file.metadata().map(|meta| meta.ino());
        inode.map_err(|e| self.failed("measuring", e))
    }

    /// When it was last written.
    ///
    /// # Errors
    /// What fstat(2) answers.
    pub(super) fn written(&self) -> Result<SystemTime, Error> {
        let time = self.file.metadata().and_then(|meta| meta.modified());
        time.map_err(|e| self.failed("measuring", e))
    }

    /// Says that it was last written at another time, on disk too.
    ///
    /// # Errors
    /// What utimensat(2) and fsync(2) answer.
    pub(super) fn set_written(&self, time: SystemTime) -> Result<(), Error> {
        let set = self.file.set_modified(time);
        set.map_err(|e| self.failed("dating", e))?;
        self.sync()
    }

    /// Takes its name away: nothing is left of it when it is closed.
    ///
    /// # Errors
    /// What unlink(2) answers.
    pub fn unlink(&mut self) -> Result<(), Error> {
        self.dir.unlink(&self.name)?;
        self.armed = false;
        Ok(())
    }

    /// Bytes it takes of its file system.
    ///
    /// # Errors
    /// What fstat(2) answers.
    pub fn allocated(&self) -> Result<u64, Error> {
        // st_blocks counts in units of 512 bytes on every file system.
        let blocks = self.file.metadata().map(|meta| meta.blocks());
        blocks
            .map(|n| n.saturating_mul(512))
            .map_err(|e| self.failed("measuring", e))
    }

    /// Appends.
    ///
    /// # Errors
    /// What write(2) answers.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|e| self.failed("writing", e))
    }

    /// Leaves out `length` bytes, which are zeros then.
    ///
    /// # Errors
    /// What lseek(2) answers.
    pub fn skip(&mut self, length: u64) -> Result<(), Error> {
        let moved = i64::try_from(length)
            .map_err(std::io::Error::other)
            .and_then(|n| self.file.seek(SeekFrom::Current(n)));
        moved.map(drop).map_err(|e| self.failed("writing", e))
    }

    /// Truncates it to `length` bytes.
    ///
    /// # Errors
    /// What ftruncate(2) answers.
    pub fn truncate(&self, length: u64) -> Result<(), Error> {
        self.file.set_len(length).map_err(|e| self.failed("truncating", e))
    }

    /// Waits until its bytes are on disk.
    ///
    /// # Errors
    /// What fsync(2) answers.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(|e| self.failed("syncing", e))
    }

    /// Gives it its name, replacing what has that name.
    ///
    /// # Errors
    /// Why not; the file is removed then.
    pub fn persist(mut self, name: &str) -> Result<(), Error> {
        self.dir.rename(&self.name, name)?;
        self.armed = false;
        Ok(())
    }

    /// Gives it a name that nothing has; with a number if that is not `name`.
    ///
    /// # Errors
    /// Why not; the file is removed then.
    pub fn persist_new(self, name: &str) -> Result<String, Error> {
        let _lock = self.dir.lock()?;
        let numbered = (1..TRIES).map(|n| format!("{name}.{n}"));
        for name in std::iter::once(name.to_string()).chain(numbered) {
            if self.dir.stat(&name)?.is_none() {
                self.persist(&name)?;
                return Ok(name);
            }
        }
        Err(self.dir.io("creating", name, Errno::EEXIST))
    }

    fn failed(&self, doing: &'static str, source: std::io::Error) -> Error {
        Error::Io { doing, path: self.path(), source }
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if self.armed {
            // Nothing is left to be done about it here; the next run will.
            let _ = self.dir.unlink(&self.name);
        }
    }
}

fn random_name() -> String {
    // The only randomness in std; names need not be hard to guess, O_EXCL is
    // what keeps them apart.
    let n = RandomState::new().build_hasher().finish() % 1_000_000;
    format!("{PREFIX}{n:0LETTERS$}")
}

/// The same name with letters for digits, which counts as in use for an hour.
fn unlocked_name(name: &str) -> String {
    let digits = name.strip_prefix(PREFIX).unwrap_or(name);
    let letter = |c: char| {
        c.to_digit(10).and_then(|n| "qrstuvwxyz".chars().nth(n as usize))
    };
    let letters: String = digits.chars().filter_map(letter).collect();
    format!("{PREFIX}{letters}")
}

fn age(mtime: i64) -> Duration {
    let since = Duration::from_secs(mtime.max(0).unsigned_abs());
    let then = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
    SystemTime::now().duration_since(then).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn scratch() -> (tempfile::TempDir, CrashDir) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        (tmp, dir)
    }

    fn listing(tmp: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(tmp.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_temporary_file_is_private_and_goes_with_its_owner() {
        let (tmp, dir) = scratch();
        let temp = dir.temp().unwrap();
        let mode = temp.file().metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(temp.name.starts_with(PREFIX));
        assert_eq!(listing(&tmp).join(" "), temp.name);
        drop(temp);
        assert!(listing(&tmp).is_empty());
    }

    #[test]
    fn a_directory_that_is_renamed_meanwhile_is_no_matter() {
        let (tmp, _) = scratch();
        let (old, new) = (tmp.path().join("a"), tmp.path().join("b"));
        std::fs::create_dir(&old).unwrap();
        let dir = CrashDir::open(&old).unwrap();
        let temp = dir.temp().unwrap();
        std::fs::rename(&old, &new).unwrap();
        temp.persist("kept").unwrap();
        assert!(new.join("kept").exists());
    }

    #[test]
    fn what_a_living_run_holds_is_not_stale() {
        let (tmp, dir) = scratch();
        let alive = dir.temp().unwrap();
        std::fs::write(tmp.path().join("livecore.tmp.000001"), "x").unwrap();
        let removed = dir.remove_stale().unwrap();
        if alive.name != "livecore.tmp.000001" {
            assert_eq!(removed, ["livecore.tmp.000001"]);
        }
        assert_eq!(listing(&tmp).join(" "), alive.name);
    }

    #[test]
    fn savecores_own_files_are_left_until_they_are_old() {
        let (tmp, dir) = scratch();
        let path = tmp.path().join("livecore.tmp.aZ3bYx");
        let file = File::create(&path).unwrap();
        assert!(dir.remove_stale().unwrap().is_empty());
        let old = SystemTime::now() - 2 * FOREIGN_AGE;
        file.set_modified(old).unwrap();
        assert_eq!(dir.remove_stale().unwrap().len(), 1);
        assert!(listing(&tmp).is_empty());
    }

    #[test]
    fn backups_are_restored_for_their_own_dump_only() {
        let put = |tmp: &tempfile::TempDir, name: &str| {
            std::fs::write(tmp.path().join(name), name).unwrap();
            std::fs::metadata(tmp.path().join(name)).unwrap().ino()
        };
        // Killed before the new dump had its name.
        let (tmp, dir) = scratch();
        let old = put(&tmp, "livecore.3.gz");
        for name in ["info.3", "kernel.3"] {
            put(&tmp, name);
            dir.back_up(name, old + 1, 3).unwrap();
        }
        std::fs::write(tmp.path().join("bounds"), "4\n").unwrap();
        assert!(dir.remove_stale().unwrap().is_empty());
        let all = ["bounds", "info.3", "kernel.3", "livecore.3.gz"];
        assert_eq!(listing(&tmp), all);
        assert_eq!(dir.bounds(None).unwrap(), 3);
        // It had no info.N.
        dir.back_up_missing("info.3", old + 1, 7).unwrap();
        std::fs::remove_file(tmp.path().join("info.3")).unwrap();
        std::fs::write(tmp.path().join("bounds"), "4\n").unwrap();
        dir.remove_stale().unwrap();
        assert_eq!(listing(&tmp), ["bounds", "kernel.3", "livecore.3.gz"]);
        assert_eq!(dir.bounds(None).unwrap(), 7);
        std::fs::write(tmp.path().join("bounds"), "4\n").unwrap();
        // Killed after it.
        put(&tmp, "info.3");
        put(&tmp, "livecore.3.zst");
        let new = put(&tmp, "livecore.3");
        dir.back_up("info.3", new, 3).unwrap();
        dir.remove_stale().unwrap();
        assert!(!listing(&tmp).contains(&"info.3".into()));
        // The dump was removed, or has an info.N.
        for name in ["info.4", "info.3"] {
            put(&tmp, name);
            dir.back_up(name, 1, 3).unwrap();
        }
        put(&tmp, "info.3");
        dir.remove_stale().unwrap();
        let left = listing(&tmp);
        assert!(!left.contains(&"info.4".into()), "{left:?}");
        assert!(!left.iter().any(|n| n.contains("tmp")), "{left:?}");
    }

    #[test]
    fn other_names_and_kinds_are_never_stale() {
        let (tmp, dir) = scratch();
        let at = |name: &str| tmp.path().join(name);
        std::fs::create_dir(at("livecore.tmp.123456")).unwrap();
        for name in ["livecore.0", "livecore.tmp.", "livecore.tmp.1234567"] {
            std::fs::write(at(name), "").unwrap();
        }
        symlink("livecore.0", at("livecore.tmp.654321")).unwrap();
        assert_eq!(dir.remove_stale().unwrap(), ["livecore.tmp.654321"]);
        assert_eq!(listing(&tmp).len(), 4);
    }
}
