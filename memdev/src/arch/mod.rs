// SPDX-License-Identifier: BSD-2-Clause
//! What differs between machines: magics, versions, the shape of page tables.

pub mod amd64;
pub mod arm64;

use crate::addr::Paddr;

/// Entries in a page table, at every level of both machines.
pub const ENTRIES: u64 = 512;

/// The meaning of a page-table entry. Levels count up from 0, the table whose
/// entries are 4 KB pages; an entry of level n covers 4096 * 512^n bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is mapped.
    Invalid,
    /// The next table down.
    Table(Paddr),
    /// Memory: one page at level 0, a block of contiguous ones above.
    Mapped(Paddr),
}

/// Bytes that one entry of `level` covers.
#[must_use]
pub const fn span(level: u32) -> u64 {
    1 << (12 + 9 * level)
}

/// A machine whose minidumps are written and read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// x86-64.
    Amd64,
    /// aarch64 with the 4 KB granule.
    Arm64,
}

impl Machine {
    /// FreeBSD's `MACHINE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// FreeBSD's `MACHINE_ARCH`, as the kernel dump header has it.
    #[must_use]
    pub fn arch(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "aarch64",
        }
    }

    /// architectureversion of the kernel dump header.
    /// C: `KERNELDUMP_AMD64_VERSION`, `KERNELDUMP_AARCH64_VERSION`.
    #[must_use]
    pub fn kerneldump_version(self) -> u32 {
        match self {
            Self::Amd64 => 2,
            Self::Arm64 => 1,
        }
    }

    /// The minidump header's magic. C: `MINIDUMP_MAGIC`.
    #[must_use]
    pub fn magic(self) -> &'static [u8] {
        match self {
            Self::Amd64 => b"minidump FreeBSD/amd64",
            Self::Arm64 => b"minidump FreeBSD/arm64",
        }
    }

    /// The machine of a magic.
    #[must_use]
    pub fn from_magic(magic: &[u8]) -> Option<Self> {
        [Self::Amd64, Self::Arm64].into_iter().find(|m| m.magic() == magic)
    }

    /// Whether minidumps of this version carry dump_avail.
    #[must_use]
    pub fn has_dump_avail(self, version: u32) -> bool {
        match self {
            Self::Amd64 => version >= 3,
            Self::Arm64 => version >= 2,
        }
    }

    /// The level whose tables are the pmap section: directories on amd64
    /// (one page a GB), leaf tables on arm64 (one page per 2 MB). amd64
    /// version 1 has leaf entries too.
    #[must_use]
    pub fn pmap_level(self, version: u32) -> u32 {
        match self {
            Self::Amd64 if version >= 2 => 1,
            Self::Amd64 | Self::Arm64 => 0,
        }
    }

    /// Bytes of kernel map that one page of the pmap section covers.
    #[must_use]
    pub fn pmap_page_span(self, version: u32) -> u64 {
        span(self.pmap_level(version) + 1)
    }

    /// Reads one entry of a table of `level`.
    #[must_use]
    pub fn decode(self, level: u32, entry: u64) -> Entry {
        match self {
            Self::Amd64 => amd64::decode(level, entry),
            Self::Arm64 => arm64::decode(level, entry),
        }
    }

    /// The entry of the pmap section that maps `pa` of a larger block whose
    /// own entry is `block`: what the kernel makes up ("fakepd") where the
    /// real tables are coarser than the section.
    #[must_use]
    pub fn split_block(self, block: u64, level: u32, index: u64) -> u64 {
        match self {
            Self::Amd64 => amd64::split_block(block, level, index),
            Self::Arm64 => arm64::split_block(block, level, index),
        }
    }
}
