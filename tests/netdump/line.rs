// SPDX-License-Identifier: BSD-2-Clause
//! A line between a client and a server that loses, doubles and reorders
//! datagrams in both directions. To the server each client is a port of its
//! own.

use super::Random;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

/// Of 10,000 datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub delayed: u64,
}

pub struct Line {
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Way {
    faults: Faults,
    random: Random,
    held: Option<Vec<u8>>,
}

impl Way {
    fn pass(&mut self, bytes: &[u8], send: &dyn Fn(&[u8])) {
        if self.random.happens(self.faults.lost) {
            return;
        }
        if self.held.is_none() && self.random.happens(self.faults.delayed) {
            self.held = Some(bytes.to_vec());
            return;
        }
        send(bytes);
        if self.random.happens(self.faults.doubled) {
            send(bytes);
        }
        if let Some(held) = self.held.take() {
            send(&held);
        }
    }
}

impl Line {
    pub fn new(server: SocketAddr, faults: Faults, seed: u64) -> Self {
        println!("line to {server}: {faults:?}, seed {seed}");
        // Datagrams for the client have to come from one address.
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = spawn(move || relay(&front, server, faults, seed, &stop));
        Self { address, over, thread: Some(thread) }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One client. The herald goes to the server, and so does what follows, to the
/// port that has answered. Answers come from where the client sends to.
fn relay(
    front: &UdpSocket,
    server: SocketAddr,
    faults: Faults,
    seed: u64,
    stop: &AtomicBool,
) {
    let back = UdpSocket::bind("127.0.0.1:0").unwrap();
    for socket in [front, &back] {
        let short = Some(Duration::from_micros(200));
        socket.set_read_timeout(short).unwrap();
    }
    let way = |seed| Way { faults, random: Random(seed | 1), held: None };
    let (mut there, mut home) = (way(seed * 2 + 1), way(seed * 977 + 5));
    let (mut client, mut port) = (None, server);
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::SeqCst) {
        for _ in 0..64 {
            let Ok((len, from)) = front.recv_from(&mut buffer) else { break };
            client = Some(from);
            there.pass(&buffer[..len], &|bytes| {
                let _ = back.send_to(bytes, port);
            });
        }
        for _ in 0..64 {
            let Ok((len, from)) = back.recv_from(&mut buffer) else { break };
            port = from;
            home.pass(&buffer[..len], &|bytes| {
                let _ = front.send_to(bytes, client.unwrap());
            });
        }
    }
}
