// SPDX-License-Identifier: BSD-2-Clause
//! Whole blocks out: what comes in odd lengths (compressed frames) is
//! gathered, what is whole pages already goes straight through.

use super::vnode;
use crate::error::{Errno, Result};
use crate::kpi::Kpi;
use crate::progress::Progress;
use memdev::addr::PAGE_SIZE;

/// Pages gathered before they are written.
const GATHER_PAGES: usize = 32;

pub(super) struct BlockWriter<'a, K: Kpi> {
    kpi: &'a K,
    file: &'a K::File,
    progress: &'a Progress,
    gathered: K::Pages,
    len: usize,
    /// Where in the file `gathered` begins. C: `dumpoff`.
    dumpoff: u64,
}

impl<'a, K: Kpi> BlockWriter<'a, K> {
    pub(super) fn new(
        kpi: &'a K,
        file: &'a K::File,
        progress: &'a Progress,
    ) -> Result<Self> {
        let gathered = kpi.malloc_pages(GATHER_PAGES)?;
        Ok(Self { kpi, file, progress, gathered, len: 0, dumpoff: 0 })
    }

    /// Appends bytes, writing whenever there is a bufferful.
    pub(super) fn append(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let room = self.gathered.as_flattened_mut().get_mut(self.len..);
            let room = room.ok_or(Errno::E2BIG)?;
            let n = room.len().min(data.len());
            let (now, later) = data.split_at_checked(n).ok_or(Errno::E2BIG)?;
            room.get_mut(..n).ok_or(Errno::E2BIG)?.copy_from_slice(now);
            self.len += n;
            data = later;
            if self.len == GATHER_PAGES * PAGE_SIZE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes whole pages from where they are.
    pub(super) fn write_through(&mut self, pages: &[u8]) -> Result<()> {
        vnode::dump(self.kpi, self.file, self.dumpoff, pages)?;
        self.advance(pages.len());
        Ok(())
    }

    /// Leaves a hole.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.advance(bytes);
    }

    /// Writes the rest, its last block padded with zeros, and returns where
    /// the data ends.
    pub(super) fn finish(&mut self) -> Result<u64> {
        let end = self.dumpoff + self.len as u64;
        let padded = self.len.next_multiple_of(PAGE_SIZE);
        let pad = self.gathered.as_flattened_mut().get_mut(self.len..padded);
        pad.ok_or(Errno::E2BIG)?.fill(0);
        self.len = padded;
        self.flush()?;
        self.progress.bytes_out(end);
        Ok(end)
    }

    fn flush(&mut self) -> Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        let bytes = self.gathered.as_flattened().get(..self.len);
        let bytes = bytes.ok_or(Errno::E2BIG)?;
        vnode::dump(self.kpi, self.file, self.dumpoff, bytes)?;
        let written = self.len;
        self.len = 0;
        self.advance(written);
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.dumpoff += bytes as u64;
        self.progress.bytes_out(self.dumpoff);
    }
}
