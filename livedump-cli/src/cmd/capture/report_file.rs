// SPDX-License-Identifier: BSD-2-Clause
//! `core.txt.N`: a report of the dump that was just taken. The dump has its
//! name by then; a report that cannot be made is no reason to lose it.

use super::dump::Capture;
use super::{Args, Error, to_netdump};
use crate::cmd::session::{KernelArgs, NoSession, Readable, Session};
use crate::cmd::summarize::summarize;
use crate::convert::modules::ModuleFiles;
use crate::crashdir::{InfoText, Saved};
use crate::device::Device;
use crate::kernel_files::{self, Found, KernelFiles};
use crate::summary::Form;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{Vmcore, chain};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a report is made with, opened while files may still be opened.
#[derive(Debug)]
pub(in crate::cmd) struct ReportFiles {
    kernels: Kernels,
    pub(super) modules: ModuleFiles,
}

#[derive(Debug)]
enum Kernels {
    /// The model machine's own.
    Model(Vec<u8>),
    /// Files that may be the machine's.
    Files(KernelFiles),
}

/// Whether there is a place for a report.
pub(super) fn check_usage(args: &Args) -> Result<(), Error> {
    if !args.report {
        return Ok(());
    }
    if args.encryption.encrypt.is_some() {
        return Err(Error::Usage(
            "--report cannot be used with --encrypt: the report would not be \
             encrypted",
        ));
    }
    let no_directory = args.to_device.is_some()
        || args.directory.as_os_str() == "-"
        || to_netdump::place(&args.directory).is_some();
    match no_directory {
        true => Err(Error::Usage("--report requires a crash directory")),
        false => Ok(()),
    }
}

impl ReportFiles {
    /// Opens them.
    pub(super) fn open(args: &Args, device: &dyn Device) -> Self {
        let path = match &args.kernel {
            Some(kernel) => Some(kernel_files::path::named(kernel)),
            None => device.kernel_path(),
        };
        let kernels = match device.kernel_elf() {
            Some(elf) if args.kernel.is_none() => Kernels::Model(elf),
            _ => Kernels::Files(KernelFiles::of_machine(path.as_deref())),
        };
        let kernels_named = path.into_iter().collect();
        let named =
            KernelArgs { kernels: kernels_named, ..KernelArgs::default() };
        let directories = named.module_directories();
        let modules = ModuleFiles::open(directories, named.module_files());
        Self { kernels, modules }
    }

    /// The files themselves.
    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        let files = match &self.kernels {
            Kernels::Files(files) => Some(files.files()),
            Kernels::Model(_) => None,
        };
        files.into_iter().flatten()
    }
}

impl Capture<'_> {
    /// Makes it; the name that it has then.
    pub(super) fn write_report(
        &self,
        files: &ReportFiles,
        saved: &Saved,
    ) -> Result<PathBuf, String> {
        let text = |e: &dyn std::error::Error| chain(e);
        let directory = self.directory;
        let open = |name: &str| {
            let file = directory.open_plain(name).map_err(|e| text(&e))?;
            file.ok_or_else(|| format!("{name} is not there any more"))
        };
        let dump = open(&saved.dump)?;
        let path = directory.path(&saved.dump);
        let copy = dump.try_clone().map_err(|e| text(&e))?;
        let core = Vmcore::from_file(copy, &path).map_err(|e| text(&e))?;
        let info = saved.info.as_deref().and_then(|name| open(name).ok());
        let info = info.and_then(|file| InfoText::read(&file).ok());
        let readable = match self.kernel_for(files, &core) {
            Ok(found) => {
                let mut session = Session::of(core, found);
                session.info = info;
                Readable::Known(Box::new(session))
            }
            Err(why) => {
                Readable::Unknown(Box::new(NoSession { core, info, why }))
            }
        };
        let name = escape_path(&path);
        let summary = summarize(&readable, &files.modules, name);
        let summary = summary.map_err(|e| text(&e))?;
        let mut temp = directory.temp().map_err(|e| text(&e))?;
        let written = summary.write(Form::Text);
        temp.write_all(written.as_bytes()).map_err(|e| text(&e))?;
        let named = directory.name_report(saved, &dump, temp);
        Ok(directory.path(&named.map_err(|e| text(&e))?))
    }

    fn kernel_for(
        &self,
        files: &ReportFiles,
        core: &Vmcore,
    ) -> Result<Found, String> {
        let text = |e: &dyn std::error::Error| chain(e);
        match &files.kernels {
            Kernels::Files(files) => {
                let files = files.try_clone().map_err(|e| text(&e))?;
                files.choose(core).map_err(|e| text(&e))
            }
            Kernels::Model(elf) => {
                let mut temp = self.directory.temp().map_err(|e| text(&e))?;
                temp.write_all(elf).map_err(|e| text(&e))?;
                let file = temp.file().try_clone().map_err(|e| text(&e))?;
                let kernel = Kernel::from_file(file, Path::new("model"));
                let kernel = kernel.map_err(|e| text(&e))?;
                Ok(Found { kernel, debug: None, debug_named: false })
            }
        }
    }
}
