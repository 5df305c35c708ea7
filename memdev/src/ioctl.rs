// SPDX-License-Identifier: BSD-2-Clause
//! The three requests on `/dev/mem` and their arguments.
//!
//! C: <sys/ioccom.h> for the encoding, <sys/memrange.h> for the stock request;
//! `livedump_ioctl.h` of this project for ours. Arguments are encoded field by
//! field in the machine's byte order, which is what the C compiler does with
//! the same declarations; the `repr(C)` layout is asserted below so that a
//! pointer to one may be passed to ioctl(2).

use crate::bytes::{get, put};
use crate::stage::Stage;
use core::mem::{offset_of, size_of};

const IOC_OUT: u32 = 0x4000_0000;
const IOC_IN: u32 = 0x8000_0000;
const IOCPARM_MASK: u32 = (1 << 13) - 1;

#[doc(alias = "_IOC")]
const fn ioc(dir: u32, group: u8, num: u8, len: usize) -> u32 {
    dir | ((len as u32 & IOCPARM_MASK) << 16)
        | ((group as u32) << 8)
        | num as u32
}

/// The stock request: a live dump into a descriptor. C: `MEM_KERNELDUMP`.
pub const MEM_KERNELDUMP: u32 =
    ioc(IOC_IN, b'm', 53, size_of::<MemLivedumpArg>());
/// Ours: the same with flags, levels, workers and results.
pub const MEM_MINIDUMP: u32 =
    ioc(IOC_IN | IOC_OUT, b'm', 208, size_of::<MemMinidumpArg>());
/// Ours: how far the dump in progress is, and how the last one ended.
pub const MEM_MINIDUMP_STATUS: u32 =
    ioc(IOC_OUT, b'm', 209, size_of::<MemMinidumpStatus>());

/// The version that [`MemMinidumpArg`] and [`MemMinidumpStatus`] have here.
pub const MINIDUMP_ARG_VERSION: u32 = 1;

/// The bit of [`MemMinidumpArg::missing_cpus`] for CPUs that have none of
/// their own.
pub const MISSING_CPUS_MORE: u32 = 63;

/// No descriptor: [`FLAG_ESTIMATE`] takes none.
pub const NO_FD: i32 = -1;

/// Sizes only, nothing is written; `fd` must be [`NO_FD`].
pub const FLAG_ESTIMATE: u32 = 1 << 0;
/// Queue behind a running dump (a signal ends the wait) instead of `EBUSY`.
pub const FLAG_WAIT: u32 = 1 << 1;
/// Suspend user processes for the duration.
pub const FLAG_QUIESCE: u32 = 1 << 2;
/// Save every running thread's registers at the start and show them.
pub const FLAG_REGISTERS: u32 = 1 << 3;
/// Hash pages as they are copied and look again at the end.
pub const FLAG_STABILITY: u32 = 1 << 4;
/// `fd` is a pipe, a FIFO or a stream socket: everything is written in file
/// order, holes as zeros, the kernel dump header last. With [`FLAG_ESTIMATE`]
/// it changes nothing: a module that does not have it answers `EINVAL`.
pub const FLAG_STREAM: u32 = 1 << 6;
/// Every flag that has a meaning.
pub const FLAG_ALL: u32 = FLAG_ESTIMATE
    | FLAG_WAIT
    | FLAG_QUIESCE
    | FLAG_REGISTERS
    | FLAG_STABILITY
    | FLAG_STREAM;

/// Levels of zstd that a request may name, 0 excepted: the negative ones are
/// faster and compress less; those above 19 have huge windows.
pub const ZSTD_LEVELS: core::ops::RangeInclusive<i16> = -7..=19;

/// Levels of gzip that a request may name.
pub const GZIP_LEVELS: core::ops::RangeInclusive<i16> = 1..=9;

/// With zstd: the level at which compression keeps up with what the dump is
/// written to. C: `MINIDUMP_LEVEL_AUTO`.
pub const LEVEL_AUTO: i16 = i16::MIN;

