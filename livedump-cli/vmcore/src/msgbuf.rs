// SPDX-License-Identifier: BSD-2-Clause
//! The message buffer: the copy in the dump's own section, and the one that
//! `msgbufp` leads to. C: `struct msgbuf`, <sys/msgbuf.h>.
//!
//! The section has the ring, not its write position. Until the ring is full
//! the rest of it is NUL, and skipping NULs is all it takes; once it was full,
//! only the position says where it starts. The kernel's memory has it; and
//! often so has the section's last page, because a kernel keeps the structure
//! right behind the text and dumps whole pages.

use super::elf::Kernel;
use super::source::SourceError;
use super::{ReadError, Vmcore};
use memdev::addr::Vaddr;

/// C: `MSG_MAGIC`.
pub const MSG_MAGIC: u32 = 0x06_3062;
/// More than any kernel is configured to have; a header may claim 4 GiB.
pub(super) const MAX_BYTES: u32 = 32 << 20;
/// As much is read at once.
const PIECE: usize = 1 << 20;
const STRUCT_BYTES: usize = 24;

/// Why there is no message buffer.
#[derive(Debug, thiserror::Error)]
pub enum MsgbufError {
    /// Larger than any.
    #[error("a message buffer of {0} bytes is too large")]
    Size(u32),
    /// The file ends before it starts.
    #[error("the file ends at {end:#x}, before the message buffer")]
    BeyondEnd {
        /// Where it ends.
        end: u64,
    },
    /// The kernel file lacks the symbol.
    #[error("kernel {0} has no symbol msgbufp")]
    NoSymbol(String),
    /// A pointer on the way leads nowhere.
    #[error("following msgbufp: reading {what}")]
    Memory {
        /// What it should be.
        what: &'static str,
        /// Why it is not there.
        source: ReadError,
    },
    /// msgbufp points to something else.
    #[error(
        "following msgbufp: magic {found:#x} at {at}, expected {MSG_MAGIC:#x}"
    )]
    Magic {
        /// Where.
        at: Vaddr,
        /// What is there.
        found: u32,
    },
    /// The section cannot be read.
    #[error("reading the message buffer")]
    Source(#[from] SourceError),
}

impl MsgbufError {
    /// Whether it is this host that could not read it.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        match self {
            Self::Source(e) => e.is_environment(),
            Self::Memory { source, .. } => source.is_environment(),
            _ => false,
        }
    }
}

/// C: `struct msgbuf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "msgbuf")]
pub struct MsgbufHeader {
    /// Where it stands.
    pub address: Vaddr,
    /// The ring. C: `msg_ptr`.
    pub ptr: Vaddr,
    /// Its bytes. C: `msg_size`.
    pub size: u32,
    /// Bytes ever written. C: `msg_wseq`.
    pub wseq: u32,
    /// Bytes ever read. C: `msg_rseq`.
    pub rseq: u32,
}

impl MsgbufHeader {
    /// Where in the ring the next byte goes, and so the oldest one is.
    #[must_use]
    pub fn position(&self) -> usize {
        self.wseq.checked_rem(self.size).unwrap_or(0) as usize
    }
}

/// A ring as it is in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where the oldest one is, where that is known.
    pub position: Option<usize>,
    /// Whether some of it is missing.
    pub truncated: bool,
}

impl Ring {
    /// Its text from the oldest byte to the newest, without NULs.
    #[must_use]
    pub fn unrolled(&self) -> Vec<u8> {
        let at = self.position.unwrap_or(0).min(self.bytes.len());
        let (new, old) = self.bytes.split_at_checked(at).unwrap_or_default();
        old.iter().chain(new).copied().filter(|&b| b != 0).collect()
    }

    /// Whether it was written around its end, so that without a position
    /// nobody can tell where it starts.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.bytes.is_empty() && !self.bytes.contains(&0)
    }

    /// How many bytes before `position` may have been written since `older`
    /// was copied: up to the furthest that differs.
    #[must_use]
    pub fn written_since(&self, older: &Self) -> Option<usize> {
        let n = self.bytes.len();
        let at = self.position?;
        if older.bytes.len() != n {
            return None;
        }
        let differs = self.bytes.iter().zip(&older.bytes).enumerate();
        let distance = |i: usize| {
            at.checked_sub(i).unwrap_or(at.saturating_add(n).saturating_sub(i))
        };
        let written = differs
            .filter(|(_, (a, b))| a != b)
            .map(|(i, _)| match distance(i) {
                0 => n,
                d => d,
            })
            .max();
        Some(written.unwrap_or(0))
    }
}

