// SPDX-License-Identifier: BSD-2-Clause
//! A part of a file as a buffered stream that knows where it is, so that the
//! end of one frame is the start of the next.

use super::Stored;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

const BUF_BYTES: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Range {
    file: Arc<dyn Stored>,
    /// Where the next byte to be bought in stands.
    at: u64,
    end: u64,
    buf: Box<[u8]>,
    used: usize,
    filled: usize,
}

impl Range {
    pub(super) fn new(file: Arc<dyn Stored>, at: u64, end: u64) -> Self {
        let buf = vec![0; BUF_BYTES].into_boxed_slice();
        Self { file, at, end, buf, used: 0, filled: 0 }
    }

    /// The same part from `at` on.
    pub(super) fn clone_at(&self, at: u64) -> Self {
        Self::new(Arc::clone(&self.file), at, self.end)
    }

    /// Offset in the file of the next byte that is handed out.
    pub(super) fn position(&self) -> u64 {
        self.at.saturating_sub(self.filled.saturating_sub(self.used) as u64)
    }
}

impl BufRead for Range {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used >= self.filled {
            let left = self.end.saturating_sub(self.at);
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(BUF_BYTES);
            self.used = 0;
            self.filled = 0;
            if let Some(part) = self.buf.get_mut(..n).filter(|p| !p.is_empty())
            {
                self.filled = self.file.read_at(part, self.at)?;
                self.at = self.at.saturating_add(self.filled as u64);
            }
        }
        Ok(self.buf.get(self.used..self.filled).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.used = self.used.saturating_add(n).min(self.filled);
    }
}

impl Read for Range {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut have = self.fill_buf()?;
        let n = have.read(out)?;
        self.consume(n);
        Ok(n)
    }
}
