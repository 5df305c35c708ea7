// SPDX-License-Identifier: BSD-2-Clause
//! The memory of a FreeBSD kernel, from a file: opened by what is in it,
//! checked, read, on any OS.
//!
//! [`Opened::new`] finds out what a file is. A minidump (amd64 and arm64,
//! versions 1 to 3, of a panic or live; plain, gzip or zstd; with the kernel
//! dump header or without) describes itself and is a [`Vmcore`]. In an
//! [`image`] of memory (ELF core, kdump, LiME, AVML, raw), a kernel has to be
//! found first, by its ELF file; [`ImageFile::with_kernel`] then serves it as
//! the same [`Vmcore`]. Addresses, symbols and checks are its methods:
//!
//! ```no_run
//! use livedump_vmcore::{Opened, Vmcore, elf::Kernel};
//! # fn hz() -> Result<u32, Box<dyn std::error::Error>> {
//! let kernel = Kernel::open("kernel.0".as_ref())?;
//! let file = "vmcore.0".as_ref();
//! let memory = match Opened::new(Vmcore::open_file(file)?, file)? {
//!     Opened::Minidump(dump) => *dump,
//!     Opened::Image(image) => image.with_kernel(&kernel)?,
//! };
//! let symbol = kernel.find("hz").ok_or("no symbol hz")?;
//! Ok(memory.read_u32(symbol.address)?)
//! # }
//! ```
//!
//! `examples/hz.rs` is that as a program.
//!
//! # Modules
//!
//! ```text
//!  probe      what the file is: raw or stripped, plain, gzip or zstd
//!  image      memory in other formats, one file a format; a kernel in it
//!  source     a file's unpacked bytes, at any offset
//!  pages      where a physical page stands in them
//!  translate  kernel addresses to physical ones
//!  mappings   the kernel map, in the order of its addresses
//!  msgbuf     the message buffer
//!  elf        a kernel's symbols
//!  debuginfo  its CFI, functions and lines
//!  unwind     frame by frame through a stack
//!  procs      the process list, through them
//!  reads      which pages are read, for those who ask what of it changed
//!  verify     what of all this can be proved
//! ```
//!
//! # Errors
//!
//! Dumps come from other machines, in the state those were in: no offset,
//! count or pointer in one is believed. What is missing is an error of its own
//! and never zeros, and what is there is served.
//!
//! | | |
//! | --- | --- |
//! | [`OpenError`] | the file is not one that is read here, or needs a kernel |
//! | [`elf::ElfError`] | the kernel's file is none |
//! | [`ImageKernelError`] | the kernel is not in the image |
//! | [`ReadError`] | at which address memory could not be read, and why: not dumped, not mapped, or damaged |
//!
//! `is_environment` of an error says that it was this host that could not read
//! a file, so that nothing is known about the dump. An error's text says what
//! failed and its `source` why; [`chain`] is all of it in one line.
//!
//! # Features
//!
//! `sample`: small dumps in memory, for tests of programs that read dumps.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod chain;
pub mod changes;
pub mod companion;
pub mod debuginfo;
pub mod elf;
pub mod image;
pub mod mappings;
pub mod msgbuf;
pub mod pages;
pub mod path;
pub mod procs;
pub mod regular;
pub mod source;
pub mod unwind;
pub mod verdict;

mod instant;
mod lost;
mod memory;
mod opened;
mod probe;
mod read_log;
mod records;
mod textdump;
mod trailer;
mod translate;
mod verify;

#[cfg(any(test, feature = "sample"))]
pub mod sample;
#[cfg(test)]
mod tests;

pub use chain::{chain, without_errno};
pub use memory::{MemoryError, ReadError};
pub use opened::{ImageFile, ImageKernelError, Opened};
pub use pages::{PageState, Pages, PagesError};
pub use probe::{OpenError, guess_dump, is_named_encrypted};
pub use trailer::Trailer;
pub use verify::{Finding, INSTANT, Status, Verification};

use memdev::kerneldump::Compression;
use memdev::keys::KeysRecord;
use memdev::minidump::{Layout, MinidumpHeader};
use source::Source;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use translate::Translations;

/// Whether the dumped machine went on running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It ran on: a live dump.
    Live,
    /// It was stopped: by a panic, or by its hypervisor to be dumped.
    Stopped,
    /// That is not recorded.
    Unknown,
}

/// What the file system knows about a dump's file.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// As it was named.
    pub path: PathBuf,
    /// Its length.
    pub len: u64,
    /// Bytes of disk it has.
    pub allocated: u64,
}

impl FileFacts {
    /// Of an open file that was named so.
    fn of(file: &File, path: &Path) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            path: path.to_path_buf(),
            len: meta.len(),
            allocated: meta.blocks().saturating_mul(512),
        })
    }

    /// Whether the file has holes.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.allocated < self.len
    }
}

