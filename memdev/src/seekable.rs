// SPDX-License-Identifier: BSD-2-Clause
//! The seek table of the Zstandard Seekable Format (version 0.1.0): a
//! skippable frame at the end of the stream that lists every frame's size, so
//! that a reader unpacks only what it needs. `zstd -d` skips it.
//!
//! ```text
//! 5E 2A 4D 18 | u32 size of what follows
//! entries: u32 compressed size, u32 decompressed size   (8 bytes each)
//! footer:  u32 entries | u8 descriptor (0) | B1 EA 92 8F
//! ```
//! All integers little-endian. The descriptor's bit 7 (a checksum in each
//! entry) is not set: the frames carry their own.

use crate::bytes::{get, put};

/// Magic number of skippable frame 14, which the format uses.
pub const SKIPPABLE_MAGIC: u32 = 0x184d_2a5e;
/// Last four bytes of the file.
pub const SEEKABLE_MAGIC: u32 = 0x8f92_eab1;
/// Bytes before the entries.
pub const HEADER_SIZE: usize = 8;
/// Bytes of one entry as written here.
pub const ENTRY_SIZE: usize = 8;
/// Bytes after the entries.
pub const FOOTER_SIZE: usize = 9;
/// The format's limit.
pub const MAX_FRAMES: u64 = 0x800_0000;

/// One frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeekEntry {
    /// Bytes of the frame.
    pub compressed: u32,
    /// Bytes it unpacks to.
    pub decompressed: u32,
}

impl SeekEntry {
    /// As it is in the table.
    #[must_use]
    pub fn encode(self) -> [u8; ENTRY_SIZE] {
        let mut b = [0; ENTRY_SIZE];
        put(&mut b, 0, &self.compressed.to_le_bytes());
        put(&mut b, 4, &self.decompressed.to_le_bytes());
        b
    }

    /// From the first eight bytes of an entry.
    #[must_use]
    pub fn decode(b: &[u8]) -> Self {
        Self {
            compressed: u32::from_le_bytes(get(b, 0)),
            decompressed: u32::from_le_bytes(get(b, 4)),
        }
    }
}

/// The eight bytes before the entries; `None` when there are too many.
#[must_use]
pub fn encode_header(frames: u64) -> Option<[u8; HEADER_SIZE]> {
    if frames > MAX_FRAMES {
        return None;
    }
    let size = frames * ENTRY_SIZE as u64 + FOOTER_SIZE as u64;
    let mut b = [0; HEADER_SIZE];
    put(&mut b, 0, &SKIPPABLE_MAGIC.to_le_bytes());
    put(&mut b, 4, &u32::try_from(size).ok()?.to_le_bytes());
    Some(b)
}

/// The nine bytes after the entries.
#[must_use]
pub fn encode_footer(frames: u32) -> [u8; FOOTER_SIZE] {
    let mut b = [0; FOOTER_SIZE];
    put(&mut b, 0, &frames.to_le_bytes());
    put(&mut b, 5, &SEEKABLE_MAGIC.to_le_bytes());
    b
}

/// The fields of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeekFooter {
    /// Entries in the table.
    pub frames: u32,
    /// Bytes of one entry: 8, or 12 where each has a checksum.
    pub entry_size: usize,
}

impl SeekFooter {
    /// Bytes of the whole skippable frame.
    #[must_use]
    pub fn table_size(&self) -> u64 {
        (HEADER_SIZE + FOOTER_SIZE) as u64
            + u64::from(self.frames) * self.entry_size as u64
    }
}

/// Reads a footer; `None` where the last nine bytes are not one.
#[must_use]
pub fn decode_footer(b: &[u8; FOOTER_SIZE]) -> Option<SeekFooter> {
    let frames = u32::from_le_bytes(get(b, 0));
    let reserved = b[4] & 0x7c;
    if u32::from_le_bytes(get(b, 5)) != SEEKABLE_MAGIC
        || reserved != 0
        || u64::from(frames) > MAX_FRAMES
    {
        return None;
    }
    let entry_size = if b[4] & 0x80 != 0 { 12 } else { 8 };
    Some(SeekFooter { frames, entry_size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_two_frames_has_the_documented_bytes() {
        assert_eq!(
            encode_header(2),
            Some([0x5e, 0x2a, 0x4d, 0x18, 25, 0, 0, 0])
        );
        assert_eq!(encode_footer(2), [2, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f]);
        let f = decode_footer(&encode_footer(2)).unwrap();
        assert_eq!((f.frames, f.table_size()), (2, 33));
    }

    #[test]
    fn a_footer_with_reserved_bits_is_refused() {
        let mut b = encode_footer(1);
        b[4] = 4;
        assert_eq!(decode_footer(&b), None);
        b[4] = 0x80;
        assert_eq!(decode_footer(&b).unwrap().entry_size, 12);
        assert_eq!(encode_header(MAX_FRAMES + 1), None);
    }
}
