// SPDX-License-Identifier: BSD-2-Clause
//! The client of FreeBSD's kernel: `debugnet_connect`, `debugnet_send` and
//! netdump_client.c, with 1 << i as amd64 computes it.

use super::{EKCD_KEY, FINISHED, HERALD, KDH, VMCORE, message};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// C: `nd_buf`.
const BUFFER: usize = 64 << 10;
/// With an MTU of 1500.
const PAYLOAD: usize = 1500 - 28 - 24;
/// C: `net.debugnet.nretries`.
const RETRIES: u32 = 10;
/// That many waits in the kernel, of a second each; here they are shorter, and
/// a host that is busy is no reason to give up.
const GIVEN_UP: Duration = Duration::from_secs(12);

pub struct Kernel {
    pub socket: UdpSocket,
    pub server: SocketAddr,
    pub seqno: u32,
    /// For how long acks are waited for: 1 s in the kernel.
    pub wait: Duration,
    /// Packets that were sent again.
    pub again: u64,
}

/// `1 << i` of a 32-bit int, in 64 bits.
fn bit(i: u32) -> u64 {
    i64::from(1i32.wrapping_shl(i)) as u64
}

#[derive(Debug)]
pub struct TimedOut;

impl Kernel {
    /// From an address of its own, as if from another host.
    pub fn connect(
        from: &str,
        server: SocketAddr,
        wait: Duration,
    ) -> Result<Self, TimedOut> {
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut kernel = Self { socket, server, seqno: 1, wait, again: 0 };
        kernel.send(HERALD, &[], 0)?;
        Ok(kernel)
    }

    /// `debugnet_send`.
    pub fn send(
        &mut self,
        kind: u32,
        data: &[u8],
        offset: u64,
    ) -> Result<(), TimedOut> {
        let (mut acked, mut retries) = (0u64, 0);
        let began = Instant::now();
        let packets: Vec<&[u8]> = match data {
            [] => vec![data],
            _ => data.chunks(PAYLOAD).collect(),
        };
        loop {
            let mut wanted = 0;
            for (i, packet) in packets.iter().enumerate() {
                let at = offset + (i * PAYLOAD) as u64;
                let i = i as u32;
                if acked & bit(i) == 0 {
                    let bytes = message(kind, self.seqno + i, at, packet);
                    let _ = self.socket.send_to(&bytes, self.server);
                    self.again += u64::from(retries > 0);
                }
                wanted |= bit(i);
            }
            let sent = Instant::now();
            while acked != wanted && sent.elapsed() < self.wait {
                self.poll(&mut acked);
            }
            if acked == wanted {
                self.seqno += packets.len() as u32;
                return Ok(());
            }
            if retries > RETRIES && began.elapsed() > GIVEN_UP {
                return Err(TimedOut);
            }
            retries += 1;
        }
    }

    /// `debugnet_handle_ack`.
    fn poll(&mut self, acked: &mut u64) {
        let mut buffer = [0; 64];
        let Ok((4, from)) = self.socket.recv_from(&mut buffer) else { return };
        let ack = u32::from_be_bytes(buffer[..4].try_into().unwrap());
        if self.seqno == 1 {
            // C: DN_STATE_GOT_HERALD_PORT.
            self.server = from;
        }
        if (self.seqno..self.seqno + 64).contains(&ack) {
            *acked |= bit(ack - self.seqno);
        }
    }

    /// `netdump_dumper`: pieces as a minidump is written in.
    pub fn dump(&mut self, data: &[u8]) -> Result<(), TimedOut> {
        for (n, piece) in data.chunks(BUFFER).enumerate() {
            self.send(VMCORE, piece, (n * BUFFER) as u64)?;
        }
        Ok(())
    }

    pub fn key(&mut self, block: &[u8]) -> Result<(), TimedOut> {
        self.send(EKCD_KEY, block, 0)
    }

    pub fn finish(&mut self, header: &[u8]) -> Result<(), TimedOut> {
        self.send(KDH, header, 0)?;
        self.send(FINISHED, &[], 0)
    }
}
