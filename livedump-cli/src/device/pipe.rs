// SPDX-License-Identifier: BSD-2-Clause
//! A pipe or a socket that a hosted machine dumps into: a write ends when the
//! request is interrupted, as in a kernel.

#![deny(unsafe_code)]

use livedump_hosted::vnode::HostStream;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

/// How long nobody reads before it is looked whether anybody still waits.
const LOOK_MS: u16 = 50;

/// The end that is written.
#[derive(Debug)]
pub struct Pipe {
    file: File,
    /// Its flags, which others may share.
    before: OFlag,
}

impl Pipe {
    /// One that does not block as long as this is there.
    ///
    /// # Errors
    /// The host's.
    pub fn new(file: File) -> io::Result<Self> {
        let before = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        let flags = before | OFlag::O_NONBLOCK;
        fcntl(&file, FcntlArg::F_SETFL(flags))?;
        Ok(Self { file, before })
    }
}

impl HostStream for Pipe {
    fn send(&self, data: &[u8], stop: &dyn Fn() -> bool) -> io::Result<bool> {
        let mut rest = data;
        while !rest.is_empty() {
            if stop() {
                return Ok(false);
            }
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut fds, PollTimeout::from(LOOK_MS)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
                Ok(_) => {}
            }
            match (&self.file).write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) => match e.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                    _ => return Err(e),
                },
            }
        }
        Ok(true)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = fcntl(&self.file, FcntlArg::F_SETFL(self.before));
    }
}
