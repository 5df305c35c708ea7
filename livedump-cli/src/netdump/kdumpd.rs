// SPDX-License-Identifier: BSD-2-Clause
//! The protocol of kdumpd(8), to which kernels of macOS send a core when they
//! panic: TFTP with larger numbers. Mirrors kdumpd.c of network_cmds and
//! kdp_udp.c of xnu.
//!
//! ```text
//!  u16 opcode@0  u32 block or error@2  data@6           all big-endian
//!  WRQ  opcode@0, then NAME\0 "octet"\0 and perhaps "features"\0 u32 mask
//!       u32 size of a packet
//! ```
//!
//! ```text
//!  client:1069                   server
//!    WRQ            -> :1069
//!                   <- :P  ACK 0     features accepted in the high byte
//!    SEEK 1 offset  -> :P            u64 with LARGE_CRASHDUMPS, else u32
//!    DATA 2         -> :P            one at a time
//!                   <- :P  ACK n
//!    EOF n          -> :P
//! ```

use super::ranges::Ranges;
use super::session::Failure;
use crate::crashdir::{CrashDir, Temp};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Where servers take requests. C: `CORE_REMOTE_PORT`.
pub const KDUMPD_PORT: u16 = 1069;
const HEADER_BYTES: usize = 6;
const LARGE_CRASHDUMPS: u32 = 1;
const LARGE_PACKETS: u32 = 2;
const FEATURES: &[u8] = b"features";
/// The longest name.
const MAX_NAME: usize = 200;
/// How names start. C: `kdp_get_dump_header` and its kin.
const PREFIXES: [&str; 3] = ["core-", "paniclog-", "systemlog-"];
/// Where a core ends at the latest.
const MAX_END: u64 = 1 << 46;

const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const SEEK: u16 = 6;
const EOF: u16 = 7;
const FLUSH: u16 = 8;

/// Error codes of TFTP. RFC 1350.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Refusal {
    /// A name that is not one of a core.
    Access = 2,
    /// No space.
    Space = 3,
    /// Another mode than octet.
    Operation = 4,
    /// There is a file of this name.
    Exists = 6,
}

/// An ERROR for a client.
#[must_use]
pub fn refusal(why: Refusal) -> Vec<u8> {
    let text = match why {
        Refusal::Access => "Access violation",
        Refusal::Space => "Disk full or allocation exceeded",
        Refusal::Operation => "Illegal KDUMP operation",
        Refusal::Exists => "File already exists",
    };
    let mut out = packet(ERROR, why as u32).to_vec();
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    out
}

fn packet(opcode: u16, number: u32) -> [u8; HEADER_BYTES] {
    let ([a, b], [c, d, e, f]) = (opcode.to_be_bytes(), number.to_be_bytes());
    [a, b, c, d, e, f]
}

/// A request to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the file.
    pub name: String,
    /// Those that are asked for and known here.
    pub features: u32,
}

impl Request {
    /// Reads one. `None`: it is none, and is not answered.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Result<Self, Refusal>> {
        let (opcode, rest) = datagram.split_first_chunk()?;
        if u16::from_be_bytes(*opcode) != WRQ {
            return None;
        }
        let mut words = rest.splitn(3, |byte| *byte == 0);
        let (name, mode, rest) = (words.next()?, words.next()?, words.next()?);
        if !mode.eq_ignore_ascii_case(b"octet") {
            return Some(Err(Refusal::Operation));
        }
        let features = rest
            .strip_prefix(FEATURES)
            .and_then(|rest| rest.strip_prefix(&[0]))
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |mask| u32::from_be_bytes(*mask));
        let features = features & (LARGE_CRASHDUMPS | LARGE_PACKETS);
        Some(match core_name(name) {
            Some(name) => Ok(Self { name, features }),
            None => Err(Refusal::Access),
        })
    }
}

/// A name that is one of a core, and of nothing else in a crash directory.
fn core_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+~".contains(c);
    let is_core = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (is_core && name.len() <= MAX_NAME && name.chars().all(plain))
        .then(|| name.into())
}

