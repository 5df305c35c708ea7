// SPDX-License-Identifier: BSD-2-Clause
//! Why a dump cannot be a machine: the file, and where in it.

use memdev::dump_avail::DumpAvailError;
use memdev::minidump::MinidumpError;
use std::io::Error;
use std::path::PathBuf;

/// Why a file cannot be a machine.
#[derive(Debug, thiserror::Error)]
pub enum VmcoreError {
    /// It cannot be opened, or not be asked for its size.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// It cannot be read.
    #[error(
        "cannot read the {section} at offset {offset:#x} of {}",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What was wanted.
        section: &'static str,
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: Error,
    },
    /// It is packed.
    #[error("{} is compressed ({format}): unpack it first", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// With what.
        format: &'static str,
    },
    /// Its first page is not a minidump's.
    #[error("{} cannot be used as a machine", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: MinidumpError,
    },
    /// amd64 minidumps before version 2 have no page directories.
    #[error(
        "{} is an amd64 minidump of version 1 (offset 24), expected 2 or 3",
        path.display()
    )]
    Version1 {
        /// The file.
        path: PathBuf,
    },
    /// A section is not what its header or a kernel makes of it.
    #[error(
        "{}: the {section} at offset {offset:#x} has {found} bytes, \
         expected {expected}",
        path.display()
    )]
    Section {
        /// The file.
        path: PathBuf,
        /// Which.
        section: &'static str,
        /// Where.
        offset: u64,
        /// Its size.
        found: u64,
        /// What it should be.
        expected: String,
    },
    /// dump_avail contradicts itself.
    #[error("{}: bad dump_avail at offset {offset:#x}", path.display())]
    DumpAvail {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: DumpAvailError,
    },
    /// The kernel map is where no kernel has it.
    #[error(
        "{}: {pages} pages of page tables for a kernel map at {kernbase:#x} \
         (offset 40) with memory up to {memory_end:#x}",
        path.display()
    )]
    KernelMap {
        /// The file.
        path: PathBuf,
        /// kernbase.
        kernbase: u64,
        /// Pages in the pmap section.
        pages: u64,
        /// Where memory ends.
        memory_end: u64,
    },
    /// It ends before its data pages begin.
    #[error(
        "{} is truncated: it has {len} bytes, its sections before the data \
         pages {expected}",
        path.display()
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its size.
        len: u64,
        /// Where the data pages would begin.
        expected: u64,
    },
}
