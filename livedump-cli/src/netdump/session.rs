// SPDX-License-Identifier: BSD-2-Clause
//! One dump that a client sends: what has arrived of it, and what is
//! acknowledged. Knows no socket.

use super::burst::{Burst, Place};
use super::ranges::Ranges;
use super::wire::{EXACT_ACKS, Kind, Message};
use crate::crashdir::{self, CrashDir, Temp};
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant, SystemTime};

/// Limit of a key block: a key has 2 KB at most, and a block 64 KB.
const MAX_KEY: u64 = 128 << 10;
/// Where a dump ends at the latest.
const MAX_END: u64 = 1 << 46;

/// Why a dump ends before its client says so.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It would take more space than there is for it.
    #[error("no space left for it")]
    Space,
    /// The directory does not take it.
    #[error(transparent)]
    CrashDir(#[from] crashdir::Error),
    /// Its file does not take it.
    #[error("writing it")]
    Write(#[from] io::Error),
    /// Too many gaps.
    #[error(transparent)]
    Gaps(#[from] super::ranges::TooMany),
}

/// What a message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is kept, with so many bytes that are new.
    Kept(u64),
    /// It changes nothing.
    Ignored,
    /// It was the last one.
    Finished,
}

/// What has arrived.
#[derive(Debug, Default)]
pub struct Arriving<'d> {
    /// The data, in a file as long as its end.
    pub dump: Option<Temp<'d>>,
    /// Which bytes of it are there.
    pub ranges: Ranges,
    /// The key block, and which bytes of it are there.
    pub key: Vec<u8>,
    /// Those.
    pub key_ranges: Ranges,
    /// The kernel dump header.
    pub header: Option<Box<[u8; HEADER_SIZE]>>,
}

impl Arriving<'_> {
    /// Whether there is anything to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dump.is_none() && self.key.is_empty() && self.header.is_none()
    }

    /// Whether the key block has no hole.
    #[must_use]
    pub fn key_is_whole(&self) -> bool {
        self.key_ranges.contains(0, self.key.len() as u64)
    }
}

/// Who sends a dump, and how.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Its address.
    pub peer: SocketAddr,
    /// The path it asks for; empty if it asks for none.
    pub path: String,
    /// When it came.
    pub since: SystemTime,
    /// The same by another clock.
    pub started: Instant,
    /// When it was last heard of.
    pub heard: Instant,
    /// Messages that were kept.
    pub messages: u64,
    /// Messages that had arrived before.
    pub repeated: u64,
}

/// A dump that is sent.
#[derive(Debug)]
pub struct Session<'d> {
    /// Who sends it.
    pub sender: Sender,
    /// What there is of it; nothing once it is over.
    pub arriving: Option<Arriving<'d>>,
    directory: &'d CrashDir,
    herald: u32,
    burst: Burst,
    /// The last message, once it has come.
    last: Option<u32>,
}

impl<'d> Session<'d> {
    /// Starts with a herald; `path` is what that has.
    #[must_use]
    pub fn new(
        directory: &'d CrashDir,
        peer: SocketAddr,
        herald: &Message<'_>,
        path: &str,
    ) -> Self {
        let now = Instant::now();
        Self {
            sender: Sender {
                peer,
                path: path.into(),
                since: SystemTime::now(),
                started: now,
                heard: now,
                messages: 0,
                repeated: 0,
            },
            arriving: Some(Arriving::default()),
            directory,
            herald: herald.seqno,
            burst: Burst::after(herald.seqno, herald.aux2 == EXACT_ACKS),
            last: None,
        }
    }

    /// Whether a herald is the one that it started with, sent again: nothing
    /// else has come since.
    #[must_use]
    pub fn is_herald_again(&self, herald: &Message<'_>) -> bool {
        self.is_waiting() && self.herald == herald.seqno
    }

