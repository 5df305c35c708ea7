// SPDX-License-Identifier: BSD-2-Clause
//! QEMU's monitor protocol on a Unix socket: lines of JSON. Every answer has a
//! deadline, events in between are kept, and a line without an end is no
//! answer. Answers have the number of their command, so that one that comes too
//! late is not taken for another.

#![forbid(unsafe_code)]

use crate::sleep::sleep;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, sendmsg, socket,
};
use serde_json::{Value, json};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Lines before the greeting.
const MAX_LEFT: u32 = 64;
/// Nothing that is asked for here has a longer answer.
const MAX_LINE: usize = 1 << 20;
/// Events that are kept.
const MAX_EVENTS: usize = 1024;
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(20);
/// What of a line is shown.
const SHOWN: usize = 80;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// No answer.
    #[error(
        "no answer to {command} within {} s; QEMU serves one client at a \
         time on a socket",
        within.as_secs_f64()
    )]
    Silent {
        /// What was asked.
        command: String,
        /// For how long.
        within: Duration,
    },
    /// What answers does not speak the protocol.
    #[error("not a QMP socket: {0}")]
    Foreign(String),
    /// QEMU refuses.
    #[error("{command}: {text}")]
    Refused {
        /// What was asked.
        command: String,
        /// QEMU's words.
        text: String,
    },
}

/// Something that happened, and when by QEMU's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// "STOP", "RESUME".
    pub name: String,
    /// Microseconds since 1970.
    pub time_us: u64,
    /// What went wrong, where it is the end of something.
    pub error: Option<String>,
}

/// A connection to a guest's monitor.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    /// What was read after the last line.
    rest: Vec<u8>,
    events: Vec<Event>,
    timeout: Duration,
    /// The number of the last command.
    id: u64,
}

fn waited(source: Errno) -> QmpError {
    QmpError::Io { doing: "waiting", source: source.into() }
}

