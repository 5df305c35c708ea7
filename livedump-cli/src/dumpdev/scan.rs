// SPDX-License-Identifier: BSD-2-Clause
//! Every dump that is left on a device: the one at its end, those that were
//! saved, those whose trailing header is gone, and those of a time when the
//! device had another end. savecore(8) finds the first alone.
//!
//! A dump of a kernel may hold a copy of a header: what lies between the two
//! headers of a dump is not looked at.

use super::locate::{
    BLOCKS, has_magic, leading_of, parity_before_cleared, same, trailer_of,
};
use super::{DumpDev, Error};
use crate::report::escape;
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, Magic, parity_ok};
use serde::Serialize;
use std::ops::ControlFlow;

/// What is read at a time; a multiple of every block size.
const PIECE: usize = 1 << 20;
/// Headers that are looked at; more are of no dumps.
const MAX_HEADERS: usize = 4096;

/// What became of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Both headers are there.
    Unsaved,
    /// The trailing header says that it was saved.
    Saved,
    /// The trailing header is not there.
    NoTrailer,
    /// Another dump begins within it.
    Overwritten,
}

impl State {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Unsaved => "unsaved",
            Self::Saved => "saved",
            Self::NoTrailer => "no trailer",
            Self::Overwritten => "overwritten",
        }
    }
}

/// A dump that is left.
#[derive(Clone, Debug, Serialize)]
pub struct FoundDump {
    /// Where its leading header is.
    pub offset: u64,
    /// The first byte behind its trailing one.
    pub end: u64,
    /// What became of it.
    pub state: State,
    /// Whether it is a textdump(4).
    pub text: bool,
    /// What it is compressed with.
    pub compression: &'static str,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its bytes.
    pub dumplength: u64,
    /// Unix seconds.
    pub dumptime: u64,
    /// Of its header.
    pub hostname: String,
    /// Of its header.
    pub panic: String,
}

/// A header that was met.
struct Met {
    at: u64,
    bytes: [u8; HEADER_SIZE],
}

impl DumpDev {
    /// Reads all of the device, and lists the dumps on it by their offsets.
    /// `read` is told how many bytes were read, and may end it: what was
    /// found until then is the answer.
    ///
    /// # Errors
    /// The device cannot be read; there are more headers than dumps could have.
    pub fn scan(
        &self,
        mut read: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Vec<FoundDump>, Error> {
        let mut piece = vec![0; PIECE];
        let mut met = Vec::new();
        let mut at = 0;
        while let Some(left) = self.size.checked_sub(at).filter(|n| *n > 0) {
            let n = left.min(PIECE as u64);
            let bytes = piece.get_mut(..n as usize).unwrap_or_default();
            self.read(bytes, at)?;
            for (bytes, at) in bytes
                .as_chunks::<HEADER_SIZE>()
                .0
                .iter()
                .zip((at..).step_by(HEADER_SIZE))
            {
                if is_header(bytes) {
                    met.push(Met { at, bytes: *bytes });
                }
            }
            if met.len() > MAX_HEADERS {
                return Err(Error::Shape {
                    path: self.path.clone(),
                    text: format!("more than {MAX_HEADERS} headers"),
                });
            }
            at = at.saturating_add(n);
            if read(n).is_break() {
                break;
            }
        }
        Ok(self.dumps(&met))
    }

    /// The dumps that these headers are of, which are in order.
    fn dumps(&self, met: &[Met]) -> Vec<FoundDump> {
        let find = |at: u64| {
            let nth = met.binary_search_by_key(&at, |m| m.at).ok()?;
            met.get(nth)
        };
        let mut out = Vec::new();
        let mut lone = Vec::new();
        // Those with both headers first: what is in them is theirs.
        for m in met {
            let Ok(h) = KernelDumpHeader::decode(&m.bytes) else { continue };
            let block = h.blocksize as usize;
            let trailer = trailer_of(&h, block, m.at)
                .filter(|at| self.has_block(*at, block))
                .and_then(find);
            let cleared = trailer.is_some_and(|t| is_cleared(&t.bytes));
            match trailer {
                _ if h.magic == Magic::Cleared => {}
                Some(t) if same(&t.bytes, &m.bytes, cleared) => {
                    let state = match cleared {
                        true => State::Saved,
                        false => State::Unsaved,
                    };
                    out.push(found(m.at, t.at, &h, state));
                }
                _ => {
                    let leading = leading_of(&h, block, m.at).and_then(find);
                    if !leading.is_some_and(|l| same(&l.bytes, &m.bytes, false))
                    {
                        lone.push((m.at, h));
                    }
                }
            }
        }
        let mut end = 0;
        out.retain(|it: &FoundDump| {
            let is_within = it.offset < end;
            end = end.max(it.end);
            !is_within
        });
        for (at, h) in lone {
            let Some(end) = trailer_of(&h, h.blocksize as usize, at) else {
                continue;
            };
            let within = |d: &FoundDump| (d.offset..d.end).contains(&at);
            if end <= self.size && !out.iter().any(within) {
                let begins = |d: &FoundDump| (at..end).contains(&d.offset);
                let state = match out.iter().any(begins) {
                    true => State::Overwritten,
                    false => State::NoTrailer,
                };
                out.push(found(at, end, &h, state));
            }
        }
        out.sort_by_key(|d| d.offset);
        out
    }
}

fn is_header(bytes: &[u8; HEADER_SIZE]) -> bool {
    has_magic(bytes)
        && (parity_ok(bytes) || parity_before_cleared(bytes))
        && KernelDumpHeader::decode(bytes).is_ok_and(|h| {
            let block = h.blocksize as usize;
            BLOCKS.contains(&block)
                && h.dumplength > 0
                && h.dumplength <= h.dumpextent
                && h.dumpextent.is_multiple_of(block as u64)
                && u64::from(h.dumpkeysize).is_multiple_of(block as u64)
        })
}

fn is_cleared(bytes: &[u8; HEADER_SIZE]) -> bool {
    KernelDumpHeader::decode(bytes).is_ok_and(|h| h.magic == Magic::Cleared)
}

fn found(
    offset: u64,
    trailer_at: u64,
    h: &KernelDumpHeader<'_>,
    state: State,
) -> FoundDump {
    let end = match state {
        State::NoTrailer | State::Overwritten => trailer_at,
        State::Unsaved | State::Saved => {
            trailer_at.saturating_add(h.blocksize.into())
        }
    };
    FoundDump {
        offset,
        end,
        state,
        text: h.magic == Magic::Text,
        compression: h.compression.name(),
        encrypted: h.dumpkeysize > 0,
        dumplength: h.dumplength,
        dumptime: h.dumptime,
        hostname: escape(h.hostname.trim_ascii_end()),
        panic: escape(h.panicstring.trim_ascii_end()),
    }
}
