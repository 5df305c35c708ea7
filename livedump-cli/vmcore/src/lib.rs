// SPDX-License-Identifier: BSD-2-Clause
//! A dump as a file: opened by what is in it, checked, read.
//!
//! ```text
//!  probe      what the file is: raw or stripped, plain, gzip or zstd
//!  source     its unpacked bytes, at any offset
//!  pages      where a physical page stands in them
//!  translate  kernel addresses to physical ones
//!  mappings   the kernel map, in the order of its addresses
//!  msgbuf     the message buffer
//!  elf        a kernel's symbols
//!  procs      the process list, through them
//!  reads      which pages are read, for those who ask what of it changed
//!  verify     what of all this can be proved
//! ```
//!
//! Dumps come from other machines, in the state those were in: no offset,
//! count or pointer in one is believed. What is missing is said, and what is
//! there is served.

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
pub mod elf;
pub mod image;
pub mod mappings;
pub mod msgbuf;
pub mod pages;
pub mod path;
pub mod procs;
pub mod regular;
pub mod source;
pub mod verdict;

mod memory;
mod opened;
mod probe;
mod read_log;
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
pub use probe::OpenError;
pub use trailer::Trailer;
pub use verify::{Finding, INSTANT, Status, Verification};

use memdev::kerneldump::Compression;
use memdev::minidump::{Layout, MinidumpHeader};
use source::Source;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use translate::Translations;

/// Whether the dumped machine went on running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It ran on: a live dump.
    Live,
    /// It was stopped, by a panic or to be dumped.
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
    layout: Layout,
    source: Arc<dyn Source>,
    pages: Result<Pages, PagesError>,
    notes: Vec<String>,
    translations: Translations,
    reads: read_log::ReadLog,
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
        if panicked || named("vmcore.") || points().is_some_and(|at| at != 0) {
            Origin::Stopped
        } else if named("livecore.") {
            Origin::Live
        } else {
            Origin::Unknown
        }
    }

    /// What is odd about the file, in sentences without an end.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
