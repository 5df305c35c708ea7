// SPDX-License-Identifier: BSD-2-Clause
//! What commands read. All files are opened first, then everything else is
//! given up, and only then is anything in the files looked at.

use crate::crashdir::InfoText;
use crate::error::Error;
use crate::kernel_files::{DebugFile, KernelFiles};
use crate::sandbox::{self, Purpose, Role};
use livedump_vmcore::changes::ChangesFile;
use livedump_vmcore::companion::companion;
use livedump_vmcore::{Vmcore, elf::Kernel, regular};
use std::fs::File;
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

/// Files that are open and that nothing has been read from.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) dump: File,
    path: PathBuf,
    kernels: KernelFiles,
    pub(super) seal: Option<File>,
    changes: Option<ChangesFile>,
    info: Option<File>,
}

impl Opened {
    /// Opens them, and `seal` with them. Where the program is confined,
    /// nothing can be opened afterwards.
    pub(super) fn open(
        dump: &Path,
        kernel: WhichKernel<'_>,
        seal: Option<File>,
    ) -> Result<Self, Error> {
        let path = dump.to_path_buf();
        let dump = Vmcore::open_file(dump)?;
        let kernels = match kernel {
            WhichKernel::Unneeded => KernelFiles::default(),
            WhichKernel::Any(named) => {
                KernelFiles::open(&path, named, DebugFile::Unwanted)?
            }
        };
        // One that cannot be opened is none: the dump is what counts.
        let changes = ChangesFile::open_for(&path).ok().flatten();
        let info = companion(&path, "info")
            .and_then(|path| regular::open(&path).ok().flatten());
        let list = changes.iter().map(|list| &list.file);
        let all = kernels.files().chain(&seal).chain(list);
        let all = all.chain(&info).chain([&dump]);
        let files: Vec<_> =
            all.map(|file| (file.as_fd(), Purpose::Read)).collect();
        // Where the kernel cannot, `livedump doctor` says so.
        let _ = sandbox::enter(Role::Reader, &files);
        Ok(Self { dump, path, kernels, seal, changes, info })
    }

    /// What the info.N beside the dump says, if there is one.
    pub(super) fn info(&self) -> Option<InfoText> {
        InfoText::read(self.info.as_ref()?).ok()
    }

    /// Looks into them.
    pub(super) fn read(self) -> Result<Inputs, Error> {
        let (core, kernel) =
            match livedump_vmcore::Opened::new(self.dump, &self.path)? {
                livedump_vmcore::Opened::Minidump(core) => {
                    let kernel = self.kernels.choose_if_any(&core)?;
                    (*core, kernel)
                }
                livedump_vmcore::Opened::Image(image) => {
                    let (core, found) = self.kernels.choose_in(image)?;
                    (core, Some(found.kernel))
                }
            };
        let info = self.info.and_then(|file| InfoText::read(&file).ok());
        Ok(Inputs { core, kernel, changes: self.changes, info })
    }
}

/// A dump, and the kernel that goes with it.
#[derive(Debug)]
pub struct Inputs {
    /// The dump.
    pub core: Vmcore,
    /// Its kernel: the one that was named, or one that was found.
    pub kernel: Option<Kernel>,
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
    pub fn open(dump: &Path, kernel: WhichKernel<'_>) -> Result<Self, Error> {
        Opened::open(dump, kernel, None)?.read()
    }
}
