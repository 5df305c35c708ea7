// SPDX-License-Identifier: BSD-2-Clause
//! `watch.lock`: one watch in a crash directory. The lock is what counts; the
//! number in the file is for people. The file remains when its owner exits:
//! whoever removed it could remove that of the next one.
//!
//! Whoever may write in the directory may have made it: only a plain file of
//! ours with no other name is locked, and only what is locked is truncated.

use super::{CrashDir, Error};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

const NAME: &str = "watch.lock";

/// That we are the one; until dropped.
#[derive(Debug)]
pub struct Instance {
    file: Flock<File>,
}

impl CrashDir {
    /// Becomes the one watch of this directory.
    ///
    /// # Errors
    /// There is one, or the file system has no locks.
    pub fn lock_instance(&self) -> Result<Instance, Error> {
        let Some(file) = self.open_own(NAME, true)? else {
            return Err(self.io("opening", NAME, Errno::ENOENT));
        };
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        let file = match lock {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = (&mut file).take(16).read_to_string(&mut pid);
                return Err(Error::Watched {
                    path: self.path.clone(),
                    pid: pid.trim().parse().ok(),
                });
            }
            Err((_, e)) => return Err(self.io("locking", NAME, e)),
        };
        // Another name may have been made for it meanwhile.
        self.check_one_link(&file, NAME)?;
        let mut instance = Instance { file };
        // A full disk is no reason not to be the one.
        let _ = instance.write_text(&format!("{}\n", std::process::id()));
        Ok(instance)
    }
}

impl Instance {
    /// The descriptor of its file, for the sandbox to limit.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn write_text(&mut self, text: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_at_a_time_and_the_other_is_told_which() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        for _ in 0..2 {
            let held = dir.lock_instance().unwrap();
            let e = dir.lock_instance().unwrap_err().to_string();
            let pid = std::process::id().to_string();
            assert!(e.contains("already") && e.contains(&pid), "{e}");
            drop(held);
        }
        let left = std::fs::read(tmp.path().join(NAME)).unwrap();
        assert!(left.is_empty());
    }

    #[test]
    fn a_lock_that_is_another_name_of_a_file_is_left_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let victim = tmp.path().join("victim");
        std::fs::write(&victim, "of somebody else").unwrap();
        let crash = tmp.path().join("crash");
        std::fs::create_dir(&crash).unwrap();
        std::fs::hard_link(&victim, crash.join(NAME)).unwrap();
        let e = CrashDir::open(&crash).unwrap().lock_instance().unwrap_err();
        assert!(e.to_string().contains("hard links"), "{e}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"of somebody else");
    }

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        std::os::unix::fs::symlink("x", tmp.path().join(NAME)).unwrap();
        let e = dir.lock_instance().unwrap_err().to_string();
        assert!(e.contains("in the way"), "{e}");
    }
}
