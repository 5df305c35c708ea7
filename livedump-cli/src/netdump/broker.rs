// SPDX-License-Identifier: BSD-2-Clause
//! A process beside the server, which does what the server must not: it
//! connects sockets and runs the command of `--exec`. Neither is allowed in
//! capability mode, and the server is the one that reads what comes from the
//! network. It is the same program, started with a name of its own; the
//! server is at the other end of its standard input.
//!
//! ```text
//!  server                         broker
//!    {"connect": {local, peer}} ->
//!                               <- a byte, and a socket with it; or why not
//!    {"run": {env}}             ->  the command, one after the other
//!    (closes)                   ->  waits for the commands, ends
//! ```

use super::commands::Commands;
use crate::device::owned;
use crate::report::{complain, note};
use crate::sandbox::{self, Purpose, Role};
use livedump_vmcore::chain;
use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag,
    SockType, recv, recvmsg, send, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::unistd::{Gid, Uid, chroot, geteuid, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the process is called.
const NAME: &str = "livedump: sockets";
/// Where nothing is. C: `_PATH_VAREMPTY`.
const EMPTY: &str = "/var/empty";
/// nobody(4).
const NOBODY: u32 = 65534;
/// The longest request.
const REQUEST_BYTES: usize = 64 << 10;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// What a client may have under way, and more.
const RECEIVE_BUFFER: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Connect { local: IpAddr, peer: SocketAddr, scope: u32 },
    Run { env: Vec<(String, String)> },
}

/// The server's end.
#[derive(Debug)]
pub struct Broker {
    channel: OwnedFd,
    child: Child,
}

impl Broker {
    /// Starts the process; `command` is what `--exec` has.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn start(command: Option<&str>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let kind = SockType::SeqPacket;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, flags)?;
        let child = Command::new(std::env::current_exe()?)
            .arg0(NAME)
            .args(command)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // Not of the terminal's foreground: the server ends it.
            .process_group(0)
            .spawn()?;
        Ok(Self { channel: ours, child })
    }

    /// The descriptor that it keeps.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// A socket of `local` that takes datagrams of `peer`, and of nobody else.
    ///
    /// # Errors
    /// There is none.
    pub fn connect(
        &self,
        local: IpAddr,
        peer: SocketAddr,
    ) -> io::Result<UdpSocket> {
        let scope = match peer {
            SocketAddr::V6(peer) => peer.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        self.send(&Request::Connect { local, peer, scope })?;
        let wait = PollTimeout::try_from(ANSWER).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, wait)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut control = cmsg_space!(i32);
        let mut text = [0; 1024];
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let raw = self.channel.as_raw_fd();
        let got = recvmsg::<()>(raw, &mut parts, Some(&mut control), flags)?;
        let bytes = got.bytes;
        let mut descriptors = got.cmsgs()?.flat_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds,
            _ => Vec::new(),
        });
        match descriptors.next() {
            Some(fd) => Ok(UdpSocket::from(owned(fd))),
            None if bytes == 0 => Err(io::ErrorKind::BrokenPipe.into()),
            None => {
                let why = text.get(..bytes).unwrap_or_default();
                Err(io::Error::other(String::from_utf8_lossy(why).into_owned()))
            }
        }
    }

    /// Has the command run with these variables.
    ///
    /// # Errors
    /// The process is gone.
    pub fn run(&self, env: Vec<(String, String)>) -> io::Result<()> {
        self.send(&Request::Run { env })
    }

    fn send(&self, request: &Request) -> io::Result<()> {
        let text = serde_json::to_vec(request)?;
        let raw = self.channel.as_raw_fd();
        send(raw, &text, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Ends the process, once the commands that it was given are over.
    pub fn end(mut self) {
        drop(self.channel);
        // The server may be confined, and may not wait for it then.
        let _ = self.child.wait();
    }
}

/// Whether this process was started as the broker.
#[must_use]
pub fn is_asked(mut args: impl Iterator<Item = OsString>) -> bool {
    args.next().is_some_and(|name| name == NAME)
}

/// The broker: returns when the server is gone.
pub fn serve(mut args: impl Iterator<Item = OsString>) {
    let command = args.nth(1);
    // The server is told to stop, and says so by closing.
    let mut ours = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        ours.add(signal);
    }
    let _ = ours.thread_block();
    if command.is_none() {
        give_up_all();
    }
    let commands = command.map(|command| Commands::start(&command, &ours));
    let stdin = io::stdin();
    let mut buffer = vec![0; REQUEST_BYTES];
    loop {
        let raw = stdin.as_fd().as_raw_fd();
        let request = match recv(raw, &mut buffer, MsgFlags::empty()) {
            Ok(0) => break,
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(nix::Error::EINTR) => continue,
            Err(_) => break,
        };
        match serde_json::from_slice(request) {
            Ok(Request::Connect { local, peer, scope }) => {
                let answer = connected(local, peer, scope);
                if answer_with(stdin.as_fd(), answer).is_err() {
                    break;
                }
            }
            Ok(Request::Run { env }) => match &commands {
                Some(commands) => commands.run(env),
                None => complain("no command to run"),
            },
            Err(e) => complain(format_args!("request: {}", chain(&e))),
        }
    }
    if let Some(commands) = commands {
        commands.end();
    }
}

fn connected(
    local: IpAddr,
    peer: SocketAddr,
    scope: u32,
) -> io::Result<UdpSocket> {
    let mut from = SocketAddr::new(local, 0);
    if let (SocketAddr::V6(from), IpAddr::V6(address)) = (&mut from, local)
        && address.is_unicast_link_local()
    {
        from.set_scope_id(scope);
    }
    let mut peer = peer;
    if let SocketAddr::V6(peer) = &mut peer {
        peer.set_scope_id(scope);
    }
    let socket = UdpSocket::bind(from)?;
    // Less is no error, only slower.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn answer_with(
    channel: BorrowedFd<'_>,
    answer: io::Result<UdpSocket>,
) -> nix::Result<()> {
    let raw = channel.as_raw_fd();
    let flags = MsgFlags::MSG_NOSIGNAL;
    match answer {
        Ok(socket) => {
            let fds = [socket.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&fds)];
            let byte = [IoSlice::new(b"+")];
            sendmsg::<()>(raw, &byte, &rights, flags, None)?;
        }
        Err(e) => {
            let text = chain(&e);
            let text = [IoSlice::new(text.as_bytes())];
            sendmsg::<()>(raw, &text, &[], flags, None)?;
        }
    }
    Ok(())
}

/// Without a command to run it needs no file and no user.
fn give_up_all() {
    if geteuid().is_root() {
        // Without that directory it can see files, and is nobody all the same.
        let _ = std::env::set_current_dir("/")
            .and_then(|()| chroot(EMPTY).map_err(Into::into));
        let done = setgroups(&[])
            .and_then(|()| setgid(Gid::from_raw(NOBODY)))
            .and_then(|()| setuid(Uid::from_raw(NOBODY)));
        if let Err(e) = done {
            note(format_args!(
                "the process for sockets is root: {}",
                chain(&e)
            ));
        }
    }
    sandbox::arm();
    let stdin = io::stdin();
    let _ = sandbox::enter(Role::Reader, &[(stdin.as_fd(), Purpose::Sockets)]);
}
