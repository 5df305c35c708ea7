// SPDX-License-Identifier: BSD-2-Clause
//! A guest of QEMU's from outside, by its monitor socket: for a machine that
//! cannot dump itself.
//!
//! ```text
//!  qmp      the protocol
//!  memory   the guest's memory while it runs: is the kernel in it?
//!  stream   dump-guest-memory into a pipe, and from there into a file
//!  backing  the file that the guest's memory is in, copied while it is stopped
//!  libvirt  the socket of one of its domains
//!  wanted   the kernel that it is to have
//!  resume   a process that resumes the guest if this one is killed
//! ```
//!
//! QEMU stops the guest for dump-guest-memory and resumes it itself. If this
//! process is killed, the pipe has no reader any more, QEMU's write fails, and
//! that ends the dump. Only where the file is copied `stop` and `cont` are sent
//! from here.

#![forbid(unsafe_code)]

mod backing;
pub mod libvirt;
mod memory;
mod qmp;
mod resume;
mod stream;
#[cfg(test)]
mod tests;
mod wanted;

pub use qmp::QmpError;
pub use wanted::Wanted;

use crate::sleep::sleep;
use crate::spool::{SpoolError, spool};
use backing::Backing;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::kernel::KernelError;
use livedump_vmcore::image::{Claims, MemoryImage};
use livedump_vmcore::{
    ImageFile, ImageKernelError, OpenError, Opened, Vmcore, chain,
};
use memdev::addr::Paddr;
use memdev::arch::Machine;
use memory::GuestMemory;
use qmp::Qmp;
use resume::Resumer;
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For each answer of QEMU's.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the events of a dump's end.
const EVENT: Duration = Duration::from_secs(5);
/// How often a kernel is looked for in memory that changes meanwhile.
const LOOKS: u32 = 3;
/// Between two looks at what runs there.
const LOOK: Duration = Duration::from_millis(20);
/// The entry of amd64's root page table that leads to the table itself in
/// FreeBSD, and only there. C: `PML4PML4I`, `PML5PML5I`.
const RECURSIVE: u64 = 256;
/// The address in an entry of a page table.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Why a guest cannot be dumped.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// QEMU.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Another guest than expected. It was not stopped.
    #[error("{seen}{}", not_there(*seen, kernel))]
    NotThis {
        /// What runs there.
        seen: Seen,
        /// The kernel's file.
        kernel: String,
    },
    /// The guest is of another architecture.
    #[error("the guest is {guest}, kernel {kernel} is {machine}")]
    Architecture {
        /// As QEMU calls it.
        guest: String,
        /// The kernel's file.
        kernel: String,
        /// What that is for.
        machine: &'static str,
    },
    /// No kernel is named, and the guest does not run FreeBSD, or it cannot
    /// be told. It was not stopped.
    #[error("{}", unnamed(*.0))]
    Unnamed(Seen),
    /// No kernel is named, and none has said where it is.
    #[error("name its kernel with -k, or load livedump.ko in the guest")]
    NoPage(#[source] ImageKernelError),
    /// The kernel's memory is not as it should be.
    #[error(transparent)]
    Kernel(#[from] ImageKernelError),
    /// Not started yet, or being migrated.
    #[error("the guest's state is {0:?}: there is no memory to be dumped")]
    State(String),
    /// The file for its memory.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What QEMU wrote is no image.
    #[error("what QEMU wrote")]
    Image(#[source] OpenError),
    /// The memory cannot be copied.
    #[error("copying the guest's memory")]
    Copy(#[source] io::Error),
    /// QEMU could not write it.
    #[error("dump-guest-memory failed: {0}")]
    Failed(String),
    /// QEMU writes nothing any more.
    #[error("dump-guest-memory wrote nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The caller cancelled it.
    #[error("interrupted")]
    Interrupted,
    /// The guest ran before.
    #[error(
        "the guest was not resumed, its state is {0:?}: send cont to its \
         monitor"
    )]
    NotResumed(String),
}

/// What runs in a guest, by the page tables of its CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// FreeBSD.
    FreeBsd,
    /// Something else.
    Other,
    /// Nothing that uses page tables.
    NoPaging,
    /// It cannot be told.
    Unknown,
}

/// What of the kernel is worth saying.
fn not_there(seen: Seen, kernel: &str) -> String {
    match seen {
        Seen::Other => String::new(),
        _ => format!(": kernel {kernel} is not in its memory"),
    }
}

