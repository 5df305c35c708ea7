// SPDX-License-Identifier: BSD-2-Clause
//! Which file is the kernel of a dump, and which its debug file: one lookup
//! for all commands. All candidates are opened first, while files can still be
//! opened; what is in them is read once everything else has been given up.
//!
//! ```text
//!  named with -k        no other is tried
//!  kernel.N             beside the dump; of netdumpd's vmcore.HOST.N also
//!                       kernel.HOST.N
//!  kern.bootfile        of this host
//!  /boot/kernel/kernel, /boot/kernel.old/kernel, /boot/*/kernel
//! ```
//!
//! The first that is proved to be the dump's is taken, else the first that
//! nothing contradicts. A debug file is looked for where gdb(1) looks: beside
//! the kernel, in .debug there, below /usr/lib/debug.

pub mod path;

use crate::analysis::TargetError;
use crate::analysis::facts;
use crate::analysis::identity::{Identity, debug_identity};
use crate::analysis::target::{check_freebsd, check_match};
use crate::host;
use crate::report::note;
use livedump_vmcore::chain;
use livedump_vmcore::companion::companions_of_target;
use livedump_vmcore::elf::{ElfError, Kernel};
use livedump_vmcore::image::kernel::ImageFacts;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{ImageFile, ImageKernelError, OpenError, Opened, Vmcore};
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Kernels of a FreeBSD host.
const BOOT: &str = "/boot";
/// Where debug files of a whole system are.
const DEBUG_ROOT: &str = "/usr/lib/debug";
/// Kernels below /boot that are tried.
const MAX_KERNELS: usize = 32;
/// Debug files that are tried for one kernel.
const MAX_DEBUG_FILES: usize = 16;

/// There is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "no kernel file found for the dump: name it with -k, or copy it next to \
     the dump as kernel.N"
)]
pub struct NoKernel;

