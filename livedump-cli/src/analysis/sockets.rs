// SPDX-License-Identifier: BSD-2-Clause
//! Sockets, as netstat -a shows them. C: `struct inpcbinfo` and `struct inpcb`,
//! <netinet/in_pcb.h>; `struct tcpcb`, <netinet/tcp_var.h>; `struct unpcb`,
//! <sys/unpcb.h>; `struct socket`, <sys/socketvar.h>.
//!
//! Since 14 the list of an `inpcbinfo` starts in it, and a `tcpcb` has its
//! inpcb in it; up to 13 both are pointers, and a connection in TIME_WAIT has
//! no tcpcb. `ipi_smr` tells which it is.

use super::lists::walk;
use super::target::{Target, at};
use super::types::{AnyFields, Bits, Field};
use super::unavailable::Unavailable;
use super::vnets::Vnets;
use memdev::addr::Vaddr;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Sockets of one list.
const MAX_SOCKETS: usize = 1 << 16;
/// C: `INP_IPV4` and `INP_IPV6`.
const IPV4: u64 = 1;
const IPV6: u64 = 2;
/// C: `INP_TIMEWAIT` of 12 and 13.
const TIMEWAIT: u64 = 0x0100_0000;
/// C: `SO_ACCEPTCONN`.
const ACCEPTCONN: u64 = 2;
/// C: `SS_ISCONNECTED`.
const CONNECTED: u64 = 2;
/// Bytes of `sun_path` and of what is before it.
const MAX_PATH: u64 = 104;
const PATH_AT: u64 = 2;
/// C: `TCPS_*`, <netinet/tcp_fsm.h>.
const STATES: [&str; 11] = [
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
];
const TIME_WAIT: &str = "TIME_WAIT";
/// The protocol and its variable.
const INET: [(&str, &str); 4] = [
    ("tcp", "tcbinfo"),
    ("udp", "udbinfo"),
    ("udplite", "ulitecbinfo"),
    ("raw", "ripcbinfo"),
];
const LOCAL: [(&str, &str); 3] = [
    ("stream", "unp_shead"),
    ("datagram", "unp_dhead"),
    ("seqpacket", "unp_sphead"),
];

/// What all sockets have. What could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// C: `struct socket *`; none of a connection that is closed.
    pub socket: Option<Vaddr>,
    /// Bytes to be received.
    pub receive: Option<u64>,
    /// Bytes to be sent.
    pub send: Option<u64>,
    /// Of one that listens: connections to be accepted, those that are not
    /// complete, and how many there may be.
    pub queue: Option<[Option<u64>; 3]>,
    /// C: `SS_ISCONNECTED`.
    pub connected: Option<bool>,
}

/// A socket of the Internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inet {
    /// Which of the vnets it is in; 0 is the host's.
    pub vnet: usize,
    /// `tcp4`, `udp46`
    pub protocol: String,
    /// C: `struct inpcb *`.
    pub pcb: Vaddr,
    /// The address and port here.
    pub local: Option<String>,
    /// Those of the other end.
    pub foreign: Option<String>,
    /// Of a TCP connection.
    pub state: Option<&'static str>,
    /// The rest.
    pub common: Common,
}

/// A local socket. C: unix(4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// `stream`, `datagram`, `seqpacket`
    pub kind: &'static str,
    /// C: `struct unpcb *`.
    pub pcb: Vaddr,
    /// The path it is bound to.
    pub path: Option<Vec<u8>>,
    /// C: `unp_conn`.
    pub peer: Option<Vaddr>,
    /// The path of that.
    pub peer_path: Option<Vec<u8>>,
    /// The rest.
    pub common: Common,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those of the Internet, vnet by vnet.
    pub inet: Vec<Inet>,
    /// Local ones.
    pub local: Vec<Local>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

