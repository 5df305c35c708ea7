// SPDX-License-Identifier: BSD-2-Clause
//! One page of a kdump, unpacked.

use flate2::{Decompress, FlushDecompress, Status};
use std::io;
use std::sync::{Mutex, PoisonError};
use zstd::bulk::Decompressor;

/// C: `DUMP_DH_COMPRESSED_ZLIB`.
pub(crate) const ZLIB: u32 = 1;
/// C: `DUMP_DH_COMPRESSED_LZO`.
pub(crate) const LZO: u32 = 2;
/// C: `DUMP_DH_COMPRESSED_SNAPPY`.
pub(crate) const SNAPPY: u32 = 4;
/// C: `DUMP_DH_COMPRESSED_ZSTD`.
pub(crate) const ZSTD: u32 = 0x20;
/// All of them.
pub(super) const MASK: u32 = ZLIB | LZO | SNAPPY | ZSTD;

/// What is said to be damaged.
pub(super) fn unit(flags: u32) -> &'static str {
    match flags & MASK {
        ZLIB => "zlib page",
        LZO => "lzo page",
        SNAPPY => "snappy page",
        ZSTD => "zstd page",
        _ => "page",
    }
}

/// What a page is unpacked with; used again for the next one.
#[derive(Default)]
struct Contexts {
    zlib: Option<Decompress>,
    zstd: Option<Decompressor<'static>>,
}

/// Contexts that no thread uses at the moment.
#[derive(Default)]
pub(super) struct Unpackers(Mutex<Vec<Contexts>>);

impl std::fmt::Debug for Unpackers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unpackers").finish()
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl Unpackers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Contexts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpacks a page that is stored as its descriptor's flags say.
    pub(super) fn unpack(
        &self,
        flags: u32,
        stored: &[u8],
        page: &mut [u8],
    ) -> io::Result<()> {
        let mut contexts = self.idle().pop().unwrap_or_default();
        let done = contexts.unpack(flags, stored, page);
        self.idle().push(contexts);
        match done? {
            n if n == page.len() => Ok(()),
            n => Err(invalid(format!("it has {n} bytes, not {}", page.len()))),
        }
    }
}

impl Contexts {
    fn unpack(
        &mut self,
        flags: u32,
        stored: &[u8],
        page: &mut [u8],
    ) -> io::Result<usize> {
        match flags & MASK {
            0 => match page.get_mut(..stored.len()) {
                Some(part) => {
                    part.copy_from_slice(stored);
                    Ok(part.len())
                }
                None => Ok(stored.len()),
            },
            ZLIB => self.zlib(stored, page),
            LZO => lzokay::decompress::decompress(stored, page)
                .map_err(|e| invalid(e.to_string())),
            SNAPPY => {
                let n = snap::raw::decompress_len(stored).map_err(snappy)?;
                if n != page.len() {
                    return Ok(n);
                }
                snap::raw::Decoder::new()
                    .decompress(stored, page)
                    .map_err(snappy)
            }
            ZSTD => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(Decompressor::new()?),
                };
                zstd.decompress_to_buffer(stored, page)
            }
            _ => Err(invalid("it is of more than one codec")),
        }
    }

    fn zlib(&mut self, stored: &[u8], page: &mut [u8]) -> io::Result<usize> {
        let zlib = match &mut self.zlib {
            Some(zlib) => {
                zlib.reset(true);
                zlib
            }
            none => none.insert(Decompress::new(true)),
        };
        let status = zlib.decompress(stored, page, FlushDecompress::Finish)?;
        match status {
            Status::StreamEnd => {
                Ok(usize::try_from(zlib.total_out()).unwrap_or(usize::MAX))
            }
            _ => Err(invalid("it does not end where it should")),
        }
    }
}

fn snappy(e: snap::Error) -> io::Error {
    invalid(e.to_string())
}