/// A core that is sent.
#[derive(Debug)]
pub struct Core<'d> {
    /// Who sends it.
    pub peer: SocketAddr,
    /// Its name.
    pub name: String,
    /// The file, until it is over.
    pub file: Option<Temp<'d>>,
    /// Which bytes of it have come.
    pub ranges: Ranges,
    /// When it came.
    pub started: Instant,
    /// When it was last heard of.
    pub heard: Instant,
    /// Packets that were kept, and those that came again.
    pub packets: (u64, u64),
    directory: &'d CrashDir,
    features: u32,
    /// The next one.
    block: u32,
    /// Where its data goes.
    offset: u64,
    over: bool,
}

/// What a packet did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes are new.
    Kept(u64),
    /// Nothing.
    Ignored,
    /// It was the last one.
    Finished,
    /// The client gives up.
    GaveUp,
}

impl<'d> Core<'d> {
    /// Starts with a request.
    #[must_use]
    pub fn new(
        directory: &'d CrashDir,
        peer: SocketAddr,
        request: Request,
    ) -> Self {
        let now = Instant::now();
        Self {
            peer,
            name: request.name,
            file: None,
            ranges: Ranges::default(),
            started: now,
            heard: now,
            packets: (0, 0),
            directory,
            features: request.features,
            block: 1,
            offset: 0,
            over: false,
        }
    }

    /// The answer to its request.
    #[must_use]
    pub fn accepted(&self) -> [u8; HEADER_BYTES] {
        let features = u16::try_from(self.features).unwrap_or(0);
        packet(ACK | features.wrapping_shl(8), 0)
    }

    /// Whether a request is the one that it started with, sent again.
    #[must_use]
    pub fn is_request_again(&self, request: &Request) -> bool {
        self.block == 1 && !self.over && self.name == request.name
    }

    /// Whether nothing has come but its request.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.block == 1 && !self.over
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Says that it is over.
    pub fn end(&mut self) {
        self.over = true;
    }

    /// The same with the file; what is left only answers.
    #[must_use]
    pub fn take_file(&mut self) -> Self {
        Self {
            file: self.file.take(),
            name: self.name.clone(),
            ranges: self.ranges.clone(),
            ..*self
        }
    }

