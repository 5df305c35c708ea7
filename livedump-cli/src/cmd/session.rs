// SPDX-License-Identifier: BSD-2-Clause
//! A dump with its kernel and its debug file, for the commands that cannot do
//! without. Everything is opened first, then all else is given up, and only
//! then is anything in the files read.

use super::dump_file::{DumpFile, KeyArgs};
use super::inputs::open_info;
use crate::analysis::target::check_debug;
use crate::analysis::types::has_types;
use crate::analysis::{Target, TargetError};
use crate::convert::modules::ModuleFiles;
use crate::crashdir::InfoText;
use crate::error::Error;
use crate::kernel_files::{DebugFile, Found, KernelFiles};
use crate::report::note;
use crate::sandbox::{self, Purpose, Role};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::changes::{Changes, ChangesFile};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::bhyve::CheckpointFile;
use livedump_vmcore::{Opened, Vmcore};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Where modules are, on FreeBSD.
const MODULES: [&str; 2] = ["/boot/kernel", "/boot/modules"];

/// Arguments that name the kernel of a dump.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KernelArgs {
    /// Kernel of the dump [default: kernel.N or /boot]; if repeated, a
    /// module of it, or a directory of modules
    #[arg(
        short,
        long = "kernel",
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernels: Vec<PathBuf>,
    /// Debug file of the kernel [default: looked up]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub debug: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keys: KeyArgs,
}

impl KernelArgs {
    /// The kernel: the first that is named.
    #[must_use]
    pub fn kernel(&self) -> Option<&Path> {
        self.kernels.first().map(PathBuf::as_path)
    }

    /// Where modules may be: where the arguments say, beside the kernel and
    /// its debug file, and where FreeBSD has them.
    pub fn module_directories(&self) -> impl Iterator<Item = &Path> {
        let more = self.kernels.iter().skip(1).filter(|p| p.is_dir());
        let named = [self.debug.as_deref(), self.kernel()];
        let named = named.into_iter().flatten().flat_map(|path| {
            let directory = path.is_dir().then_some(path);
            directory.into_iter().chain(path.parent())
        });
        let more = more.map(PathBuf::as_path);
        more.chain(named).chain(MODULES.map(Path::new))
    }

    /// Modules that are named.
    pub fn module_files(&self) -> impl Iterator<Item = &Path> {
        let more = self.kernels.iter().skip(1).filter(|p| !p.is_dir());
        more.map(PathBuf::as_path)
    }
}

/// Open files of a kernel.
#[derive(Debug)]
pub struct Session {
    /// The dump.
    pub core: Vmcore,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its debug file.
    pub debug: Option<Kernel>,
    /// That was named, and has to be right.
    debug_named: bool,
    /// What changed while it was dumped, if a list of that is beside it.
    pub changes: Option<Changes>,
    /// What its info.N says is wrong with it: bytes that did not arrive read
    /// as zeros.
    pub problem: Option<String>,
    /// Its info.N.
    pub info: Option<InfoText>,
}

/// A dump whose kernel may not be known.
#[derive(Debug)]
pub(super) enum Readable {
    /// With its kernel.
    Known(Box<Session>),
    /// Without one.
    Unknown(Box<NoSession>),
}

/// A dump without its kernel.
#[derive(Debug)]
pub(super) struct NoSession {
    /// The dump.
    pub(super) core: Vmcore,
    /// Its info.N.
    pub(super) info: Option<InfoText>,
    /// Why there is no kernel.
    pub(super) why: String,
}

/// Files that are open and have been looked into, but for the kernel.
struct OpenFiles {
    opened: Opened,
    kernels: KernelFiles,
    changes: Option<ChangesFile>,
    info: Option<InfoText>,
}

/// How a dump and its files are brought together.
type Bring<'s> = fn(
    &'s Vmcore,
    &'s Kernel,
    Option<&'s Kernel>,
) -> Result<Target<'s>, TargetError>;

impl Session {
    /// Opens a dump and its kernel.
    ///
    /// # Errors
    /// One of them is not there, or is none.
    pub fn open(file: &Path, args: &KernelArgs) -> Result<Self, Error> {
        Self::open_with(file, args, &[], &[], |_| Ok(()))
    }

    /// The same, with the files of the modules that are named or found.
    pub(super) fn open_with_modules(
        file: &Path,
        args: &KernelArgs,
    ) -> Result<(Self, ModuleFiles), Error> {
        let modules =
            ModuleFiles::open(args.module_directories(), args.module_files());
        let keep: Vec<_> = modules.descriptors().collect();
        let session = Self::open_with(file, args, &[], &keep, |_| Ok(()))?;
        drop(keep);
        Ok((session, modules))
    }