impl Sockets {
    /// Walks the lists.
    ///
    /// # Errors
    /// It is not told where they are.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = t.any_fields();
        let mut all = Self::default();
        let common = CommonFields::new(&mut f)?;
        all.inet(t, &mut f, &common)?;
        all.local(t, &mut f, &common)?;
        all.problems.truncate(16);
        Ok(all)
    }

    fn inet(
        &mut self,
        t: &Target<'_>,
        f: &mut AnyFields<'_>,
        common: &CommonFields,
    ) -> Result<(), Unavailable> {
        let mut vnets = Vnets::new(t)?;
        self.problems.append(&mut vnets.problems);
        // A kernel without INET and INET6 has none.
        if vnets.symbol(t, "tcbinfo").is_none() {
            return Ok(());
        }
        let inpcb = InpcbFields::new(f)?;
        for (protocol, variable) in INET {
            let Some(symbol) = vnets.symbol(t, variable) else { continue };
            for (vnet, info) in vnets.each(symbol).enumerate() {
                let head = at(info, inpcb.head);
                let head = match inpcb.is_embedded() {
                    true => head,
                    false => match t.core.read_u64(head) {
                        // Not in use yet.
                        Ok(0) => continue,
                        Ok(head) => Vaddr(head),
                        Err(_) => head,
                    },
                };
                let left = MAX_SOCKETS.saturating_sub(self.inet.len());
                let found = walk(t, variable, head, inpcb.link, left);
                self.problems.extend(found.problem);
                let found = found.elements.into_iter();
                self.inet.extend(found.map(|pcb| {
                    let common = common.of(t, pcb, inpcb.socket);
                    inpcb.read(t, vnet, protocol, pcb, common)
                }));
            }
        }
        self.inet.sort_by_key(|socket| socket.vnet);
        Ok(())
    }

    fn local(
        &mut self,
        t: &Target<'_>,
        f: &mut AnyFields<'_>,
        common: &CommonFields,
    ) -> Result<(), Unavailable> {
        let [link, socket, conn, addr] =
            ["unp_link", "unp_socket", "unp_conn", "unp_addr"]
                .map(|name| f.need(&[("unpcb", name)]));
        f.check()?;
        for (kind, head) in LOCAL {
            let found = walk(t, head, t.need(head)?, link, MAX_SOCKETS);
            self.problems.extend(found.problem);
            for pcb in found.elements {
                let peer = t.get(pcb, conn).ok().filter(|&n| n != 0);
                let peer = peer.map(Vaddr);
                let path = |pcb| {
                    let at = t.get(pcb, addr).ok().filter(|&n| n != 0)?;
                    unix_path(t, at)
                };
                self.local.push(Local {
                    kind,
                    pcb,
                    path: path(pcb),
                    peer,
                    peer_path: peer.and_then(path),
                    common: common.of(t, pcb, socket),
                });
            }
        }
        Ok(())
    }
}

/// C: `struct sockaddr_un`, <sys/un.h>, which programs share with the kernel:
/// its length, the family, the path.
fn unix_path(t: &Target<'_>, at: u64) -> Option<Vec<u8>> {
    let length = t.get(Vaddr(at), Field { offset: 0, size: 1 }).ok()?;
    let length = length.saturating_sub(PATH_AT).min(MAX_PATH);
    let mut path = vec![0; usize::try_from(length).ok()?];
    t.core.read_va(Vaddr(at.wrapping_add(PATH_AT)), &mut path).ok()?;
    let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
    path.truncate(end);
    (!path.is_empty()).then_some(path)
}

struct CommonFields {
    options: Field,
    state: Field,
    receive: Field,
    send: Field,
    queue: [Field; 3],
}

impl CommonFields {
    fn new(f: &mut AnyFields<'_>) -> Result<Self, Unavailable> {
        let mut of = |name| f.need(&[("socket", name)]);
        let (options, state) = (of("so_options"), of("so_state"));
        let queue = ["sol_qlen", "sol_incqlen", "sol_qlimit"].map(of);
        let mut buffer =
            |name| f.need(&[("socket", name), ("sockbuf", "sb_ccc")]);
        let (receive, send) = (buffer("so_rcv"), buffer("so_snd"));
        f.check()?;
        Ok(Self { options, state, receive, send, queue })
    }

    /// Of the socket that a pcb's field leads to. A listening one has its
    /// queues where others have their buffers.
    fn of(&self, t: &Target<'_>, pcb: Vaddr, socket: Field) -> Common {
        let Some(so) = t.get(pcb, socket).ok().filter(|&so| so != 0) else {
            return Common::default();
        };
        let so = Vaddr(so);
        let get = |field: Field| t.get(so, field).ok();
        let listens = get(self.options).map(|n| n & ACCEPTCONN != 0);
        let buffer = |field| get(field).filter(|_| listens == Some(false));
        Common {
            socket: Some(so),
            receive: buffer(self.receive),
            send: buffer(self.send),
            queue: listens.filter(|&is| is).map(|_| self.queue.map(get)),
            connected: get(self.state).map(|state| state & CONNECTED != 0),
        }
    }
}

struct InpcbFields {
    head: Field,
    link: Field,
    socket: Field,
    version: Field,
    flags: Field,
    ports: [Field; 2],
    addresses: [Field; 2],
    embedded: bool,
    /// Up to 13.
    ppcb: Option<Field>,
    /// Since 14: where a tcpcb has its inpcb.
    in_tcpcb: Option<Field>,
    state: Option<Bits>,
}

