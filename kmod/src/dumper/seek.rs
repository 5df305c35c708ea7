// SPDX-License-Identifier: BSD-2-Clause
//! The frames of a zstd stream, remembered until the table at its end. gzip
//! has no such table; its members are found by unpacking.

use super::block::BlockWriter;
use crate::error::{Errno, Result};
use crate::kpi::Kpi;
use memdev::kerneldump::Compression;
use memdev::seekable::{SeekEntry, encode_footer, encode_header};

pub(super) struct SeekTable<K: Kpi> {
    /// Two 32-bit sizes a frame; empty where there is no table.
    frames: K::Words,
    used: usize,
    wanted: bool,
}

impl<K: Kpi> SeekTable<K> {
    pub(super) fn new(
        kpi: &K,
        format: Compression,
        dumpextent: u64,
        chunk_bytes: usize,
    ) -> Result<Self> {
        let wanted = format == Compression::Zstd;
        let frames = match wanted {
            true => dumpextent.div_ceil(chunk_bytes as u64),
            false => 0,
        };
        let frames = usize::try_from(frames).map_err(|_| Errno::ENOMEM)?;
        Ok(Self { frames: kpi.malloc_words(frames)?, used: 0, wanted })
    }

    /// The next frame's sizes.
    pub(super) fn add(&mut self, packed: usize, plain: usize) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        let slot = self.frames.get_mut(self.used).ok_or(Errno::EINTEGRITY)?;
        let bits = |n| u32::try_from(n).map_err(|_| Errno::E2BIG);
        *slot = u64::from(bits(packed)?) | u64::from(bits(plain)?) << 32;
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
        for frame in self.frames.iter().take(self.used) {
            let entry = SeekEntry {
                compressed: (*frame & u64::from(u32::MAX)) as u32,
                decompressed: (*frame >> 32) as u32,
            };
            block.append(&entry.encode())?;
        }
        let frames = u32::try_from(self.used).map_err(|_| Errno::E2BIG)?;
        block.append(&encode_footer(frames))
    }
}