/// C: `struct mem_livedump_arg`, <sys/memrange.h>; 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MemLivedumpArg {
    /// Where the dump goes: open for writing.
    pub fd: i32,
    /// Must be zero.
    pub flags: i32,
    /// 0 none, 1 gzip, 2 zstd.
    pub compression: u8,
    /// Not looked at, as in the stock facility.
    pub pad1: [u8; 7],
    /// Not looked at, as in the stock facility.
    pub pad2: [u64; 2],
}

impl MemLivedumpArg {
    /// From the bytes that ioctl(2) copied in.
    #[must_use]
    pub fn decode(b: &[u8; 32]) -> Self {
        Self {
            fd: i32::from_ne_bytes(get(b, 0)),
            flags: i32::from_ne_bytes(get(b, 4)),
            compression: b[8],
            pad1: get(b, 9),
            pad2: [
                u64::from_ne_bytes(get(b, 16)),
                u64::from_ne_bytes(get(b, 24)),
            ],
        }
    }

    /// As ioctl(2) wants it.
    #[must_use]
    pub fn encode(&self) -> [u8; 32] {
        let mut b = [0; 32];
        put(&mut b, 0, &self.fd.to_ne_bytes());
        put(&mut b, 4, &self.flags.to_ne_bytes());
        b[8] = self.compression;
        put(&mut b, 9, &self.pad1);
        put(&mut b, 16, &self.pad2[0].to_ne_bytes());
        put(&mut b, 24, &self.pad2[1].to_ne_bytes());
        b
    }
}

/// C: `struct mem_minidump_arg`; 128 bytes. The first half goes in, the second
/// comes out (ioctl(2) copies nothing out when it fails: see
/// [`MemMinidumpStatus`] for the stage a failed dump reached).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MemMinidumpArg {
    /// In: [`MINIDUMP_ARG_VERSION`].
    pub version: u32,
    /// In: `FLAG_*`.
    pub flags: u32,
    /// In: where the dump goes, or [`NO_FD`].
    pub fd: i32,
    /// In: 0 none, 1 gzip, 2 zstd.
    pub compression: u8,
    /// In: zero.
    pub pad0: u8,
    /// In: compression level; 0 is what `kern.livedump.gzip_level` or
    /// `zstd_level` says; [`LEVEL_AUTO`]. Out: the level that the dump has, or
    /// most of it.
    pub level: i16,
    /// In: threads that copy and compress; 0 is what
    /// `kern.livedump.workers` says.
    pub workers: u32,
    /// In: zero.
    pub pad1: u32,
    /// Out: the [`Stage`] reached.
    pub stage: u32,
    /// Out: version of the minidump header.
    pub minidump_version: u32,
    /// Out: data pages in the dump.
    pub pages: u64,
    /// Out: how many of them hold only zeros.
    pub zero_pages: u64,
    /// Out: how many were not the same any more at the end.
    pub changed_pages: u64,
    /// Out: bytes of the dump as written.
    pub dumplength: u64,
    /// Out: bytes of the dump before compression.
    pub dumpextent: u64,
    /// Out: nanoseconds the request took.
    pub elapsed_ns: u64,
    /// Out: nanoseconds user processes were suspended.
    pub quiesced_ns: u64,
    /// In: with [`FLAG_STABILITY`], where the list of changed pages goes (see
    /// [`crate::changes`]), or [`NO_FD`]; otherwise zero.
    pub changes_fd: i32,
    /// Out: running threads whose registers are in the dump.
    pub registers: u32,
    /// Out: `changed_pages` by kind, as [`crate::changes::Kind`] counts.
    pub changed_by_kind: [u64; 3],
    /// In: zero. Out: with [`FLAG_REGISTERS`], CPUs that did not come in time,
    /// and whose threads' registers are not in the dump: bit n is CPU n, and
    /// bit [`MISSING_CPUS_MORE`] any of those with higher numbers.
    pub missing_cpus: u64,
}

