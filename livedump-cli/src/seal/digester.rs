// SPDX-License-Identifier: BSD-2-Clause
//! The digest of one part of a file.

use super::Sum;
use livedump_vmcore::source::{Plain, Source, SourceError};
use std::io::ErrorKind;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3Default;

/// What is read at a time.
const PIECE: usize = 256 << 10;

/// What one thread makes digests with, all of parts of one size.
pub(super) struct Digester {
    part: u64,
    buf: Vec<u8>,
    /// That of a whole part of nothing but a hole.
    hole: Option<Sum>,
}

impl Digester {
    pub(super) fn new(part: u64) -> Self {
        Self { part, buf: vec![0; PIECE], hole: None }
    }

    /// The digest of one part; none where `stop` says so before its end. That
    /// of a whole part of nothing but a hole is computed once.
    pub(super) fn sum(
        &mut self,
        file: &Plain,
        range: Range<u64>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Sum>, SourceError> {
        let whole = range.end - range.start == self.part;
        let empty = whole && file.next_data(range.start) >= range.end;
        if let Some(sum) = self.hole.filter(|_| empty) {
            return Ok(Some(sum));
        }
        if empty {
            self.buf.fill(0);
        }
        let mut hash = Xxh3Default::new();
        let mut at = range.start;
        while at < range.end {
            if stop() {
                return Ok(None);
            }
            let n = (range.end - at).min(PIECE as u64) as usize;
            let piece = self.buf.get_mut(..n).unwrap_or_default();
            let got = if empty { n } else { file.read_at(at, piece)? };
            if got < n {
                let source = ErrorKind::UnexpectedEof.into();
                return Err(SourceError::Io { offset: at, source });
            }
            hash.update(&*piece);
            at += n as u64;
        }
        let sum = hash.digest128();
        if empty {
            self.hole = Some(sum);
        }
        Ok(Some(sum))
    }
}
