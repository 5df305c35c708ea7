// SPDX-License-Identifier: BSD-2-Clause
//! Nothing but memory. The file's first byte is that of physical address 0;
//! where memory starts elsewhere (on arm64) and the file does not,
//! [`Raw::with_start`] says where; where the memory has a hole below 4 GiB, for
//! devices, and the file has not (the backing file of a guest),
//! [`Raw::with_hole`] puts it back.

use super::{Claims, Format, MemoryImage, Run};
use crate::MemoryError;
use crate::source::{Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;
/// Where memory goes on after the hole.
pub const HIGH: u64 = 4 << 30;

/// Memory below the hole.
const LOW: [u64; 3] = [2 << 30, 3 << 30, 0xe000_0000];

/// A file of memory.
#[derive(Debug)]
pub struct Raw {
    source: Arc<dyn Source>,
    len: u64,
    /// The address of the first byte.
    start: u64,
    /// Memory below the hole; `len` where there is none.
    low: u64,
    claims: Claims,
}

impl Raw {
    /// Flat memory of `len` bytes.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, len: u64) -> Self {
        let len = len.saturating_sub(len % PAGE);
        Self { source, len, start: 0, low: len, claims: Claims::default() }
    }

    fn with(&self, start: u64, low: u64) -> Self {
        let source = Arc::clone(&self.source);
        let claims = self.claims.clone();
        Self { source, len: self.len, start, low, claims }
    }

    /// The same file, and what else is known of its machine.
    #[must_use]
    pub fn with_claims(self, claims: Claims) -> Self {
        Self { claims, ..self }
    }

    /// The same file, with its first byte at `start`.
    #[must_use]
    pub fn with_start(&self, start: u64) -> Self {
        self.with(start.saturating_sub(start % PAGE), self.len)
    }

    /// The same file, with the first `low` bytes below the hole and the rest
    /// from 4 GiB on.
    #[must_use]
    pub fn with_hole(&self, low: u64) -> Self {
        self.with(0, low.min(self.len).min(HIGH))
    }

    /// The same file with each hole that machines have: that of QEMU's q35,
    /// of bhyve and pc, and of pc with less memory.
    pub fn holes(&self) -> impl Iterator<Item = Self> {
        LOW.into_iter()
            .filter(|&low| low < self.len)
            .map(|low| self.with_hole(low))
    }

    /// The file.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Bytes of memory.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the file has the byte at an address.
    pub(crate) fn offset(&self, pa: Paddr) -> Option<u64> {
        let [low, high] = self.runs();
        if (low.start..low.end).contains(&pa.0) {
            return pa.0.checked_sub(low.start);
        }
        let into = (high.start..high.end).contains(&pa.0);
        let into = into.then(|| pa.0.saturating_sub(HIGH))?;
        into.checked_add(self.low)
    }

    fn runs(&self) -> [Run; 2] {
        let above = self.len.saturating_sub(self.low);
        [
            Run { start: self.start, end: self.start.saturating_add(self.low) },
            Run { start: HIGH, end: HIGH.saturating_add(above) },
        ]
    }
}

impl MemoryImage for Raw {
    fn format(&self) -> Format {
        Format::Raw
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        let Some(from) = from.0.checked_next_multiple_of(PAGE) else {
            return Ok(None);
        };
        Ok(self.runs().into_iter().find_map(|run| {
            let start = run.start.max(from);
            (start < run.end).then_some(Run { start, end: run.end })
        }))
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let end = pa.0.saturating_add(buf.len() as u64);
        let [low, high] = self.runs();
        let at = if pa.0 >= low.start && end <= low.end {
            pa.0.saturating_sub(low.start)
        } else if pa.0 >= high.start && end <= high.end {
            pa.0.saturating_sub(HIGH).saturating_add(self.low)
        } else {
            return Err(MemoryError::NotDumped { pa });
        };
        if self.source.read_at(at, buf)? < buf.len() {
            return Err(MemoryError::NotDumped { pa });
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        let [low, high] = self.runs();
        if high.start < high.end { high.end } else { low.end }
    }
}