    /// The same, of a dump whose kernel need not be known. One that was named
    /// has to be right.
    pub(super) fn open_readable(
        file: &Path,
        args: &KernelArgs,
        more: &[(BorrowedFd<'_>, Purpose)],
        last: impl FnOnce(&[BorrowedFd<'_>]) -> Result<(), Error>,
    ) -> Result<(Readable, ModuleFiles), Error> {
        let modules =
            ModuleFiles::open(args.module_directories(), args.module_files());
        let keep = modules.descriptors().chain(more.iter().copied());
        let keep: Vec<_> = keep.collect();
        let files = Self::open_files(file, args, &[], &keep, last)?;
        drop(keep);
        Ok((files.readable()?, modules))
    }

    /// The same, with the other parts of a split dump, more files to keep, and
    /// something to be done while that is still possible, when it is known
    /// which files are read.
    pub(super) fn open_with(
        file: &Path,
        args: &KernelArgs,
        parts: &[PathBuf],
        more: &[(BorrowedFd<'_>, Purpose)],
        last: impl FnOnce(&[BorrowedFd<'_>]) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        Self::open_files(file, args, parts, more, last)?.session()
    }

    fn open_files(
        file: &Path,
        args: &KernelArgs,
        parts: &[PathBuf],
        more: &[(BorrowedFd<'_>, Purpose)],
        last: impl FnOnce(&[BorrowedFd<'_>]) -> Result<(), Error>,
    ) -> Result<OpenFiles, Error> {
        let meta = CheckpointFile::beside(file);
        let dump = DumpFile::open(file, &args.keys)?;
        let debug = match &args.debug {
            Some(path) => DebugFile::Named(path),
            None => DebugFile::Search,
        };
        let kernels = KernelFiles::open(file, args.kernel(), debug)?;
        let changes = ChangesFile::open_for(file).ok().flatten();
        let list = changes.as_ref().map(|list| &list.file);
        let others: Vec<File> = parts
            .iter()
            .map(|path| Vmcore::open_file(path))
            .collect::<Result<_, _>>()?;
        let all =
            kernels.files().chain(dump.files()).chain(list).chain(&others);
        let (info, _) = open_info(file);
        let all = all.chain(meta.iter().map(AsRef::as_ref)).chain(&info);
        let inputs: Vec<_> = all.map(AsFd::as_fd).collect();
        last(&inputs)?;
        let inputs = inputs.into_iter().map(|fd| (fd, Purpose::Read));
        let files: Vec<_> = inputs.chain(more.iter().copied()).collect();
        // Where the kernel cannot, `livedump doctor` says so.
        let _ = sandbox::enter(Role::Reader, &files);
        // That it is no dump comes before that its kernel is not found.
        let parts = others.into_iter().zip(parts.iter().map(PathBuf::as_path));
        let opened =
            dump.read(file)?.with_checkpoint(meta)?.with_parts(parts)?;
        kernels.check_named()?;
        let info = info.and_then(|info| InfoText::read(&info).ok());
        let missing = info.as_ref().map_or(vec![], |i| i.missing.clone());
        let opened = opened.without(missing);
        Ok(OpenFiles { opened, kernels, changes, info })
    }

    /// Of a dump that is open, and its kernel.
    pub(super) fn of(core: Vmcore, found: Found) -> Self {
        let Found { kernel, debug, debug_named } = found;
        let (changes, problem, info) = (None, None, None);
        Self { core, kernel, debug, debug_named, changes, problem, info }
    }

    /// Brings them together. A debug file that was found, and not named, and
    /// is of another build is left out.
    ///
    /// # Errors
    /// They do not belong together.
    pub fn target(&self) -> Result<Target<'_>, Error> {
        self.target_by(Target::new)
    }

    /// The same, without the fields that only types tell of.
    ///
    /// # Errors
    /// They do not belong together.
    pub fn exported_only(&self) -> Result<Target<'_>, Error> {
        self.target_by(Target::exported_only)
    }

    fn target_by<'s>(&'s self, new: Bring<'s>) -> Result<Target<'s>, Error> {
        let debug = self.debug.as_ref();
        if let Some(debug) = debug.filter(|_| self.debug_named) {
            // That it is another's says more than that it has none.
            let _unproved = check_debug(&self.kernel, debug)?;
            if !has_types(debug) {
                let debug = debug.path().into();
                return Err(TargetError::NoTypes { debug }.into());
            }
        }
        if let Err(e) = self.core.instant() {
            note(e);
        }
        self.core.incomplete().iter().for_each(note);
        self.problem.iter().for_each(note);
        let mut target = self.fitting(new)?;
        target.unproven.extend(self.problem.clone());
        Ok(target)
    }

    /// Whether its debug file was named, and so has to be right.
    pub(super) fn debug_named(&self) -> bool {
        self.debug_named
    }

    fn fitting<'s>(&'s self, new: Bring<'s>) -> Result<Target<'s>, Error> {
        let debug = self.debug.as_ref();
        match new(&self.core, &self.kernel, debug) {
            Err(e) if e.is_of_debug() && debug.is_some() => {
                if self.debug_named {
                    return Err(e.into());
                }
                note(format_args!("{}; continuing without it", chain(&e)));
                Ok(new(&self.core, &self.kernel, None)?)
            }
            target => Ok(target?),
        }
    }
}

impl OpenFiles {
    fn session(self) -> Result<Session, Error> {
        let Self { opened, kernels, changes, info } = self;
        let (core, found) = kernels.choose_for(opened)?;
        Ok(session(core, found, changes, info))
    }

    fn readable(self) -> Result<Readable, Error> {
        let named = self.kernels.is_named();
        let Self { opened, kernels, changes, info } = self;
        let core = match opened {
            Opened::Minidump(core) => *core,
            // Nothing can be found in one without its kernel.
            Opened::Image(mut image) => {
                let (core, found) = kernels.choose_in(&mut image)?;
                let session = session(core, found, changes, info);
                return Ok(Readable::Known(Box::new(session)));
            }
        };
        match kernels.choose(&core) {
            Ok(found) => {
                let session = session(core, found, changes, info);
                Ok(Readable::Known(Box::new(session)))
            }
            Err(e) if named => Err(e.into()),
            Err(e) => {
                let why = chain(&e);
                let none = NoSession { core, info, why };
                Ok(Readable::Unknown(Box::new(none)))
            }
        }
    }
}

fn session(
    core: Vmcore,
    found: Found,
    changes: Option<ChangesFile>,
    info: Option<InfoText>,
) -> Session {
    let problem = info.as_ref().and_then(|info| info.problem.as_ref());
    let problem = problem.map(|text| format!("info.N: {text}"));
    let changes = super::changed_pages::read_list(changes);
    Session { changes, problem, info, ..Session::of(core, found) }
}