/// Waits until a descriptor can be used; whether it can.
pub(super) fn ready(
    fd: BorrowedFd<'_>,
    flags: PollFlags,
    within: Duration,
) -> Result<bool, Errno> {
    let ms = within.as_millis().min(60_000);
    let ms = u16::try_from(ms).unwrap_or(u16::MAX).max(1);
    let mut fds = [PollFd::new(fd, flags)];
    match poll(&mut fds, PollTimeout::from(ms)) {
        Ok(n) => Ok(n > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(e) => Err(e),
    }
}

impl Qmp {
    /// Connects, reads the greeting, and sends `qmp_capabilities`.
    ///
    /// # Errors
    /// Nothing listens there, or it is no QMP.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, QmpError> {
        let until = Instant::now() + timeout;
        let connecting =
            |e: Errno| QmpError::Io { doing: "connecting", source: e.into() };
        let address = UnixAddr::new(path).map_err(connecting)?;
        let stream = loop {
            let none = SockFlag::empty();
            let kind = SockType::Stream;
            let fd = socket(AddressFamily::Unix, kind, none, None)
                .map_err(connecting)?;
            fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
                .map_err(connecting)?;
            let stream = UnixStream::from(fd);
            // A socket that nobody accepts from would be waited for, for ever.
            stream.set_nonblocking(true).map_err(|source| QmpError::Io {
                doing: "connecting",
                source,
            })?;
            match connect(stream.as_raw_fd(), &address) {
                Ok(()) => break stream,
                Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < until => {
                    sleep(RETRY);
                }
                Err(Errno::EAGAIN) => {
                    let command = "the connection".to_owned();
                    return Err(QmpError::Silent { command, within: timeout });
                }
                Err(e) => return Err(connecting(e)),
            }
        };
        let rest = Vec::new();
        let mut qmp = Self { stream, rest, events: Vec::new(), timeout, id: 0 };
        for lines in 0.. {
            let line = qmp.line("the connection", until)?;
            if line.get("QMP").is_some() {
                break;
            }
            // QEMU sends what an earlier client had still to get.
            let known = ["event", "return", "error"];
            let is_left = known.into_iter().any(|k| line.get(k).is_some());
            if !is_left || lines >= MAX_LEFT {
                return Err(foreign(&line.to_string()));
            }
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// The socket.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a command and waits for the answer.
    ///
    /// # Errors
    /// There is none, or it is an error.
    pub fn execute(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        self.ask(command, arguments, None)
    }

    /// `getfd`: from now on QEMU knows this descriptor by that name.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn getfd(
        &mut self,
        name: &str,
        fd: BorrowedFd<'_>,
    ) -> Result<(), QmpError> {
        self.ask("getfd", json!({ "fdname": name }), Some(fd)).map(drop)
    }

    /// A command of the human monitor, and what it prints.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn human(&mut self, line: &str) -> Result<String, QmpError> {
        let arguments = json!({ "command-line": line });
        let answer = self.execute("human-monitor-command", arguments)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Forgets what has happened until now.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    fn ask(
        &mut self,
        command: &str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        let until = Instant::now() + self.timeout;
        self.id = self.id.wrapping_add(1);
        let id = json!(self.id);
        let request =
            json!({ "execute": command, "arguments": arguments, "id": id });
        let mut line = request.to_string().into_bytes();
        line.push(b'\n');
        self.send(command, &line, fd, until)?;
        loop {
            let mut answer = self.line(command, until)?;
            // An error about a line that QEMU does not understand has none.
            let given = answer.get("id");
            let is_ours = given == Some(&id) || given.is_none();
            if answer.get("event").is_some() {
                self.note(&answer);
            } else if !is_ours {
                // The answer to a command that was given up.
            } else if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            } else if let Some(error) = answer.get("error") {
                let text = error.get("desc").and_then(Value::as_str);
                return Err(QmpError::Refused {
                    command: command.to_owned(),
                    text: text.unwrap_or("no reason given").to_owned(),
                });
            } else {
                return Err(foreign(&answer.to_string()));
            }
        }
    }

    fn send(
        &mut self,
        command: &str,
        line: &[u8],
        fd: Option<BorrowedFd<'_>>,
        until: Instant,
    ) -> Result<(), QmpError> {
        let writing = |source| QmpError::Io { doing: "writing", source };
        let raw: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let mut sent = 0;
        while let Some(left) = line.get(sent..).filter(|l| !l.is_empty()) {
            // The descriptor goes with the first byte.
            let answer = if sent == 0 && !raw.is_empty() {
                let rights = [ControlMessage::ScmRights(&raw)];
                let data = [IoSlice::new(left)];
                let to = self.stream.as_raw_fd();
                sendmsg::<()>(to, &data, &rights, MsgFlags::empty(), None)
                    .map_err(io::Error::from)
            } else {
                self.stream.write(left)
            };
            match answer {
                Ok(0) => return Err(writing(io::ErrorKind::WriteZero.into())),
                Ok(n) => sent = sent.saturating_add(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(command, PollFlags::POLLOUT, until)?;
                }
                Err(e) => return Err(writing(e)),
            }
        }
        Ok(())
    }

    /// Waits for the socket, until a deadline.
    fn wait(
        &self,
        command: &str,
        flags: PollFlags,
        until: Instant,
    ) -> Result<(), QmpError> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let command = command.to_owned();
            return Err(QmpError::Silent { command, within: self.timeout });
        }
        ready(self.stream.as_fd(), flags, left).map_err(waited)?;
        Ok(())
    }

    fn note(&mut self, line: &Value) {
        let Some(name) = line.get("event").and_then(Value::as_str) else {
            return;
        };
        let stamp = |part: &str| {
            line.pointer(&format!("/timestamp/{part}"))
                .and_then(Value::as_u64)
                .unwrap_or(0)
        };
        let time_us = stamp("seconds")
            .saturating_mul(1_000_000)
            .saturating_add(stamp("microseconds"));
        if self.events.len() < MAX_EVENTS {
            let error = line.pointer("/data/error").and_then(Value::as_str);
            let error = error.map(ToOwned::to_owned);
            self.events.push(Event { name: name.to_owned(), time_us, error });
        }
    }

    /// The first event of this name that has arrived, or arrives in time.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn event(
        &mut self,
        name: &str,
        within: Duration,
    ) -> Result<Option<Event>, QmpError> {
        let until = Instant::now() + within;
        loop {
            let at = self.events.iter().position(|event| event.name == name);
            if let Some(at) = at {
                return Ok(Some(self.events.remove(at)));
            }
            match self.line("an event", until) {
                Ok(line) => self.note(&line),
                Err(QmpError::Silent { .. }) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    fn line(
        &mut self,
        command: &str,
        until: Instant,
    ) -> Result<Value, QmpError> {
        let mut buffer = [0; 16 << 10];
        // What was searched for an end.
        let mut seen = 0;
        loop {
            let new = self.rest.get(seen..).unwrap_or_default();
            if let Some(end) = new.iter().position(|&b| b == b'\n') {
                let end = seen.saturating_add(end);
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|_| {
                    foreign(String::from_utf8_lossy(&line).trim_end())
                });
            }
            seen = self.rest.len();
            if seen > MAX_LINE {
                let what = format!("a line of more than {MAX_LINE} bytes");
                return Err(QmpError::Foreign(what));
            }
            let reading = |source| QmpError::Io { doing: "reading", source };
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    let closed = io::ErrorKind::UnexpectedEof;
                    let what = "the connection was closed";
                    return Err(reading(io::Error::new(closed, what)));
                }
                Ok(n) => {
                    let got = buffer.get(..n).unwrap_or_default();
                    self.rest.extend_from_slice(got);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(command, PollFlags::POLLIN, until)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(reading(source)),
            }
            // Lines without an end of something that never stops.
            if Instant::now() > until {
                self.wait(command, PollFlags::POLLIN, until)?;
            }
        }
    }
}

fn foreign(line: &str) -> QmpError {
    QmpError::Foreign(line.chars().take(SHOWN).collect())
}
