// SPDX-License-Identifier: BSD-2-Clause
//! The bytes of a section of a debug file: read piece by piece where they
//! stand as they are, unpacked into memory where they are compressed.
//! C: `Elf64_Chdr`, <sys/elf_common.h>.

use crate::vmcore::elf::{Extent, Kernel};
use std::io::Read;

/// What a compressed section may become.
const MAX_UNPACKED: u64 = 1 << 30;
/// Sections that are read as a whole.
const MAX_WHOLE: u64 = 128 << 20;
const CHDR_BYTES: u64 = 24;
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;

/// What is wrong with a section.
#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is too large to be true.
    #[error("{0} bytes are too many")]
    Large(u64),
    /// Nobody here can unpack it.
    #[error("compressed by method {0}, which is not known")]
    Method(u32),
    /// It ends early.
    #[error("it ends at {0:#x}")]
    Ends(u64),
}

/// An open section.
#[derive(Debug)]
pub(super) enum Section<'a> {
    /// In the file.
    Stored(&'a Kernel, Extent),
    /// In memory.
    Unpacked(Vec<u8>),
}

impl<'a> Section<'a> {
    /// Opens a section; `None` where the file has none of that name.
    pub(super) fn open(
        file: &'a Kernel,
        name: &str,
    ) -> Result<Option<Self>, SectionError> {
        let Some(extent) = file.section(name) else { return Ok(None) };
        let stored = Section::Stored(file, extent);
        if !extent.compressed {
            return Ok(Some(stored));
        }
        let head = stored.bytes(0, CHDR_BYTES)?;
        let word = |at: usize| {
            let bytes = head.get(at..at.saturating_add(4));
            let bytes = bytes.and_then(|b| b.first_chunk::<4>());
            bytes.map_or(0, |b| u32::from_le_bytes(*b))
        };
        let size = u64::from(word(8)) | u64::from(word(12)) << 32;
        if size > MAX_UNPACKED {
            return Err(SectionError::Large(size));
        }
        let packed =
            stored.bytes(CHDR_BYTES, extent.size.saturating_sub(CHDR_BYTES))?;
        unpack(word(0), &packed, size).map(|v| Some(Self::Unpacked(v)))
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Stored(_, extent) => extent.size,
            Self::Unpacked(bytes) => bytes.len() as u64,
        }
    }

    /// `n` bytes at `at`.
    pub(super) fn bytes(
        &self,
        at: u64,
        n: u64,
    ) -> Result<Vec<u8>, SectionError> {
        let end = at.checked_add(n).filter(|&end| end <= self.len());
        let Some(end) = end else { return Err(SectionError::Ends(self.len())) };
        if n > MAX_UNPACKED {
            return Err(SectionError::Large(n));
        }
        match self {
            Self::Unpacked(all) => {
                let part = all.get(at as usize..end as usize);
                Ok(part.unwrap_or_default().to_vec())
            }
            Self::Stored(file, extent) => {
                let mut out = Vec::new();
                // What a file claims is not allocated before it is there.
                while (out.len() as u64) < n {
                    let done = out.len();
                    let more = n.saturating_sub(done as u64).min(1 << 20);
                    out.resize(done.saturating_add(more as usize), 0);
                    let at = extent.offset.saturating_add(at);
                    let at = at.saturating_add(done as u64);
                    let buf = out.get_mut(done..).unwrap_or_default();
                    let got = file
                        .read_file(at, buf)
                        .map_err(|e| SectionError::Read(Box::new(e)))?;
                    if (got as u64) < more {
                        return Err(SectionError::Ends(at));
                    }
                }
                Ok(out)
            }
        }
    }

    /// All of it.
    pub(super) fn whole(&self) -> Result<Vec<u8>, SectionError> {
        match self.len() {
            n if n > MAX_WHOLE => Err(SectionError::Large(n)),
            n => self.bytes(0, n),
        }
    }
}

fn unpack(
    method: u32,
    packed: &[u8],
    size: u64,
) -> Result<Vec<u8>, SectionError> {
    match method {
        ELFCOMPRESS_ZLIB => inflate(packed, size),
        ELFCOMPRESS_ZSTD => {
            let from = zstd::stream::read::Decoder::new(packed);
            let from = from.map_err(|e| SectionError::Read(Box::new(e)))?;
            take(from, size)
        }
        other => Err(SectionError::Method(other)),
    }
}

/// Unpacks a zlib stream that becomes `size` bytes.
pub(super) fn inflate(
    packed: &[u8],
    size: u64,
) -> Result<Vec<u8>, SectionError> {
    take(flate2::read::ZlibDecoder::new(packed), size)
}

fn take(from: impl Read, size: u64) -> Result<Vec<u8>, SectionError> {
    let mut out = Vec::new();
    from.take(size)
        .read_to_end(&mut out)
        .map_err(|e| SectionError::Read(Box::new(e)))?;
    match out.len() as u64 {
        n if n == size => Ok(out),
        n => Err(SectionError::Ends(n)),
    }
}
