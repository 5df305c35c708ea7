// SPDX-License-Identifier: BSD-2-Clause
//! Memory with physical addresses, in whatever format somebody wrote it: one
//! file a format, each found by content.
//!
//! ```text
//!  elf    FreeBSD's full dumps, QEMU's dump-guest-memory, other ELF cores
//!  kdump  makedumpfile's and QEMU's; flattened as well; joined: split ones
//!  lime   LiME, AVML
//!  bhyve  a checkpoint's memory, which a file beside it describes
//!  raw    nothing but memory: flat, or with the hole below 4 GiB closed
//!  ranges parts of a device that is read by physical address
//! ```
//!
//! An image has pages or has them not: a page that is not there is missing,
//! and not a page of zeros. What a file says about its machine is a [`Claims`]:
//! nothing here believes it.

pub mod bhyve;
pub mod cpu;
pub mod elf;
pub mod joined;
pub mod kdump;
pub mod kernel;
pub mod lime;
mod minidump;
pub mod overlay;
pub mod ranges;
pub mod raw;
pub mod view;

mod fields;
mod notes;
mod segments;
#[cfg(test)]
mod testing;

use crate::MemoryError;
use crate::source::{Source, SourceError};
use joined::Part;
use memdev::addr::Paddr;
use memdev::arch::Machine;
use std::fmt;
use std::sync::Arc;

pub use cpu::{Amd64State, Arm64State, CpuState};

/// What wrote an image, by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A full dump of FreeBSD, or another ELF core with physical addresses.
    Elf,
    /// The ELF core of QEMU's dump-guest-memory.
    QemuElf,
    /// A compressed kdump, of makedumpfile.
    Kdump,
    /// A compressed kdump, of QEMU.
    QemuKdump,
    /// LiME.
    Lime,
    /// AVML version 2.
    Avml,
    /// A checkpoint of bhyve.
    Bhyve,
    /// Nothing but memory.
    Raw,
    /// A minidump.
    Minidump,
}

impl Format {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elf => "ELF core",
            Self::QemuElf => "ELF core (QEMU)",
            Self::Kdump => "kdump",
            Self::QemuKdump => "kdump (QEMU)",
            Self::Lime => "LiME",
            Self::Avml => "AVML",
            Self::Bhyve => "bhyve checkpoint",
            Self::Raw => "raw memory",
            Self::Minidump => "minidump",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Adjacent pages that an image has. Multiples of the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first page.
    pub start: u64,
    /// After the last page.
    pub end: u64,
}

/// What of an image's pages has checksums, so that damage to them is an error
/// and not other memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// No page.
    #[default]
    None,
    /// Pages that are stored compressed; those that would not have become
    /// smaller are stored as they are, without.
    Compressed,
    /// Every page.
    All,
}

impl Checksums {
    /// "none", "compressed pages", "all pages".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Compressed => "compressed pages",
            Self::All => "all pages",
        }
    }
}

/// What a file says about its machine. None of it is believed.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The machine.
    pub machine: Option<Machine>,
    /// Linux' `phys_base`: the physical address at KERNBASE. FreeBSD's is
    /// `kernphys` - 2 MiB.
    pub phys_base: Option<u64>,
    /// FreeBSD's `kernphys`, of PT_DUMP_DELTA.
    pub kernphys: Option<u64>,
    /// Registers of the CPUs, in their order.
    pub cpus: Vec<CpuState>,
    /// Lines of a vmcoreinfo.
    pub vmcoreinfo: Vec<u8>,
    /// What of its pages has checksums. Headers and indexes have none in any
    /// of these formats.
    pub checksums: Checksums,
    /// The part of a split dump that it is.
    pub part: Option<Part>,
    /// That pages of the dump are in files that are not here: those of other
    /// parts. A sentence without an end.
    pub incomplete: Option<String>,
    /// The system whose memory it is, and its release: "Linux 6.1.0".
    pub system: Option<String>,
    /// What is odd about the file, in sentences without an end.
    pub notes: Vec<String>,
}

impl Claims {
    /// The system whose memory it is, if that is not FreeBSD.
    #[must_use]
    pub fn other_system(&self) -> Option<&str> {
        let system = self.system.as_deref();
        system.filter(|name| !name.starts_with("FreeBSD"))
    }

    /// Why a kernel may not be found in it, in brackets after its name.
    #[must_use]
    pub fn remark(&self) -> String {
        match (self.other_system(), &self.incomplete) {
            (Some(system), _) => format!(" (memory of {system})"),
            (None, Some(why)) => format!(" ({why})"),
            (None, None) => String::new(),
        }
    }
}

/// Physical memory of a machine.
pub trait MemoryImage: fmt::Debug + Send + Sync {
    /// What wrote it.
    fn format(&self) -> Format;

    /// What it says about itself.
    fn claims(&self) -> &Claims;

    /// The first run of pages at or after `from` that the image has; it may be
    /// adjacent to the next one. Starts at `from` where that is within a run.
    ///
    /// # Errors
    /// There is no telling.
    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError>;

    /// Reads memory, of one or more adjacent pages.
    ///
    /// # Errors
    /// A page is not there, or cannot be read; `buf` has then anything.
    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// First byte after the last page that the image could have.
    fn end(&self) -> u64;
}

/// Why a file that is of a known format cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file ends too early.
    #[error("it ends at {end:#x}, inside its {part}")]
    Truncated {
        /// Which part of the file.
        part: &'static str,
        /// Where the file ends.
        end: u64,
    },
    /// A part of it is damaged.
    #[error("{part} at {offset:#x}: {what}")]
    Damaged {
        /// Which part.
        part: &'static str,
        /// Where it is in the file.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Of a kind or a size that is not read here.
    #[error("{0}")]
    Unsupported(String),
}

impl ImageError {
    /// Whether it is this host that could not read the file.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Source(e) if e.is_environment())
    }
}

/// The image that a file's bytes are, if they are of a format that has a
/// magic number.
///
/// # Errors
/// It is of such a format, and damaged.
pub fn open(
    source: &Arc<dyn Source>,
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    type Open = fn(
        &Arc<dyn Source>,
        &[u8],
    ) -> Result<Option<Arc<dyn MemoryImage>>, ImageError>;
    const FORMATS: [Open; 3] = [elf::open, kdump::open, lime::open];
    let mut head = [0; 64];
    let got = source.read_at(0, &mut head)?;
    let head = head.get(..got).unwrap_or_default();
    for format in FORMATS {
        if let Some(image) = format(source, head)? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}
