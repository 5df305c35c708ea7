// SPDX-License-Identifier: BSD-2-Clause
//! One thread's compressor stream. It remembers what a chunk of zeros becomes:
//! free memory is a good part of most machines.

use super::Output;
use super::chunk::Chunk;
use crate::error::{Errno, Result};
use crate::kpi::{Compressor, Kpi};
use memdev::kerneldump::Compression;

pub(super) struct Stream<K: Kpi> {
    /// None where nothing is compressed.
    codec: Option<K::Compressor>,
    /// A full chunk of zeros, compressed; nothing until there was one.
    zeros: K::Pages,
    zeros_len: usize,
}

impl<K: Kpi> Stream<K> {
    /// For chunks of `bytes` bytes.
    pub(super) fn new(
        kpi: &K,
        output: &Output<'_, K>,
        bytes: usize,
    ) -> Result<Self> {
        let codec = match output.format {
            Compression::None => None,
            format => Some(kpi.compressor_init(format, bytes, output.level)?),
        };
        let zeros = kpi.malloc_pages(usize::from(codec.is_some()))?;
        Ok(Self { codec, zeros, zeros_len: 0 })
    }

    /// A chunk as one frame; its length, or 0 where nothing is compressed.
    pub(super) fn compress(
        &mut self,
        chunk: &Chunk<K>,
        frame: &mut [u8],
    ) -> Result<usize> {
        let Some(codec) = &mut self.codec else { return Ok(0) };
        if !chunk.is_full_of_zeros() {
            return codec.compress(chunk.bytes(), frame);
        }
        let kept = self.zeros.as_flattened_mut();
        if self.zeros_len > 0 {
            let from = kept.get(..self.zeros_len).ok_or(Errno::E2BIG)?;
            let to = frame.get_mut(..self.zeros_len).ok_or(Errno::E2BIG)?;
            to.copy_from_slice(from);
            return Ok(self.zeros_len);
        }
        let len = codec.compress(chunk.bytes(), frame)?;
        if let (Some(from), Some(to)) = (frame.get(..len), kept.get_mut(..len))
        {
            to.copy_from_slice(from);
            self.zeros_len = len;
        }
        Ok(len)
    }
}
