// SPDX-License-Identifier: BSD-2-Clause
//! What one thread works with: its compressor stream, and the pages it
//! compresses, which no other thread touches meanwhile, so that they stay in
//! its CPU's cache. It remembers what a chunk of zeros becomes: free memory is
//! a good part of most machines.

use super::Source;
use super::chunk::Chunk;
use super::level::Rungs;
use crate::error::{Errno, Result};
use crate::kpi::{Compressor, Kpi};
use memdev::addr::{PAGE_SIZE, Page};
use memdev::kerneldump::Compression;

pub(super) struct Codec<K: Kpi> {
    /// One for each level that may be used; none where nothing is compressed.
    streams: K::Array<K::Compressor>,
    /// What is compressed.
    pages: K::Pages,
    /// A full chunk of zeros, compressed; nothing until there was one.
    zeros: K::Pages,
    zeros_len: usize,
}

impl<K: Kpi> Codec<K> {
    /// For chunks of so many pages.
    pub(super) fn new(
        kpi: &K,
        format: Compression,
        rungs: Rungs,
        pages: usize,
    ) -> Result<Self> {
        let bytes = pages * PAGE_SIZE;
        let (streams, own) = match format {
            Compression::None => (0, 0),
            _ => (rungs.count(), pages),
        };
        let streams = kpi.malloc_array(streams, |nth| {
            kpi.compressor_init(format, bytes, rungs.level(nth))
        })?;
        let pages = kpi.malloc_pages(own)?;
        let zeros = kpi.malloc_pages(usize::from(own > 0))?;
        Ok(Self { streams, pages, zeros, zeros_len: 0 })
    }

    /// Takes the front pages of the chunk that is next, and leaves other
    /// memory in their place.
    pub(super) fn take_front(
        &mut self,
        front: &mut K::Pages,
        out: &mut K::Pages,
    ) {
        let to = if self.streams.is_empty() { out } else { &mut self.pages };
        core::mem::swap(front, to);
    }

    /// Copies a chunk: as it is into `out`, and answers 0, or as one frame of
    /// that rung's level, behind the first page, and answers its length.
    pub(super) fn pack(
        &mut self,
        source: &Source<'_>,
        chunk: &mut Chunk,
        rung: usize,
        out: &mut [Page],
    ) -> Result<usize> {
        if self.streams.is_empty() {
            chunk.fill(source, out)?;
            return Ok(0);
        }
        chunk.fill(source, &mut self.pages)?;
        let frame = out.get_mut(1..).ok_or(Errno::E2BIG)?;
        self.compress(chunk, rung, frame.as_flattened_mut())
    }

    fn compress(
        &mut self,
        chunk: &Chunk,
        rung: usize,
        frame: &mut [u8],
    ) -> Result<usize> {
        let codec = self.streams.get_mut(rung).ok_or(Errno::EINTEGRITY)?;
        let plain = self.pages.get(..chunk.len()).ok_or(Errno::E2BIG)?;
        let plain = plain.as_flattened();
        if !chunk.is_full_of_zeros() {
            return codec.compress(plain, frame);
        }
        let kept = self.zeros.as_flattened_mut();
        if self.zeros_len > 0 {
            let from = kept.get(..self.zeros_len).ok_or(Errno::E2BIG)?;
            let to = frame.get_mut(..self.zeros_len).ok_or(Errno::E2BIG)?;
            to.copy_from_slice(from);
            return Ok(self.zeros_len);
        }
        let len = codec.compress(plain, frame)?;
        if let (Some(from), Some(to)) = (frame.get(..len), kept.get_mut(..len))
        {
            to.copy_from_slice(from);
            self.zeros_len = len;
        }
        Ok(len)
    }
}