/// C: `struct mem_minidump_status`; 128 bytes, all out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MemMinidumpStatus {
    /// [`MINIDUMP_ARG_VERSION`].
    pub version: u32,
    /// The [`Stage`] of the dump in progress; `Idle` when there is none.
    pub stage: u32,
    /// Data pages taken so far.
    pub pages_done: u64,
    /// Data pages the dump will have; 0 before they are counted.
    pub pages_total: u64,
    /// Bytes written to the file.
    pub bytes_out: u64,
    /// Bytes of the dump before compression; 0 before they are counted.
    pub dumpextent: u64,
    /// When it started, Unix seconds.
    pub start_sec: i64,
    /// Nanoseconds since it started.
    pub elapsed_ns: u64,
    /// Dumps started since the module was loaded.
    pub started: u64,
    /// Dumps completed since the module was loaded.
    pub completed: u64,
    /// The [`Stage`] the last finished dump reached.
    pub last_stage: u32,
    /// The errno of the last finished dump; 0 is success.
    pub last_error: i32,
    /// Process that asked for the dump in progress; 0 when there is none.
    pub pid: i32,
    /// Zero.
    pub pad0: u32,
    /// Process that asked for the last finished dump: a caller whose request
    /// failed finds its own stage by this.
    pub last_pid: i32,
    /// Zero.
    pub pad1: u32,
    /// Estimates made since the module was loaded.
    pub estimates: u64,
    /// Of the last finished request, where it failed for want of something,
    /// how much it needed: bytes of memory with `ENOMEM`, nanoseconds with
    /// `ETIMEDOUT`; 0 where that is not known.
    pub last_needs: u64,
    /// And how much of it there was.
    pub last_has: u64,
    /// Zero.
    pub reserved: u64,
}

const _: () = {
    assert!(MEM_KERNELDUMP == 0x8020_6d35);
    assert!(MEM_MINIDUMP == 0xc080_6dd0);
    assert!(MEM_MINIDUMP_STATUS == 0x4080_6dd1);
    assert!(size_of::<MemLivedumpArg>() == 32);
    assert!(offset_of!(MemLivedumpArg, compression) == 8);
    assert!(offset_of!(MemLivedumpArg, pad2) == 16);
    assert!(size_of::<MemMinidumpArg>() == 128);
    assert!(offset_of!(MemMinidumpArg, compression) == 12);
    assert!(offset_of!(MemMinidumpArg, level) == 14);
    assert!(offset_of!(MemMinidumpArg, workers) == 16);
    assert!(offset_of!(MemMinidumpArg, stage) == 24);
    assert!(offset_of!(MemMinidumpArg, pages) == 32);
    assert!(offset_of!(MemMinidumpArg, quiesced_ns) == 80);
    assert!(offset_of!(MemMinidumpArg, changes_fd) == 88);
    assert!(offset_of!(MemMinidumpArg, registers) == 92);
    assert!(offset_of!(MemMinidumpArg, changed_by_kind) == 96);
    assert!(offset_of!(MemMinidumpArg, missing_cpus) == 120);
    assert!(size_of::<MemMinidumpStatus>() == 128);
    assert!(offset_of!(MemMinidumpStatus, pages_done) == 8);
    assert!(offset_of!(MemMinidumpStatus, start_sec) == 40);
    assert!(offset_of!(MemMinidumpStatus, last_stage) == 72);
    assert!(offset_of!(MemMinidumpStatus, last_pid) == 88);
    assert!(offset_of!(MemMinidumpStatus, estimates) == 96);
};

impl MemMinidumpArg {
    /// A request with nothing set but the version.
    #[must_use]
    pub fn new() -> Self {
        Self { version: MINIDUMP_ARG_VERSION, fd: NO_FD, ..Self::default() }
    }

