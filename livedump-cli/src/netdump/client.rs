// SPDX-License-Identifier: BSD-2-Clause
//! Sends a dump to a server of netdump(4): `livedump receive` or
//! netdumpd(8). Mirrors netdump_client.c and debugnet.c; unlike those it
//! counts the ack of each message.
//!
//! The data comes from any [`Read`], in the order of the file, and the header,
//! which has its length, after it: a dump can be sent while it is taken.

use super::window::{NoAck, Window};
use super::wire::{
    DATASIZE, EXACT_ACKS, HEADER_BYTES, Kind, MAX_PATH, Message, decode_ack,
};
use memdev::kerneldump::HEADER_SIZE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Ethernet.
const MTU: u16 = 1500;
/// Every host takes datagrams of this size. RFC 791.
pub const LEAST_MTU: u16 = 576;
const UDP_HEADER: u16 = 8;
/// The longest wait, so that a signal is seen.
const TICK: Duration = Duration::from_millis(100);
/// Heralds that are sent, and how long is waited for the answer to one.
const HERALDS: u32 = 12;
const HERALD_WAIT: Duration = Duration::from_secs(1);
/// Messages after which acks are looked for.
const ACKS: u64 = 16;
/// Room for acks.
const RECEIVE_BUFFER: usize = 256 << 10;

/// Whether to stop: asked now and then.
pub type Stop<'a> = &'a dyn Fn() -> bool;

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's address, with the port for heralds.
    pub server: SocketAddr,
    /// Below which path the server is asked to keep the dump; may be empty.
    pub path: String,
    /// The port to send from. netdumpd(8) answers to no other than 20024.
    pub source_port: u16,
    /// Bytes of an IP packet at most; by default the path's.
    pub mtu: Option<u16>,
}

/// Why a dump is not there.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The port to send from: netdumpd(8) takes one dump of a host at a time.
    #[error("sending from port {0}")]
    Bind(u16, #[source] io::Error),
    /// A path that does not fit.
    #[error("the path has {0} bytes, a herald has room for 1023")]
    Path(usize),
    /// No server.
    #[error("no answer from {0}: is there a server?")]
    NoServer(SocketAddr),
    /// It does not answer any more.
    #[error("{0} has stopped answering")]
    Gone(SocketAddr),
    /// A call failed.
    #[error("sending to {0}")]
    Send(SocketAddr, #[source] io::Error),
    /// The dump could not be read.
    #[error("reading the dump")]
    Read(#[source] io::Error),
    /// A signal.
    #[error("stopped: the server has a part of the dump")]
    Stopped,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Bytes of data.
    pub bytes: u64,
    /// Messages, each counted once.
    pub messages: u64,
    /// Messages that were sent again.
    pub again: u64,
}

/// A dump that is being sent.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    payload: usize,
    window: Window,
    sent: Sent,
}

impl Client {
    /// Opens a dump at the server.
    ///
    /// # Errors
    /// There is no server, or the port is taken.
    pub fn connect(target: &Target, stop: Stop<'_>) -> Result<Self, SendError> {
        let port = target.source_port;
        let any = match target.server.is_ipv4() {
            true => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            false => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
        };
        let socket =
            UdpSocket::bind(any).map_err(|e| SendError::Bind(port, e))?;
        // Less is no error, only slower.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
        let mut path = target.path.clone().into_bytes();
        if !path.is_empty() {
            path.push(0);
        }
        if path.len() > MAX_PATH {
            return Err(SendError::Path(target.path.len()));
        }
        let server = herald(&socket, target.server, &path, stop)?;
        let failed = |e| SendError::Send(server, e);
        socket.connect(server).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let payload = payload(&socket, target);
        let window = Window::new(HERALD.wrapping_add(1));
        let sent = Sent { messages: 1, ..Sent::default() };
        Ok(Self { socket, server, payload, window, sent })
    }

    /// Its socket, which is all that it needs from now on.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Which port of the server takes it.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Bytes of data in a message.
    #[must_use]
    pub fn payload(&self) -> usize {
        self.payload
    }

    /// Sends the key block of an encrypted dump: before the data.
    ///
    /// # Errors
    /// The server has it not.
    pub fn key(
        &mut self,
        mut block: &[u8],
        stop: Stop<'_>,
    ) -> Result<(), SendError> {
        self.send_all(Kind::Key, &mut block, &mut |_| {}, stop)?;
        self.drain(stop)
    }

    /// Sends the data, to its end; calls `progress` with bytes.
    ///
    /// # Errors
    /// The server has it not, or it cannot be read.
    pub fn data(
        &mut self,
        from: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
        stop: Stop<'_>,
    ) -> Result<u64, SendError> {
        let bytes = self.send_all(Kind::Data, from, progress, stop)?;
        self.drain(stop)?;
        self.sent.bytes = self.sent.bytes.saturating_add(bytes);
        Ok(bytes)
    }

    /// Sends the header, and ends the dump.
    ///
    /// # Errors
    /// The server has it not.
    pub fn finish(
        mut self,
        header: &[u8; HEADER_SIZE],
        stop: Stop<'_>,
    ) -> Result<Sent, SendError> {
        let mut header = header.as_slice();
        self.send_all(Kind::Header, &mut header, &mut |_| {}, stop)?;
        self.drain(stop)?;
        self.message(Kind::Finished, 0, &[], stop)?;
        self.drain(stop)?;
        Ok(self.sent)
    }

    fn send_all(
        &mut self,
        kind: Kind,
        from: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
        stop: Stop<'_>,
    ) -> Result<u64, SendError> {
        let mut buffer = vec![0; self.payload];
        let mut offset = 0u64;
        loop {
            let len = fill(from, &mut buffer).map_err(SendError::Read)?;
            if len == 0 {
                return Ok(offset);
            }
            let piece = buffer.get(..len).unwrap_or_default();
            self.message(kind, offset, piece, stop)?;
            progress(len as u64);
            offset = offset.saturating_add(len as u64);
        }
    }

    fn message(
        &mut self,
        kind: Kind,
        offset: u64,
        data: &[u8],
        stop: Stop<'_>,
    ) -> Result<(), SendError> {
        while !self.window.has_room() {
            self.step(stop)?;
        }
        let seqno = self.window.next();
        let mut datagram = self.window.buffer();
        let message = Message { kind, seqno, offset, aux2: 0, data };
        message.encode(&mut datagram);
        transmit(&self.socket, &datagram);
        self.window.sent(datagram, Instant::now());
        self.sent.messages = self.sent.messages.saturating_add(1);
        // Looking for each would be as many calls as sending.
        match self.sent.messages.is_multiple_of(ACKS) {
            true => self.acks(),
            false => Ok(()),
        }
    }

    /// Waits until everything is acknowledged.
    fn drain(&mut self, stop: Stop<'_>) -> Result<(), SendError> {
        while !self.window.is_empty() {
            self.step(stop)?;
        }
        Ok(())
    }

    /// Waits for acks, or until something has to be sent again.
    fn step(&mut self, stop: Stop<'_>) -> Result<(), SendError> {
        if stop() {
            return Err(SendError::Stopped);
        }
        let now = Instant::now();
        let due = self.window.due();
        let wait = due.map_or(TICK, |at| at.saturating_duration_since(now));
        wait_for(&self.socket, wait.min(TICK))
            .map_err(|e| SendError::Send(self.server, e))?;
        self.acks()?;
        let socket = &self.socket;
        let again = self
            .window
            .again(Instant::now(), &mut |it| transmit(socket, it))
            .map_err(|NoAck| SendError::Gone(self.server))?;
        self.sent.again = self.sent.again.saturating_add(again);
        Ok(())
    }

    /// Takes the acks that are there.
    fn acks(&mut self) -> Result<(), SendError> {
        let mut buffer = [0; 64];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    let ack = decode_ack(buffer.get(..len).unwrap_or_default());
                    if let Some(seqno) = ack {
                        self.window.acknowledged(seqno, Instant::now());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(e) if is_passing(&e) => {}
                Err(e) => return Err(SendError::Send(self.server, e)),
            }
        }
    }
}

