// SPDX-License-Identifier: BSD-2-Clause
//! A guest of bhyve's from outside, by /dev/vmm/NAME: its memory is read at its
//! addresses, and goes on changing, unless its debug stub stops it.
//!
//! ```text
//!  gdb  the debug stub
//! ```
//!
//! Read of it is what the kernel in it has in `dump_avail`: a hole reads as
//! zeros, and what is after the end is EFAULT.

#![forbid(unsafe_code)]

mod gdb;
#[cfg(test)]
mod tests;

pub use gdb::{GdbError, Stub};

use crate::qemu::Taken;
use crate::spool::{SpoolError, spool, temporary};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::Claims;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{ImageFile, ImageKernelError, OpenError, Vmcore};
use memdev::addr::PAGE_SIZE;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where guests are.
const GUESTS: &str = "/dev/vmm";
/// For each answer of the stub.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a kernel is looked for in memory that changes meanwhile.
const LOOKS: u32 = 3;
/// One read.
const PIECE: usize = 1 << 20;

/// Why a guest cannot be dumped.
#[derive(Debug, thiserror::Error)]
pub enum BhyveError {
    /// No guest has such a name.
    #[error("{0:?} is not the name of a guest")]
    Name(String),
    /// There is no bhyve here.
    #[error(
        "there is no {GUESTS} here: it needs FreeBSD's bhyve(8) with vmm(4) \
         loaded, and runs on the host of the guest"
    )]
    NoVmm,
    /// It cannot be opened.
    #[error("opening {path}")]
    Open {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be looked at.
    #[error(transparent)]
    Image(#[from] OpenError),
    /// The kernel's memory is not as it should be.
    #[error(transparent)]
    Kernel(#[from] ImageKernelError),
    /// The debug stub.
    #[error(transparent)]
    Gdb(#[from] GdbError),
    /// The file for its memory.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The memory cannot be copied.
    #[error("copying the guest's memory at {at:#x}")]
    Copy {
        /// Where.
        at: u64,
        /// Why not.
        source: io::Error,
    },
    /// It may stand still.
    #[error(
        "the guest was not resumed; the connection to its debug stub is \
         closed, with which bhyve resumes it"
    )]
    NotResumed(#[source] GdbError),
    /// The caller cancelled it.
    #[error("interrupted")]
    Interrupted,
}

/// Where the memory of a guest is.
///
/// # Errors
/// No guest has such a name, or there are none.
pub fn path_of(name: &str) -> Result<PathBuf, BhyveError> {
    if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
        return Err(BhyveError::Name(name.into()));
    }
    if !Path::new(GUESTS).is_dir() {
        return Err(BhyveError::NoVmm);
    }
    Ok(Path::new(GUESTS).join(name))
}

/// A guest that its debug stub stops.
#[derive(Debug)]
pub struct Guest {
    path: PathBuf,
    memory: File,
    /// `None` once it does not answer any more.
    stub: Mutex<Option<Stub>>,
    /// The same socket, for whoever limits what may be done with it.
    socket: OwnedFd,
    /// What is copied: the kernel's dump_avail.
    ranges: Vec<(u64, u64)>,
    spool: File,
    cpus: u32,
}

fn find(
    memory: &File,
    path: &Path,
    kernel: &Kernel,
) -> Result<Vmcore, BhyveError> {
    let mut looks = 0;
    loop {
        looks += 1;
        let file = memory.try_clone().map_err(|source| BhyveError::Open {
            path: escape_path(path),
            source,
        })?;
        match ImageFile::device(file, path)?.with_kernel(kernel) {
            Ok(core) => return Ok(core),
            Err(e) if looks >= LOOKS => return Err(e.into()),
            Err(_) => {}
        }
    }
}

impl Guest {
    /// Finds the kernel in the guest's memory at `path`, while it runs, and
    /// connects to its stub. That stops it for a moment.
    ///
    /// # Errors
    /// It has no such kernel, nothing answers, or there is no room for a copy.
    pub fn open(
        path: &Path,
        address: &str,
        kernel: &Kernel,
    ) -> Result<(Self, Vmcore), BhyveError> {
        Self::open_within(path, address, kernel, PATIENCE)
    }

    fn open_within(
        path: &Path,
        address: &str,
        kernel: &Kernel,
        timeout: Duration,
    ) -> Result<(Self, Vmcore), BhyveError> {
        let memory = File::open(path).map_err(|source| BhyveError::Open {
            path: escape_path(path),
            source,
        })?;
        let core = find(&memory, path, kernel)?;
        let ranges = core.image().map_or(Vec::new(), |m| m.dump_avail.clone());
        let sizes =
            ranges.iter().map(|(start, end)| end.saturating_sub(*start));
        let spool = spool(sizes.fold(0, u64::saturating_add))?;
        let cpus = kernel.find("mp_ncpus");
        let cpus = cpus.and_then(|s| core.read_u32(s.address).ok());
        let stub = Stub::connect(address, timeout)?;
        let socket = stub.socket()?;
        let stub = Mutex::new(Some(stub));
        let (path, cpus) = (path.to_path_buf(), cpus.unwrap_or(0));
        let guest = Self { path, memory, stub, socket, ranges, spool, cpus };
        Ok((guest, core))
    }

    fn stub(&self) -> MutexGuard<'_, Option<Stub>> {
        self.stub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the guest, copies its memory, and lets it go on. It goes on in any
    /// case.
    ///
    /// # Errors
    /// It cannot be stopped or copied, or has another kernel now.
    pub fn take(
        &self,
        kernel: &Kernel,
        stop: &dyn Fn() -> bool,
    ) -> Result<Taken, BhyveError> {
        let mut guard = self.stub();
        let Some(stub) = guard.as_mut() else {
            let doing = "stopping the guest";
            let source = io::ErrorKind::NotConnected.into();
            return Err(GdbError::Io { doing, source }.into());
        };
        let from = Instant::now();
        let stopped = stub.stop();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let copied = match &stopped {
            Ok(()) => self.copy(stop),
            Err(_) => Ok(()),
        };
        let resumed = stub.resume();
        let paused = from.elapsed();
        if stopped.is_err() || resumed.is_err() {
            // The end of the connection resumes it.
            *guard = None;
        }
        stopped?;
        resumed.map_err(BhyveError::NotResumed)?;
        copied?;
        let file = self.spool.try_clone().map_err(temporary)?;
        let image = ImageFile::raw(file, &self.path, Claims::default())?;
        let core = image.with_kernel(kernel)?;
        let ns = since.unwrap_or_default().as_nanos();
        Ok(Taken {
            core,
            paused: Some(paused),
            time_ns: i64::try_from(ns).unwrap_or(0),
            cpus: self.cpus,
        })
    }

    fn copy(&self, stop: &dyn Fn() -> bool) -> Result<(), BhyveError> {
        let end = self.ranges.last().map_or(0, |range| range.1);
        // What an earlier one left is gone.
        self.spool.set_len(0).map_err(temporary)?;
        self.spool.set_len(end).map_err(temporary)?;
        let mut buf = vec![0; PIECE];
        for &(start, end) in &self.ranges {
            let mut at = start;
            while at < end {
                if stop() {
                    return Err(BhyveError::Interrupted);
                }
                let left = usize::try_from(end - at).unwrap_or(PIECE);
                let part = buf.get_mut(..left.min(PIECE)).unwrap_or_default();
                self.memory
                    .read_exact_at(part, at)
                    .map_err(|source| BhyveError::Copy { at, source })?;
                for page in part.chunks(PAGE_SIZE) {
                    if page.iter().any(|&b| b != 0) {
                        self.spool.write_all_at(page, at).map_err(temporary)?;
                    }
                    at = at.saturating_add(page.len() as u64);
                }
            }
        }
        Ok(())
    }

    /// The stub's socket, the guest's memory, and the file of the copy.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.socket.as_fd(), self.memory.as_fd(), self.spool.as_fd()]
    }

    /// Gives up the copy.
    pub fn release(&self) {
        let _ = self.spool.set_len(0);
    }
}