/// Why a dump is without its kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error(transparent)]
    NoKernel(#[from] NoKernel),
    /// A file that is no kernel.
    #[error(transparent)]
    Kernel(#[from] ElfError),
    /// A kernel that is not the dump's.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// An image that cannot be read without one.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A kernel that is not in the image.
    #[error(transparent)]
    Image(#[from] ImageKernelError),
}

/// Which debug file.
#[derive(Clone, Copy, Debug)]
pub enum DebugFile<'a> {
    /// None is needed.
    Unwanted,
    /// The kernel's, if it is found.
    Search,
    /// This one.
    Named(&'a Path),
}

/// A kernel that is open, and files that may be its debug file.
#[derive(Debug)]
struct Candidate {
    path: PathBuf,
    kernel: File,
    debug: Vec<DebugCandidate>,
}

#[derive(Debug)]
struct DebugCandidate {
    path: PathBuf,
    file: File,
    /// By its name it is the kernel's; others have to be proved.
    by_name: bool,
}

/// Open files that may be a dump's kernel.
#[derive(Debug, Default)]
pub struct KernelFiles {
    candidates: Vec<Candidate>,
    /// Why others could not be opened.
    failed: Vec<ElfError>,
    /// The only one, named by the user.
    kernel_named: bool,
    /// One is beside the dump, readable or not.
    has_sibling: bool,
    debug_named: bool,
}

/// A dump's kernel.
#[derive(Debug)]
pub struct Found {
    /// The kernel.
    pub kernel: Kernel,
    /// Its debug file.
    pub debug: Option<Kernel>,
    /// That was named by the user.
    pub debug_named: bool,
}

impl KernelFiles {
    /// Opens what may be the kernel of a dump.
    ///
    /// # Errors
    /// A file that was named cannot be opened.
    pub fn open(
        dump: &Path,
        kernel: Option<&Path>,
        debug: DebugFile<'_>,
    ) -> Result<Self, ElfError> {
        let mut files =
            Self { kernel_named: kernel.is_some(), ..Self::default() };
        if let Some(kernel) = kernel {
            files.add(&path::named(kernel), debug)?;
        } else {
            let siblings = kernels_next_to(dump);
            files.has_sibling = !siblings.is_empty();
            for path in siblings.into_iter().chain(installed()) {
                if let Err(e) = files.add(&path, debug) {
                    files.failed.push(e);
                }
            }
        }
        if let DebugFile::Named(path) = debug {
            files.debug_named = true;
            // Without a kernel it is of no use, but a wrong name is an error.
            let _ = open_debug(path)?;
        }
        Ok(files)
    }

    /// Opens what may be the kernel of the machine that this runs on, with its
    /// debug files: the one that is named, or else those below /boot. What
    /// /boot/kernel has may be newer than what runs.
    #[must_use]
    pub fn of_machine(kernel: Option<&Path>) -> Self {
        let mut files = Self::default();
        let kernels = kernel.map(path::named).into_iter().chain(match kernel {
            Some(path) if !path.starts_with(BOOT) => Vec::new(),
            _ => installed(),
        });
        for path in kernels {
            if let Err(e) = files.add(&path, DebugFile::Search) {
                files.failed.push(e);
            }
        }
        files
    }

    fn add(
        &mut self,
        path: &Path,
        debug: DebugFile<'_>,
    ) -> Result<(), ElfError> {
        let kernel = Kernel::open_file(path)?;
        let debug = match debug {
            DebugFile::Unwanted => Vec::new(),
            DebugFile::Search => debug_files(path),
            DebugFile::Named(debug) => {
                let file = open_debug(debug)?;
                let path = debug.to_path_buf();
                vec![DebugCandidate { path, file, by_name: true }]
            }
        };
        let path = path.to_path_buf();
        self.candidates.push(Candidate { path, kernel, debug });
        Ok(())
    }

    /// Whether there is no candidate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Whether the user named one.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.kernel_named
    }

    /// The same files, each open once more.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        let one = |it: &Candidate| {
            let debug = it.debug.iter().map(|debug| {
                Ok(DebugCandidate {
                    path: debug.path.clone(),
                    file: debug.file.try_clone()?,
                    by_name: debug.by_name,
                })
            });
            Ok(Candidate {
                path: it.path.clone(),
                kernel: it.kernel.try_clone()?,
                debug: debug.collect::<std::io::Result<_>>()?,
            })
        };
        let candidates = self.candidates.iter().map(one);
        Ok(Self {
            candidates: candidates.collect::<std::io::Result<_>>()?,
            failed: Vec::new(),
            kernel_named: self.kernel_named,
            has_sibling: self.has_sibling,
            debug_named: self.debug_named,
        })
    }

    /// All open files.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.candidates.iter().flat_map(|c| {
            let debug = c.debug.iter().map(|debug| &debug.file);
            std::iter::once(&c.kernel).chain(debug)
        })
    }

    /// Reads the kernel that was named, if one was, to refuse a wrong file
    /// before anything is done.
    ///
    /// # Errors
    /// It is no kernel.
    pub fn check_named(&self) -> Result<(), Error> {
        let named = self.candidates.iter().take(self.kernel_named.into());
        for Candidate { path, kernel, .. } in named {
            check_usable(path, kernel)?;
        }
        Ok(())
    }

    /// The dump's kernel.
    ///
    /// # Errors
    /// None of them is.
    pub fn choose(self, core: &Vmcore) -> Result<Found, Error> {
        self.choose_by(|kernel| Ok(check_match(core, kernel)?.is_none()))
    }

    /// The kernel that is in an image of memory, and that memory.
    ///
    /// # Errors
    /// None of them is in it.
    pub fn choose_in(
        self,
        image: &mut ImageFile,
    ) -> Result<(Vmcore, Found), Error> {
        if self.is_empty() && self.failed.is_empty() {
            return Err(image.needs_kernel().into());
        }
        let mut core = None;
        let found = self.choose_by(|kernel| {
            let memory = image.with_kernel(kernel)?;
            let proved = check_match(&memory, kernel)?.is_none();
            // As the kernel that is chosen: the first, or the proved one.
            if core.is_none() || proved {
                core = Some(memory);
            }
            Ok(proved)
        });
        match (core, found) {
            (Some(core), found) => Ok((core, found?)),
            // It may be memory with another kernel in it, or anything.
            (None, Err(e)) if image.is_unknown() => {
                note(chain(&e));
                Err(image.needs_kernel().into())
            }
            (None, found) => {
                found.and_then(|_| Err(image.needs_kernel().into()))
            }
        }
    }

    /// An open file's memory, and the kernel in it.
    ///
    /// # Errors
    /// None of them is.
    pub fn choose_for(self, opened: Opened) -> Result<(Vmcore, Found), Error> {
        match opened {
            Opened::Minidump(core) => {
                let found = self.choose(&core)?;
                Ok((*core, found))
            }
            Opened::Image(mut image) => self.choose_in(&mut image),
        }
    }

    /// The first kernel that `fits` proves to be the right one, or else the
    /// first that it says nothing against.
    fn choose_by(
        self,
        mut fits: impl FnMut(&Kernel) -> Result<bool, Error>,
    ) -> Result<Found, Error> {
        let debug_named = self.debug_named;
        let mut unproved = None;
        let mut errors = Vec::new();
        for candidate in self.candidates {
            let Candidate { path, kernel, debug } = candidate;
            let opened = Kernel::from_file(kernel, &path);
            let opened = opened.map_err(Error::from).and_then(|kernel| {
                let proved = fits(&kernel)?;
                Ok((kernel, proved))
            });
            match opened {
                Ok((kernel, true)) => {
                    unproved = Some((kernel, debug));
                    break;
                }
                Ok((kernel, false)) => {
                    unproved.get_or_insert((kernel, debug));
                }
                Err(e) => errors.push((!path.starts_with(BOOT), e)),
            }
        }
        let Some((kernel, debug)) = unproved else {
            let failed = self.failed.into_iter().map(|e| (false, e.into()));
            let mut all = errors.into_iter().chain(failed);
            // That beside the dump is the likeliest.
            let first = all.next().map(|(_, e)| e);
            all.for_each(|(_, e)| note(chain(&e)));
            return Err(first.unwrap_or(NoKernel.into()));
        };
        // That an older kernel of this host is not the dump's is no news.
        for (_, e) in errors.iter().filter(|(beside, _)| *beside) {
            note(format_args!("{}; using {}", chain(e), kernel.path()));
        }
        let debug = match debug_named {
            true => debug.into_iter().next().map(DebugCandidate::read),
            false => choose_debug(&kernel, debug).map(Ok),
        };
        let debug = debug.transpose()?;
        Ok(Found { kernel, debug, debug_named })
    }

    /// The dump's kernel for a command that can do without: nothing where no
    /// file was found that may be it. The inner error: a file beside the dump
    /// is not its kernel.
    ///
    /// # Errors
    /// The kernel that was named is none, or not the dump's.
    pub fn choose_if_any(
        self,
        core: &Vmcore,
    ) -> Result<Result<Option<Kernel>, Misfit>, Error> {
        if self.kernel_named {
            return Ok(Ok(Some(self.choose(core)?.kernel)));
        }
        if self.is_empty() && self.failed.is_empty() {
            return Ok(Ok(None));
        }
        let has_sibling = self.has_sibling;
        Ok(match self.choose(core) {
            Ok(found) => Ok(Some(found.kernel)),
            Err(Error::Target(e)) if e.is_environment() => {
                return Err(e.into());
            }
            Err(e) if has_sibling => Err(Misfit(chain(&e))),
            Err(e) => {
                note(chain(&e));
                Ok(None)
            }
        })
    }
}

