// SPDX-License-Identifier: BSD-2-Clause
//! What a file turned out to be: a minidump, which describes itself, or an
//! image of memory, in which a kernel has to be found first.

use super::image::MemoryImage;
use super::image::kernel::{KernelError, KernelMemory};
use super::image::raw::Raw;
use super::image::view::{MinidumpView, ViewError};
use super::pages::Pages;
use super::source::{Plain, Source, SourceError};
use super::{FileFacts, OpenError, Vmcore, probe};
use crate::elf::Kernel;
use crate::path::escape_path;
use memdev::kerneldump::Compression;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Physical addresses have 52 bits at most on amd64 and arm64.
const MAX_PADDR: u64 = 1 << 52;

/// An open file of memory.
#[derive(Debug)]
pub enum Opened {
    /// A minidump.
    Minidump(Box<Vmcore>),
    /// An image of memory.
    Image(ImageFile),
}

impl Opened {
    /// Finds out what `file` is; `path` is what to call it.
    ///
    /// # Errors
    /// It is neither.
    pub fn new(file: File, path: &Path) -> Result<Self, OpenError> {
        probe::open_file(file, path)
    }

    /// The minidump.
    ///
    /// # Errors
    /// It is an image.
    pub fn minidump(self) -> Result<Vmcore, OpenError> {
        match self {
            Self::Minidump(core) => Ok(*core),
            Self::Image(image) => Err(image.needs_kernel()),
        }
    }
}

/// A file that is an image of memory.
#[derive(Debug)]
pub struct ImageFile {
    pub(super) file: FileFacts,
    pub(super) image: Arc<dyn MemoryImage>,
    /// The same as nothing but memory.
    pub(super) raw: Option<Arc<Raw>>,
    /// Nothing says that it is one, but for a kernel in it.
    pub(super) unknown: Option<OpenError>,
}

/// Why an image is of no use with a kernel.
#[derive(Debug, thiserror::Error)]
pub enum ImageKernelError {
    /// The kernel is not in it.
    #[error("{path}")]
    Kernel {
        /// The image.
        path: String,
        /// Why not.
        source: KernelError,
    },
    /// It is there, and the memory is not what a kernel has.
    #[error("{path}")]
    View {
        /// The image.
        path: String,
        /// Why not.
        source: ViewError,
    },
}

impl ImageFile {
    /// A device that has memory at its addresses and no size, such as
    /// /dev/mem. Reading where there is no memory may have side effects.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn device(file: File, path: &Path) -> Result<Self, OpenError> {
        let name = || escape_path(path);
        let io = |source| OpenError::Io { path: name(), source };
        let meta = file.metadata().map_err(io)?;
        let facts = FileFacts {
            path: path.to_path_buf(),
            len: meta.len(),
            allocated: meta.blocks().saturating_mul(512),
        };
        let source = Arc::new(Plain::new(Arc::new(file), MAX_PADDR));
        let image = Arc::new(Raw::new(source, MAX_PADDR));
        Ok(Self { file: facts, image, raw: None, unknown: None })
    }

    /// The file it is in.
    #[must_use]
    pub fn file(&self) -> &FileFacts {
        &self.file
    }

    /// The memory.
    #[must_use]
    pub fn image(&self) -> &Arc<dyn MemoryImage> {
        &self.image
    }

    /// Whether nothing says that it is memory, but for a kernel in it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    /// That nothing can be found in it without a kernel, or that it is nothing
    /// that is known.
    #[must_use]
    pub fn needs_kernel(self) -> OpenError {
        let path = escape_path(&self.file.path);
        let format = self.image.format();
        self.unknown.unwrap_or(OpenError::NeedsKernel { path, format })
    }

    /// An error of reading the image, with its name.
    #[must_use]
    pub fn read_error(&self, source: SourceError) -> OpenError {
        OpenError::Source { path: escape_path(&self.file.path), source }
    }

    /// Finds a kernel in it.
    ///
    /// # Errors
    /// It is not there.
    pub fn kernel_memory(
        &self,
        kernel: &Kernel,
    ) -> Result<KernelMemory, ImageKernelError> {
        let named = |source| {
            let path = escape_path(&self.file.path);
            ImageKernelError::Kernel { path, source }
        };
        let flat = KernelMemory::find(Arc::clone(&self.image), kernel);
        if flat.as_ref().is_ok_and(KernelMemory::has_last_page) {
            return flat.map_err(named);
        }
        // The rest of dump_avail may be behind a hole that the file has not, or
        // memory starts elsewhere.
        let holes = self.raw.iter().flat_map(|raw| raw.holes());
        let starts = self.raw.iter().flat_map(|raw| {
            let all = KernelMemory::starts(raw.as_ref(), kernel);
            all.into_iter().map(|start| raw.with_start(start))
        });
        for raw in holes.chain(starts) {
            let image: Arc<dyn MemoryImage> = Arc::new(raw);
            if let Ok(found) = KernelMemory::find(image, kernel)
                && found.has_last_page()
            {
                return Ok(found);
            }
        }
        flat.map_err(named)
    }

    /// Finds a kernel in it, and reads it as that kernel's minidump.
    ///
    /// # Errors
    /// It is not there, or its memory is not what a kernel has.
    pub fn with_kernel(
        &self,
        kernel: &Kernel,
    ) -> Result<Vmcore, ImageKernelError> {
        let memory = Arc::new(self.kernel_memory(kernel)?);
        let view =
            MinidumpView::new(Arc::clone(&memory)).map_err(|source| {
                let path = escape_path(&self.file.path);
                ImageKernelError::View { path, source }
            })?;
        let header = *view.header();
        let source: Arc<dyn Source> = Arc::new(view);
        let pages = Pages::new(source.as_ref(), &header);
        let claims = memory.image().claims();
        let notes = claims.notes.iter().chain(&memory.notes).cloned();
        Ok(Vmcore {
            layout: header.layout(),
            file: self.file.clone(),
            compression: Compression::None,
            trailer: None,
            header,
            source,
            pages,
            notes: notes.collect(),
            translations: super::Translations::default(),
            reads: super::read_log::ReadLog::default(),
            claims: super::image::Claims::default(),
            memory: Some(memory),
        })
    }
}
