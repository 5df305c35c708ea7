// SPDX-License-Identifier: BSD-2-Clause
//! Sockets for heralds, and which of this host's addresses a herald was sent
//! to: a client takes acks only from that.

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt,
};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6,
    UdpSocket,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::str::FromStr;

/// Where to listen: `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    address: IpAddr,
    port: Option<u16>,
}

/// Why a word is no place to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not ADDRESS or ADDRESS:PORT, such as 192.0.2.1 or [2001:db8::1]:20023"
)]
pub struct NoBind;

impl Bind {
    /// All addresses of a family.
    #[must_use]
    pub fn any(v6: bool) -> Self {
        let address = match v6 {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        Self { address, port: None }
    }

    /// With the port, which is `port` if none was named.
    #[must_use]
    pub fn or_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or(port))
    }
}

impl Bind {
    /// With this port, whatever was named.
    #[must_use]
    pub fn with_port(&self, port: u16) -> SocketAddr {
        // So that a test need not be alone on its host.
        let port = if self.port == Some(0) { 0 } else { port };
        SocketAddr::new(self.address, port)
    }
}

impl FromStr for Bind {
    type Err = NoBind;

    fn from_str(word: &str) -> Result<Self, NoBind> {
        if let Ok(address) = word.parse() {
            return Ok(Self { address, port: None });
        }
        let it: SocketAddr = word.parse().map_err(|_| NoBind)?;
        Ok(Self { address: it.ip(), port: Some(it.port()) })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// A socket for heralds.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
}

/// A datagram, and both ends of its way.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// What is in it.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub peer: SocketAddr,
    /// Which address it was sent to.
    pub local: IpAddr,
}

impl Listener {
    /// Opens one.
    ///
    /// # Errors
    /// The address is not of this host, or taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, bind, socket,
        };
        let family = match address.is_ipv4() {
            true => AddressFamily::Inet,
            false => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, SockType::Datagram, flags, None)?;
        match address {
            SocketAddr::V4(_) => {
                #[cfg(target_os = "linux")]
                setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
                #[cfg(target_os = "freebsd")]
                setsockopt(&fd, sockopt::Ipv4RecvDstAddr, &true)?;
            }
            SocketAddr::V6(_) => {
                // IPv4 has a socket of its own.
                setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
                setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        let socket = UdpSocket::from(fd);
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next datagram, if one is there.
    ///
    /// # Errors
    /// What recvmsg(2) answers.
    pub fn receive<'b>(
        &self,
        buffer: &'b mut [u8],
    ) -> io::Result<Option<Datagram<'b>>> {
        let mut control = cmsg_space!(libc::in6_pktinfo, libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let got = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let got = match got {
            Ok(got) => got,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let peer = got.address.as_ref().and_then(address);
        let mut local = None;
        for message in got.cmsgs().into_iter().flatten() {
            local = local.or(destination(&message));
        }
        let bytes = got.bytes;
        let local = local.unwrap_or_else(|| self.address.ip());
        let Some(peer) = peer else { return Ok(None) };
        let bytes = buffer.get(..bytes).unwrap_or_default();
        Ok(Some(Datagram { bytes, peer, local }))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in();
    let v4 = v4.map(|v4| SocketAddr::from(SocketAddrV4::from(*v4)));
    let v6 = from.as_sockaddr_in6();
    v4.or(v6.map(|v6| SocketAddr::from(SocketAddrV6::from(*v6))))
}

fn destination(message: &ControlMessageOwned) -> Option<IpAddr> {
    let v4 = |it: libc::in_addr| Ipv4Addr::from(it.s_addr.to_ne_bytes()).into();
    match message {
        #[cfg(target_os = "linux")]
        ControlMessageOwned::Ipv4PacketInfo(it) => Some(v4(it.ipi_addr)),
        #[cfg(target_os = "freebsd")]
        ControlMessageOwned::Ipv4RecvDstAddr(it) => Some(v4(*it)),
        ControlMessageOwned::Ipv6PacketInfo(it) => {
            Some(Ipv6Addr::from(it.ipi6_addr.s6_addr).into())
        }
        _ => {
            let _ = v4;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_listen_has_an_address_and_may_have_a_port() {
        for (word, want) in [
            ("192.0.2.1", "192.0.2.1:20023"),
            ("192.0.2.1:5", "192.0.2.1:5"),
            ("::", "[::]:20023"),
            ("[::1]:5", "[::1]:5"),
        ] {
            let bind: Bind = word.parse().unwrap();
            assert_eq!(bind.or_port(20023).to_string(), want);
            assert_eq!(bind.to_string(), word);
        }
        for bad in ["", "host", "1.2.3.4:", ":5", "[::1]", "1.2.3.4:70000"] {
            assert_eq!(bad.parse::<Bind>(), Err(NoBind), "{bad}");
        }
    }

    #[test]
    fn the_address_that_was_sent_to_is_known() {
        for (any, target) in [("0.0.0.0:0", "127.1.2.3"), ("[::]:0", "::1")] {
            let listener = match Listener::bind(any.parse().unwrap()) {
                Ok(listener) => listener,
                Err(e) => {
                    livedump_skip::skipped(format_args!("{any}: {e}"));
                    continue;
                }
            };
            let target: IpAddr = target.parse().unwrap();
            let socket = UdpSocket::bind((target, 0)).unwrap();
            let to = SocketAddr::new(target, listener.address().port());
            socket.send_to(b"hello", to).unwrap();
            let mut buffer = [0; 100];
            let datagram = loop {
                match listener.receive(&mut buffer).unwrap() {
                    Some(datagram) => break datagram.local,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(datagram, target);
        }
    }
}
