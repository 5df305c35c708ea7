// SPDX-License-Identifier: BSD-2-Clause
//! Limits the process after it has opened its files. A dump comes
//! from another machine and may mean harm, and whoever takes one is root.
//!
//! ```text
//!           opens, then             keeps
//!  reader   the dump, the kernel    reading them; standard streams
//!  writer   the device, the         our requests, or reading and
//!           crash directory         clearing a dump; files in the directory
//! ```
//!
//! On FreeBSD that is capability mode, with each descriptor limited to the
//! rights and requests it needs; on Linux landlock and seccomp. Where the
//! kernel has none of it everything works as before; [`describe`] and `livedump
//! doctor` report it.
//!
//! Nothing is opened by its path afterwards. What would be, the temporary
//! file for unpacking, the time zone and, on old kernels, /dev/urandom, is
//! fetched by [`enter`].

#[cfg_attr(target_os = "freebsd", path = "sandbox/freebsd.rs")]
#[cfg_attr(target_os = "linux", path = "sandbox/linux.rs")]
#[cfg_attr(
    not(any(target_os = "freebsd", target_os = "linux")),
    path = "sandbox/none.rs"
)]
mod host;

use serde::Serialize;
use std::hash::RandomState;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads files that may mean harm and writes to standard streams.
    Reader,
    /// Writes files into a directory.
    Writer,
}

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A file to be read.
    Read,
    /// A file that is written as well: a dump device, whose header may be
    /// cleared, or what a dump is unpacked into.
    Update,
    /// A device that a dump is written to.
    Disk,
    /// The node that takes our requests, and nothing else.
    Requests,
    /// A socket that commands and descriptors are sent to.
    Monitor,
    /// A file that is locked, and emptied when the lock is released.
    Lock,
    /// A directory; files in it are made, read, written, renamed, removed.
    Directory,
    /// A directory; files in it are read.
    Listing,
    /// A directory; a file that is open is renamed in it, or removed.
    Replace,
    /// A socket that datagrams, and descriptors with them, come from and go
    /// to.
    Datagrams,
    /// The same, and new sockets are made and connected. Not in capability
    /// mode.
    Sockets,
}

/// What came of [`enter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// As it should be.
    Confined,
    /// The kernel has not all of it, or nothing.
    Not(String),
    /// Nobody has called [`arm`].
    Unarmed,
}

/// What this host has, for `livedump doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confinement {
    /// "capsicum", "landlock and seccomp", or "none".
    pub mechanism: &'static str,
    /// Whether it works here.
    pub works: bool,
    /// In words: what is confined, or why it is not.
    pub text: String,
}

static ARMED: AtomicBool = AtomicBool::new(false);

/// Enables [`enter`]. Only a program whose one job is one
/// command calls this: there is no way back.
pub fn arm() {
    ARMED.store(true, Ordering::SeqCst);
}

/// Gives up everything but these descriptors and the standard streams; for
/// this thread, those it will start and, on FreeBSD, the process.
pub fn enter(role: Role, files: &[(BorrowedFd<'_>, Purpose)]) -> Entered {
    if !ARMED.load(Ordering::SeqCst) {
        return Entered::Unarmed;
    }
    crate::report::prepare_time_zone();
    // Its keys are kept by this thread.
    let _ = RandomState::new();
    let entered = livedump_vmcore::source::reserve_spool(|spool| {
        let spool = spool.map(|fd| (fd, Purpose::Update));
        let files: Vec<_> = files.iter().copied().chain(spool).collect();
        host::enter(role, &files)
    });
    match entered {
        Ok(()) => Entered::Confined,
        Err(why) => Entered::Not(why),
    }
}

/// How far this host lets the tool be confined.
#[must_use]
pub fn describe() -> Confinement {
    host::describe()
}