    /// Whether nothing has come but its herald.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.arriving.as_ref().is_some_and(Arriving::is_empty)
    }

    /// Whether it is over, and only its last messages are acknowledged again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.arriving.is_none()
    }

    /// For how long nothing has come.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sender.heard)
    }

    /// Takes a message of its client. Adds the seqnos to acknowledge to
    /// `acks`. `room` is how many bytes it may still take.
    ///
    /// # Errors
    /// Why it cannot go on; nothing is acknowledged then.
    pub fn take(
        &mut self,
        message: &Message<'_>,
        room: u64,
        acks: &mut Vec<u32>,
    ) -> Result<Taken, Failure> {
        let place = self.burst.place(message);
        if place == Place::Foreign || message.kind == Kind::Herald {
            return Ok(Taken::Ignored);
        }
        let Some(arriving) = &mut self.arriving else {
            // Its acks may have been lost.
            let ahead = |last| message.seqno.wrapping_sub(last);
            let sent = |last| ahead(last) == 0 || ahead(last) > u32::MAX / 2;
            if self.last.is_some_and(sent) {
                self.burst.arrived(message, acks);
            }
            return Ok(Taken::Ignored);
        };
        let kept = match message.kind {
            Kind::Herald => None,
            Kind::Finished => Some(0),
            Kind::Header => arriving.header(message.data),
            Kind::Key => arriving.key(message)?,
            Kind::Data => arriving.data(self.directory, message, room)?,
        };
        let Some(new) = kept else { return Ok(Taken::Ignored) };
        self.burst.arrived(message, acks);
        let sender = &mut self.sender;
        sender.heard = Instant::now();
        if new == 0 && !message.data.is_empty() {
            sender.repeated = sender.repeated.saturating_add(1);
        } else {
            sender.messages = sender.messages.saturating_add(1);
        }
        if message.kind == Kind::Finished {
            self.last = Some(message.seqno);
            return Ok(Taken::Finished);
        }
        Ok(Taken::Kept(new))
    }
}

impl<'d> Arriving<'d> {
    /// The first one counts. What is no header is not acknowledged: a client
    /// never sends it.
    fn header(&mut self, data: &[u8]) -> Option<u64> {
        let bytes: &[u8; HEADER_SIZE] = data.try_into().ok()?;
        match &self.header {
            Some(old) if old.as_ref() == bytes => Some(0),
            Some(_) => None,
            None => {
                KernelDumpHeader::decode(bytes).ok()?;
                self.header = Some(Box::new(*bytes));
                Some(HEADER_SIZE as u64)
            }
        }
    }

    fn key(&mut self, message: &Message<'_>) -> Result<Option<u64>, Failure> {
        let len = message.data.len() as u64;
        let end = message.offset.saturating_add(len);
        if end > MAX_KEY || len == 0 {
            return Ok(None);
        }
        let (Ok(start), Ok(end)) =
            (usize::try_from(message.offset), usize::try_from(end))
        else {
            return Ok(None);
        };
        let new = self.key_ranges.insert(message.offset, len)?;
        if self.key.len() < end {
            self.key.resize(end, 0);
        }
        // What is there stays.
        if new > 0
            && let Some(place) = self.key.get_mut(start..end)
        {
            place.copy_from_slice(message.data);
        }
        Ok(Some(new))
    }

