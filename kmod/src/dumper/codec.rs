// SPDX-License-Identifier: BSD-2-Clause
//! What one thread works with: its compressor stream, and the pages it
//! compresses, which no other thread touches meanwhile, so that they stay in
//! its CPU's cache. It remembers what a chunk of zeros becomes: free memory is
//! a good part of most machines.

use super::chunk::Chunk;
use super::{Output, Source};
use crate::error::{Errno, Result};
use crate::kpi::{Compressor, Kpi};
use memdev::addr::{PAGE_SIZE, Page};
use memdev::kerneldump::Compression;

pub(super) struct Codec<K: Kpi> {
    /// None where nothing is compressed.
    codec: Option<K::Compressor>,
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
        output: &Output<'_, K>,
        pages: usize,
    ) -> Result<Self> {
        let bytes = pages * PAGE_SIZE;
        let codec = match output.format {
            Compression::None => None,
            format => Some(kpi.compressor_init(format, bytes, output.level)?),
        };
        let own = if codec.is_some() { pages } else { 0 };
        let pages = kpi.malloc_pages(own)?;
        let zeros = kpi.malloc_pages(usize::from(codec.is_some()))?;
        Ok(Self { codec, pages, zeros, zeros_len: 0 })
    }

    /// Takes the front pages of the chunk that is next, and leaves other
    /// memory in their place.
    pub(super) fn take_front(
        &mut self,
        front: &mut K::Pages,
        out: &mut K::Pages,
    ) {
        let to = if self.codec.is_some() { &mut self.pages } else { out };
        core::mem::swap(front, to);
    }

    /// Copies a chunk: as it is into `out`, and answers 0, or as one frame,
    /// and answers its length.
    pub(super) fn pack(
        &mut self,
        source: &Source<'_>,
        chunk: &mut Chunk,
        out: &mut [Page],
    ) -> Result<usize> {
        if self.codec.is_none() {
            chunk.fill(source, out)?;
            return Ok(0);
        }
        chunk.fill(source, &mut self.pages)?;
        self.compress(chunk, out.as_flattened_mut())
    }

    fn compress(&mut self, chunk: &Chunk, frame: &mut [u8]) -> Result<usize> {
        let codec = self.codec.as_mut().ok_or(Errno::EINTEGRITY)?;
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
