// SPDX-License-Identifier: BSD-2-Clause
//! Dumps of one instant: the larger argument that asks for one, and the record
//! in the dump that says so.
//!
//! C: `struct mem_minidump_arg2`, livedump_ioctl.h. The record is this
//! project's own, in the part of a minidump's first page that FreeBSD leaves
//! zero (`minidumpsys` writes `struct minidumphdr` and zeros up to the page's
//! end), so that any reader of minidumps reads the dump.

use crate::addr::Page;
use crate::bytes::{checksum, get, put};
use crate::ioctl::{MEM_MINIDUMP, MemMinidumpArg};
use core::mem::{offset_of, size_of};

/// The version that [`MemMinidumpArg2`] has here.
pub const MINIDUMP_ARG2_VERSION: u32 = 2;

/// Every page of one instant; only in a [`MemMinidumpArg2`].
pub const FLAG_FREEZE: u32 = 1 << 5;

/// CPUs are stopped no longer than this where the caller does not say: 100 ms.
pub const DEFAULT_MAX_PAUSE_NS: u64 = 100_000_000;

/// No longer budget is taken: 1 s. The TSC timecounter wraps after 2 s
/// (`tsc_tc_init`: 32 bits of at most 2^31 Hz), and the clock would lose time.
pub const LARGEST_MAX_PAUSE_NS: u64 = 1_000_000_000;

/// What [`FLAG_FREEZE`] takes and answers. C: `struct mem_minidump_freeze`; 64
/// bytes. All zero without the flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MinidumpFreeze {
    /// In: CPUs may be stopped for so many nanoseconds, up to
    /// [`LARGEST_MAX_PAUSE_NS`]; 0 is [`DEFAULT_MAX_PAUSE_NS`].
    pub max_pause_ns: u64,
    /// Out: nanoseconds from the first CPU stopped to the last that went on;
    /// of an estimate, how long it would be.
    pub pause_ns: u64,
    /// Out: the instant, nanoseconds since boot. C: `sbinuptime`.
    pub uptime_ns: u64,
    /// Out: the instant, nanoseconds since 1970.
    pub time_ns: i64,
    /// Out: pages read while the CPUs were stopped.
    pub pages: u64,
    /// Out: of these, pages that were not in use yet when the dump was planned.
    pub late_pages: u64,
    /// Out: bytes of memory that the copy took, or, of an estimate, would take.
    pub copy_bytes: u64,
    /// Out: CPUs that took part.
    pub cpus: u32,
    /// In: zero.
    pub pad: u32,
}

/// C: `struct mem_minidump_arg2`; 192 bytes. [`MemMinidumpArg`] with what one
/// more flag needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MemMinidumpArg2 {
    /// As in [`MEM_MINIDUMP`], with version [`MINIDUMP_ARG2_VERSION`].
    pub arg: MemMinidumpArg,
    /// For [`FLAG_FREEZE`].
    pub freeze: MinidumpFreeze,
}

/// The request with a [`MemMinidumpArg2`]: [`MEM_MINIDUMP`]'s number with
/// another size.
pub const MEM_MINIDUMP2: u32 = MEM_MINIDUMP & !(0x1fff << 16)
    | (size_of::<MemMinidumpArg2>() as u32) << 16;

const _: () = {
    assert!(MEM_MINIDUMP2 == 0xc0c0_6dd0);
    assert!(size_of::<MinidumpFreeze>() == 64);
    assert!(size_of::<MemMinidumpArg2>() == 192);
    assert!(offset_of!(MemMinidumpArg2, freeze) == 128);
    assert!(offset_of!(MinidumpFreeze, time_ns) == 24);
    assert!(offset_of!(MinidumpFreeze, copy_bytes) == 48);
    assert!(offset_of!(MinidumpFreeze, cpus) == 56);
};

impl MinidumpFreeze {
    /// Whether everything that only comes out is zero, as it must be.
    #[must_use]
    pub fn padding_is_zero(&self) -> bool {
        *self == Self { max_pause_ns: self.max_pause_ns, ..Self::default() }
    }

    fn decode(b: &[u8; 64]) -> Self {
        let u64_at = |at| u64::from_ne_bytes(get(b, at));
        Self {
            max_pause_ns: u64_at(0),
            pause_ns: u64_at(8),
            uptime_ns: u64_at(16),
            time_ns: i64::from_ne_bytes(get(b, 24)),
            pages: u64_at(32),
            late_pages: u64_at(40),
            copy_bytes: u64_at(48),
            cpus: u32::from_ne_bytes(get(b, 56)),
            pad: u32::from_ne_bytes(get(b, 60)),
        }
    }

    fn encode(&self) -> [u8; 64] {
        let mut b = [0; 64];
        put(&mut b, 0, &self.max_pause_ns.to_ne_bytes());
        put(&mut b, 8, &self.pause_ns.to_ne_bytes());
        put(&mut b, 16, &self.uptime_ns.to_ne_bytes());
        put(&mut b, 24, &self.time_ns.to_ne_bytes());
        put(&mut b, 32, &self.pages.to_ne_bytes());
        put(&mut b, 40, &self.late_pages.to_ne_bytes());
        put(&mut b, 48, &self.copy_bytes.to_ne_bytes());
        put(&mut b, 56, &self.cpus.to_ne_bytes());
        put(&mut b, 60, &self.pad.to_ne_bytes());
        b
    }
}

impl MemMinidumpArg2 {
    /// A request with nothing set but the version.
    #[must_use]
    pub fn new() -> Self {
        let version = MINIDUMP_ARG2_VERSION;
        Self {
            arg: MemMinidumpArg { version, ..MemMinidumpArg::new() },
            freeze: MinidumpFreeze::default(),
        }
    }