    /// Whether every padding byte is zero, as it must be.
    #[must_use]
    pub fn padding_is_zero(&self) -> bool {
        let unused_fd = self.flags & FLAG_STABILITY == 0;
        self.pad0 == 0
            && self.pad1 == 0
            && !(unused_fd && self.changes_fd != 0)
            && self.missing_cpus == 0
    }

    /// The stage reached, where this side knows it.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        Stage::from_u32(self.stage)
    }

    /// Numbers of the CPUs that are missing; [`MISSING_CPUS_MORE`] stands for
    /// any from that number on.
    pub fn missing_cpus(&self) -> impl Iterator<Item = u32> + use<> {
        let set = self.missing_cpus;
        (0..=MISSING_CPUS_MORE).filter(move |n| set >> n & 1 == 1)
    }

    /// From the bytes that ioctl(2) copied in.
    #[must_use]
    pub fn decode(b: &[u8; 128]) -> Self {
        let u64_at = |at| u64::from_ne_bytes(get(b, at));
        let u32_at = |at| u32::from_ne_bytes(get(b, at));
        Self {
            version: u32_at(0),
            flags: u32_at(4),
            fd: i32::from_ne_bytes(get(b, 8)),
            compression: b[12],
            pad0: b[13],
            level: i16::from_ne_bytes(get(b, 14)),
            workers: u32_at(16),
            pad1: u32_at(20),
            stage: u32_at(24),
            minidump_version: u32_at(28),
            pages: u64_at(32),
            zero_pages: u64_at(40),
            changed_pages: u64_at(48),
            dumplength: u64_at(56),
            dumpextent: u64_at(64),
            elapsed_ns: u64_at(72),
            quiesced_ns: u64_at(80),
            changes_fd: i32::from_ne_bytes(get(b, 88)),
            registers: u32_at(92),
            changed_by_kind: core::array::from_fn(|i| u64_at(96 + 8 * i)),
            missing_cpus: u64_at(120),
        }
    }

    /// Into the bytes that ioctl(2) copies out.
    pub fn encode(&self, b: &mut [u8; 128]) {
        put(b, 0, &self.version.to_ne_bytes());
        put(b, 4, &self.flags.to_ne_bytes());
        put(b, 8, &self.fd.to_ne_bytes());
        b[12] = self.compression;
        b[13] = self.pad0;
        put(b, 14, &self.level.to_ne_bytes());
        put(b, 16, &self.workers.to_ne_bytes());
        put(b, 20, &self.pad1.to_ne_bytes());
        put(b, 24, &self.stage.to_ne_bytes());
        put(b, 28, &self.minidump_version.to_ne_bytes());
        put(b, 32, &self.pages.to_ne_bytes());
        put(b, 40, &self.zero_pages.to_ne_bytes());
        put(b, 48, &self.changed_pages.to_ne_bytes());
        put(b, 56, &self.dumplength.to_ne_bytes());
        put(b, 64, &self.dumpextent.to_ne_bytes());
        put(b, 72, &self.elapsed_ns.to_ne_bytes());
        put(b, 80, &self.quiesced_ns.to_ne_bytes());
        put(b, 88, &self.changes_fd.to_ne_bytes());
        put(b, 92, &self.registers.to_ne_bytes());
        for (i, n) in self.changed_by_kind.iter().enumerate() {
            put(b, 96 + 8 * i, &n.to_ne_bytes());
        }
        put(b, 120, &self.missing_cpus.to_ne_bytes());
    }
}

