// SPDX-License-Identifier: BSD-2-Clause
//! Whole blocks out: what comes in odd lengths (compressed frames) is
//! gathered, what is whole pages already goes straight through.

use super::sink::Sink;
use crate::error::{Errno, Result};
use crate::kpi::Kpi;
use crate::progress::Progress;
use memdev::addr::{PAGE_SIZE, Page};

/// Pages gathered before they are written.
const GATHER_PAGES: usize = 32;
/// Bytes of a frame that is worth a write of its own: copying it costs more.
const LARGE: usize = 64 << 10;

pub(super) struct BlockWriter<'a, K: Kpi> {
    kpi: &'a K,
    sink: Sink<'a, K::File>,
    progress: &'a Progress,
    gathered: K::Pages,
    len: usize,
    /// Where in the file `gathered` begins. C: `dumpoff`.
    dumpoff: u64,
}

impl<'a, K: Kpi> BlockWriter<'a, K> {
    pub(super) fn new(
        kpi: &'a K,
        sink: Sink<'a, K::File>,
        progress: &'a Progress,
    ) -> Result<Self> {
        let gathered = kpi.malloc_pages(GATHER_PAGES)?;
        Ok(Self { kpi, sink, progress, gathered, len: 0, dumpoff: 0 })
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

    /// Appends a frame of `len` bytes that begins at the second of `pages`. A
    /// large one is written from where it is, in whole blocks: the first page
    /// is room for what was gathered of its first block.
    pub(super) fn append_frame(
        &mut self,
        pages: &mut [Page],
        len: usize,
    ) -> Result<()> {
        let bytes = pages.as_flattened_mut();
        let end = PAGE_SIZE.checked_add(len).ok_or(Errno::E2BIG)?;
        let frame = bytes.get(PAGE_SIZE..end).ok_or(Errno::E2BIG)?;
        if len < LARGE {
            return self.append(frame);
        }
        self.flush_blocks()?;
        let start = PAGE_SIZE.checked_sub(self.len).ok_or(Errno::E2BIG)?;
        let before = self.gathered.as_flattened().get(..self.len);
        bytes
            .get_mut(start..PAGE_SIZE)
            .zip(before)
            .ok_or(Errno::E2BIG)
            .map(|(to, from)| to.copy_from_slice(from))?;
        let whole = (self.len + len) / PAGE_SIZE * PAGE_SIZE;
        let blocks = bytes.get(start..start + whole).ok_or(Errno::E2BIG)?;
        dump(self.kpi, self.sink, self.dumpoff, blocks)?;
        self.advance(whole);
        let rest = bytes.get(start + whole..end).ok_or(Errno::E2BIG)?;
        self.len = 0;
        self.append(rest)
    }

    /// Writes whole pages from where they are.
    pub(super) fn write_through(&mut self, pages: &[u8]) -> Result<()> {
        dump(self.kpi, self.sink, self.dumpoff, pages)?;
        self.advance(pages.len());
        Ok(())
    }

    /// Whole pages of zeros: a hole, where there are holes. Nothing is gathered
    /// then: what is compressed has none.
    pub(super) fn skip(&mut self, bytes: usize) -> Result<()> {
        if self.sink.has_holes() {
            self.advance(bytes);
            return Ok(());
        }
        let mut left = bytes;
        while left > 0 {
            let zeros = self.gathered.as_flattened_mut();
            let n = left.min(zeros.len());
            let zeros = zeros.get_mut(..n).ok_or(Errno::E2BIG)?;
            zeros.fill(0);
            dump(self.kpi, self.sink, self.dumpoff, zeros)?;
            self.advance(n);
            left -= n;
        }
        Ok(())
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

    /// What is gathered, but for less than a block.
    fn flush_blocks(&mut self) -> Result<()> {
        let whole = self.len / PAGE_SIZE * PAGE_SIZE;
        if whole == 0 {
            return Ok(());
        }
        let bytes = self.gathered.as_flattened().get(..whole);
        dump(self.kpi, self.sink, self.dumpoff, bytes.ok_or(Errno::E2BIG)?)?;
        self.advance(whole);
        // Whole pages to whole pages: the rest is less than one of them.
        let gathered = self.gathered.as_flattened_mut();
        let rest = gathered.get(whole..self.len).map_or(0, <[u8]>::len);
        if rest > 0 {
            let (to, from) =
                gathered.split_at_mut_checked(whole).ok_or(Errno::E2BIG)?;
            to.get_mut(..rest)
                .zip(from.get(..rest))
                .ok_or(Errno::E2BIG)
                .map(|(to, from)| to.copy_from_slice(from))?;
        }
        self.len = rest;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        let bytes = self.gathered.as_flattened().get(..self.len);
        let bytes = bytes.ok_or(Errno::E2BIG)?;
        dump(self.kpi, self.sink, self.dumpoff, bytes)?;
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

/// One block of the dump out; a signal ends the dump before it, and handlers of
/// livedumper_dump see it first.
fn dump<K: Kpi>(
    kpi: &K,
    sink: Sink<'_, K::File>,
    offset: u64,
    block: &[u8],
) -> Result<()> {
    kpi.sig_intr()?;
    kpi.livedumper_dump(Some((block, offset)))?;
    sink.write(kpi, offset, block)
}
