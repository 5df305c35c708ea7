// SPDX-License-Identifier: BSD-2-Clause
//! The list of pages that did not hold at the end of a dump what the dump has
//! of them: written by the kernel next to the dump, read by the tools.
//!
//! ```text
//!  0    magic, 24 bytes         40   pages checked, u64
//!  24   version, u32            48   of them changed, by kind, 3 x u64
//!  28   records, u32            72   zero, up to 128
//!  32   bytes of a page, u64    128  records: first page u64, pages u32,
//!                                    kind u32; ascending
//! ```
//! Integers are little endian.

use crate::addr::{PAGE_SIZE, Paddr};
use crate::bytes::{get, put};

/// What such a list begins with.
pub const MAGIC: [u8; 24] = *b"livedump changed pages\0\0";
/// The version of the format here.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 128;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 16;

/// What a page is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A page table of the kernel map.
    Tables = 0,
    /// Mapped by the kernel map.
    KernelMap = 1,
    /// In the direct map only.
    DirectMap = 2,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 3] = [Kind::Tables, Kind::KernelMap, Kind::DirectMap];

    /// The kind of a number.
    #[must_use]
    pub fn from_u32(n: u32) -> Option<Kind> {
        Self::ALL.get(n as usize).copied()
    }

    /// For messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tables => "page tables",
            Kind::KernelMap => "kernel map",
            Kind::DirectMap => "direct map",
        }
    }
}

/// How the list begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Records that follow.
    pub records: u32,
    /// Pages that were read again.
    pub pages: u64,
    /// How many of them had changed, by [`Kind`].
    pub changed: [u64; 3],
}

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChanges {
    /// It does not begin as one.
    Magic,
    /// Of another version than [`VERSION`].
    Version(u32),
    /// Of a machine with pages of another size.
    PageSize(u64),
    /// A record, counted from 0, is empty, unaligned, of no known kind, or
    /// not after the one before.
    Record(u32),
    /// It ends before its last record.
    Truncated,
}

impl core::fmt::Display for BadChanges {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("not a list of changed pages"),
            Self::Version(v) => {
                write!(f, "unknown version {v} of the list")
            }
            Self::PageSize(n) => write!(f, "pages of {n} bytes"),
            Self::Record(n) => write!(f, "record {n} is not valid"),
            Self::Truncated => f.write_str("ends before its last record"),
        }
    }
}

impl core::error::Error for BadChanges {}

impl Header {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut b = [0; HEADER_BYTES];
        put(&mut b, 0, &MAGIC);
        put(&mut b, 24, &VERSION.to_le_bytes());
        put(&mut b, 28, &self.records.to_le_bytes());
        put(&mut b, 32, &(PAGE_SIZE as u64).to_le_bytes());
        put(&mut b, 40, &self.pages.to_le_bytes());
        for (i, n) in self.changed.iter().enumerate() {
            put(&mut b, 48 + 8 * i, &n.to_le_bytes());
        }
        b
    }

    /// From the bytes.
    ///
    /// # Errors
    /// What is not as it must be.
    pub fn decode(b: &[u8; HEADER_BYTES]) -> Result<Self, BadChanges> {
        if get::<24>(b, 0) != MAGIC {
            return Err(BadChanges::Magic);
        }
        let version = u32::from_le_bytes(get(b, 24));
        if version != VERSION {
            return Err(BadChanges::Version(version));
        }
        let u64_at = |at| u64::from_le_bytes(get(b, at));
        if u64_at(32) != PAGE_SIZE as u64 {
            return Err(BadChanges::PageSize(u64_at(32)));
        }
        Ok(Self {
            records: u32::from_le_bytes(get(b, 28)),
            pages: u64_at(40),
            changed: core::array::from_fn(|i| u64_at(48 + 8 * i)),
        })
    }

    /// Pages that had changed.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.changed.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }
}

/// Adjacent pages of one kind that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first of them.
    pub start: Paddr,
    /// How many.
    pub pages: u32,
    /// What they are.
    pub kind: Kind,
}

impl Record {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut b = [0; RECORD_BYTES];
        put(&mut b, 0, &self.start.0.to_le_bytes());
        put(&mut b, 8, &self.pages.to_le_bytes());
        put(&mut b, 12, &(self.kind as u32).to_le_bytes());
        b
    }

    /// From the bytes; `None` where they make no sense.
    #[must_use]
    pub fn decode(b: &[u8; RECORD_BYTES]) -> Option<Self> {
        let start = u64::from_le_bytes(get(b, 0));
        let pages = u32::from_le_bytes(get(b, 8));
        let kind = Kind::from_u32(u32::from_le_bytes(get(b, 12)))?;
        let bytes = u64::from(pages) * PAGE_SIZE as u64;
        let fits = start.checked_add(bytes).is_some();
        let aligned = start.is_multiple_of(PAGE_SIZE as u64);
        (pages > 0 && fits && aligned).then_some(Self {
            start: Paddr(start),
            pages,
            kind,
        })
    }

    /// The first address after them.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.0 + u64::from(self.pages) * PAGE_SIZE as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_records_survive_the_trip() {
        let h = Header { records: 3, pages: 9, changed: [1, 2, 3] };
        assert_eq!(Header::decode(&h.encode()), Ok(h));
        assert_eq!(h.total(), 6);
        for kind in Kind::ALL {
            let r = Record { start: Paddr(0x5000), pages: 7, kind };
            assert_eq!(Record::decode(&r.encode()), Some(r));
            assert_eq!(r.end(), 0xc000);
        }
    }

    #[test]
    fn what_is_no_list_is_named() {
        let good = Header::default().encode();
        let with = |at: usize, byte| {
            let mut b = good;
            b[at] = byte;
            Header::decode(&b)
        };
        assert_eq!(with(0, b'L'), Err(BadChanges::Magic));
        assert_eq!(with(24, 2), Err(BadChanges::Version(2)));
        assert_eq!(with(33, 0x20), Err(BadChanges::PageSize(0x2000)));
    }

    #[test]
    fn a_record_that_makes_no_sense_is_none() {
        let good = Record { start: Paddr(0), pages: 1, kind: Kind::Tables };
        let with = |at: usize, bytes: &[u8]| {
            let mut b = good.encode();
            b[at..at + bytes.len()].copy_from_slice(bytes);
            Record::decode(&b)
        };
        assert_eq!(with(0, &[1]), None, "unaligned");
        assert_eq!(with(8, &[0; 4]), None, "empty");
        assert_eq!(with(12, &[3]), None, "kind");
        assert_eq!(with(0, &[0, 0xf0, 255, 255, 255, 255, 255, 255]), None);
    }
}