impl MemMinidumpStatus {
    /// The stage of the dump in progress, where this side knows it.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        Stage::from_u32(self.stage)
    }

    /// The stage the last dump reached, where this side knows it.
    #[must_use]
    pub fn last_stage(&self) -> Option<Stage> {
        Stage::from_u32(self.last_stage)
    }

    /// From the bytes that ioctl(2) copied out.
    #[must_use]
    pub fn decode(b: &[u8; 128]) -> Self {
        let u64_at = |at| u64::from_ne_bytes(get(b, at));
        let u32_at = |at| u32::from_ne_bytes(get(b, at));
        let i32_at = |at| i32::from_ne_bytes(get(b, at));
        Self {
            version: u32_at(0),
            stage: u32_at(4),
            pages_done: u64_at(8),
            pages_total: u64_at(16),
            bytes_out: u64_at(24),
            dumpextent: u64_at(32),
            start_sec: i64::from_ne_bytes(get(b, 40)),
            elapsed_ns: u64_at(48),
            started: u64_at(56),
            completed: u64_at(64),
            last_stage: u32_at(72),
            last_error: i32_at(76),
            pid: i32_at(80),
            pad0: u32_at(84),
            last_pid: i32_at(88),
            pad1: u32_at(92),
            estimates: u64_at(96),
            last_needs: u64_at(104),
            last_has: u64_at(112),
            reserved: u64_at(120),
        }
    }

    /// Into the bytes that ioctl(2) copies out.
    pub fn encode(&self, b: &mut [u8; 128]) {
        put(b, 0, &self.version.to_ne_bytes());
        put(b, 4, &self.stage.to_ne_bytes());
        put(b, 8, &self.pages_done.to_ne_bytes());
        put(b, 16, &self.pages_total.to_ne_bytes());
        put(b, 24, &self.bytes_out.to_ne_bytes());
        put(b, 32, &self.dumpextent.to_ne_bytes());
        put(b, 40, &self.start_sec.to_ne_bytes());
        put(b, 48, &self.elapsed_ns.to_ne_bytes());
        put(b, 56, &self.started.to_ne_bytes());
        put(b, 64, &self.completed.to_ne_bytes());
        put(b, 72, &self.last_stage.to_ne_bytes());
        put(b, 76, &self.last_error.to_ne_bytes());
        put(b, 80, &self.pid.to_ne_bytes());
        put(b, 84, &self.pad0.to_ne_bytes());
        put(b, 88, &self.last_pid.to_ne_bytes());
        put(b, 92, &self.pad1.to_ne_bytes());
        put(b, 96, &self.estimates.to_ne_bytes());
        put(b, 104, &self.last_needs.to_ne_bytes());
        put(b, 112, &self.last_has.to_ne_bytes());
        put(b, 120, &self.reserved.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_argument_survives_the_trip() {
        let arg = MemLivedumpArg {
            fd: 7,
            flags: -1,
            compression: 2,
            pad1: [1, 2, 3, 4, 5, 6, 7],
            pad2: [8, 9],
        };
        let b = arg.encode();
        assert_eq!(b[0..4], 7i32.to_ne_bytes());
        assert_eq!(b[8], 2);
        assert_eq!(MemLivedumpArg::decode(&b), arg);
    }

    #[test]
    fn every_byte_of_our_arguments_survives_the_trip() {
        let raw: [u8; 128] = core::array::from_fn(|i| i as u8 + 1);
        let mut out = [0; 128];
        MemMinidumpArg::decode(&raw).encode(&mut out);
        assert_eq!(out, raw);
        MemMinidumpStatus::decode(&raw).encode(&mut out);
        assert_eq!(out, raw);
    }

    #[test]
    fn missing_cpus_have_their_numbers() {
        let mut arg = MemMinidumpArg::new();
        assert_eq!(arg.missing_cpus().next(), None);
        arg.missing_cpus = 1 << 1 | 1 << 62 | 1 << 63;
        assert!(arg.missing_cpus().eq([1, 62, 63]));
    }

    #[test]
    fn nonzero_padding_is_seen_in_each_padding_field() {
        assert!(MemMinidumpArg::new().padding_is_zero());
        for at in [13, 20, 23, 88, 91, 120, 127] {
            let mut b = [0; 128];
            b[at] = 1;
            assert!(
                !MemMinidumpArg::decode(&b).padding_is_zero(),
                "offset {at}"
            );
        }
    }
}