    fn data(
        &mut self,
        directory: &'d CrashDir,
        message: &Message<'_>,
        room: u64,
    ) -> Result<Option<u64>, Failure> {
        let (offset, len) = (message.offset, message.data.len() as u64);
        if len == 0 || offset.saturating_add(len) > MAX_END {
            return Ok(None);
        }
        if self.ranges.contains(offset, len) {
            return Ok(Some(0));
        }
        if len > room {
            return Err(Failure::Space);
        }
        let dump = match &mut self.dump {
            Some(dump) => dump,
            none => none.insert(directory.temp()?),
        };
        dump.file().write_all_at(message.data, offset)?;
        Ok(Some(self.ranges.insert(offset, len)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(
        kind: Kind,
        seqno: u32,
        offset: u64,
        data: &[u8],
    ) -> Message<'_> {
        Message { kind, seqno, offset, aux2: 0, data }
    }

    fn started(directory: &CrashDir) -> Session<'_> {
        let herald = message(Kind::Herald, 1, 0, b"");
        let peer = "192.0.2.1:20024".parse().unwrap();
        Session::new(directory, peer, &herald, "")
    }

    fn take(session: &mut Session<'_>, it: Message<'_>) -> (Taken, Vec<u32>) {
        let mut acks = Vec::new();
        let taken = session.take(&it, 1000, &mut acks).unwrap();
        (taken, acks)
    }

    #[test]
    fn a_dump_is_where_its_offsets_say_and_the_last_ack_is_repeated() {
        let tmp = tempfile::tempdir().unwrap();
        let directory = CrashDir::open(tmp.path()).unwrap();
        let mut session = started(&directory);
        assert!(session.is_herald_again(&message(Kind::Herald, 1, 0, b"")));
        let key = message(Kind::Key, 2, 0, b"key");
        assert_eq!(take(&mut session, key), (Taken::Kept(3), vec![2]));
        assert!(!session.is_herald_again(&message(Kind::Herald, 1, 0, b"")));
        let data = message(Kind::Data, 3, 4, b"efgh");
        // It may have a partner.
        assert_eq!(take(&mut session, data), (Taken::Kept(4), vec![]));
        let data = message(Kind::Data, 4, 0, b"ab");
        assert_eq!(take(&mut session, data), (Taken::Kept(2), vec![3, 4]));
        let other = message(Kind::Data, 4, 0, b"xx");
        assert_eq!(take(&mut session, other), (Taken::Kept(0), vec![4]));
        let mut header = [0; HEADER_SIZE];
        let bad = message(Kind::Header, 5, 0, &header);
        assert_eq!(take(&mut session, bad), (Taken::Ignored, vec![]));
        header[..19].copy_from_slice(b"FreeBSD Kernel Dump");
        header[35] = 4;
        let good = message(Kind::Header, 5, 0, &header);
        assert_eq!(take(&mut session, good), (Taken::Kept(512), vec![5]));
        let last = message(Kind::Finished, 6, 0, b"");
        assert_eq!(take(&mut session, last), (Taken::Finished, vec![6]));
        let arrived = session.arriving.take().unwrap();
        assert_eq!(arrived.key, b"key");
        let file = std::fs::read(arrived.dump.as_ref().unwrap().path());
        assert_eq!(file.unwrap(), b"ab\0\0efgh");
        assert_eq!(arrived.ranges.missing(8), (1, 2));
        assert_eq!(take(&mut session, last), (Taken::Ignored, vec![6]));
        assert_eq!(take(&mut session, good), (Taken::Ignored, vec![5]));
        let later = message(Kind::Data, 7, 0, b"no");
        assert_eq!(take(&mut session, later), (Taken::Ignored, vec![]));
    }

    #[test]
    fn what_has_no_room_is_not_acknowledged() {
        let tmp = tempfile::tempdir().unwrap();
        let directory = CrashDir::open(tmp.path()).unwrap();
        let mut session = started(&directory);
        let mut acks = Vec::new();
        let it = message(Kind::Data, 2, 0, &[1; 100]);
        let failed = session.take(&it, 99, &mut acks);
        assert!(matches!(failed, Err(Failure::Space)));
        assert!(acks.is_empty());
        let far = message(Kind::Data, 2, MAX_END, b"x");
        assert_eq!(take(&mut session, far), (Taken::Ignored, vec![]));
        let large = message(Kind::Key, 2, MAX_KEY, b"x");
        assert_eq!(take(&mut session, large), (Taken::Ignored, vec![]));
        assert!(session.is_waiting());
    }
}
