// SPDX-License-Identifier: BSD-2-Clause
//! The debug sections of an ELF file: read where they are, or unpacked, or
//! relocated. C: `Elf64_Chdr`, <sys/elf_common.h>.

use super::bytes::{Bytes, Section, Steps};
use crate::elf::{Extent, Kernel};
use crate::source::Source;
use std::io::Read;
use std::rc::Rc;

/// Bytes that are kept in memory, all sections of a file together.
const MAX_KEPT: u64 = 256 << 20;
const CHDR: u64 = 24;
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;
/// Memory for unpacking zstd: 32 MB.
const WINDOW_LOG: u32 = 25;

pub(super) struct Sections<'k> {
    file: &'k Kernel,
    steps: Rc<Steps>,
    left: u64,
}

impl<'k> Sections<'k> {
    pub(super) fn new(file: &'k Kernel, steps: &Rc<Steps>) -> Self {
        Self { file, steps: Rc::clone(steps), left: MAX_KEPT }
    }

    /// A section; an empty one where the file has none of that name, or none
    /// that can be used.
    pub(super) fn open(&mut self, name: &str) -> Bytes {
        let none = || Section::of_memory(Vec::new(), &self.steps);
        let Some(at) = self.file.section(name) else { return none() };
        let end = at.offset.checked_add(at.size);
        if end.is_none_or(|end| end > self.file.file_len()) {
            return none();
        }
        if !at.compressed && !self.file.is_relocatable() {
            let file = self.file.stored().clone();
            return Section::of_file(file, at.offset, at.size, &self.steps);
        }
        match self.kept(name, at) {
            Some(bytes) => Section::of_memory(bytes, &self.steps),
            None => Section::of_memory(Vec::new(), &self.steps),
        }
    }

    fn kept(&mut self, name: &str, at: Extent) -> Option<Vec<u8>> {
        let stored = self.file.stored();
        let mut head = [0; CHDR as usize];
        let (method, size, skip) = match at.compressed {
            false => (None, at.size, 0),
            true => {
                stored.read_at(at.offset, &mut head).ok()?;
                let (words, _) = head.as_chunks::<4>();
                let word =
                    |i| words.get(i).map_or(0, |&b| u32::from_le_bytes(b));
                let size = u64::from(word(2)) | u64::from(word(3)) << 32;
                (Some(word(0)), size, CHDR)
            }
        };
        self.left = self.left.checked_sub(size)?;
        let from = Stored {
            file: self.file,
            at: at.offset.saturating_add(skip),
            left: at.size.saturating_sub(skip),
        };
        let from = std::io::BufReader::with_capacity(64 << 10, from);
        let mut bytes = Vec::new();
        let got = match method {
            None => from.take(size).read_to_end(&mut bytes),
            Some(ELFCOMPRESS_ZLIB) => flate2::bufread::ZlibDecoder::new(from)
                .take(size)
                .read_to_end(&mut bytes),
            Some(ELFCOMPRESS_ZSTD) => {
                let unpack = zstd::stream::read::Decoder::with_buffer(from);
                let mut unpack = unpack.ok()?;
                unpack.window_log_max(WINDOW_LOG).ok()?;
                unpack.take(size).read_to_end(&mut bytes)
            }
            Some(_) => return None,
        };
        if got.ok()? as u64 != size {
            return None;
        }
        if self.file.is_relocatable() {
            self.file.relocate(name, &mut bytes)?;
        }
        Some(bytes)
    }
}

/// The stored bytes, from front to end.
struct Stored<'a> {
    file: &'a Kernel,
    at: u64,
    left: u64,
}

impl Read for Stored<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.left.min(buf.len() as u64) as usize;
        let part = buf.get_mut(..n).unwrap_or_default();
        let got = self.file.stored().read_at(self.at, part);
        let got = got.map_err(std::io::Error::other)?;
        self.at = self.at.saturating_add(got as u64);
        self.left = self.left.saturating_sub(got as u64);
        Ok(got)
    }
}
