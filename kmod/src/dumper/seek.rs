// SPDX-License-Identifier: BSD-2-Clause
//! The frames of a zstd stream, remembered until the table at its end. gzip
//! has no such table; its members are found by unpacking.

use super::block::BlockWriter;
use crate::error::{Errno, Result};
use crate::kpi::Kpi;
use memdev::addr::PAGE_SIZE;
use memdev::kerneldump::Compression;
use memdev::seekable::{SeekEntry, encode_footer, encode_header};

/// Short frames: the one before the data pages, and the last.
const SHORT: usize = 2;

#[derive(Clone, Copy)]
struct Short {
    nth: usize,
    bytes: usize,
}

pub(super) struct SeekTable<K: Kpi> {
    /// The compressed sizes, two to a word; empty where there is no table.
    frames: K::Words,
    used: usize,
    /// What every frame unpacks to but for the short ones.
    chunk_bytes: usize,
    short: [Option<Short>; SHORT],
    wanted: bool,
}

impl<K: Kpi> SeekTable<K> {
    pub(super) fn new(
        kpi: &K,
        format: Compression,
        dumpextent: u64,
        chunk_pages: usize,
    ) -> Result<Self> {
        let chunk_bytes = chunk_pages * PAGE_SIZE;
        let wanted = format == Compression::Zstd;
        let frames = match chunk_bytes as u64 {
            // A short one before the last is one more.
            bytes @ 1.. if wanted => dumpextent.div_ceil(bytes) + 1,
            _ => 0,
        };
        let words = usize::try_from(frames.div_ceil(2));
        let frames = kpi.malloc_words(words.map_err(|_| Errno::ENOMEM)?)?;
        let short = [None; SHORT];
        Ok(Self { frames, used: 0, chunk_bytes, short, wanted })
    }

    /// The next frame's sizes.
    pub(super) fn add(&mut self, packed: usize, plain: usize) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        if plain != self.chunk_bytes {
            let free = self.short.iter_mut().find(|short| short.is_none());
            let short = Short { nth: self.used, bytes: plain };
            *free.ok_or(Errno::EINTEGRITY)? = Some(short);
        }
        let word = self.frames.get_mut(self.used / 2);
        let packed = u32::try_from(packed).map_err(|_| Errno::E2BIG)?;
        *word.ok_or(Errno::EINTEGRITY)? |=
            u64::from(packed) << (self.used % 2 * 32);
        self.used += 1;
        Ok(())
    }

    /// The table, as a frame that decoders skip.
    pub(super) fn write(&self, block: &mut BlockWriter<'_, K>) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        let head = encode_header(self.used as u64).ok_or(Errno::E2BIG)?;
        block.append(&head)?;
        let size = |n| u32::try_from(n).map_err(|_| Errno::E2BIG);
        let sizes =
            self.frames.iter().flat_map(|&w| [w as u32, (w >> 32) as u32]);
        for (nth, compressed) in sizes.take(self.used).enumerate() {
            let short = self.short.iter().flatten().find(|s| s.nth == nth);
            let plain = short.map_or(self.chunk_bytes, |short| short.bytes);
            let entry = SeekEntry { compressed, decompressed: size(plain)? };
            block.append(&entry.encode())?;
        }
        block.append(&encode_footer(size(self.used)?))
    }
}
