// SPDX-License-Identifier: BSD-2-Clause
//! What a file turned out to be: a minidump, which describes itself, or an
//! image of memory, in which a kernel has to be found first.

mod page;

use super::image::bhyve::{Checkpoint, CheckpointFile};
use super::image::joined::{JoinError, Joined};
use super::image::kernel::{KernelError, KernelMemory};
use super::image::ranges::{Range, Ranges};
use super::image::raw::Raw;
use super::image::view::{MinidumpView, ViewError};
use super::image::{Claims, MemoryImage};
use super::pages::Pages;
use super::source::{Plain, Source, SourceError, Stored};
use super::{FileFacts, OpenError, Vmcore, probe};
use crate::elf::Kernel;
use crate::path::escape_path;
use memdev::addr::Paddr;
use memdev::kerneldump::Compression;
use std::fs::File;
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

    /// The same of `bytes`, which are those of a file once it is decrypted,
    /// `len` of them; `file` is that file, and `path` what to call it.
    ///
    /// # Errors
    /// They are nothing that is known, which another key would explain.
    pub fn decrypted(
        bytes: Arc<dyn Stored>,
        len: u64,
        file: &File,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let name = || escape_path(path);
        let io = |source| OpenError::Io { path: name(), source };
        let facts = FileFacts::of(file, path).map_err(io)?;
        probe::open_decrypted(bytes, FileFacts { len, ..facts })
    }

    /// Bytes of a minidump that never arrived: [`Vmcore::lose`].
    #[must_use]
    pub fn without(mut self, missing: Vec<std::ops::Range<u64>>) -> Self {
        if let Self::Minidump(core) = &mut self {
            core.lose(missing);
        }
        self
    }

    /// With what may be the description of a checkpoint, which memory without
    /// a format of its own may be of.
    ///
    /// # Errors
    /// It is, and describes other memory.
    pub fn with_checkpoint(
        self,
        meta: Option<CheckpointFile>,
    ) -> Result<Self, OpenError> {
        let (Self::Image(image), Some(meta)) = (&self, meta) else {
            return Ok(self);
        };
        let Some(raw) = &image.raw else { return Ok(self) };
        let (file, len) = (image.file.clone(), raw.len());
        let found = Checkpoint::new(Arc::clone(raw.source()), len, &meta);
        let found = found.map_err(|source| {
            let path = escape_path(&file.path);
            OpenError::Image { path, source }
        })?;
        let Some(image) = found else { return Ok(self) };
        let image = Arc::new(image);
        Ok(Self::Image(ImageFile { file, image, raw: None, unknown: None }))
    }

    /// With the other parts of a split dump; `path` is what to call each.
    ///
    /// # Errors
    /// They are not those of one dump.
    pub fn with_parts<'p>(
        self,
        parts: impl IntoIterator<Item = (File, &'p Path)>,
    ) -> Result<Self, OpenError> {
        let mut parts = parts.into_iter().peekable();
        if parts.peek().is_none() {
            return Ok(self);
        }
        let no_part = |path: &Path| OpenError::Part {
            path: escape_path(path),
            source: JoinError::NotAPart,
        };
        let mut first = match self {
            Self::Image(image) => image,
            Self::Minidump(core) => return Err(no_part(&core.file().path)),
        };
        let mut images = vec![Arc::clone(&first.image)];
        let mut paths = vec![first.file.path.clone()];
        for (file, path) in parts {
            let Self::Image(image) = Self::new(file, path)? else {
                return Err(no_part(path));
            };
            images.push(image.image);
            paths.push(path.into());
        }
        let joined = Joined::new(images).map_err(|(n, source)| {
            let path = paths.get(n).map(|path| escape_path(path));
            OpenError::Part { path: path.unwrap_or_default(), source }
        })?;
        first.image = Arc::new(joined);
        Ok(Self::Image(first))
    }

    /// The minidump.
    ///
    /// # Errors
    /// It is an image.
    pub fn minidump(self) -> Result<Vmcore, OpenError> {
        match self {
            Self::Minidump(core) => Ok(*core),
            Self::Image(mut image) => Err(image.needs_kernel()),
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
        /// The image, and what it says that may be the reason.
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
        let facts = FileFacts::of(&file, path).map_err(io)?;
        let source = Arc::new(Plain::new(Arc::new(file), MAX_PADDR));
        let image = Arc::new(Raw::new(source, MAX_PADDR));
        Ok(Self { file: facts, image, raw: None, unknown: None })
    }

    /// Ranges of a device that is read by physical address; `path` is what to
    /// call it. Nothing else of it is read.
    ///
    /// # Errors
    /// Which range it does not have.
    pub fn ranges(
        file: Arc<File>,
        path: &Path,
        ranges: &[Range],
    ) -> Result<Self, OpenError> {
        let name = || escape_path(path);
        let io = |source| OpenError::Io { path: name(), source };
        let facts = FileFacts::of(&file, path).map_err(io)?;
        let source = Arc::new(Plain::new(file, MAX_PADDR));
        let image = Ranges::new(source, ranges).map_err(|source| {
            OpenError::Range { path: name(), source: source.into() }
        })?;
        let image = Arc::new(image);
        Ok(Self { file: facts, image, raw: None, unknown: None })
    }

    /// Memory that is in no file; `path` is what to call it.
    #[must_use]
    pub fn of_image(image: Arc<dyn MemoryImage>, path: &Path) -> Self {
        let path = path.to_path_buf();
        let file = FileFacts { path, len: 0, allocated: 0 };
        Self { file, image, raw: None, unknown: None }
    }

    /// A file with nothing but memory, and what is known of its machine
    /// otherwise; `path` is what to call it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn raw(
        file: File,
        path: &Path,
        claims: Claims,
    ) -> Result<Self, OpenError> {
        let name = || escape_path(path);
        let io = |source| OpenError::Io { path: name(), source };
        let facts = FileFacts::of(&file, path).map_err(io)?;
        let source = Arc::new(Plain::new(Arc::new(file), facts.len));
        let raw = Raw::new(source, facts.len).with_claims(claims);
        let raw = Arc::new(raw);
        let image = Arc::clone(&raw) as _;
        Ok(Self { file: facts, image, raw: Some(raw), unknown: None })
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
    pub fn needs_kernel(&mut self) -> OpenError {
        let path = escape_path(&self.file.path);
        let format = self.image.format();
        let claims = self.image.claims();
        let system = claims.other_system().map(String::from);
        let incomplete = claims.incomplete.clone();
        self.unknown.take().unwrap_or(OpenError::NeedsKernel {
            path,
            format,
            system,
            incomplete,
        })
    }

    /// Its name, and why a kernel may not be found in it.
    fn described(&self) -> String {
        let path = escape_path(&self.file.path);
        format!("{path}{}", self.image.claims().remark())
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
            let path = self.described();
            ImageKernelError::Kernel { path, source }
        };
        let flat = self.find(&self.image, kernel);
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
            if let Ok(found) = self.find(&image, kernel)
                && found.has_last_page()
            {
                return Ok(found);
            }
        }
        flat.map_err(named)
    }

    /// The one kernel of an image that ran, where it is there more than once:
    /// the one whose lists are whole.
    fn find(
        &self,
        image: &Arc<dyn MemoryImage>,
        kernel: &Kernel,
    ) -> Result<KernelMemory, KernelError> {
        let mut all = KernelMemory::find(image, kernel)?;
        let count = all.len();
        let first = |all: &[KernelMemory]| all.first().map_or(0, |m| m.base.0);
        let base = first(&all);
        if count > 1 {
            all.retain(|memory| {
                self.is_whole(image, kernel, memory.base).unwrap_or(false)
            });
        }
        let kernel = kernel.path().to_owned();
        if let Some(second) = all.get(1).map(|memory| memory.base.0) {
            let first = first(&all);
            return Err(KernelError::Ambiguous { kernel, first, second });
        }
        let Some(mut memory) = all.pop() else {
            let why = format!(
                "{count} copies of it, from {base:#x} on, and none has whole \
                 lists"
            );
            return Err(KernelError::NotFound { kernel, why });
        };
        if count > 1 {
            memory.notes.push(format!(
                "the kernel is in this memory {count} times: only the one at \
                 {} has whole lists",
                memory.base
            ));
        }
        Ok(memory)
    }

    /// Whether the lists of the kernel at `base` are whole.
    fn is_whole(
        &self,
        image: &Arc<dyn MemoryImage>,
        kernel: &Kernel,
        base: Paddr,
    ) -> Option<bool> {
        let again = KernelMemory::find(image, kernel).ok()?;
        let memory = again.into_iter().find(|memory| memory.base == base)?;
        let core = self.view(Arc::new(memory)).ok()?;
        Some(core.verify_lists_only(kernel).verdict().is_sound())
    }

    /// Finds a kernel in it, and reads it as that kernel's minidump.
    ///
    /// # Errors
    /// It is not there, or its memory is not what a kernel has.
    pub fn with_kernel(
        &self,
        kernel: &Kernel,
    ) -> Result<Vmcore, ImageKernelError> {
        let mut memory = self.kernel_memory(kernel)?;
        memory.notes.extend(self.page_notes(&memory));
        self.view(Arc::new(memory)).map_err(|source| {
            let path = self.described();
            ImageKernelError::View { path, source }
        })
    }

    fn view(&self, memory: Arc<KernelMemory>) -> Result<Vmcore, ViewError> {
        let view = MinidumpView::new(Arc::clone(&memory))?;
        let header = *view.header();
        let source: Arc<dyn Source> = Arc::new(view);
        let pages = Pages::new(source.as_ref(), &header);
        let claims = memory.image().claims();
        let notes = claims.notes.iter().chain(&memory.notes).cloned();
        Ok(Vmcore {
            layout: header.layout(),
            lost: super::lost::Lost::default(),
            file: self.file.clone(),
            compression: Compression::None,
            trailer: None,
            header,
            instant: Ok(None),
            keys: None,
            source,
            pages,
            notes: notes.collect(),
            translations: super::Translations::default(),
            reads: super::read_log::ReadLog::default(),
            cache: super::source::Cache::new(super::memory::CACHED_PAGES),
            claims: super::image::Claims::default(),
            memory: Some(memory),
        })
    }
}
