// SPDX-License-Identifier: BSD-2-Clause
//! The record in a dump that says of the keys that the kernel encrypts its own
//! dumps with (dumpon(8) `-k`) that they are not in it.
//!
//! It is this project's own, behind that of the instant, in the part of a
//! minidump's first page that FreeBSD leaves zero.

use crate::addr::Page;
use crate::bytes::{checksum, get, put};

/// Of a key's block so much is overwritten with zeros: all that is before the
/// encrypted key, which is public. The block is larger: that key is padded to
/// the device's blocks. C: `struct kerneldumpcrypto`, kern_shutdown.c: 620
/// bytes in 13.2, 14.2 and 15.1.
pub const KEY_BYTES: usize = 1024;

/// Where the record is in a minidump's first page.
pub const RECORD_OFFSET: usize = 2112;
/// Its bytes.
pub const RECORD_BYTES: usize = 20;
/// Its first bytes.
const MAGIC: [u8; 8] = *b"LDNOKEYS";
/// Its version.
const RECORD_VERSION: u32 = 1;

/// What a dump says of the kernel's own keys; little-endian. A dump without one
/// may have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysRecord {
    /// Keys that the kernel had, and that are zeros in the dump.
    pub overwritten: u32,
}

impl KeysRecord {
    /// Puts the record into the first page of a dump.
    pub fn encode(&self, page: &mut Page) {
        let mut b = [0; RECORD_BYTES];
        put(&mut b, 0, &MAGIC);
        put(&mut b, 8, &RECORD_VERSION.to_le_bytes());
        put(&mut b, 12, &self.overwritten.to_le_bytes());
        let (summed, _) = b.split_at(16);
        let sum = checksum(summed);
        put(&mut b, 16, &sum.to_le_bytes());
        put(page, RECORD_OFFSET, &b);
    }

    /// The record in the first page of a dump; `None` where there is none that
    /// is understood: nothing is known of keys then.
    #[must_use]
    pub fn decode(page: &Page) -> Option<Self> {
        let b: [u8; RECORD_BYTES] = get(page, RECORD_OFFSET);
        let u32_at = |at| u32::from_le_bytes(get(&b, at));
        let (summed, _) = b.split_at(16);
        let is_one = get(&b, 0) == MAGIC
            && u32_at(8) == RECORD_VERSION
            && u32_at(16) == checksum(summed);
        is_one.then(|| Self { overwritten: u32_at(12) })
    }
}

const _: () = {
    let end = crate::freeze::RECORD_OFFSET + crate::freeze::RECORD_BYTES;
    assert!(RECORD_OFFSET >= end);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_SIZE;

    #[test]
    fn a_record_survives_the_trip_and_no_flip_of_one_bit() {
        let mut page = [0; PAGE_SIZE];
        assert_eq!(KeysRecord::decode(&page), None);
        let record = KeysRecord { overwritten: 3 };
        record.encode(&mut page);
        assert_eq!(KeysRecord::decode(&page), Some(record));
        for bit in 0..8 * RECORD_BYTES {
            let mut page = page;
            page[RECORD_OFFSET + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(KeysRecord::decode(&page), None, "bit {bit}");
        }
    }
}
