// SPDX-License-Identifier: BSD-2-Clause
//! compressor(9) on the host's codecs: each call makes one complete frame or
//! member, so that any of them can be unpacked alone and all of them, one
//! behind the other, by `zstd -d` and `gzip -d`.
//!
//! All memory is taken when the stream is made: a dump that has begun must
//! not wait for memory.

use super::frames::Frames;
use super::memory::Allocation;
use super::method::Method;
use super::{HostedKernel, SimulatedCodec};
use libdeflater::{CompressionError, CompressionLvl, Compressor as Deflate};
use livedump_kmod::error::{Errno, Result};
use memdev::kerneldump::Compression;
use std::thread;

/// C: `kern.livedump.gzip_level`, as it is at first.
pub(super) const GZIP_LEVEL: i32 = 6;
/// C: `kern.livedump.zstd_level`. It is 3 in kernels, whose own facility has 6;
/// here frames are a quarter of a megabyte, whatever the number of threads.
pub(super) const ZSTD_LEVEL: i32 = 1;

/// Deflate, no flags, no time, written on Unix.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
/// CRC and length.
const GZIP_TRAILER: usize = 8;
/// What libdeflate takes, about, of which it tells nothing: 50,000 sequences,
/// and the hash chains of a window.
const DEFLATE_BYTES: usize = 700 * 1024;

enum Codec {
    Gzip(Deflate),
    Zstd(Box<Frames>),
}

/// One stream.
pub struct Compressor<'a> {
    codec: Codec,
    kernel: &'a HostedKernel,
    _allocation: Allocation<'a>,
}

impl<'a> Compressor<'a> {
    pub(super) fn new(
        kernel: &'a HostedKernel,
        format: Compression,
        chunk: usize,
        level: i32,
    ) -> Result<Self> {
        let (codec, bytes) = match format {
            Compression::None => return Err(Errno::EINVAL),
            Compression::Gzip => (gzip(level)?, DEFLATE_BYTES),
            Compression::Zstd => {
                let frames = Frames::new(level, chunk)?;
                let bytes = frames.sizeof();
                (Codec::Zstd(Box::new(frames)), bytes)
            }
        };
        let allocation = kernel.memory().allocate(bytes)?;
        Ok(Self { codec, kernel, _allocation: allocation })
    }
}

impl livedump_kmod::kpi::Compressor for Compressor<'_> {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        self.kernel.step(Method::Compress)?;
        let simulated = *self.kernel.simulated.read();
        if let Some(SimulatedCodec { takes, bytes }) = simulated {
            thread::sleep(takes);
            return if bytes <= dst.len() {
                Ok(bytes)
            } else {
                Err(Errno::E2BIG)
            };
        }
        match &mut self.codec {
            Codec::Gzip(deflate) => gzip_member(deflate, src, dst),
            Codec::Zstd(frames) => frames.compress(src, dst),
        }
    }
}

fn gzip(level: i32) -> Result<Codec> {
    if !(1..=9).contains(&level) {
        return Err(Errno::EINVAL);
    }
    let level = CompressionLvl::new(level).or(Err(Errno::EINVAL))?;
    Ok(Codec::Gzip(Deflate::new(level)))
}

/// Not libdeflate's own member: the kernel's header has no level in it.
fn gzip_member(
    deflate: &mut Deflate,
    src: &[u8],
    dst: &mut [u8],
) -> Result<usize> {
    let room = dst
        .len()
        .checked_sub(GZIP_TRAILER)
        .filter(|&end| end >= GZIP_HEADER.len())
        .ok_or(Errno::E2BIG)?;
    let (head, body) = dst.split_at_mut(GZIP_HEADER.len());
    head.copy_from_slice(&GZIP_HEADER);
    let body_room = room - GZIP_HEADER.len();
    let out = body.get_mut(..body_room).ok_or(Errno::E2BIG)?;
    let len = match deflate.deflate_compress(src, out) {
        Ok(len) => len,
        Err(CompressionError::InsufficientSpace) => return Err(Errno::E2BIG),
    };
    let sum = libdeflater::crc32(src);
    let trailer = u64::from(sum) | (src.len() as u64) << 32;
    body.get_mut(len..len + GZIP_TRAILER)
        .ok_or(Errno::E2BIG)?
        .copy_from_slice(&trailer.to_le_bytes());
    Ok(GZIP_HEADER.len() + len + GZIP_TRAILER)
}

#[cfg(test)]
mod tests {
    use super::super::raw::RawMachine;
    use super::*;
    use livedump_kmod::kpi::{Compressor as _, compress_bound};
    use std::io::Read;
    use std::sync::Arc;

