// SPDX-License-Identifier: BSD-2-Clause
//! Why the memory in a file cannot be a machine.

use livedump_vmcore::elf::ElfError;
use livedump_vmcore::{ImageKernelError, OpenError, PagesError};
use std::path::PathBuf;

/// What of a file stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum VmcoreError {
    /// No kernel is named, and none has said where it is.
    #[error("name its kernel with -k")]
    NoPage(#[source] ImageKernelError),
    /// It is no dump, or no image.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its pages cannot be found.
    #[error("{}", path.display())]
    Pages {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PagesError,
    },
    /// A section of it cannot be read.
    #[error("{}: reading its {section}", path.display())]
    Section {
        /// The file.
        path: PathBuf,
        /// Which.
        section: &'static str,
        /// Why.
        source: livedump_vmcore::source::SourceError,
    },
    /// The engine writes none of this version.
    #[error(
        "{}: amd64 minidump version 1 cannot be used as a machine",
        path.display()
    )]
    Version1 {
        /// The file.
        path: PathBuf,
    },
    /// More pages or ranges than a machine has.
    #[error("{}: {found} {what}, at most {most}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many there may be.
        most: u64,
    },
    /// A kernel map that no page tables can have.
    #[error(
        "{}: kernel map at {kernbase:#x} (offset 40) with {pages} pages of \
         page tables, memory to {memory_end:#x}: no such machine",
        path.display()
    )]
    KernelMap {
        /// The file.
        path: PathBuf,
        /// Where it begins.
        kernbase: u64,
        /// Pages of the pmap section.
        pages: u64,
        /// The last address of dump_avail.
        memory_end: u64,
    },
    /// The kernel file cannot be used.
    #[error(transparent)]
    Kernel(#[from] ElfError),
    /// The kernel is not in the image.
    #[error(transparent)]
    Image(#[from] ImageKernelError),
    /// It is there, and part of what a minidump is made of is not.
    #[error("{}", path.display())]
    Memory {
        /// The image.
        path: PathBuf,
        /// What is missing.
        source: livedump_vmcore::image::kernel::KernelError,
    },
}