/// Why no guest is stopped of which no kernel is named.
fn unnamed(seen: Seen) -> String {
    match seen {
        Seen::FreeBsd | Seen::Unknown => {
            "what the guest runs is not known: name its kernel with -k".into()
        }
        Seen::NoPaging => {
            format!("{seen}; if one does, name its kernel with -k")
        }
        Seen::Other => seen.to_string(),
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FreeBsd => "the guest runs another kernel of FreeBSD",
            Self::Other => "the guest does not run FreeBSD",
            Self::NoPaging => "no kernel runs in the guest yet",
            Self::Unknown => "the guest runs another kernel",
        })
    }
}

/// A guest by its monitor.
#[derive(Debug)]
pub struct Guest {
    path: PathBuf,
    qmp: Arc<Mutex<Qmp>>,
    /// The same socket, for whoever limits what may be done with it.
    socket: OwnedFd,
    /// As QEMU calls its architecture.
    target: String,
    bytes: u64,
    taking: Option<Taking>,
}

/// What its memory is taken with: opened while files may be opened.
#[derive(Debug)]
struct Taking {
    spool: File,
    backing: Option<(Backing, Resumer)>,
}

/// A guest's memory as it was at one moment.
#[derive(Debug)]
pub struct Taken {
    /// It, and the kernel in it.
    pub core: Vmcore,
    /// For how long it was stopped; `None` where it did not run.
    pub paused: Option<Duration>,
    /// When that was: nanoseconds since 1970.
    pub time_ns: i64,
    /// CPUs, by QEMU's notes.
    pub cpus: u32,
}

/// A part of a guest's time.
#[derive(Clone, Copy, Debug)]
struct Pause {
    paused: Option<Duration>,
    time_ns: i64,
}

impl Guest {
    /// Connects. The guest has to have memory.
    ///
    /// # Errors
    /// Nothing answers there, or it has none.
    pub fn connect(path: &Path) -> Result<Self, QemuError> {
        Self::connect_within(path, PATIENCE)
    }

    fn connect_within(
        path: &Path,
        timeout: Duration,
    ) -> Result<Self, QemuError> {
        let mut qmp = Qmp::connect(path, timeout)?;
        let state = state(&mut qmp)?;
        if matches!(
            state.as_str(),
            "inmigrate"
                | "postmigrate"
                | "finish-migrate"
                | "preconfig"
                | "colo"
        ) {
            return Err(QemuError::State(state));
        }
        let answer = qmp.execute("query-target", json!({}))?;
        let target = answer.get("arch").and_then(Value::as_str);
        let target = target.unwrap_or("unknown").to_owned();
        let answer = qmp.execute("query-memory-size-summary", json!({}))?;
        let bytes = ["base-memory", "plugged-memory"]
            .into_iter()
            .filter_map(|part| answer.get(part).and_then(Value::as_u64))
            .fold(0, u64::saturating_add);
        let socket = qmp.stream().as_fd().try_clone_to_owned();
        let socket = socket
            .map_err(|source| QmpError::Io { doing: "duplicating", source })?;
        Ok(Self {
            path: path.to_path_buf(),
            socket,
            qmp: Arc::new(Mutex::new(qmp)),
            target,
            bytes,
            taking: None,
        })
    }

    /// What only one thread at a time talks to.
    fn qmp(&self) -> MutexGuard<'_, Qmp> {
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of its memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its state, as QEMU calls it: "running", "paused".
    ///
    /// # Errors
    /// No answer.
    pub fn state(&self) -> Result<String, QemuError> {
        Ok(state(&mut self.qmp())?)
    }

    /// The kernel in its memory as it is now. The guest is not stopped: what it
    /// changes may be read half changed.
    ///
    /// # Errors
    /// It is not there, or cannot be read as a whole.
    pub fn live(&self, kernel: &Kernel) -> Result<Vmcore, QemuError> {
        let machine = match self.target.as_str() {
            "x86_64" => Some(Machine::Amd64),
            "aarch64" => Some(Machine::Arm64),
            _ => None,
        };
        let machine = machine.filter(|&machine| machine == kernel.machine());
        let Some(machine) = machine else {
            return Err(QemuError::Architecture {
                guest: self.target.clone(),
                kernel: kernel.path().to_owned(),
                machine: kernel.machine().name(),
            });
        };
        // That takes less time than to search all of its memory.
        if self.seen()? == Seen::Other {
            let kernel = kernel.path().to_owned();
            return Err(QemuError::NotThis { seen: Seen::Other, kernel });
        }
        let mut looks = 0;
        loop {
            looks += 1;
            let qmp = Arc::clone(&self.qmp);
            let memory = GuestMemory::new(qmp, machine, self.bytes);
            let memory = Arc::new(memory);
            let image =
                ImageFile::of_image(Arc::clone(&memory) as _, &self.path);
            let e = match image.with_kernel(kernel) {
                Ok(core) => return Ok(core),
                Err(e) => e,
            };
            if let Some(e) = memory.take_error() {
                return Err(e.into());
            }
            let is_missing = matches!(
                &e,
                ImageKernelError::Kernel {
                    source: KernelError::NotFound { .. },
                    ..
                }
            );
            if is_missing {
                let seen = self.seen()?;
                let kernel = kernel.path().to_owned();
                return Err(QemuError::NotThis { seen, kernel });
            }
            if looks >= LOOKS {
                return Err(e.into());
            }
        }
    }