/// An open dump.
#[derive(Debug)]
pub struct Vmcore {
    file: FileFacts,
    compression: Compression,
    trailer: Option<Trailer>,
    header: MinidumpHeader,
    /// The instant that it is of, if it says so.
    instant: records::Instant,
    /// What it says of the kernel's own keys.
    keys: Option<KeysRecord>,
    layout: Layout,
    /// What of it never arrived.
    lost: lost::Lost,
    source: Arc<dyn Source>,
    pages: Result<Pages, PagesError>,
    notes: Vec<String>,
    translations: Translations,
    reads: read_log::ReadLog,
    /// Pages, by where they are in memory.
    cache: source::Cache,
    /// What it says as an image.
    claims: image::Claims,
    /// The memory that this is a view of, where it is no minidump's file.
    memory: Option<Arc<image::kernel::KernelMemory>>,
}

impl Vmcore {
    /// Opens a dump. A truncated one opens as long as its header is there;
    /// [`Vmcore::notes`] says what is odd about it.
    ///
    /// # Errors
    /// It is not a minidump that is read here.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::from_file(probe::open(path)?, path)
    }

    /// Opens the file of a dump and does not look into it yet.
    ///
    /// # Errors
    /// It cannot be opened, or is no plain file.
    pub fn open_file(path: &Path) -> Result<File, OpenError> {
        probe::open(path)
    }

    /// The same for a file that is open already; `path` is what to call it.
    ///
    /// # Errors
    /// It is not a minidump that is read here.
    pub fn from_file(file: File, path: &Path) -> Result<Self, OpenError> {
        probe::open_file(file, path)?.minidump()
    }

    /// The image whose memory this is, and the kernel in it; `None` for a
    /// minidump.
    #[must_use]
    pub fn image(&self) -> Option<&Arc<image::kernel::KernelMemory>> {
        self.memory.as_ref()
    }

    /// That pages of the dump are in files that are not here: it is one part
    /// of a split dump, or other parts are missing.
    #[must_use]
    pub fn incomplete(&self) -> Option<&str> {
        let memory = self.memory.as_ref()?;
        memory.image().claims().incomplete.as_deref()
    }

    /// The file it is in.
    #[must_use]
    pub fn file(&self) -> &FileFacts {
        &self.file
    }

    /// How the file is compressed, by its content.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The kernel dump header behind the dump, where savecore(8) has not
    /// stripped it.
    #[must_use]
    pub fn trailer(&self) -> Option<&Trailer> {
        self.trailer.as_ref()
    }

    /// The minidump header.
    #[must_use]
    pub fn header(&self) -> &MinidumpHeader {
        &self.header
    }

    /// Where its sections start.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The unpacked bytes.
    #[must_use]
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// The index of its pages, or why there is none.
    ///
    /// # Errors
    /// The file ends before its bitset does, or dump_avail makes no sense.
    pub fn pages(&self) -> Result<&Pages, &PagesError> {
        self.pages.as_ref()
    }

    /// The same, of a dump that is not needed any more.
    ///
    /// # Errors
    /// Those of [`Vmcore::pages`].
    pub fn into_pages(self) -> Result<Pages, PagesError> {
        self.pages
    }

    /// Bytes that the unpacked dump should have; `None` without pages.
    #[must_use]
    pub fn expected_len(&self) -> Option<u64> {
        self.header.dumpsize(self.pages().ok()?.count_set())
    }

    /// Whether it is a live dump. Its header has the panic's text, the kernel
    /// points to it, and savecore(8) calls live dumps something else.
    #[must_use]
    pub fn origin(&self, kernel: Option<&elf::Kernel>) -> Origin {
        let header = self.trailer.as_ref().and_then(|t| t.decode().ok());
        let panicked = header.is_some_and(|h| !h.panicstring.is_empty());
        let points = || {
            let symbol = kernel?.find("panicstr")?;
            self.read_u64(symbol.address).ok()
        };
        let name = self.file.path.file_name().and_then(|name| name.to_str());
        let named = |stem| name.is_some_and(|name| name.starts_with(stem));
        let outside = self.memory.as_ref().is_some_and(|memory| {
            // A hypervisor stops its guest for them.
            !memory.image().claims().cpus.is_empty()
        });
        let stopped = || kernel.is_some_and(|k| self.has_stopped_cpus(k));
        let panicked = panicked || points().is_some_and(|at| at != 0);
        let outside = outside || self.is_frozen();
        if panicked || named("vmcore.") || outside || stopped() {
            Origin::Stopped
        } else if named("livecore.") {
            Origin::Live
        } else {
            Origin::Unknown
        }
    }

    /// Whether CPUs were stopped although no thread took a dump, as in a
    /// minidump of an image with the registers of its notes. A live dump with
    /// registers has the thread that took it.
    fn has_stopped_cpus(&self, kernel: &elf::Kernel) -> bool {
        let set = || {
            let symbol = kernel.find("stopped_cpus")?;
            let mut set = vec![0; symbol.size.min(512) as usize];
            self.read_va(symbol.address, &mut set).ok()?;
            Some(set.iter().any(|&byte| byte != 0))
        };
        self.kernel_int(kernel, "dumptid").is_ok_and(|tid| tid == 0)
            && set().unwrap_or(false)
    }

    /// What is odd about the file, in sentences without an end.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
