// SPDX-License-Identifier: BSD-2-Clause
//! As much of GDB's remote protocol as it takes to stop a guest of bhyve's and
//! to let it go on. C: usr.sbin/bhyve/gdb.c.
//!
//! bhyve stops the guest when somebody connects, without a word, and resumes it
//! when the connection is closed, also because this process was killed. That
//! all CPUs stand still it reports after "c" and an interrupt only.

#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Nothing that is asked for here has a longer answer.
const MAX_PACKET: usize = 4096;
/// C: `GDB_INTERRUPT`.
const INTERRUPT: u8 = 3;
/// For one interrupt, of those that are tried.
const TRY: Duration = Duration::from_secs(1);

/// Why a guest cannot be stopped.
#[derive(Debug, thiserror::Error)]
pub enum GdbError {
    /// Nothing listens there.
    #[error("connecting to the debug stub at {address}")]
    Connect {
        /// As it was named.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection.
    #[error("{doing} by the debug stub")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// No answer.
    #[error(
        "{doing}: no answer of the debug stub within {} s; it serves one \
         debugger at a time", within.as_secs_f64()
    )]
    Silent {
        /// What was being done.
        doing: &'static str,
        /// For how long.
        within: Duration,
    },
    /// What answers is no debug stub.
    #[error("{doing}: not a debug stub: {what}")]
    Foreign {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        what: String,
    },
}

/// What comes from a stub.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ack,
    Packet(Vec<u8>),
}

/// A connection to a guest's debug stub.
#[derive(Debug)]
pub struct Stub {
    stream: TcpStream,
    /// What was read and not used yet.
    rest: Vec<u8>,
    timeout: Duration,
    is_stopped: bool,
}

impl Stub {
    /// Connects, and lets the guest go on, which that has stopped.
    ///
    /// # Errors
    /// Nothing answers there as a stub does.
    pub fn connect(address: &str, timeout: Duration) -> Result<Self, GdbError> {
        let failed = |source| {
            let address = address.to_owned();
            GdbError::Connect { address, source }
        };
        let mut last = io::Error::other("it has no address");
        let mut connected = None;
        for at in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&at, timeout) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(e) => last = e,
            }
        }
        let Some(stream) = connected else { return Err(failed(last)) };
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let mut stub =
            Self { stream, rest: Vec::new(), timeout, is_stopped: true };
        stub.resume()?;
        Ok(stub)
    }

    /// Stops the guest, and waits until all of its CPUs stand still.
    ///
    /// # Errors
    /// They do not in time, or the stub fails. The guest goes on.
    pub fn stop(&mut self) -> Result<(), GdbError> {
        let doing = "stopping the guest";
        let until = Instant::now() + self.timeout;
        self.is_stopped = true;
        loop {
            self.send(&[INTERRUPT], doing)?;
            let end = until.min(Instant::now() + TRY);
            while let Some(said) = self.hear(end, doing)? {
                match said {
                    Said::Ack => {}
                    Said::Packet(packet) if is_stop(&packet) => {
                        return self.send(b"+", doing);
                    }
                    Said::Packet(packet) => {
                        return Err(foreign(doing, &packet));
                    }
                }
            }
            // The first stop after the connection is not reported.
            self.resume()?;
            if Instant::now() >= until {
                return Err(GdbError::Silent { doing, within: self.timeout });
            }
            self.is_stopped = true;
        }
    }

    /// Lets the guest go on.
    ///
    /// # Errors
    /// The stub does not confirm it.
    pub fn resume(&mut self) -> Result<(), GdbError> {
        let doing = "resuming the guest";
        self.send(b"$c#63", doing)?;
        let until = Instant::now() + self.timeout;
        loop {
            match self.hear(until, doing)? {
                Some(Said::Ack) => break,
                // Of a stop before.
                Some(Said::Packet(packet)) if is_stop(&packet) => {
                    self.send(b"+", doing)?;
                }
                Some(Said::Packet(packet)) => {
                    return Err(foreign(doing, &packet));
                }
                None => {
                    let within = self.timeout;
                    return Err(GdbError::Silent { doing, within });
                }
            }
        }
        self.is_stopped = false;
        Ok(())
    }

    /// The socket once more.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn socket(&self) -> Result<OwnedFd, GdbError> {
        let again = self.stream.as_fd().try_clone_to_owned();
        let doing = "duplicating the connection";
        again.map_err(|source| GdbError::Io { doing, source })
    }

    fn send(
        &mut self,
        bytes: &[u8],
        doing: &'static str,
    ) -> Result<(), GdbError> {
        // A few bytes, which a socket that is read has room for.
        let sent = self.stream.write_all(bytes);
        sent.map_err(|source| GdbError::Io { doing, source })
    }

    /// The next thing it says; `None` where there is none in time.
    fn hear(
        &mut self,
        until: Instant,
        doing: &'static str,
    ) -> Result<Option<Said>, GdbError> {
        let io = |source| GdbError::Io { doing, source };
        loop {
            if let Some(said) = self.next(doing)? {
                return Ok(Some(said));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let ms = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let fd = PollFd::new(self.stream.as_fd(), PollFlags::POLLIN);
            match poll(&mut [fd], PollTimeout::from(ms.max(1))) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(e) => return Err(io(e.into())),
            }
            let mut buf = [0; 512];
            match self.stream.read(&mut buf) {
                Ok(0) => return Err(io(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => {
                    self.rest.extend(buf.get(..n).unwrap_or_default());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(io(e)),
            }
        }
    }

    /// What of that is whole.
    fn next(&mut self, doing: &'static str) -> Result<Option<Said>, GdbError> {
        match self.rest.first() {
            None => Ok(None),
            Some(b'+') => {
                self.rest.remove(0);
                Ok(Some(Said::Ack))
            }
            Some(b'$') => {
                let Some(end) = self.rest.iter().position(|&b| b == b'#')
                else {
                    return match self.rest.len() {
                        ..MAX_PACKET => Ok(None),
                        _ => Err(foreign(doing, &self.rest)),
                    };
                };
                let Some(sum) = self.rest.get(end + 1..end + 3) else {
                    return Ok(None);
                };
                let packet = self.rest.get(1..end).unwrap_or_default().to_vec();
                let sum = std::str::from_utf8(sum).ok();
                let sum = sum.and_then(|s| u8::from_str_radix(s, 16).ok());
                let want = packet.iter().fold(0u8, |a, &b| a.wrapping_add(b));
                if sum != Some(want) {
                    return Err(foreign(doing, &self.rest));
                }
                self.rest.drain(..end + 3);
                Ok(Some(Said::Packet(packet)))
            }
            Some(_) => Err(foreign(doing, &self.rest)),
        }
    }
}

/// The replies that say that it stands still.
fn is_stop(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(b'S' | b'T'))
}

fn foreign(doing: &'static str, bytes: &[u8]) -> GdbError {
    let shown = bytes.get(..bytes.len().min(40)).unwrap_or_default();
    GdbError::Foreign { doing, what: shown.escape_ascii().to_string() }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // Best effort: the end of the connection resumes it, too.
        if self.is_stopped {
            let _ = self.stream.write_all(b"$c#63");
        }
        let _ = self.stream.write_all(b"$D#44");
    }
}
