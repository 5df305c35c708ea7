// SPDX-License-Identifier: BSD-2-Clause
//! capsicum(4): rights(4) of each descriptor, then cap_enter(2). What
//! savecore.c does with its directory and device, without casper: everything
//! is open before.

use super::{Confinement, Purpose, Role};
use crate::dumpdev::disk::DIOCGFLUSH;
use capsicum::{CapRights, FileRights, IoctlsBuilder, Right};
use memdev::freeze::MEM_MINIDUMP2;
use memdev::ioctl::{MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP_STATUS};
use nix::libc;
use nix::sys::stat::{FileStat, SFlag, fstat};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What a directory needs; files that are opened in it have no more.
const DIRECTORY: [Right; 18] = [
    Right::Create,
    Right::Fcntl,
    Right::Flock,
    Right::Fpathconf,
    Right::Fstat,
    Right::Fstatat,
    Right::Fstatfs,
    Right::Fsync,
    Right::Ftruncate,
    Right::Lookup,
    Right::Pread,
    Right::Pwrite,
    Right::RenameatSource,
    Right::RenameatTarget,
    Right::Seek,
    Right::Symlinkat,
    Right::Unlinkat,
    Right::Futimes,
];
const LISTING: [Right; 8] = [
    Right::Fcntl,
    Right::Fpathconf,
    Right::Fstat,
    Right::Fstatat,
    Right::Fstatfs,
    Right::Lookup,
    Right::Pread,
    Right::Seek,
];
const REPLACE: [Right; 9] = [
    Right::Fstat,
    Right::Fstatat,
    Right::Fsync,
    Right::LinkatSource,
    Right::LinkatTarget,
    Right::Lookup,
    Right::RenameatSource,
    Right::RenameatTarget,
    Right::Unlinkat,
];
const MONITOR: [Right; 4] =
    [Right::Event, Right::Fcntl, Right::Read, Right::Write];
const READ: [Right; 3] = [Right::Pread, Right::Seek, Right::Fstat];
const LOCK: [Right; 3] = [Right::Flock, Right::Fstat, Right::Ftruncate];
/// One past the highest descriptor that is looked for. A new one gets the
/// lowest number that is free.
const DESCRIPTORS: i32 = 1024;
const UPDATE: [Right; 6] = [
    Right::Pread,
    Right::Pwrite,
    Right::Seek,
    Right::Fstat,
    Right::Fsync,
    Right::Ftruncate,
];

const DISK: [Right; 6] = [
    Right::Pread,
    Right::Pwrite,
    Right::Seek,
    Right::Fstat,
    Right::Fsync,
    Right::Ioctl,
];

