// SPDX-License-Identifier: BSD-2-Clause
//! FreeBSD's error numbers, as a request answers and the status request
//! repeats them. They are FreeBSD's on every host: a model machine under
//! Linux answers 45 for "Operation not supported", too. C: <sys/errno.h>.

/// An error number of FreeBSD; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $n:literal, $text:literal;)*) => {
        impl Errno {
            $(
                #[doc = $text]
                pub const $name: Errno = Errno($n);
            )*

            /// What strerror(3) says on FreeBSD.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self.0 {
                    $($n => $text,)*
                    _ => "Unknown error",
                }
            }

            /// Its name, where it is one of those used here.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($n => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted";
    ENOENT = 2, "No such file or directory";
    EINTR = 4, "Interrupted system call";
    EIO = 5, "Input/output error";
    ENXIO = 6, "Device not configured";
    E2BIG = 7, "Argument list too long";
    EBADF = 9, "Bad file descriptor";
    ENOMEM = 12, "Cannot allocate memory";
    EACCES = 13, "Permission denied";
    EFAULT = 14, "Bad address";
    EBUSY = 16, "Device busy";
    EEXIST = 17, "File exists";
    ENODEV = 19, "Operation not supported by device";
    EINVAL = 22, "Invalid argument";
    ENOTTY = 25, "Inappropriate ioctl for device";
    ETXTBSY = 26, "Text file busy";
    EFBIG = 27, "File too large";
    ENOSPC = 28, "No space left on device";
    EROFS = 30, "Read-only file system";
    EPIPE = 32, "Broken pipe";
    EAGAIN = 35, "Resource temporarily unavailable";
    EOPNOTSUPP = 45, "Operation not supported";
    ENOBUFS = 55, "No buffer space available";
    ETIMEDOUT = 60, "Operation timed out";
    EDQUOT = 69, "Disc quota exceeded";
    ENOSYS = 78, "Function not implemented";
    ECANCELED = 85, "Operation canceled";
    ENOTCAPABLE = 93, "Capabilities insufficient";
    EINTEGRITY = 97, "Integrity check failed";
}

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.text(), self.0)
    }
}

impl core::fmt::Debug for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl core::error::Error for Errno {}
