// SPDX-License-Identifier: BSD-2-Clause
//! What a capture needs that is neither its machine nor its directory:
//! fetched while files may still be opened and the system still be asked.

use super::lists::{self, KernelFile};
use super::report_file::ReportFiles;
use super::{Args, Error};
use crate::device::Device;
use crate::ekcd::{Encryption, Recipient};
use crate::kernel_files::{self, KernelFiles};
use crate::sandbox::Purpose;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug)]
pub(in crate::cmd) struct Prepared {
    /// The file of the machine's kernel, or why it cannot be opened.
    pub(super) kernel: Option<KernelFile>,
    /// It was named, and has to be the machine's.
    pub(super) is_named: bool,
    /// What is kept beside the dump, with --keep-kernel.
    pub(super) keep: Option<Keep>,
    /// Whom it is encrypted for, if it is.
    recipient: Option<Recipient>,
    /// What a report is made with, if one is.
    pub(super) report: Option<Arc<ReportFiles>>,
    /// Bytes that a dump of unknown size may have.
    pub(super) wired: Option<u64>,
}

/// A kernel to keep.
#[derive(Debug)]
pub(super) enum Keep {
    /// The model machine's own.
    Model(Vec<u8>),
    /// The one of these files that the dump proves to be the running one.
    Files(KernelFiles),
}

impl Prepared {
    /// The same for another dump, by the files that are open. No kernel is
    /// kept beside that.
    pub(super) fn again(&self) -> Self {
        let kernel = self.kernel.as_ref().map(|(path, file)| {
            let file = file
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|file| file.try_clone().map_err(|e| chain(&e)));
            (path.clone(), file)
        });
        let (is_named, wired) = (self.is_named, self.wired);
        let recipient = self.recipient.clone();
        let report = self.report.clone();
        Self { kernel, is_named, keep: None, recipient, report, wired }
    }

    /// How a dump is encrypted, if it is: another key each time.
    pub(super) fn encryption(&self) -> Result<Option<Encryption>, Error> {
        let recipient = self.recipient.as_ref();
        Ok(recipient.map(Recipient::encryption).transpose()?)
    }

    /// Whether the kernel that was named is one. To be called when all else
    /// has been given up, and before there is a dump.
    pub(in crate::cmd) fn check_named(&self) -> Result<(), Error> {
        let named = self.kernel.as_slice();
        let named = if self.is_named { named } else { &[] };
        Ok(lists::check_usable(named)?)
    }

    pub(in crate::cmd) fn gather(
        args: &Args,
        device: &dyn Device,
    ) -> Result<Self, Error> {
        let path = match &args.kernel {
            Some(kernel) => Some(kernel_files::path::named(kernel)),
            None => device.kernel_path(),
        };
        let keep = match (args.keep_kernel, device.kernel_elf()) {
            (false, _) => None,
            (true, Some(elf)) => Some(Keep::Model(elf)),
            (true, None) => {
                let files = KernelFiles::of_machine(path.as_deref());
                if files.files().next().is_none() {
                    return Err(Error::Usage(
                        "--keep-kernel: the kernel's file is not known; name \
                         it with --kernel",
                    ));
                }
                Some(Keep::Files(files))
            }
        };
        let is_named = args.kernel.is_some();
        let open = |path: PathBuf| match Kernel::open_file(&path) {
            Err(e) if is_named => Err(Error::Kernel(e.into())),
            file => Ok((path, file.map_err(|e| chain(&e)))),
        };
        let kernel = path.map(open).transpose()?;
        let recipient = args.encryption.recipient()?;
        let wired = device.wired_bytes();
        let report = args.report.then(|| ReportFiles::open(args, device));
        let report = report.map(Arc::new);
        Ok(Self { kernel, is_named, keep, recipient, report, wired })
    }

    /// The descriptors of all open files themselves: what limits the rights
    /// of a copy leaves those of the other one as they are.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let kernel = self.kernel.iter();
        let kernel = kernel.filter_map(|(_, file)| file.as_ref().ok());
        let keep = match &self.keep {
            Some(Keep::Files(files)) => Some(files.files()),
            Some(Keep::Model(_)) | None => None,
        };
        let report = self.report.iter().flat_map(|it| it.files());
        let all = kernel.chain(keep.into_iter().flatten()).chain(report);
        all.map(AsFd::as_fd)
    }

    /// Where modules are looked for.
    pub(super) fn module_directories(
        &self,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Purpose)> {
        self.report.iter().flat_map(|it| it.modules.descriptors())
    }
}
