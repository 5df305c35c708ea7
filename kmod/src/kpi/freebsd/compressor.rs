// SPDX-License-Identifier: BSD-2-Clause
//! compressor(9).

use super::heap::{Budget, no_memory};
use super::{FreeBsd, check};
use crate::error::{Errno, Result};
use crate::kpi::{Compressor, Compressors};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use memdev::ioctl::ZSTD_LEVELS;
use memdev::kerneldump::Compression;

unsafe extern "C" {
    safe fn livedump_compressor_avail(format: c_int) -> bool;
    safe fn livedump_compressor_init(
        format: c_int,
        level: c_int,
        bytes: usize,
    ) -> *mut c_void;
    fn livedump_compress(
        stream: *mut c_void,
        src: *const u8,
        len: usize,
        dst: *mut u8,
        room: usize,
        packed: *mut usize,
    ) -> c_int;
    fn livedump_compressor_fini(stream: *mut c_void);
    safe fn livedump_gzip_level() -> c_int;
    safe fn livedump_zstd_level() -> c_int;
}

/// C: `struct compressor *` and where its output goes.
#[derive(Debug)]
pub struct Stream {
    stream: NonNull<c_void>,
    _budget: Budget,
}

// SAFETY: compressor(9) keeps nothing of the thread that made the stream.
unsafe impl Send for Stream {}

// SAFETY: there is nothing to do with a shared one.
unsafe impl Sync for Stream {}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: from livedump_compressor_init, freed once, here.
        unsafe { livedump_compressor_fini(self.stream.as_ptr()) };
    }
}

impl Compressor for Stream {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        let mut packed = 0;
        // SAFETY: the stream is ours alone (&mut self); the shim reads `src`
        // and writes at most `dst.len()` bytes, both borrowed for the call,
        // and keeps neither.
        let error = unsafe {
            livedump_compress(
                self.stream.as_ptr(),
                src.as_ptr(),
                src.len(),
                dst.as_mut_ptr(),
                dst.len(),
                &mut packed,
            )
        };
        check(error).map(|()| packed)
    }
}

/// Megabytes that a zstd stream of each level from 1 on takes in the kernel
/// (`ZSTD_estimateCStreamSize` and its buffers), rounded up. Those below 1
/// take no more than level 1: their tables are smaller, their window the same.
const ZSTD_STREAM_MB: [u8; 19] =
    [2, 3, 4, 6, 7, 8, 8, 8, 10, 18, 32, 32, 32, 56, 74, 74, 74, 74, 96];

/// Bytes that a stream takes, for the budget; `None`: no such level.
fn stream_bytes(format: Compression, level: i32) -> Option<u64> {
    match format {
        Compression::None => None,
        Compression::Gzip => (1..=9).contains(&level).then_some(1 << 19),
        Compression::Zstd => {
            let known = i16::try_from(level).ok()?;
            if known == 0 || !ZSTD_LEVELS.contains(&known) {
                return None;
            }
            let nth = usize::try_from(level.max(1) - 1).ok()?;
            ZSTD_STREAM_MB.get(nth).map(|&mb| u64::from(mb) << 20)
        }
    }
}

impl Compressors for FreeBsd {
    type Compressor = Stream;

    fn compressor_avail(&self, format: Compression) -> bool {
        livedump_compressor_avail(format as c_int)
    }

    fn compressor_level(&self, format: Compression) -> i32 {
        match format {
            Compression::None => 0,
            Compression::Gzip => livedump_gzip_level().clamp(1, 9),
            Compression::Zstd => match livedump_zstd_level() {
                0 => 1,
                level => level.clamp(
                    i32::from(*ZSTD_LEVELS.start()),
                    i32::from(*ZSTD_LEVELS.end()),
                ),
            },
        }
    }

    fn compressor_init(
        &self,
        format: Compression,
        _chunk: usize,
        level: i32,
    ) -> Result<Stream> {
        let bytes = stream_bytes(format, level).ok_or(Errno::EINVAL)?;
        let budget = Budget::take(bytes)?;
        let room = usize::try_from(bytes).map_err(|_| Errno::ENOMEM)?;
        let stream = livedump_compressor_init(format as c_int, level, room);
        // The level is a known one: what it may lack is memory.
        let stream = NonNull::new(stream).ok_or_else(no_memory)?;
        Ok(Stream { stream, _budget: budget })
    }
}
