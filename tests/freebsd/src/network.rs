// SPDX-License-Identifier: BSD-2-Clause
//! The other end of a guest's network card: a host that answers ARP for every
//! address, and to whose ports a server of this machine listens. QEMU sends
//! each frame as a datagram.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

/// Ours, locally administered.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const HERALDS: u16 = 20023;
const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;

/// The network, for as long as it lives.
pub(crate) struct Network {
    /// QEMU's `-netdev` and `-device`.
    pub(crate) qemu: [String; 4],
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Heralds go to `server`; one frame in `loss` is lost, or none.
    pub(crate) fn new(
        nic: &str,
        server: SocketAddr,
        loss: Option<u64>,
    ) -> io::Result<Self> {
        let wire = UdpSocket::bind("127.0.0.1:0")?;
        // A port that is free, and soon taken.
        let guest = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let local = UdpSocket::bind("127.0.0.1:0")?;
        for socket in [&wire, &local] {
            socket.set_read_timeout(Some(Duration::from_micros(100)))?;
        }
        let ours = wire.local_addr()?.port();
        let qemu = [
            "-netdev".into(),
            format!(
                "dgram,id=n0,local.type=inet,local.host=127.0.0.1,\
                 local.port={},remote.type=inet,remote.host=127.0.0.1,\
                 remote.port={ours}",
                guest.port()
            ),
            "-device".into(),
            format!("{nic},netdev=n0,mac=52:54:00:12:34:56"),
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let mut ends = Ends {
            wire,
            guest,
            local,
            server,
            client: None,
            loss,
            random: 0x1234_5678_9abc_def1,
        };
        let thread = spawn(move || {
            let mut frame = vec![0; 65536];
            while !over.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    let Ok(len) = ends.wire.recv(&mut frame) else { break };
                    ends.take_frame(&frame[..len]);
                }
                for _ in 0..64 {
                    let got = ends.local.recv_from(&mut frame);
                    let Ok((len, from)) = got else { break };
                    ends.answer(&frame[..len], from.port());
                }
            }
        });
        Ok(Self { qemu, stop, thread: Some(thread) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Ends {
    wire: UdpSocket,
    guest: SocketAddr,
    local: UdpSocket,
    server: SocketAddr,
    /// The guest's MAC, address and port, and ours.
    client: Option<([u8; 6], Ipv4Addr, u16, Ipv4Addr)>,
    loss: Option<u64>,
    random: u64,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    let octets: [u8; 4] = bytes[at..at + 4].try_into().unwrap_or_default();
    octets.into()
}

impl Ends {
    fn is_lost(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.loss.is_some_and(|one_in| self.random.is_multiple_of(one_in))
    }

    fn take_frame(&mut self, frame: &[u8]) {
        if frame.len() < ETHERNET + IP + UDP {
            return;
        }
        let mac: [u8; 6] = frame[6..12].try_into().unwrap_or_default();
        let packet = &frame[ETHERNET..];
        match word(frame, 12) {
            0x0806 if word(packet, 6) == 1 => self.arp(mac, packet),
            0x0800 if packet[0] == 0x45 && packet[9] == 17 => {
                let udp = &packet[IP..];
                let (from, to) = (word(udp, 0), word(udp, 2));
                let len = usize::from(word(udp, 4)).min(udp.len());
                let data = udp.get(UDP..len).unwrap_or_default();
                let (guest, ours) = (address(packet, 12), address(packet, 16));
                self.client = Some((mac, guest, from, ours));
                if self.is_lost() {
                    return;
                }
                let mut server = self.server;
                if to != HERALDS {
                    server.set_port(to);
                }
                let _ = self.local.send_to(data, server);
            }
            _ => {}
        }
    }

    fn arp(&self, mac: [u8; 6], request: &[u8]) {
        let mut frame = Vec::new();
        frame.extend(mac);
        frame.extend(MAC);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        frame.extend(MAC);
        // Whoever was asked for, and who has asked.
        frame.extend(&request[24..28]);
        frame.extend(&request[8..18]);
        frame.resize(60, 0);
        let _ = self.wire.send_to(&frame, self.guest);
    }

    fn answer(&mut self, data: &[u8], port: u16) {
        let Some((mac, guest, to, ours)) = self.client else { return };
        if self.is_lost() {
            return;
        }
        let mut packet = vec![0x45, 0];
        packet.extend(((IP + UDP + data.len()) as u16).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(ours.octets());
        packet.extend(guest.octets());
        let sum: u32 =
            packet.chunks(2).map(|pair| u32::from(word(pair, 0))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(port.to_be_bytes());
        packet.extend(to.to_be_bytes());
        packet.extend(((UDP + data.len()) as u16).to_be_bytes());
        // No checksum: RFC 768.
        packet.extend([0, 0]);
        packet.extend(data);
        let mut frame = Vec::new();
        frame.extend(mac);
        frame.extend(MAC);
        frame.extend([8, 0]);
        frame.extend(packet);
        frame.resize(frame.len().max(60), 0);
        let _ = self.wire.send_to(&frame, self.guest);
    }
}
