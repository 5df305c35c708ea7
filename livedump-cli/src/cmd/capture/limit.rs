// SPDX-License-Identifier: BSD-2-Clause
//! A limit on the size of files: what ends a dump of the stock facility,
//! which hears no signal and tries a full disk five times, before it takes
//! the room that is to stay free. The write then fails with `EFBIG`;
//! `SIGXFSZ` is blocked by [`Signals`](crate::signals::Signals).

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::fs::File;

/// The limit; as it was before when dropped.
#[derive(Debug)]
pub(super) struct FileSizeLimit {
    before: (rlim_t, rlim_t),
    lowered: bool,
}

impl FileSizeLimit {
    /// Lets no file grow beyond `bytes`; `None` where that cannot be had.
    pub(super) fn set(bytes: u64) -> Option<Self> {
        let before = getrlimit(Resource::RLIMIT_FSIZE).ok()?;
        // Signed on some systems.
        #[allow(clippy::useless_conversion)]
        let wanted = rlim_t::try_from(bytes).unwrap_or(before.0);
        let lowered = wanted < before.0;
        if lowered {
            setrlimit(Resource::RLIMIT_FSIZE, wanted, before.1).ok()?;
        }
        Some(Self { before, lowered })
    }

    /// Whether it is this limit that files meet first.
    pub(super) fn is_lowered(&self) -> bool {
        self.lowered
    }
}

/// Whether a file has grown to the limit that is set now, ours or not. What
/// a write had too much is left out, and the kernel calls that EIO.
pub(super) fn is_reached(file: &File) -> bool {
    let limit = getrlimit(Resource::RLIMIT_FSIZE).map(|(soft, _)| soft);
    let len = file.metadata().map(|meta| meta.len());
    // Signed on some systems.
    #[allow(clippy::useless_conversion)]
    let limit = limit.ok().and_then(|limit| u64::try_from(limit).ok());
    matches!((limit, len), (Some(limit), Ok(len)) if len >= limit)
}

impl Drop for FileSizeLimit {
    fn drop(&mut self) {
        if self.lowered {
            let (soft, hard) = self.before;
            let _ = setrlimit(Resource::RLIMIT_FSIZE, soft, hard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Signals;
    use std::io::Write;
    use std::process::Command;

    #[test]
    fn a_file_that_grows_beyond_the_limit_is_too_large() {
        // The limit is one of the whole process, which has other tests.
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--test-threads=1"])
            .arg("cmd::capture::limit::tests::limited")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{said}");
    }

    #[test]
    #[ignore = "run by a_file_that_grows_beyond_the_limit_is_too_large"]
    fn limited() {
        let _signals = Signals::take();
        let mut file = tempfile::tempfile().unwrap();
        let limit = FileSizeLimit::set(8192).unwrap();
        assert!(limit.is_lowered());
        file.write_all(&[1; 8191]).unwrap();
        assert!(!is_reached(&file));
        file.write_all(&[1]).unwrap();
        assert!(is_reached(&file));
        let e = file.write_all(&[1]).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(nix::libc::EFBIG));
        drop(limit);
        assert!(!is_reached(&file));
        file.write_all(&[1]).unwrap();
        assert!(!FileSizeLimit::set(u64::MAX).unwrap().is_lowered());
    }
}
