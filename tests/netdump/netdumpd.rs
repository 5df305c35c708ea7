// SPDX-License-Identifier: BSD-2-Clause
//! A server modelled on netdumpd(8): it acknowledges what comes, at once, and
//! counts nothing.

use super::{FINISHED, HERALD, KDH, VMCORE};
use std::net::{SocketAddr, UdpSocket};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

/// What it has of one dump.
#[derive(Debug, Default)]
pub struct Got {
    pub data: Vec<u8>,
    pub key: Vec<u8>,
    pub header: Vec<u8>,
    /// Types in the order that the first of each came.
    pub order: Vec<u32>,
    pub longest: usize,
}

pub struct Netdumpd {
    pub address: SocketAddr,
    thread: JoinHandle<Got>,
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    into.resize(into.len().max(offset + bytes.len()), 0);
    into[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Netdumpd {
    /// Takes one dump.
    pub fn start() -> Self {
        let herald = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = herald.local_addr().unwrap();
        Self { address, thread: spawn(move || serve(&herald)) }
    }

    pub fn got(self) -> Got {
        self.thread.join().unwrap()
    }
}

fn serve(herald: &UdpSocket) -> Got {
    let mut buffer = vec![0; 64 << 10];
    let (len, client) = herald.recv_from(&mut buffer).unwrap();
    assert!(len >= 24 && buffer[..4] == HERALD.to_be_bytes());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(client).unwrap();
    let ack = |seqno: &[u8]| {
        let _ = socket.send(seqno);
    };
    ack(&buffer[4..8]);
    herald.set_nonblocking(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut got = Got::default();
    let mut over = false;
    loop {
        // Once over it stays for a while: the last ack may be lost.
        let len = match socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(_) if over => return got,
            Err(_) => {
                if herald.recv_from(&mut buffer).is_ok() {
                    ack(&buffer[4..8]);
                }
                continue;
            }
        };
        let word = |at: usize| {
            u32::from_be_bytes(buffer[at..at + 4].try_into().unwrap())
        };
        let (kind, size) = (word(0), word(16) as usize);
        assert_eq!(size, len - 24);
        assert!(size <= 4096, "{size} bytes of data");
        let offset = u64::from_be_bytes(buffer[8..16].try_into().unwrap());
        let (offset, data) = (offset as usize, &buffer[24..len]);
        match kind {
            VMCORE => put(&mut got.data, offset, data),
            KDH => put(&mut got.header, offset, data),
            FINISHED => over = true,
            _ => put(&mut got.key, offset, data),
        }
        got.longest = got.longest.max(size);
        if !got.order.contains(&kind) {
            got.order.push(kind);
        }
        ack(&buffer[4..8]);
    }
}