impl InpcbFields {
    fn new(f: &mut AnyFields<'_>) -> Result<Self, Unavailable> {
        let mut end = |name| {
            f.need(&[
                ("inpcb", "inp_inc"),
                ("in_conninfo", "inc_ie"),
                ("in_endpoints", name),
            ])
        };
        let ports = ["ie_lport", "ie_fport"].map(&mut end);
        let addresses = ["ie_dependladdr", "ie_dependfaddr"].map(end);
        let mut of = |name| f.need(&[("inpcb", name)]);
        let (link, socket) = (of("inp_list"), of("inp_socket"));
        let (version, flags) = (of("inp_vflag"), of("inp_flags"));
        let head = f.need(&[("inpcbinfo", "ipi_listhead")]);
        let embedded = f.find("inpcbinfo", "ipi_smr").is_some();
        f.check()?;
        let of = |of, name| f.find(of, name);
        Ok(Self {
            head,
            link,
            socket,
            version,
            flags,
            ports,
            addresses,
            embedded,
            ppcb: of("inpcb", "inp_ppcb").filter(|_| !embedded),
            in_tcpcb: of("tcpcb", "t_inpcb").filter(|_| embedded),
            state: f.bits("tcpcb", "t_state"),
        })
    }

    fn is_embedded(&self) -> bool {
        self.embedded
    }

    fn read(
        &self,
        t: &Target<'_>,
        vnet: usize,
        protocol: &str,
        pcb: Vaddr,
        common: Common,
    ) -> Inet {
        let version = t.get(pcb, self.version).ok();
        let version = version.map(|n| n & (IPV4 | IPV6));
        let suffix = match version {
            Some(IPV4) => "4",
            Some(IPV6) => "6",
            Some(0) | None => "",
            Some(_) => "46",
        };
        let [local, foreign] =
            [(0usize, self.ports), (1, self.ports)].map(|(n, ports)| {
                let port = t.get(pcb, *ports.get(n)?).ok()?;
                let address = at(pcb, *self.addresses.get(n)?);
                let mut raw = [0; 16];
                t.core.read_va(address, &mut raw).ok()?;
                Some(endpoint(raw, version?, (port as u16).swap_bytes()))
            });
        Inet {
            vnet,
            protocol: format!("{protocol}{suffix}"),
            pcb,
            local,
            foreign,
            state: match protocol {
                "tcp" => self.tcp_state(t, pcb),
                _ => None,
            },
            common,
        }
    }

    fn tcp_state(&self, t: &Target<'_>, pcb: Vaddr) -> Option<&'static str> {
        let tcpcb = match (self.ppcb, self.in_tcpcb) {
            (Some(ppcb), _) => {
                if t.get(pcb, self.flags).ok()? & TIMEWAIT != 0 {
                    return Some(TIME_WAIT);
                }
                t.get(pcb, ppcb).ok().filter(|&n| n != 0)?
            }
            (None, Some(field)) => pcb.0.wrapping_sub(field.offset),
            (None, None) => return None,
        };
        let bits = self.state?;
        let state = bits.of(t.get(Vaddr(tcpcb), bits.field).ok()?);
        STATES.get(usize::try_from(state).ok()?).copied()
    }
}

/// `127.0.0.1:22`, `[fe80::1%2]:22`, `*:22`. The kernel has the zone of an
/// address of a link in its second word. C: `in6_getscope`, scope6.c.
fn endpoint(raw: [u8; 16], version: u64, port: u16) -> String {
    let port = match port {
        0 => "*".to_string(),
        port => port.to_string(),
    };
    let [.., a, b, c, d] = raw;
    let v4 = Ipv4Addr::new(a, b, c, d);
    if version & IPV6 == 0 {
        return match v4.is_unspecified() {
            true => format!("*:{port}"),
            false => format!("{v4}:{port}"),
        };
    }
    let v6 = Ipv6Addr::from(raw);
    if v6.is_unspecified() {
        return format!("*:{port}");
    }
    let [first, zone, rest @ ..] = v6.segments();
    let of_link = first & 0xffc0 == 0xfe80 || first & 0xff0f == 0xff02;
    if of_link && zone != 0 {
        let [c, d, e, f, g, h] = rest;
        let v6 = Ipv6Addr::new(first, 0, c, d, e, f, g, h);
        return format!("[{v6}%{zone}]:{port}");
    }
    format!("[{v6}]:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_written_as_programs_take_them() {
        let v4 = |last: [u8; 4], port| {
            let mut raw = [0xee; 16];
            raw[12..].copy_from_slice(&last);
            endpoint(raw, IPV4, port)
        };
        assert_eq!(v4([127, 0, 0, 1], 22), "127.0.0.1:22");
        assert_eq!(v4([0; 4], 514), "*:514");
        assert_eq!(v4([0; 4], 0), "*:*");
        let v6 = |text: &str, port| {
            let address: Ipv6Addr = text.parse().unwrap();
            endpoint(address.octets(), IPV6, port)
        };
        assert_eq!(v6("::1", 53), "[::1]:53");
        assert_eq!(v6("::", 53), "*:53");
        assert_eq!(v6("fe80:2::1", 0), "[fe80::1%2]:*");
        assert_eq!(v6("ff02:3::fb", 5353), "[ff02::fb%3]:5353");
        assert_eq!(v6("2001:db8::1", 1), "[2001:db8::1]:1");
    }
}
