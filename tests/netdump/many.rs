// SPDX-License-Identifier: BSD-2-Clause
//! Many at once, and those who mean harm.

use super::kernel::Kernel;
use super::receiver::Receiver;
use super::{HERALD, KDH, Random, VMCORE, header, message, panicked};
use memdev::kerneldump::Compression;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

const CLIENTS: u64 = 200;
/// Threads that they share.
const THREADS: u64 = 8;

#[test]
fn two_hundred_clients_at_once_have_a_dump_each() {
    let receiver = Receiver::start(&["--no-seal"]);
    let wait = Duration::from_millis(500);
    let data = |n: u64| Random(n * 3 + 1).bytes(100_000 + n as usize * 16);
    let all = |n: u64| n..CLIENTS;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = receiver.address;
            scope.spawn(move || {
                let mine = all(thread).step_by(THREADS as usize);
                // All of them are there before any ends.
                let mut kernels: Vec<_> = mine
                    .map(|n| {
                        let from =
                            format!("127.9.{}.{}:0", n / 100, n % 100 + 1);
                        (n, Kernel::connect(&from, server, wait).unwrap())
                    })
                    .collect();
                for (n, kernel) in &mut kernels {
                    kernel.dump(&data(*n)).unwrap();
                }
                for (n, kernel) in &mut kernels {
                    let length = data(*n).len() as u64;
                    let panic = n.to_string();
                    let head =
                        header(length, Compression::None, 0, panic.as_bytes());
                    kernel.finish(&head).unwrap();
                }
            });
        }
    });
    let mut numbers = BTreeSet::new();
    for _ in 0..CLIENTS {
        let dump = receiver.next();
        assert_eq!(dump["complete"], true, "{dump}");
        assert_eq!(dump["end"], "finished");
        let n: u64 = dump["panic"].as_str().unwrap().parse().unwrap();
        let from = format!("127.9.{}.{}:", n / 100, n % 100 + 1);
        let client = dump["client"].as_str().unwrap();
        assert!(client.starts_with(&from), "{client}");
        assert!(receiver.read(&dump) == data(n), "{dump}");
        numbers.insert(dump["number"].as_u64().unwrap());
    }
    assert_eq!(numbers.len() as u64, CLIENTS);
}

#[test]
fn garbage_changes_nothing_for_anybody() {
    let known = panicked(&[]);
    let receiver = Receiver::start(&[]);
    let wait = Duration::from_millis(500);
    let mut kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, wait).unwrap();
    let port = kernel.server;
    let count: u64 = match std::env::var("LIVEDUMP_GARBAGE") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => 50_000,
    };
    std::thread::scope(|scope| {
        let server = receiver.address;
        scope.spawn(move || {
            let mut random = Random(0xbad);
            let socket = UdpSocket::bind("127.0.0.99:0").unwrap();
            for n in 0..count {
                let len = (random.next() % 1500) as usize;
                let mut bytes = random.bytes(len.min(64));
                bytes.resize(len, 0xa5);
                match n % 4 {
                    // What is a message all but for who sends it.
                    0 => {
                        let seqno = (random.next() % 3000) as u32;
                        let at = u64::from(seqno) * 1448;
                        bytes = message(VMCORE, seqno, at, &bytes);
                    }
                    1 => {
                        let kind = (random.next() % 7) as u32;
                        bytes = message(kind, n as u32, 0, &bytes);
                    }
                    2 if len > 4 => bytes[..4].copy_from_slice(&[0, 0, 0, 1]),
                    _ => {}
                }
                let to = if n % 2 == 0 { server } else { port };
                let _ = socket.send_to(&bytes, to);
                if n % 64 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        kernel.dump(&known.data).unwrap();
        kernel.finish(&known.header).unwrap();
    });
    let dump = receiver.next();
    assert_eq!(dump["verdict"], "sound", "{dump}");
    assert!(receiver.read(&dump) == known.data);
    let (status, text, dumps, dir) = receiver.stop();
    assert_eq!((status, dumps.len()), (Some(0), 0), "{text}");
    let names = dir.names();
    assert!(!names.iter().any(|n| n.contains("tmp")), "{names:?}");
}

/// Of the right address and port, but not what that client would send.
#[test]
fn garbage_in_the_name_of_a_client_is_not_taken() {
    let known = panicked(&[]);
    let receiver = Receiver::start(&[]);
    let wait = Duration::from_millis(500);
    let mut kernel =
        Kernel::connect("127.0.0.1:0", receiver.address, wait).unwrap();
    kernel.dump(&known.data[..256 << 10]).unwrap();
    for far in [64, 1000, u32::MAX / 2] {
        let seqno = kernel.seqno.wrapping_add(far);
        let (kinds, page) = ([VMCORE, KDH, HERALD], vec![0xee; 512]);
        for kind in kinds {
            let bytes = message(kind, seqno, 0, &page);
            kernel.socket.send_to(&bytes, kernel.server).unwrap();
        }
    }
    // What is there is not written once more.
    let old = message(VMCORE, kernel.seqno - 46, 0, &[0xee; 1448]);
    kernel.socket.send_to(&old, kernel.server).unwrap();
    for (n, piece) in known.data[256 << 10..].chunks(64 << 10).enumerate() {
        let at = (256 << 10) + (n << 16);
        kernel.send(VMCORE, piece, at as u64).unwrap();
    }
    kernel.finish(&known.header).unwrap();
    let dump = receiver.next();
    assert_eq!(dump["verdict"], "sound", "{dump}");
    assert!(receiver.read(&dump) == known.data);
}