    /// From the bytes that ioctl(2) copied in.
    #[must_use]
    pub fn decode(b: &[u8; 192]) -> Self {
        Self {
            arg: MemMinidumpArg::decode(&get(b, 0)),
            freeze: MinidumpFreeze::decode(&get(b, 128)),
        }
    }

    /// Into the bytes that ioctl(2) copies out.
    pub fn encode(&self, b: &mut [u8; 192]) {
        let mut arg = [0; 128];
        self.arg.encode(&mut arg);
        put(b, 0, &arg);
        put(b, 128, &self.freeze.encode());
    }
}

/// Where the record is in a minidump's first page.
pub const RECORD_OFFSET: usize = 2048;
/// Its first bytes.
const MAGIC: [u8; 8] = *b"LDFREEZE";
/// Its version.
const RECORD_VERSION: u32 = 1;
/// Its bytes.
pub const RECORD_BYTES: usize = 64;

/// What a dump says of the instant that it is of; little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreezeRecord {
    /// CPUs that were stopped.
    pub cpus: u32,
    /// The instant, nanoseconds since boot.
    pub uptime_ns: u64,
    /// The instant, nanoseconds since 1970.
    pub time_ns: i64,
    /// Nanoseconds from the first CPU stopped to the last that went on.
    pub pause_ns: u64,
    /// Nanoseconds that it was allowed to take.
    pub max_pause_ns: u64,
    /// Pages read while the CPUs were stopped.
    pub pages: u64,
}

/// Why a page has no record that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A version that a newer livedump wrote.
    Version(u32),
    /// The sum over its bytes is another.
    Checksum,
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(n) => write!(
                f,
                "record of the instant at offset {RECORD_OFFSET}: version \
                 {n}, expected {RECORD_VERSION}"
            ),
            Self::Checksum => write!(
                f,
                "record of the instant at offset {RECORD_OFFSET}: checksum \
                 does not match"
            ),
        }
    }
}

impl core::error::Error for RecordError {}

impl FreezeRecord {
    /// Puts the record into the first page of a dump.
    pub fn encode(&self, page: &mut Page) {
        let mut b = [0; RECORD_BYTES];
        put(&mut b, 0, &MAGIC);
        put(&mut b, 8, &RECORD_VERSION.to_le_bytes());
        put(&mut b, 12, &self.cpus.to_le_bytes());
        put(&mut b, 16, &self.uptime_ns.to_le_bytes());
        put(&mut b, 24, &self.time_ns.to_le_bytes());
        put(&mut b, 32, &self.pause_ns.to_le_bytes());
        put(&mut b, 40, &self.max_pause_ns.to_le_bytes());
        put(&mut b, 48, &self.pages.to_le_bytes());
        let (summed, _) = b.split_at(60);
        let sum = checksum(summed);
        put(&mut b, 60, &sum.to_le_bytes());
        put(page, RECORD_OFFSET, &b);
    }

    /// The record in the first page of a dump; `None` where there is none, as
    /// in any dump of a machine that ran.
    ///
    /// # Errors
    /// A record that is not understood: what the dump is of is not known then.
    pub fn decode(page: &Page) -> Result<Option<Self>, RecordError> {
        let b: [u8; RECORD_BYTES] = get(page, RECORD_OFFSET);
        if get(&b, 0) != MAGIC {
            return Ok(None);
        }
        let u64_at = |at| u64::from_le_bytes(get(&b, at));
        let u32_at = |at| u32::from_le_bytes(get(&b, at));
        if u32_at(8) != RECORD_VERSION {
            return Err(RecordError::Version(u32_at(8)));
        }
        let (summed, _) = b.split_at(60);
        if u32_at(60) != checksum(summed) {
            return Err(RecordError::Checksum);
        }
        Ok(Some(Self {
            cpus: u32_at(12),
            uptime_ns: u64_at(16),
            time_ns: i64::from_le_bytes(get(&b, 24)),
            pause_ns: u64_at(32),
            max_pause_ns: u64_at(40),
            pages: u64_at(48),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_SIZE;

    #[test]
    fn every_byte_of_the_argument_survives_the_trip() {
        let raw: [u8; 192] = core::array::from_fn(|i| i as u8 + 1);
        let mut out = [0; 192];
        MemMinidumpArg2::decode(&raw).encode(&mut out);
        assert_eq!(out, raw);
    }

    #[test]
    fn what_only_comes_out_is_seen_when_it_goes_in() {
        assert!(MinidumpFreeze::default().padding_is_zero());
        let mut raw = [0; 192];
        raw[128] = 1;
        assert!(MemMinidumpArg2::decode(&raw).freeze.padding_is_zero());
        for at in (136..192).step_by(4) {
            let mut raw = raw;
            raw[at] = 1;
            let arg = MemMinidumpArg2::decode(&raw);
            assert!(!arg.freeze.padding_is_zero(), "offset {at}");
        }
    }

    #[test]
    fn a_record_survives_the_trip_and_no_flip_of_one_bit() {
        let record = FreezeRecord {
            cpus: 4,
            uptime_ns: 5_000_000_007,
            time_ns: 1_700_000_000_123_456_789,
            pause_ns: 14_000_000,
            max_pause_ns: 100_000_000,
            pages: 23_000,
        };
        let mut page = [0; PAGE_SIZE];
        assert_eq!(FreezeRecord::decode(&page), Ok(None));
        record.encode(&mut page);
        assert_eq!(FreezeRecord::decode(&page), Ok(Some(record)));
        for bit in 0..RECORD_BYTES * 8 {
            let mut page = page;
            page[RECORD_OFFSET + bit / 8] ^= 1 << (bit % 8);
            let read = FreezeRecord::decode(&page);
            assert!(!matches!(read, Ok(Some(_))), "bit {bit}");
        }
    }
}
