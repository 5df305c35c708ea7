// SPDX-License-Identifier: BSD-2-Clause
//! Compression. C: compressor(9).

use crate::error::Result;
use memdev::kerneldump::Compression;

/// One compressor stream. C: `struct compressor`, compressor(9).
pub trait Compressor {
    /// Compresses `src` into one complete gzip member or zstd frame (with its
    /// checksum) in `dst` and returns its length. The stream is then as new.
    ///
    /// C: `compressor_write`, `compressor_flush`, `compressor_reset`. May
    /// sleep in 12.x and later only for memory it already has: it allocates
    /// nothing.
    ///
    /// # Errors
    /// `E2BIG` where `dst` is too small; the compressor's own errno.
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize>;
}

/// Room that one chunk of `len` bytes may need when it does not compress.
#[must_use]
pub const fn compress_bound(len: usize) -> usize {
    len + len / 128 + 4096
}

/// The kernel's compressors.
pub trait Compressors {
    /// One compressor stream, freed on drop.
    type Compressor: Compressor + Send + Sync;

    /// Whether the kernel has this compressor. C: `compressor_avail`.
    fn compressor_avail(&self, format: Compression) -> bool;

    /// The level of requests that name none; 0 where nothing is compressed.
    /// C: `kern.livedump.gzip_level`, `kern.livedump.zstd_level`.
    fn compressor_level(&self, format: Compression) -> i32;

    /// A stream for chunks of at most `chunk` bytes; as
    /// [`Heap::malloc_words`](super::Heap::malloc_words). C: `compressor_init`.
    ///
    /// # Errors
    /// Its own; `EINVAL` when there is no such level.
    fn compressor_init(
        &self,
        format: Compression,
        chunk: usize,
        level: i32,
    ) -> Result<Self::Compressor>;
}