    fn kernel() -> Arc<HostedKernel> {
        HostedKernel::new(Arc::new(RawMachine::zeroed(4096).unwrap()))
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut x = 1u32;
        let noise = (0..65536)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            })
            .collect();
        let text = b"the same words, ".repeat(4096);
        vec![vec![0; 65536], noise, text, vec![1, 2, 3], Vec::new()]
    }

    fn unpack(format: Compression, packed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match format {
            Compression::Gzip => {
                // Not the multi-member decoder: one call, one member.
                let mut d = flate2::bufread::GzDecoder::new(packed);
                d.read_to_end(&mut out).unwrap();
                assert!(d.into_inner().is_empty(), "more than a member");
            }
            _ => {
                let mut d = zstd::stream::read::Decoder::with_buffer(packed)
                    .unwrap()
                    .single_frame();
                d.read_to_end(&mut out).unwrap();
                assert!(d.finish().is_empty(), "more than a frame");
            }
        }
        out
    }

    #[test]
    fn each_call_is_one_frame_that_stands_alone() {
        let kernel = kernel();
        for format in [Compression::Gzip, Compression::Zstd] {
            let fast = if format == Compression::Zstd { -7 } else { 2 };
            for level in [fast, 1, GZIP_LEVEL, 9] {
                let mut c =
                    Compressor::new(&kernel, format, 65536, level).unwrap();
                for src in samples() {
                    let mut dst = vec![0xaa; compress_bound(src.len())];
                    let n = c.compress(&src, &mut dst).unwrap();
                    assert_eq!(unpack(format, &dst[..n]), src);
                    assert!(dst[n..].iter().all(|&b| b == 0xaa || b == 0));
                }
            }
        }
        assert_eq!(kernel.memory().current(), 0);
    }

    #[test]
    fn gzip_has_the_header_and_trailer_the_kernel_writes() {
        let kernel = kernel();
        let mut c =
            Compressor::new(&kernel, Compression::Gzip, 4096, 6).unwrap();
        let mut dst = [0; 8192];
        let n = c.compress(b"123456789", &mut dst).unwrap();
        assert_eq!(dst[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
        // CRC-32's check value, and the length.
        assert_eq!(dst[n - 8..n], [0x26, 0x39, 0xf4, 0xcb, 9, 0, 0, 0]);
    }

    #[test]
    fn zstd_frames_carry_their_checksum() {
        let kernel = kernel();
        let mut c =
            Compressor::new(&kernel, Compression::Zstd, 4096, 1).unwrap();
        let mut dst = [0; 8192];
        let n = c.compress(&[7; 4096], &mut dst).unwrap();
        assert_eq!(dst[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(dst[4] & 4, 4, "checksum flag");
        dst[n - 1] ^= 1;
        let mut d = zstd::stream::read::Decoder::new(&dst[..n]).unwrap();
        assert!(d.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn too_little_room_is_e2big_and_the_stream_goes_on() {
        let kernel = kernel();
        let noise = &samples()[1];
        for format in [Compression::Gzip, Compression::Zstd] {
            let mut c = Compressor::new(&kernel, format, 65536, 1).unwrap();
            let mut dst = vec![0; compress_bound(noise.len())];
            let n = c.compress(noise, &mut dst).unwrap();
            for room in [0, 1, 9, 10, 17, 18, 19, 100, n - 1] {
                let mut small = vec![0; room];
                let r = c.compress(noise, &mut small);
                assert_eq!(r, Err(Errno::E2BIG), "{format:?}, {room} bytes");
                let n = c.compress(noise, &mut dst).unwrap();
                assert_eq!(unpack(format, &dst[..n]), *noise);
            }
        }
    }

    #[test]
    fn levels_no_codec_has_are_refused() {
        let kernel = kernel();
        let new = |f, level| Compressor::new(&kernel, f, 4096, level).map(drop);
        for level in [0, -1, 10, i32::MAX, i32::MIN] {
            assert_eq!(new(Compression::Gzip, level), Err(Errno::EINVAL));
        }
        for level in [0, 23, i32::MAX, i32::MIN] {
            assert_eq!(new(Compression::Zstd, level), Err(Errno::EINVAL));
        }
        assert_eq!(new(Compression::None, 0), Err(Errno::EINVAL));
    }

    #[test]
    fn a_stream_is_in_the_books_and_does_not_grow() {
        let kernel = kernel();
        let chunk = 128 * 1024;
        // zstd looks at 128 frames before it gives memory back.
        for (level, frames) in [(-5, 200), (1, 200), (3, 200), (19, 3)] {
            let mut c =
                Compressor::new(&kernel, Compression::Zstd, chunk, level)
                    .unwrap();
            let before = kernel.memory().current();
            assert!(before > chunk);
            let noise: Vec<u8> = samples()[1].repeat(2);
            let mut dst = vec![0; compress_bound(chunk)];
            for _ in 0..frames {
                c.compress(&noise, &mut dst).unwrap();
            }
            let Codec::Zstd(frames) = &c.codec else { unreachable!() };
            assert!(frames.sizeof() <= before, "level {level}");
        }
    }
}
