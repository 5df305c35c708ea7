// SPDX-License-Identifier: BSD-2-Clause
//! The kernel that a dump is read with, and its debug file: named, or found
//! beside the dump, in /boot, and where gdb(1) looks. Everything is opened
//! first, then all else is given up, and only then is anything in the files
//! looked at.

use crate::analysis::Target;
use crate::analysis::target::check_match;
use crate::error::{Error, chain};
use crate::report::note;
use crate::sandbox::{self, Purpose, Role};
use crate::vmcore::Vmcore;
use crate::vmcore::changes::{Changes, Unread};
use crate::vmcore::companion::companion_of_target;
use crate::vmcore::elf::Kernel;
use clap::ValueHint;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// The kernel of a FreeBSD host.
const BOOT_KERNEL: &str = "/boot/kernel/kernel";
/// Where debug files of a whole system are.
const DEBUG_ROOT: &str = "/usr/lib/debug";

/// Arguments that name the kernel of a dump.
#[derive(Clone, Debug, clap::Args)]
pub struct KernelArgs {
    /// Kernel of the dump [default: kernel.N or /boot]
    #[arg(
        short,
        long,
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernel: Option<PathBuf>,
    /// Debug file of the kernel [default: looked up]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub debug: Option<PathBuf>,
}

/// There is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "which kernel was running? Name its file with -k, or put a copy beside \
     the dump, as kernel.N"
)]
pub struct NoKernel;

/// Open files of a kernel.
#[derive(Debug)]
pub struct Session {
    /// The dump.
    pub core: Vmcore,
    /// Its kernel.
    pub kernel: Kernel,
    /// What tells more about that.
    pub debug: Option<Kernel>,
    /// What changed while it was dumped, if a list of that lies beside it.
    pub changes: Option<Changes>,
}

impl Session {
    /// Opens a dump and its kernel.
    ///
    /// # Errors
    /// One of them is not there, or is none.
    pub fn open(file: &Path, args: &KernelArgs) -> Result<Self, Error> {
        Self::open_then(file, args, &[], |_| Ok(()))
    }

    /// The same, with more files to keep, and something to be done while that
    /// is still possible, when it is known which files are read.
    pub(super) fn open_then(
        file: &Path,
        args: &KernelArgs,
        more: &[(BorrowedFd<'_>, Purpose)],
        last: impl FnOnce(&[BorrowedFd<'_>]) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let dump = Vmcore::open_file(file)?;
        let candidates = candidates(file, args)?;
        let changes = Unread::beside(file).ok().flatten();
        let kernels = candidates.iter().flat_map(|c| {
            [Some(&c.kernel), c.debug.as_ref().map(|(file, _)| file)]
        });
        let list = changes.as_ref().map(|list| &list.file);
        let all = kernels.flatten().chain([&dump]).chain(list);
        let inputs: Vec<_> = all.map(AsFd::as_fd).collect();
        last(&inputs)?;
        let inputs = inputs.into_iter().map(|fd| (fd, Purpose::Read));
        let files: Vec<_> = inputs.chain(more.iter().copied()).collect();
        // Where the kernel cannot, `livedump doctor` says so.
        let _ = sandbox::enter(Role::Reader, &files);
        let core = Vmcore::from_file(dump, file)?;
        let mut left = candidates.into_iter();
        let (kernel, debug) = loop {
            match left.next().ok_or(NoKernel)?.open(&core, args) {
                Ok(found) => break found,
                Err(e) if left.len() == 0 => return Err(e),
                Err(e) => note(format_args!("{}; trying another", chain(&e))),
            }
        };
        Ok(Self {
            core,
            kernel,
            debug,
            changes: super::changed_pages::read_list(changes),
        })
    }

    /// Brings them together.
    ///
    /// # Errors
    /// They do not belong together.
    pub fn target(&self) -> Result<Target<'_>, Error> {
        Ok(Target::new(&self.core, &self.kernel, self.debug.as_ref())?)
    }
}

/// A kernel that is open, and its debug file.
struct Candidate {
    path: PathBuf,
    kernel: File,
    debug: Option<(File, PathBuf)>,
}

impl Candidate {
    fn new(path: PathBuf, args: &KernelArgs) -> Result<Self, Error> {
        let kernel = Kernel::open_file(&path)?;
        let debug = match &args.debug {
            Some(debug) => Some((Kernel::open_file(debug)?, debug.clone())),
            None => debug_beside(&path),
        };
        Ok(Self { path, kernel, debug })
    }

    /// Looks into them.
    fn open(
        self,
        core: &Vmcore,
        args: &KernelArgs,
    ) -> Result<(Kernel, Option<Kernel>), Error> {
        let kernel = Kernel::from_file(self.kernel, &self.path)?;
        check_match(core, &kernel)?;
        // A kernel that tells everything itself needs no other file.
        let wanted =
            args.debug.is_some() || kernel.section(".debug_info").is_none();
        let debug = match self.debug.filter(|_| wanted) {
            Some((file, path)) => Some(Kernel::from_file(file, &path)?),
            None => None,
        };
        Ok((kernel, debug))
    }
}

/// The kernel that was named, or those to be tried.
fn candidates(dump: &Path, args: &KernelArgs) -> Result<Vec<Candidate>, Error> {
    if let Some(path) = &args.kernel {
        return Ok(vec![Candidate::new(path.clone(), args)?]);
    }
    let boot = Some(PathBuf::from(BOOT_KERNEL)).filter(|path| path.is_file());
    let mut found = Vec::new();
    let mut failed = None;
    for path in [kernel_beside(dump), boot].into_iter().flatten() {
        match Candidate::new(path, args) {
            Ok(candidate) => found.push(candidate),
            Err(e) => failed = Some(e),
        }
    }
    match (found.is_empty(), failed) {
        (true, Some(e)) => Err(e),
        (true, None) => Err(NoKernel.into()),
        (false, _) => Ok(found),
    }
}

/// A copy that somebody put beside the dump.
pub(super) fn kernel_beside(dump: &Path) -> Option<PathBuf> {
    companion_of_target(dump, "kernel").filter(|path| path.is_file())
}

/// The kernel's name with .debug behind it, where gdb(1) looks, too.
fn debug_beside(kernel: &Path) -> Option<(File, PathBuf)> {
    let kernel = kernel.canonicalize().ok()?;
    let mut name = kernel.file_name()?.to_os_string();
    name.push(".debug");
    let dir = kernel.parent()?;
    let global = Path::new(DEBUG_ROOT).join(dir.strip_prefix("/").ok()?);
    [dir.to_path_buf(), dir.join(".debug"), global]
        .into_iter()
        .map(|dir| dir.join(&name))
        .find_map(|path| Some((Kernel::open_file(&path).ok()?, path)))
}
