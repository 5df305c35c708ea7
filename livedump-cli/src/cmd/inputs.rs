// SPDX-License-Identifier: BSD-2-Clause
//! What commands read. All files are opened first, then everything else is
//! given up, and only then is anything in the files looked at.

use crate::crashdir::InfoText;
use crate::error::Error;
use crate::sandbox::{self, Purpose, Role};
use crate::vmcore::changes::Unread;
use crate::vmcore::companion::companion;
use crate::vmcore::{Vmcore, elf::Kernel, regular};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Files that are open and that nobody has looked into.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) dump: File,
    path: PathBuf,
    kernel: Option<(File, PathBuf)>,
    pub(super) seal: Option<File>,
    changes: Option<Unread>,
    info: Option<File>,
}

impl Opened {
    /// Opens them, and `seal` with them. Where the program is confined,
    /// nothing can be opened afterwards.
    pub(super) fn open(
        dump: &Path,
        kernel: Option<&Path>,
        seal: Option<File>,
    ) -> Result<Self, Error> {
        let path = dump.to_path_buf();
        let dump = Vmcore::open_file(dump)?;
        let kernel = match kernel {
            Some(path) => Some((Kernel::open_file(path)?, path.to_path_buf())),
            None => None,
        };
        // One that cannot be opened is none: the dump is what counts.
        let changes = Unread::beside(&path).ok().flatten();
        let info = companion(&path, "info")
            .and_then(|path| regular::open(&path).ok().flatten());
        let elf = kernel.iter().map(|(file, _)| file);
        let list = changes.iter().map(|list| &list.file);
        let all = elf.chain(&seal).chain(list).chain(&info).chain([&dump]);
        let files: Vec<_> =
            all.map(|file| (file.as_fd(), Purpose::Read)).collect();
        // Where the kernel cannot, `livedump doctor` says so.
        let _ = sandbox::enter(Role::Reader, &files);
        Ok(Self { dump, path, kernel, seal, changes, info })
    }

    /// What the info.N beside the dump says, if there is one.
    pub(super) fn info(&self) -> Option<InfoText> {
        InfoText::read(self.info.as_ref()?).ok()
    }

    /// Looks into them.
    pub(super) fn read(self) -> Result<Inputs, Error> {
        let core = Vmcore::from_file(self.dump, &self.path)?;
        let kernel = match self.kernel {
            Some((file, path)) => Some(Kernel::from_file(file, &path)?),
            None => None,
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
    /// The kernel, if one was named.
    pub kernel: Option<Kernel>,
    /// The list of what changed, if one lies beside the dump.
    pub changes: Option<Unread>,
    /// The info.N beside the dump, if there is one.
    pub info: Option<InfoText>,
}

impl Inputs {
    /// Opens them. Where the program is confined, nothing can be opened
    /// afterwards.
    ///
    /// # Errors
    /// One cannot be opened, or is not what it should be.
    pub fn open(dump: &Path, kernel: Option<&Path>) -> Result<Self, Error> {
        Opened::open(dump, kernel, None)?.read()
    }
}