/// The seqno of the herald. C: `debugnet_connect`.
const HERALD: u32 = 1;

/// Which port of the server answers a herald.
fn herald(
    socket: &UdpSocket,
    server: SocketAddr,
    path: &[u8],
    stop: Stop<'_>,
) -> Result<SocketAddr, SendError> {
    let failed = |e| SendError::Send(server, e);
    let kind = Kind::Herald;
    let (seqno, offset, aux2) = (HERALD, 0, EXACT_ACKS);
    let mut datagram = Vec::new();
    Message { kind, seqno, offset, aux2, data: path }.encode(&mut datagram);
    socket.set_nonblocking(true).map_err(failed)?;
    let mut buffer = [0; 64];
    for _ in 0..HERALDS {
        match socket.send_to(&datagram, server) {
            Err(e) if !is_passing(&e) => return Err(failed(e)),
            _ => {}
        }
        let sent = Instant::now();
        while let Some(left) = HERALD_WAIT.checked_sub(sent.elapsed()) {
            if stop() {
                return Err(SendError::Stopped);
            }
            wait_for(socket, left.min(TICK)).map_err(failed)?;
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let ack = decode_ack(buffer.get(..len).unwrap_or_default());
                if ack == Some(HERALD) && from.ip() == server.ip() {
                    return Ok(from);
                }
            }
        }
    }
    Err(SendError::NoServer(server))
}

/// Bytes of data that fit a packet on the way.
fn payload(socket: &UdpSocket, target: &Target) -> usize {
    let mtu = target.mtu.or_else(|| path_mtu(socket)).unwrap_or(MTU);
    let ip = if target.server.is_ipv4() { 20 } else { 40 };
    let data = mtu.max(LEAST_MTU).saturating_sub(UDP_HEADER).saturating_sub(ip);
    usize::from(data).saturating_sub(HEADER_BYTES).min(DATASIZE)
}

#[cfg(target_os = "linux")]
fn path_mtu(socket: &UdpSocket) -> Option<u16> {
    let mtu = nix::sys::socket::getsockopt(socket, sockopt::IpMtu).ok()?;
    u16::try_from(mtu.clamp(0, i32::from(u16::MAX))).ok()
}

#[cfg(not(target_os = "linux"))]
fn path_mtu(_: &UdpSocket) -> Option<u16> {
    None
}

/// A message that is not sent is as one that is lost.
fn transmit(socket: &UdpSocket, datagram: &[u8]) {
    let _ = socket.send(datagram);
}

fn wait_for(socket: &UdpSocket, wait: Duration) -> io::Result<()> {
    // Less than a millisecond is no time to wait.
    let wait = wait.max(Duration::from_millis(1));
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, wait) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A server that is started again, or a full queue. It is sent again, and not
/// without end.
fn is_passing(e: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable,
        WouldBlock,
    };
    let kinds = [
        ConnectionRefused,
        HostUnreachable,
        Interrupted,
        NetworkUnreachable,
        WouldBlock,
    ];
    kinds.contains(&e.kind()) || e.raw_os_error() == Some(nix::libc::ENOBUFS)
}

/// Reads until the buffer is full, or to the end.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut at = 0usize;
    while let Some(rest) = buffer.get_mut(at..).filter(|b| !b.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => at = at.saturating_add(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}
