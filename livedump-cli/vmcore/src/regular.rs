// SPDX-License-Identifier: BSD-2-Clause
//! Opening what others may have put there: a FIFO would wait for its writer,
//! and a device do who knows what.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file for reading; `None` where it is no regular one. Never waits.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    // It may be another by now.
    let regular = file.metadata()?.is_file();
    Ok(regular.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let tmp = tempfile::tempdir().unwrap();
        let path = |name: &str| tmp.path().join(name);
        std::fs::write(path("file"), "x").unwrap();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&path("fifo"), mode).unwrap();
        std::os::unix::fs::symlink("fifo", path("link")).unwrap();
        assert!(open(&path("file")).unwrap().is_some());
        assert!(open(&path("fifo")).unwrap().is_none());
        assert!(open(&path("link")).unwrap().is_none());
        assert!(open(tmp.path()).unwrap().is_none());
        assert!(open(&path("nothing")).is_err());
    }
}
