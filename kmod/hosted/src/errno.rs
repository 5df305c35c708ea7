// SPDX-License-Identifier: BSD-2-Clause
//! The host's errors as FreeBSD's errno. Numbers differ between systems (69
//! is EDQUOT there and 122 on Linux), so only what every Unix numbers alike is
//! taken by number; the rest goes by kind.

use livedump_kmod::error::Errno;
use std::io::{Error, ErrorKind};

const ENOTEMPTY: Errno = Errno(66);
const ETIMEDOUT: Errno = Errno(60);
const ESTALE: Errno = Errno(70);
const ECONNRESET: Errno = Errno(54);
const ENOTCONN: Errno = Errno(57);

/// What FreeBSD would have answered.
pub fn from_host(error: &Error) -> Errno {
    match error.raw_os_error() {
        Some(n) if cfg!(target_os = "freebsd") => return Errno(n),
        // Seventh Edition's numbers; 11 is EAGAIN on some, EDEADLK on others.
        Some(n @ (1..=10 | 12..=34)) => return Errno(n),
        _ => {}
    }
    match error.kind() {
        ErrorKind::PermissionDenied => Errno::EACCES,
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::AlreadyExists => Errno::EEXIST,
        ErrorKind::Interrupted => Errno::EINTR,
        ErrorKind::InvalidInput => Errno::EINVAL,
        ErrorKind::OutOfMemory => Errno::ENOMEM,
        ErrorKind::StorageFull => Errno::ENOSPC,
        ErrorKind::QuotaExceeded => Errno::EDQUOT,
        ErrorKind::FileTooLarge => Errno::EFBIG,
        ErrorKind::ReadOnlyFilesystem => Errno::EROFS,
        ErrorKind::BrokenPipe => Errno::EPIPE,
        ErrorKind::WouldBlock => Errno::EAGAIN,
        ErrorKind::ResourceBusy => Errno::EBUSY,
        ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        ErrorKind::TimedOut => ETIMEDOUT,
        ErrorKind::ConnectionReset => ECONNRESET,
        ErrorKind::NotConnected => ENOTCONN,
        ErrorKind::DirectoryNotEmpty => ENOTEMPTY,
        ErrorKind::StaleNetworkFileHandle => ESTALE,
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_numbers_become_freebsds() {
        for (linux, freebsd) in [
            (1, Errno::EPERM),
            (4, Errno::EINTR),
            (5, Errno::EIO),
            (9, Errno::EBADF),
            (11, Errno::EAGAIN),
            (27, Errno::EFBIG),
            (28, Errno::ENOSPC),
            (30, Errno::EROFS),
            (95, Errno::EOPNOTSUPP),
            (116, ESTALE),
            (122, Errno::EDQUOT),
            // ENODATA, which FreeBSD has no number for.
            (61, Errno::EIO),
        ] {
            let e = Error::from_raw_os_error(linux);
            assert_eq!(from_host(&e), freebsd, "{e}");
        }
    }

    #[test]
    fn an_error_without_a_number_goes_by_its_kind() {
        let e = Error::from(ErrorKind::WriteZero);
        assert_eq!(from_host(&e), Errno::EIO);
        let e = Error::from(ErrorKind::StorageFull);
        assert_eq!(from_host(&e), Errno::ENOSPC);
    }
}
