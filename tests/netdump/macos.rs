// SPDX-License-Identifier: BSD-2-Clause
//! The client of macOS: `kdp_send_crashdump_pkt` and its kin of kdp_udp.c.

use super::Random;
use super::line::{Faults, Line};
use super::receiver::Receiver;
use crate::tool::CrashDir;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const SEEK: u16 = 6;
const EOF: u16 = 7;
const WAIT: Duration = Duration::from_millis(40);

struct Mac {
    socket: UdpSocket,
    server: SocketAddr,
    block: u32,
    large: bool,
    size: usize,
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 100];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..len].to_vec(), from))
}

impl Mac {
    /// `features`: `KDP_FEATURE_*` that it has; older ones have none. The
    /// error if it is refused.
    fn connect(
        server: SocketAddr,
        name: &str,
        features: Option<u32>,
    ) -> Result<Self, u32> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        let mut request = WRQ.to_be_bytes().to_vec();
        request.extend(name.as_bytes());
        request.extend(b"\0octet\0");
        if let Some(mask) = features {
            request.extend(b"features\0");
            request.extend(mask.to_be_bytes());
            request.extend(1434u32.to_be_bytes());
        }
        for _ in 0..14 {
            socket.send_to(&request, server).unwrap();
            let Some((bytes, from)) = receive(&socket) else { continue };
            let number = u32::from_be_bytes(bytes[2..6].try_into().unwrap());
            if bytes[..2] == ERROR.to_be_bytes() {
                return Err(number);
            }
            assert_eq!((bytes.len(), bytes[1], number), (6, ACK as u8, 0));
            let large = bytes[0] & 1 != 0;
            let size = if bytes[0] & 2 != 0 { 1434 - 6 } else { 512 };
            let block = 1;
            return Ok(Self { socket, server: from, block, large, size });
        }
        panic!("cannot contact panic server");
    }

    fn packet(&mut self, opcode: u16, data: &[u8]) {
        let mut bytes = opcode.to_be_bytes().to_vec();
        bytes.extend(self.block.to_be_bytes());
        bytes.extend(data);
        for _ in 0..14 {
            self.socket.send_to(&bytes, self.server).unwrap();
            let sent = Instant::now();
            while sent.elapsed() < WAIT {
                let Some((ack, _)) = receive(&self.socket) else { break };
                let mut want = ACK.to_be_bytes().to_vec();
                want.extend(self.block.to_be_bytes());
                // An older one was sent again.
                if ack == want {
                    self.block += 1;
                    return;
                }
            }
        }
        panic!("no answer to {opcode} {}", self.block);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        match self.large {
            true => self.packet(SEEK, &offset.to_be_bytes()),
            false => self.packet(SEEK, &(offset as u32).to_be_bytes()),
        }
        for piece in data.chunks(self.size) {
            self.packet(DATA, piece);
        }
    }
}

/// Where the other protocol is listened for.
fn start(options: &[&str]) -> (Receiver, SocketAddr) {
    let mut all = vec!["--kdumpd"];
    all.extend(options);
    let mut receiver = Receiver::start(&all);
    let at = receiver.second_address();
    (receiver, at)
}

#[test]
fn a_core_of_macos_arrives_with_and_without_features() {
    let (receiver, at) = start(&[]);
    let mut random = Random(0x3ac);
    let (first, second) = (random.bytes(100_000), random.bytes(70_001));
    for (features, lost) in [(None, 0), (Some(3), 0), (Some(1), 200)] {
        let faults = Faults { lost, doubled: lost, delayed: lost / 2 };
        let line = Line::new(at, faults, 17 + lost);
        let name = format!("core-xnu-1234.5-192.0.2.9-{lost}{features:?}");
        let name = name.replace(['(', ')'], "_");
        let mut mac = Mac::connect(line.address, &name, features).unwrap();
        assert_eq!(mac.large, features.is_some());
        assert_eq!(mac.size > 512, features == Some(3));
        // The pages first, and then what is before them.
        mac.write(1 << 17, &second);
        mac.write(0, &first);
        mac.packet(EOF, &[]);
        let dump = receiver.next();
        assert_eq!(dump["protocol"], "kdumpd");
        assert_eq!(dump["verdict"], "sound", "{dump}");
        assert!(dump["number"].is_null());
        let got = receiver.read(&dump);
        assert!(got[..100_000] == first && got[1 << 17..] == second);
        assert!(got[100_000..1 << 17].iter().all(|b| *b == 0));
        assert!(dump["file"].as_str().unwrap().ends_with(&name));
        // What has a name is not replaced: EEXISTS.
        assert_eq!(Mac::connect(at, &name, features).err(), Some(6));
    }
    assert_eq!(Mac::connect(at, "../x", None).err(), Some(2));
    assert_eq!(Mac::connect(at, "vmcore.0", None).err(), Some(2));
    let (status, text, _, dir) = receiver.stop();
    assert_eq!(status, Some(0), "{text}");
    no_temporary(&dir);
}

#[test]
fn a_core_that_stops_coming_is_kept_as_incomplete() {
    let (receiver, at) = start(&["--timeout", "1s"]);
    let mut mac = Mac::connect(at, "core-a", Some(3)).unwrap();
    mac.write(0, b"what there is");
    let dump = receiver.next();
    assert_eq!(
        (&dump["end"], &dump["complete"]),
        (&"timeout".into(), &false.into())
    );
    assert_eq!(receiver.read(&dump), b"what there is");
    let mut mac = Mac::connect(at, "core-a", Some(3)).unwrap();
    mac.write(5, b"later");
    let (status, text, dumps, dir) = receiver.stop();
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(dumps.len(), 1);
    let names = dir.names();
    assert_eq!(names, ["core-a.incomplete", "core-a.incomplete.1"]);
}

fn no_temporary(dir: &CrashDir) {
    let names = dir.names();
    assert!(!names.iter().any(|n| n.contains("tmp")), "{names:?}");
}