pub(super) fn enter(
    _role: Role,
    files: &[(BorrowedFd<'_>, Purpose)],
) -> Result<(), String> {
    let said = |what: &str| {
        let what = what.to_string();
        move |e: io::Error| format!("not confined: {what}: {e}")
    };
    for (fd, purpose) in files {
        limit(fd, *purpose).map_err(said("limiting a descriptor"))?;
    }
    streams().map_err(said("limiting the standard streams"))?;
    others(files).map_err(said("limiting an inherited descriptor"))?;
    // connect(2) and bind(2) are ECAPMODE.
    if files.iter().any(|(_, purpose)| *purpose == Purpose::Sockets) {
        return Err("not confined: sockets are connected".into());
    }
    capsicum::enter().map_err(said("entering capability mode"))
}

fn limit(fd: &BorrowedFd<'_>, purpose: Purpose) -> io::Result<()> {
    match purpose {
        Purpose::Read => allow(fd, &READ),
        Purpose::Update => allow(fd, &UPDATE),
        Purpose::Disk => {
            allow(fd, &DISK)?;
            IoctlsBuilder::new().allow(DIOCGFLUSH).finalize().limit(fd)
        }
        Purpose::Lock => allow(fd, &LOCK),
        Purpose::Directory => allow(fd, &DIRECTORY),
        Purpose::Listing => allow(fd, &LISTING),
        Purpose::Replace => allow(fd, &REPLACE),
        Purpose::Monitor | Purpose::Datagrams | Purpose::Sockets => {
            allow(fd, &MONITOR)
        }
        Purpose::Requests => {
            allow(fd, &[Right::Ioctl, Right::Fstat])?;
            let requests = [
                MEM_KERNELDUMP,
                MEM_MINIDUMP,
                MEM_MINIDUMP2,
                MEM_MINIDUMP_STATUS,
            ];
            requests
                .into_iter()
                .fold(IoctlsBuilder::new(), |ioctls, request| {
                    ioctls.allow(request.into())
                })
                .finalize()
                .limit(fd)
        }
    }
}

fn allow(fd: &impl AsFd, rights: &[Right]) -> io::Result<()> {
    let mut all = FileRights::new();
    for right in rights {
        all.allow(*right);
    }
    all.limit(fd)
}

/// Takes all rights from what is open and not listed: whoever started the
/// process may have left it something. What is of the same file as
/// what is to be read, or the same socket, has its rights. A socket may be sent to: that of
/// syslog(3) is known to nobody but libc.
fn others(files: &[(BorrowedFd<'_>, Purpose)]) -> io::Result<()> {
    let listed = |fd: &BorrowedFd<'_>| {
        files.iter().any(|(file, _)| file.as_raw_fd() == fd.as_raw_fd())
    };
    let place = |stat: &FileStat| (stat.st_dev, stat.st_ino);
    // Who reads an image, or talks to a guest, has a descriptor of its own of
    // the same file.
    let same: Vec<_> = files
        .iter()
        .filter_map(|(file, purpose)| {
            let rights: &[Right] = match purpose {
                Purpose::Read => &READ,
                Purpose::Monitor => &MONITOR,
                _ => return None,
            };
            Some((place(&fstat(file).ok()?), rights))
        })
        .collect();
    for fd in crate::device::descriptors(libc::STDERR_FILENO + 1..DESCRIPTORS) {
        if listed(&fd) {
            continue;
        }
        let stat = fstat(fd).ok();
        let at = stat.as_ref().map(place);
        let found = same.iter().find(|(other, _)| Some(*other) == at);
        let rights: &[Right] = match (found, &stat) {
            (Some((_, rights)), _) => rights,
            (None, Some(stat)) if is_socket(stat) => &[Right::Write],
            _ => &[],
        };
        allow(&fd, rights)?;
    }
    Ok(())
}

fn is_socket(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
}

/// Standard streams: written to, and asked what terminal they are.
fn streams() -> io::Result<()> {
    let terminal = || {
        [libc::TIOCGETA, libc::TIOCGWINSZ]
            .into_iter()
            .fold(IoctlsBuilder::new(), IoctlsBuilder::allow)
            .finalize()
    };
    let asked = [Right::Fstat, Right::Fcntl, Right::Ioctl];
    let written =
        [Right::Write, Right::Seek, Right::Fstat, Right::Fcntl, Right::Ioctl];
    let one = |fd: BorrowedFd<'_>, rights: &[Right]| {
        let limited = allow(&fd, rights).and_then(|()| terminal().limit(&fd));
        match limited {
            // Whoever started us has closed it.
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => Ok(()),
            limited => limited,
        }
    };
    one(io::stdin().as_fd(), &asked)?;
    one(io::stdout().as_fd(), &written)?;
    one(io::stderr().as_fd(), &written)
}

pub(super) fn describe() -> Confinement {
    // Trying it would confine the whole process.
    let (works, text) = match capsicum::get_mode() {
        Ok(_) => (
            true,
            "every command enters capability mode once its files are open"
                .into(),
        ),
        Err(e) => (false, format!("not confined: no capability mode: {e}")),
    };
    Confinement { mechanism: "capsicum", works, text }
}