/// What type information tells of a kernel in an image, its debug file being
/// looked for beside it.
#[must_use]
pub fn image_facts(core: &Vmcore, kernel: &Kernel) -> ImageFacts {
    let debug = debug_files(Path::new(kernel.path()));
    facts::of_image(core, kernel, choose_debug(kernel, debug).as_ref())
}

/// Whether an open file is a kernel of FreeBSD.
///
/// # Errors
/// Why it is none.
pub fn check_usable(path: &Path, file: &File) -> Result<(), Error> {
    let file = file.try_clone().map_err(|source| {
        let path = escape_path(path);
        Error::Kernel(ElfError::Io { path, source })
    })?;
    Ok(check_freebsd(&Kernel::from_file(file, path)?)?)
}

/// Why the kernel beside a dump is not the dump's.
#[derive(Debug)]
pub struct Misfit(pub String);

impl DebugCandidate {
    fn read(self) -> Result<Kernel, Error> {
        let read = Kernel::from_file(self.file, &self.path);
        Ok(read.map_err(ElfError::of_debug)?)
    }
}

fn open_debug(path: &Path) -> Result<File, ElfError> {
    Kernel::open_file(path).map_err(ElfError::of_debug)
}

/// The debug file of a kernel.
fn choose_debug(
    kernel: &Kernel,
    candidates: Vec<DebugCandidate>,
) -> Option<Kernel> {
    // A kernel with DWARF of its own needs no other file.
    if kernel.section(".debug_info").is_some() {
        return None;
    }
    let link = kernel.debug_link().map(|link| link.name);
    let id = kernel.build_id().map(|id| id.id);
    let mut unproved = None;
    for candidate in candidates {
        let name = candidate.path.file_name();
        let name = name.map(|n| n.as_encoded_bytes().to_vec());
        let by_name = candidate.by_name || link.is_some() && name == link;
        let path = candidate.path.clone();
        let debug = match Kernel::from_file(candidate.file, &path) {
            Ok(debug) => debug,
            Err(e) => {
                if by_name {
                    note(format_args!("{}; continuing without it", chain(&e)));
                }
                continue;
            }
        };
        let same_id = || debug.build_id().map(|id| id.id) == id;
        if !by_name && (id.is_none() || !same_id()) {
            continue;
        }
        match debug_identity(kernel, &debug) {
            Identity::Same(_) => return Some(debug),
            Identity::Unknown(_) => {
                unproved.get_or_insert(debug);
            }
            Identity::Other(differs) => note(format_args!(
                "{} is not the debug file of kernel {}: {differs}; continuing \
                 without it",
                path.display(),
                kernel.path()
            )),
        }
    }
    unproved
}