    /// That FreeBSD runs there, so that it is worth to stop it and to look for
    /// a parameter page.
    ///
    /// # Errors
    /// It does not, or it cannot be told.
    pub fn check_unnamed(&self) -> Result<(), QemuError> {
        match self.seen()? {
            Seen::FreeBsd => Ok(()),
            seen => Err(QemuError::Unnamed(seen)),
        }
    }

    /// Whether it has QEMU's vmcoreinfo device; `None` where QEMU does not say.
    #[must_use]
    pub fn has_vmcoreinfo(&self) -> Option<bool> {
        let mut qmp = self.qmp();
        let mut all = ["/machine/peripheral", "/machine/peripheral-anon"]
            .into_iter()
            .map(|path| qmp.execute("qom-list", json!({ "path": path })).ok());
        let lists: Option<Vec<_>> = all.by_ref().collect();
        let found =
            lists?.iter().filter_map(Value::as_array).flatten().any(|device| {
                let kind = device.get("type").and_then(Value::as_str);
                kind == Some("child<vmcoreinfo>")
            });
        Some(found)
    }

    /// How its memory is taken.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self.taking.as_ref().and_then(|it| it.backing.as_ref()) {
            Some(_) => "the file of its memory is copied",
            None => "dump-guest-memory",
        }
    }

    /// What runs there, by the root page tables of its CPUs.
    ///
    /// # Errors
    /// No answer.
    pub fn seen(&self) -> Result<Seen, QemuError> {
        if self.target != "x86_64" {
            return Ok(Seen::Unknown);
        }
        let qmp = Arc::clone(&self.qmp);
        let memory = GuestMemory::new(qmp, Machine::Amd64, self.bytes);
        let mut seen = Seen::NoPaging;
        for look in 0..LOOKS {
            // A CPU may be between two page tables, or call the firmware.
            if look > 0 {
                sleep(LOOK);
            }
            let text = self.qmp().human("info registers -a")?;
            let number = |line: &str, name: &str| {
                let (_, rest) = line.split_once(name)?;
                let word = rest.split_whitespace().next()?;
                u64::from_str_radix(word, 16).ok()
            };
            // The privilege level is before it.
            let mut level = None;
            for line in text.lines() {
                level = number(line, "CPL=").or(level);
                let Some(cr3) = number(line, "CR3=") else { continue };
                let root = cr3 & FRAME;
                if root == 0 {
                    continue;
                }
                let mut entry = [0; 8];
                let at = Paddr(root.saturating_add(RECURSIVE * 8));
                let read = memory.read(at, &mut entry);
                let entry = u64::from_le_bytes(entry);
                if read.is_ok() && entry & 1 != 0 && entry & FRAME == root {
                    return Ok(Seen::FreeBsd);
                }
                // With PTI a process has tables of its own, without it.
                seen = match (seen, level) {
                    (_, Some(0)) | (Seen::Other, _) => Seen::Other,
                    _ => Seen::Unknown,
                };
            }
        }
        // At the border to a process the kernel has the process's tables (PTI):
        // a CPU that runs is elsewhere at the next look.
        match seen {
            Seen::Other if self.state()? != "running" => Ok(Seen::Unknown),
            seen => Ok(seen),
        }
    }

    /// Opens what its memory is taken with.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn prepare(&mut self) -> Result<(), QemuError> {
        let spool = spool(self.bytes)?;
        let backing = Backing::find(&mut self.qmp(), self.bytes);
        // Whoever stops a guest has to be sure that it is resumed.
        let backing = backing.and_then(|backing| {
            let resumer = Resumer::start(self.qmp().stream()).ok()?;
            Some((backing, resumer))
        });
        self.taking = Some(Taking { spool, backing });
        Ok(())
    }

    /// The monitor's socket, and files that are read, and that are written.
    #[must_use]
    pub fn descriptors(
        &self,
    ) -> (BorrowedFd<'_>, Vec<BorrowedFd<'_>>, Vec<BorrowedFd<'_>>) {
        let (mut read, mut written) = (Vec::new(), Vec::new());
        if let Some(taking) = &self.taking {
            written.push(taking.spool.as_fd());
            if let Some((backing, _)) = &taking.backing {
                read.push(backing.file().as_fd());
            }
        }
        (self.socket.as_fd(), read, written)
    }

    /// Stops the guest, if it runs, copies its memory, and lets it go on. It
    /// goes on in any case.
    ///
    /// # Errors
    /// It cannot be copied, or does not have the kernel that is wanted. `stop`
    /// tells that the caller does not want it any more.
    pub fn take(
        &self,
        wanted: Wanted<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Taken, QemuError> {
        let Some(taking) = &self.taking else {
            return Err(QemuError::Interrupted);
        };
        let mut qmp = self.qmp();
        let was_running = state(&mut qmp)? == "running";
        qmp.forget_events();
        let to = (&taking.spool, self.path.as_path());
        let by_file = match &taking.backing {
            Some((backing, resumer)) => Some(backing.take(
                &mut qmp,
                resumer,
                to,
                wanted,
                was_running,
                stop,
            )?),
            None => None,
        };
        let (image, Pause { paused, time_ns }) = match by_file {
            Some((Some(image), pause)) => (image, pause),
            // Another guest's file. This one was stopped all the same.
            other => {
                let wasted = other.and_then(|(_, pause)| pause.paused);
                let (image, pause) =
                    stream::take(&mut qmp, to, was_running, stop)?;
                let paused = pause
                    .paused
                    .map(|it| it.saturating_add(wasted.unwrap_or_default()));
                (image, Pause { paused, ..pause })
            }
        };
        drop(qmp);
        let cpus = image.image().claims().cpus.len();
        let core = wanted.find(&image).map_err(|e| match wanted {
            Wanted::Kernel(_) => QemuError::Kernel(e),
            Wanted::Page(_) => QemuError::NoPage(e),
        })?;
        Ok(Taken {
            core,
            paused,
            time_ns,
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        })
    }

    /// Gives up the copy.
    pub fn release(&self) {
        if let Some(taking) = &self.taking {
            let _ = taking.spool.set_len(0);
        }
    }
}

