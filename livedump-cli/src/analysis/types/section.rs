// SPDX-License-Identifier: BSD-2-Clause
//! The bytes of a section of a debug file: read in order, unpacked on the way
//! if need be, or as a whole where there is room. C: `Elf64_Chdr`,
//! <sys/elf_common.h>.

use super::limits::MemoryLimit;
use livedump_vmcore::elf::{Extent, Kernel};
use std::io::{self, BufReader, Read};

/// What a compressed section may become. It is not kept in memory.
const MAX_UNPACKED: u64 = 512 << 20;
const CHDR_BYTES: u64 = 24;
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;
/// Memory for unpacking zstd: 32 MB.
const WINDOW_LOG: u32 = 25;

/// What is wrong with a section.
#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is too large to be true.
    #[error("{0} bytes are more than is supported")]
    Large(u64),
    /// Nobody here can unpack it.
    #[error("unknown compression method {0}")]
    Method(u32),
    /// It ends early.
    #[error("it ends at {0:#x}")]
    Ends(u64),
}

/// A section, and how it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    file: &'a Kernel,
    /// Of the stored bytes, without a compression header.
    stored: Extent,
    /// C: `ch_type`.
    method: Option<u32>,
    /// Unpacked.
    size: u64,
}

impl<'a> Section<'a> {
    /// Opens a section; `None` where the file has none of that name.
    pub(super) fn open(
        file: &'a Kernel,
        name: &str,
    ) -> Result<Option<Self>, SectionError> {
        let Some(stored) = file.section(name) else { return Ok(None) };
        if !stored.compressed {
            let size = stored.size;
            return Ok(Some(Self { file, stored, method: None, size }));
        }
        let mut head = [0; CHDR_BYTES as usize];
        let got = file.read_file(stored.offset, &mut head).map_err(failed)?;
        if stored.size < CHDR_BYTES || got < head.len() {
            return Err(SectionError::Ends(stored.size));
        }
        let (words, _) = head.as_chunks::<4>();
        let word = |i| words.get(i).map_or(0, |&b| u32::from_le_bytes(b));
        let size = u64::from(word(2)) | u64::from(word(3)) << 32;
        if size > MAX_UNPACKED {
            return Err(SectionError::Large(size));
        }
        let stored = Extent {
            offset: stored.offset.saturating_add(CHDR_BYTES),
            size: stored.size.saturating_sub(CHDR_BYTES),
            ..stored
        };
        Ok(Some(Self { file, stored, method: Some(word(0)), size }))
    }

    /// Bytes, unpacked.
    pub(super) fn len(&self) -> u64 {
        self.size
    }

    /// Reads it from its start.
    pub(super) fn reader(&self) -> Result<Box<dyn Read + 'a>, SectionError> {
        let stored = Stored { file: self.file, left: self.stored };
        let stored = BufReader::with_capacity(64 << 10, stored);
        Ok(match self.method {
            None => Box::new(stored),
            Some(ELFCOMPRESS_ZLIB) => inflater(stored),
            Some(ELFCOMPRESS_ZSTD) => {
                let unpack = zstd::stream::read::Decoder::with_buffer(stored);
                let mut unpack = unpack.map_err(failed)?;
                unpack.window_log_max(WINDOW_LOG).map_err(failed)?;
                Box::new(unpack)
            }
            Some(other) => return Err(SectionError::Method(other)),
        })
    }

    /// Reads it from an offset. What is packed is unpacked up to there.
    pub(super) fn reader_at(
        &self,
        at: u64,
    ) -> Result<Box<dyn Read + 'a>, SectionError> {
        if self.method.is_none() {
            let n = at.min(self.stored.size);
            let left = Extent {
                offset: self.stored.offset.saturating_add(n),
                size: self.stored.size.saturating_sub(n),
                ..self.stored
            };
            return Ok(Box::new(Stored { file: self.file, left }));
        }
        let mut reader = self.reader()?;
        let before = io::copy(&mut (&mut reader).take(at), &mut io::sink());
        match before.map_err(failed)? {
            n if n == at => Ok(reader),
            n => Err(SectionError::Ends(n)),
        }
    }

    /// All of it, in memory.
    pub(super) fn load(
        &self,
        room: &mut MemoryLimit,
    ) -> Result<Vec<u8>, SectionError> {
        read_all(self.reader()?, self.size, room)
    }
}

fn failed(
    e: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SectionError {
    SectionError::Read(e.into())
}

/// Unpacks a zlib stream.
pub(super) fn inflater<'r>(
    packed: impl io::BufRead + 'r,
) -> Box<dyn Read + 'r> {
    Box::new(flate2::bufread::ZlibDecoder::new(packed))
}

/// Exactly so many bytes, for which there has to be room.
pub(super) fn read_all(
    from: impl Read,
    size: u64,
    room: &mut MemoryLimit,
) -> Result<Vec<u8>, SectionError> {
    if !room.charge(size) {
        return Err(SectionError::Large(size));
    }
    let mut out = Vec::new();
    append_exact(from, size, &mut out)?;
    Ok(out)
}

/// Exactly so many bytes more.
pub(super) fn append_exact(
    from: impl Read,
    size: u64,
    out: &mut Vec<u8>,
) -> Result<(), SectionError> {
    let before = out.len();
    // Pages are not there before they are written to.
    let reserved = out.try_reserve_exact(size as usize);
    reserved.map_err(|_| SectionError::Large(size))?;
    from.take(size).read_to_end(out).map_err(failed)?;
    match out.len().saturating_sub(before) as u64 {
        n if n == size => Ok(()),
        n => Err(SectionError::Ends(n)),
    }
}

/// The stored bytes, from front to end.
struct Stored<'a> {
    file: &'a Kernel,
    left: Extent,
}

impl Read for Stored<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.left.size.min(buf.len() as u64) as usize;
        let part = buf.get_mut(..n).unwrap_or_default();
        let got = self.file.read_file(self.left.offset, part);
        let got = got.map_err(io::Error::other)?;
        self.left.offset = self.left.offset.saturating_add(got as u64);
        self.left.size = self.left.size.saturating_sub(got as u64);
        Ok(got)
    }
}