/// Copies that are beside a dump.
fn kernels_next_to(dump: &Path) -> Vec<PathBuf> {
    let found = companions_of_target(dump, "kernel").into_iter();
    found.filter(|path| path.is_file()).collect()
}

/// Kernels of this host, without any that does not exist.
#[must_use]
pub fn installed() -> Vec<PathBuf> {
    let boot = |name: &str| Path::new(BOOT).join(name).join("kernel");
    let mut all = vec![boot("kernel"), boot("kernel.old")];
    if cfg!(target_os = "freebsd")
        && let Some(running) = host::sysctl_text("kern.bootfile")
    {
        all.insert(0, running.into());
    }
    let entries = std::fs::read_dir(BOOT).into_iter().flatten().flatten();
    let mut others: Vec<_> =
        entries.map(|entry| entry.path().join("kernel")).collect();
    others.sort();
    all.extend(others);
    let mut seen = HashSet::new();
    all.retain(|path| {
        path.is_file()
            && seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone()))
    });
    all.truncate(MAX_KERNELS);
    all
}

/// Files that may be the debug file of a kernel, those first that are by their
/// name.
fn debug_files(kernel: &Path) -> Vec<DebugCandidate> {
    let mut names = Vec::new();
    let mut dirs = Vec::new();
    let canonical = kernel.canonicalize().ok();
    for path in [Some(kernel), canonical.as_deref()].into_iter().flatten() {
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            names.push(format!("{name}.debug"));
            if let Some(n) = name.strip_prefix("kernel.") {
                names.push(format!("kernel.debug.{n}"));
            }
        }
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        dirs.push(dir.to_path_buf());
        dirs.push(dir.join(".debug"));
    }
    names.push("kernel.debug".into());
    let parent = canonical.as_deref().and_then(Path::parent);
    if let Some(dir) = parent.and_then(|dir| dir.strip_prefix("/").ok()) {
        dirs.push(Path::new(DEBUG_ROOT).join(dir));
    }
    let by_name = names
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| (dir.join(name), true)));
    // Any that .gnu_debuglink may name: it is not read before all else is
    // given up.
    let others =
        dirs.iter().flat_map(|dir| debug_files_in(dir)).map(|p| (p, false));
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (path, by_name) in by_name.chain(others) {
        let Ok(real) = path.canonicalize() else { continue };
        if found.len() < MAX_DEBUG_FILES
            && seen.insert(real)
            && let Ok(file) = Kernel::open_file(&path)
        {
            found.push(DebugCandidate { path, file, by_name });
        }
    }
    found
}

/// Debug files in a directory, but for those of modules.
fn debug_files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default();
            let name = name.as_encoded_bytes();
            name.ends_with(b".debug") && !name.ends_with(b".ko.debug")
        })
        .take(4096)
        .collect();
    found.sort();
    found
}