fn state(qmp: &mut Qmp) -> Result<String, QmpError> {
    let answer = qmp.execute("query-status", json!({}))?;
    let status = answer.get("status").and_then(Value::as_str);
    Ok(status.unwrap_or("unknown").to_owned())
}

/// What was copied, and the pause. That a guest stands still is worse than that
/// there is no copy.
fn both<T>(
    copied: Result<T, QemuError>,
    pause: Result<Pause, QemuError>,
) -> Result<(T, Pause), QemuError> {
    match (copied, pause) {
        (_, Err(e @ QemuError::NotResumed(_))) | (Err(e), _) => Err(e),
        (Ok(copied), pause) => Ok((copied, pause?)),
    }
}

/// The image in the file, which QEMU wrote.
fn written(spool: &File, path: &Path) -> Result<ImageFile, QemuError> {
    let file = spool.try_clone().map_err(QemuError::Copy)?;
    match Opened::new(file, path).map_err(QemuError::Image)? {
        Opened::Image(image) => Ok(image),
        Opened::Minidump(_) => {
            Err(QemuError::Failed("it wrote a minidump".into()))
        }
    }
}

/// From the guest's stop to its going on, by QEMU's clock. A guest that ran
/// before runs again, or it is an error.
fn resumed(qmp: &mut Qmp, was_running: bool) -> Result<Pause, QemuError> {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(0)
    };
    if !was_running {
        return Ok(Pause { paused: None, time_ns: now() });
    }
    let resumed = qmp.event("RESUME", EVENT)?;
    if resumed.is_none() && state(qmp)? != "running" {
        // QEMU should have. Whatever it says, the state tells.
        let answer = qmp.execute("cont", json!({}));
        let state = state(qmp)?;
        if state != "running" {
            let state = match answer {
                Err(e) => format!("{state}, {}", chain(&e)),
                Ok(_) => state,
            };
            return Err(QemuError::NotResumed(state));
        }
    }
    let stopped = qmp.event("STOP", Duration::ZERO)?;
    let us = |event: &Option<qmp::Event>| event.as_ref().map(|e| e.time_us);
    let (from, to) = (us(&stopped), us(&resumed));
    let paused = from.zip(to).map(|(from, to)| to.saturating_sub(from));
    let time_ns = from.and_then(|us| i64::try_from(us).ok()?.checked_mul(1000));
    Ok(Pause {
        paused: paused.map(Duration::from_micros),
        time_ns: time_ns.unwrap_or_else(now),
    })
}

/// What an image's notes say.
fn claims(image: &ImageFile) -> Claims {
    let all = image.image().claims();
    Claims {
        cpus: all.cpus.clone(),
        vmcoreinfo: all.vmcoreinfo.clone(),
        ..Claims::default()
    }
}