impl Vmcore {
    /// The message buffer section.
    ///
    /// # Errors
    /// It is not there.
    pub fn msgbuf_section(&self) -> Result<Ring, MsgbufError> {
        let size = self.header.msgbufsize;
        if size > MAX_BYTES {
            return Err(MsgbufError::Size(size));
        }
        let at = self.layout.msgbuf;
        let there = self.source.known_len().map(|end| end.saturating_sub(at));
        let want = there.map_or(u64::from(size), |t| t.min(size.into()));
        let mut bytes = vec![0; want as usize];
        let mut got = 0usize;
        for piece in bytes.chunks_mut(PIECE) {
            let from = at.saturating_add(got as u64);
            match self.source.read_at(from, piece) {
                Ok(n) => got = got.saturating_add(n),
                // What comes before damage is text all the same.
                Err(e) if got > 0 && !e.is_environment() => break,
                Err(e) => return Err(e.into()),
            }
            if !got.is_multiple_of(PIECE) {
                break;
            }
        }
        if got == 0 && size > 0 {
            let end = self.source.known_len().unwrap_or(at);
            return Err(MsgbufError::BeyondEnd { end });
        }
        bytes.truncate(got);
        let end = self.layout.dump_avail.max(at.saturating_add(want));
        let lost = self.lost.has(at, end.saturating_sub(at));
        let truncated = got < size as usize || lost;
        let mut ring = Ring { bytes, position: None, truncated };
        if !truncated && self.layout.dump_avail >= at.saturating_add(want) {
            ring.position = self.position_behind(at.saturating_add(want))?;
        }
        Ok(ring)
    }

    /// The position in a structure that stands in the rest of the section.
    fn position_behind(&self, at: u64) -> Result<Option<usize>, SourceError> {
        let mut raw = [0; STRUCT_BYTES];
        let room = self.layout.dump_avail.saturating_sub(at);
        if room < raw.len() as u64 {
            return Ok(None);
        }
        self.source.read_at(at, &mut raw)?;
        let (magic, h) = decode(Vaddr(0), &raw);
        let is_current = magic == MSG_MAGIC && h.size == self.header.msgbufsize;
        Ok(is_current.then(|| h.position()))
    }

    /// The kernel's own `struct msgbuf`.
    ///
    /// # Errors
    /// msgbufp does not lead to one.
    pub fn msgbuf_header(
        &self,
        kernel: &Kernel,
    ) -> Result<MsgbufHeader, MsgbufError> {
        let Some(symbol) = kernel.find("msgbufp") else {
            return Err(MsgbufError::NoSymbol(kernel.path().to_string()));
        };
        let memory = |what| move |source| MsgbufError::Memory { what, source };
        let address =
            self.read_u64(symbol.address).map_err(memory("msgbufp"))?;
        let address = Vaddr(address);
        let mut raw = [0; STRUCT_BYTES];
        self.read_va(address, &mut raw)
            .map_err(memory("the structure it points to"))?;
        let (found, header) = decode(address, &raw);
        if found != MSG_MAGIC {
            return Err(MsgbufError::Magic { at: address, found });
        }
        if header.size > MAX_BYTES {
            return Err(MsgbufError::Size(header.size));
        }
        Ok(header)
    }

    /// The ring that a `struct msgbuf` points to.
    ///
    /// # Errors
    /// None of it is there.
    pub fn msgbuf_ring(&self, h: &MsgbufHeader) -> Result<Ring, MsgbufError> {
        let mut bytes = vec![0; h.size as usize];
        let read = self.read_va(h.ptr, &mut bytes);
        let position = Some(h.position());
        match read {
            Ok(()) => Ok(Ring { bytes, position, truncated: false }),
            Err(e) if e.done > 0 => {
                if let Some(missing) = bytes.get_mut(e.done..) {
                    missing.fill(0);
                }
                Ok(Ring { bytes, position, truncated: true })
            }
            Err(source) => {
                let what = "the text";
                Err(MsgbufError::Memory { what, source })
            }
        }
    }
}

/// The structure's fields: msg_ptr at 0, msg_magic at 8, msg_size at 12,
/// msg_wseq at 16, msg_rseq at 20. The magic comes first.
fn decode(at: Vaddr, raw: &[u8; STRUCT_BYTES]) -> (u32, MsgbufHeader) {
    let (words, _) = raw.as_chunks::<4>();
    let word = |i: usize| words.get(i).map_or(0, |&b| u32::from_le_bytes(b));
    let header = MsgbufHeader {
        address: at,
        ptr: Vaddr(u64::from(word(1)) << 32 | u64::from(word(0))),
        size: word(3),
        wseq: word(4),
        rseq: word(5),
    };
    (word(2), header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(bytes: &[u8], position: Option<usize>) -> Ring {
        Ring { bytes: bytes.to_vec(), position, truncated: false }
    }

    #[test]
    fn a_ring_that_is_not_full_reads_from_its_start() {
        let r = ring(b"one\ntwo\n\0\0\0", None);
        assert_eq!(r.unrolled(), b"one\ntwo\n");
        assert!(!r.is_full());
    }

    #[test]
    fn a_full_ring_reads_from_its_oldest_byte() {
        let r = ring(b"two\none\n", Some(4));
        assert_eq!(r.unrolled(), b"one\ntwo\n");
        assert!(r.is_full());
        assert_eq!(ring(b"ab", Some(9)).unrolled(), b"ab");
    }

    #[test]
    fn what_was_written_since_is_measured_back_from_the_position() {
        let now = ring(b"abCDef", Some(4));
        assert_eq!(now.written_since(&ring(b"abcdef", None)), Some(2));
        assert_eq!(now.written_since(&ring(b"abCDef", None)), Some(0));
        assert_eq!(now.written_since(&ring(b"abCDeF", None)), Some(5));
        assert_eq!(now.written_since(&ring(b"abCDEf", None)), Some(6));
        assert_eq!(now.written_since(&ring(b"abc", None)), None);
    }
}
