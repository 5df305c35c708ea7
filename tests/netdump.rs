// SPDX-License-Identifier: BSD-2-Clause
//! Dumps over the network: `receive` with the kernel's client as it is, its
//! defect included, and `send` with a server of its own kind and with one that
//! is modelled on netdumpd(8); over a line that loses, doubles and reorders
//! in both directions. Nothing here knows the tool's code for the protocol.

mod arriving;
mod kernel;
mod limits;
mod line;
mod macos;
mod many;
mod netdumpd;
mod receiver;
mod sending;

use crate::tool::CrashDir;
use memdev::kerneldump::{
    Compression, HEADER_SIZE, KernelDumpHeader, Magic, VERSION,
};

/// A dump that is known, and its header.
struct Known {
    data: Vec<u8>,
    header: [u8; HEADER_SIZE],
}

/// Of the built-in machine; what a panic would leave of it.
fn panicked(options: &[&str]) -> Known {
    let dir = CrashDir::new();
    dir.capture("model:16M", options).expect(0);
    let (name, codec) = match options {
        ["-Z"] => ("livecore.0.zst", Compression::Zstd),
        _ => ("livecore.0", Compression::None),
    };
    let data = dir.read(name);
    let header = header(data.len() as u64, codec, 0, b"a test");
    Known { data, header }
}

fn header(
    length: u64,
    compression: Compression,
    keysize: u32,
    panic: &[u8],
) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: b"amd64",
        version: VERSION,
        architecture_version: 2,
        dumplength: length,
        dumptime: 1_700_000_000,
        dumpkeysize: keysize,
        blocksize: 4096,
        hostname: b"lost.example",
        versionstring: b"FreeBSD 15.1-RELEASE\n",
        panicstring: panic,
        compression,
        dumpextent: length,
    }
    .encode(&mut bytes);
    bytes
}

/// A message as <net/debugnet.h> has it.
fn message(kind: u32, seqno: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    let len = data.len() as u32;
    let mut bytes = Vec::with_capacity(24 + data.len());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(seqno.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(data);
    bytes
}

const HERALD: u32 = 1;
const FINISHED: u32 = 2;
const VMCORE: u32 = 3;
const KDH: u32 = 4;
const EKCD_KEY: u32 = 5;

/// xorshift; a seed replays a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// True in so many of 10,000 cases.
    fn happens(&mut self, of_10000: u64) -> bool {
        self.next() % 10_000 < of_10000
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next() as u8).take(len).collect()
    }
}