    /// For how long nothing has come.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    /// Takes a packet. The answer is an ACK of the returned block.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn take(
        &mut self,
        datagram: &[u8],
        room: u64,
    ) -> Result<(Step, Option<[u8; HEADER_BYTES]>), Failure> {
        let Some((head, data)) = datagram.split_first_chunk::<HEADER_BYTES>()
        else {
            return Ok((Step::Ignored, None));
        };
        let [a, b, c, d, e, f] = *head;
        let opcode = u16::from_be_bytes([a, b]);
        let block = u32::from_be_bytes([c, d, e, f]);
        let ours = matches!(opcode, DATA | SEEK | EOF | FLUSH);
        if opcode == ERROR && !self.over {
            return Ok((Step::GaveUp, None));
        }
        // What was acknowledged and is sent again: the ACK was lost.
        if ours && block == self.block.wrapping_sub(1) {
            self.packets.1 = self.packets.1.saturating_add(1);
            return Ok((Step::Ignored, Some(packet(ACK, block))));
        }
        if !ours || block != self.block || self.over {
            return Ok((Step::Ignored, None));
        }
        let step = match opcode {
            EOF => Step::Finished,
            SEEK => match self.seek(data) {
                Some(offset) => {
                    self.offset = offset;
                    Step::Kept(0)
                }
                None => return Ok((Step::Ignored, None)),
            },
            DATA => Step::Kept(self.write(data, room)?),
            _ => Step::Kept(0),
        };
        self.heard = Instant::now();
        self.packets.0 = self.packets.0.saturating_add(1);
        self.block = block.wrapping_add(1);
        Ok((step, Some(packet(ACK, block))))
    }

    fn seek(&self, data: &[u8]) -> Option<u64> {
        let offset = match self.features & LARGE_CRASHDUMPS {
            0 => u64::from(u32::from_be_bytes(*data.first_chunk()?)),
            _ => u64::from_be_bytes(*data.first_chunk()?),
        };
        (offset <= MAX_END).then_some(offset)
    }

    fn write(&mut self, data: &[u8], room: u64) -> Result<u64, Failure> {
        let len = data.len() as u64;
        let end = self.offset.saturating_add(len);
        if len > room || end > MAX_END {
            return Err(Failure::Space);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.directory.temp()?),
        };
        file.file().write_all_at(data, self.offset)?;
        let new = self.ranges.insert(self.offset, len)?;
        self.offset = end;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, features: Option<u32>) -> Vec<u8> {
        let mut out = vec![0, 2];
        out.extend(name.as_bytes());
        out.extend(b"\0octet\0");
        if let Some(features) = features {
            out.extend(b"features\0");
            out.extend(features.to_be_bytes());
            out.extend(1434u32.to_be_bytes());
        }
        out
    }

    #[test]
    fn a_request_names_a_core_and_no_other_file() {
        let good = "core-xnu-4570.41.2-192.0.2.1-5a1f";
        let decoded = Request::decode(&request(good, Some(7)));
        let want = Request { name: good.into(), features: 3 };
        assert_eq!(decoded, Some(Ok(want)));
        let decoded = Request::decode(&request(good, None));
        assert_eq!(decoded.unwrap().unwrap().features, 0);
        for bad in ["bounds", "vmcore.0", "core-/etc/passwd", "core-\n", ""] {
            let decoded = Request::decode(&request(bad, None));
            assert_eq!(decoded, Some(Err(Refusal::Access)), "{bad}");
        }
        let mut netascii = vec![0, 2];
        netascii.extend(b"core-x\0netascii\0");
        let decoded = Request::decode(&netascii);
        assert_eq!(decoded, Some(Err(Refusal::Operation)));
        for bad in [&b""[..], b"\0", b"\0\x01core-x\0octet\0", b"\0\x02core-x"]
        {
            assert_eq!(Request::decode(bad), None, "{bad:?}");
        }
        assert_eq!(refusal(Refusal::Exists)[..6], [0, 5, 0, 0, 0, 6]);
    }

    #[test]
    fn blocks_come_one_after_the_other() {
        let tmp = tempfile::tempdir().unwrap();
        let directory = CrashDir::open(tmp.path()).unwrap();
        let peer = "192.0.2.1:1069".parse().unwrap();
        let request = Request { name: "core-x".into(), features: 1 };
        let mut core = Core::new(&directory, peer, request);
        assert_eq!(core.accepted(), [1, 4, 0, 0, 0, 0]);
        let mut take = |opcode, block, data: &[u8]| {
            let mut bytes = packet(opcode, block).to_vec();
            bytes.extend(data);
            core.take(&bytes, 100).unwrap()
        };
        let ack = |block| Some(packet(ACK, block));
        assert_eq!(take(DATA, 1, b"abc"), (Step::Kept(3), ack(1)));
        assert_eq!(take(DATA, 1, b"xyz"), (Step::Ignored, ack(1)));
        assert_eq!(take(DATA, 3, b"xyz"), (Step::Ignored, None));
        let six = 6u64.to_be_bytes();
        assert_eq!(take(SEEK, 2, &six), (Step::Kept(0), ack(2)));
        assert_eq!(take(SEEK, 3, &[0xff; 8]), (Step::Ignored, None));
        assert_eq!(take(DATA, 3, b"ghi"), (Step::Kept(3), ack(3)));
        assert_eq!(take(EOF, 4, b""), (Step::Finished, ack(4)));
        assert_eq!(take(EOF, 4, b""), (Step::Ignored, ack(4)));
        core.end();
        let file = std::fs::read(core.file.as_ref().unwrap().path()).unwrap();
        assert_eq!(file, b"abc\0\0\0ghi");
    }
}
