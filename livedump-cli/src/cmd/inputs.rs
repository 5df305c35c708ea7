// SPDX-License-Identifier: BSD-2-Clause
//! What commands read. All files are opened first, then everything else is
//! given up, and only then is anything in the files looked at.

use super::dump_file::{DumpFile, KeyArgs};
use crate::analysis::TargetError;
use crate::crashdir::InfoText;
use crate::error::Error;
use crate::kernel_files::{self, DebugFile, KernelFiles, Misfit};
use crate::report::note;
use crate::sandbox::{self, Purpose, Role};
use crate::seal::SealFile;
use livedump_vmcore::chain;
use livedump_vmcore::changes::ChangesFile;
use livedump_vmcore::companion::companion;
use livedump_vmcore::image::bhyve::CheckpointFile;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{ImageFile, Vmcore, elf::Kernel, regular};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Which kernel a command reads with.
#[derive(Clone, Copy, Debug)]
pub enum WhichKernel<'a> {
    /// None.
    Unneeded,
    /// The one that was named, or else the dump's, if it is found.
    Any(Option<&'a Path>),
}

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum Content {
    /// A dump, or an image with its kernel.
    Dump(Box<Inputs>),
    /// An image in which nothing can be found without its kernel, and why its
    /// parameter page is not used, if it has one.
    Image(ImageFile, Option<String>),
}

/// Files that are open and that nothing has been read from.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) dump: DumpFile,
    meta: Option<CheckpointFile>,
    path: PathBuf,
    kernels: KernelFiles,
    pub(super) seal: Option<SealFile>,
    changes: Option<ChangesFile>,
    info: Option<File>,
    /// Why an info.N that exists cannot be read.
    pub(super) info_error: Option<String>,
}

impl Opened {
    /// Opens them, and `seal` with them. Where the program is confined,
    /// nothing can be opened afterwards. A kernel that was named is looked
    /// into at once.
    pub(super) fn open(
        dump: &Path,
        kernel: WhichKernel<'_>,
        seal: Option<SealFile>,
        keys: &KeyArgs,
    ) -> Result<Self, Error> {
        let path = dump.to_path_buf();
        let meta = CheckpointFile::beside(dump);
        let dump = DumpFile::open(dump, keys)?;
        let kernels = match kernel {
            WhichKernel::Unneeded => KernelFiles::default(),
            WhichKernel::Any(named) => {
                KernelFiles::open(&path, named, DebugFile::Unwanted)?
            }
        };
        // One that cannot be opened is none: the dump is what counts.
        let changes = ChangesFile::open_for(&path).ok().flatten();
        let (info, info_error) = open_info(&path);
        let list = changes.iter().map(|list| &list.file);
        let seal_file = seal.iter().filter_map(|seal| seal.as_ref().ok());
        let all = kernels.files().chain(seal_file).chain(list);
        let all = all.chain(&info).chain(dump.files());
        let all = all.chain(meta.iter().map(AsRef::as_ref));
        let files: Vec<_> =
            all.map(|file| (file.as_fd(), Purpose::Read)).collect();
        // Where the kernel cannot, `livedump doctor` says so.
        let _ = sandbox::enter(Role::Reader, &files);
        kernels.check_named()?;
        Ok(Self { dump, meta, path, kernels, seal, changes, info, info_error })
    }

    /// What the info.N beside the dump says, if there is one.
    pub(super) fn info(&self) -> Option<InfoText> {
        InfoText::read(self.info.as_ref()?).ok()
    }

    /// Looks into them. `excuse`: errors of the kernel's that leave it open
    /// whether it is the dump's.
    pub(super) fn read(
        self,
        excuse: impl Fn(&TargetError) -> bool,
    ) -> Result<Inputs, Error> {
        match self.read_any(excuse)? {
            Content::Dump(inputs) => Ok(*inputs),
            Content::Image(mut image, refused) => {
                refused.iter().for_each(note);
                Err(image.needs_kernel().into())
            }
        }
    }

    /// The same, of an image whose kernel is not known, too.
    pub(super) fn read_any(
        self,
        excuse: impl Fn(&TargetError) -> bool,
    ) -> Result<Content, Error> {
        let info = self.info.and_then(|file| InfoText::read(&file).ok());
        let missing = info.as_ref().map_or(vec![], |i| i.missing.clone());
        let opened = self.dump.read(&self.path)?.with_checkpoint(self.meta)?;
        let opened = opened.without(missing);
        let (core, chosen) = match opened {
            livedump_vmcore::Opened::Minidump(core) => {
                let chosen = match self.kernels.choose_if_any(&core) {
                    Err(kernel_files::Error::Target(e)) if excuse(&e) => {
                        Err(Misfit(chain(&e)))
                    }
                    chosen => chosen?,
                };
                (*core, chosen)
            }
            livedump_vmcore::Opened::Image(mut image) => {
                let named = self.kernels.is_named();
                let known = !image.is_unknown();
                let none = self.kernels.is_empty();
                let tried = match none && known {
                    true => None,
                    false => Some(self.kernels.choose_in(&mut image)),
                };
                match tried {
                    Some(Ok((core, found))) => (core, Ok(Some(found.kernel))),
                    Some(Err(e)) if named => return Err(e.into()),
                    // Its kernel may have written where everything is.
                    tried => match (image.with_page_at_hand(), tried) {
                        (Ok(core), _) => (core, Ok(None)),
                        (Err(refused), Some(Err(e))) => {
                            refused.iter().for_each(note);
                            return Err(e.into());
                        }
                        (Err(refused), _) => {
                            return Ok(Content::Image(image, refused));
                        }
                    },
                }
            }
        };
        let (kernel, misfit) = match chosen {
            Ok(kernel) => (kernel, None),
            Err(misfit) => (None, Some(misfit)),
        };
        let changes = self.changes;
        let inputs = Inputs { core, kernel, misfit, changes, info };
        Ok(Content::Dump(Box::new(inputs)))
    }
}

/// A dump, and the kernel that goes with it.
#[derive(Debug)]
pub struct Inputs {
    /// The dump.
    pub core: Vmcore,
    /// Its kernel: the one that was named, or one that was found.
    pub kernel: Option<Kernel>,
    /// Why the one beside the dump is not used.
    pub misfit: Option<Misfit>,
    /// The list of what changed, if one lies beside the dump.
    pub changes: Option<ChangesFile>,
    /// The info.N beside the dump, if there is one.
    pub info: Option<InfoText>,
}

impl Inputs {
    /// Opens them. Where the program is confined, nothing can be opened
    /// afterwards.
    ///
    /// # Errors
    /// One cannot be opened, or is not what it should be.
    pub fn open(
        dump: &Path,
        kernel: WhichKernel<'_>,
        keys: &KeyArgs,
    ) -> Result<Self, Error> {
        let opened = Opened::open(dump, kernel, None, keys)?;
        let inputs = opened.read(|_| false)?;
        if let Some(Misfit(why)) = &inputs.misfit {
            note(why);
        }
        inputs.core.incomplete().iter().for_each(note);
        let info = inputs.info.as_ref();
        if let Some(text) = info.and_then(|info| info.problem.as_ref()) {
            note(format_args!("info.N: {text}"));
        }
        Ok(inputs)
    }
}

/// The info.N beside a dump, or why it cannot be read.
pub(super) fn open_info(dump: &Path) -> (Option<File>, Option<String>) {
    let Some(path) = companion(dump, "info") else { return (None, None) };
    match regular::open(&path) {
        Ok(file) => (file, None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => (None, None),
        Err(e) => (None, Some(format!("opening {}: {e}", escape_path(&path)))),
    }
}
