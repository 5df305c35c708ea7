// SPDX-License-Identifier: BSD-2-Clause
//! A guest as a machine, of QEMU or bhyve: its memory is taken when an estimate is
//! asked for, and what is dumped afterwards is of that moment.

#![forbid(unsafe_code)]

use super::hosted::{Facts, HostedDevice};
use super::{Device, OpenError, Outside};
use crate::bhyve::{self, BhyveError};
use crate::kernel_files::path::named;
use crate::qemu::{Guest, QemuError, Taken, Wanted, libvirt};
use crate::report::note;
use crate::sandbox::Purpose;
use livedump_hosted::vmcore::ImageMachine;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::kernel::{ImageFacts, KernelMemory};
use memdev::addr::{Paddr, Vaddr};
use memdev::errno::Errno;
use memdev::freeze::FreezeRecord;
use memdev::ioctl::{
    FLAG_ESTIMATE, MemLivedumpArg, MemMinidumpArg, MemMinidumpStatus,
};
use memdev::stage::Stage;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What of a guest of bhyve is read while it runs is found by its kernel.
const NO_KERNEL: &str = "name its kernel with -k";

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A guest.
pub struct GuestDevice {
    name: String,
    guest: Box<dyn Takes>,
    kernel: Known,
    /// Whoever asks does not want the answer any more.
    interrupted: AtomicBool,
    held: Mutex<Option<Arc<Held>>>,
    /// Why its memory was not taken.
    failure: Mutex<Option<String>>,
}

/// What is known of its kernel.
enum Known {
    /// Its file, and what of it does not change while it runs.
    Kernel(Box<Kernel>, ImageFacts),
    /// Nothing but that it is FreeBSD; where its parameter page was.
    Page(Mutex<Option<Paddr>>),
}

impl Known {
    fn wanted(&self) -> Wanted<'_> {
        match self {
            Self::Kernel(kernel, _) => Wanted::Kernel(kernel),
            Self::Page(at) => Wanted::Page(*lock(at)),
        }
    }

    /// What there is to know of memory that was taken.
    fn facts(&self, memory: &KernelMemory) -> ImageFacts {
        match self {
            Self::Kernel(_, facts) => facts.clone(),
            Self::Page(at) => {
                let params = memory.params.as_deref();
                *lock(at) = params.map(|params| Paddr(params.pa));
                memory.page_facts().unwrap_or_default()
            }
        }
    }

    /// C: `&time_uptime`.
    fn uptime(&self, memory: &KernelMemory) -> Option<Vaddr> {
        match self {
            Self::Kernel(kernel, _) => {
                kernel.find("time_uptime").map(|symbol| symbol.address)
            }
            Self::Page(_) => {
                let at = memory.params.as_deref()?.uptime_va;
                (at != 0).then_some(Vaddr(at))
            }
        }
    }
}

/// A guest whose memory can be taken as it is at one moment.
trait Takes: Send + Sync {
    /// Takes it.
    fn take(
        &self,
        wanted: Wanted<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Taken, Untaken>;

    /// What that takes.
    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Purpose)>;

    /// Gives up what was taken.
    fn release(&self);
}

/// Why it was not taken.
enum Untaken {
    Interrupted,
    Failed(String),
}

impl Takes for Guest {
    fn take(
        &self,
        wanted: Wanted<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Taken, Untaken> {
        self.take(wanted, stop).map_err(|e| match e {
            QemuError::Interrupted => Untaken::Interrupted,
            e => Untaken::Failed(chain(&e)),
        })
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Purpose)> {
        let (socket, read, written) = self.descriptors();
        let read = read.into_iter().map(|fd| (fd, Purpose::Read));
        let written = written.into_iter().map(|fd| (fd, Purpose::Update));
        [(socket, Purpose::Monitor)]
            .into_iter()
            .chain(read)
            .chain(written)
            .collect()
    }

    fn release(&self) {
        self.release();
    }
}

impl Takes for bhyve::Guest {
    fn take(
        &self,
        wanted: Wanted<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Taken, Untaken> {
        let Wanted::Kernel(kernel) = wanted else {
            return Err(Untaken::Failed(NO_KERNEL.into()));
        };
        self.take(kernel, stop).map_err(|e| match e {
            BhyveError::Interrupted => Untaken::Interrupted,
            e => Untaken::Failed(chain(&e)),
        })
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Purpose)> {
        let [socket, memory, spool] = self.descriptors();
        vec![
            (socket, Purpose::Monitor),
            (memory, Purpose::Read),
            (spool, Purpose::Update),
        ]
    }

    fn release(&self) {
        self.release();
    }
}

/// Its memory as it was at one moment.
struct Held {
    machine: HostedDevice,
    outside: Outside,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GuestDevice {
    /// Connects, and finds the kernel in the guest's memory, or, where none is
    /// named, that it is FreeBSD's. The guest is not stopped.
    ///
    /// # Errors
    /// Nothing answers, or it has another kernel.
    pub fn open(
        socket: &Path,
        kernel: Option<&Path>,
        facts: &Facts<'_>,
    ) -> Result<Self, OpenError> {
        let name = format!("qemu:{}", socket.display());
        Self::of(name, kernel, facts, || Ok(Guest::connect(socket)?))
    }

    /// The same of a domain of libvirt.
    ///
    /// # Errors
    /// As [`GuestDevice::open`], and no such domain runs, or libvirtd has its
    /// monitor.
    pub fn of_libvirt(
        domain: &str,
        kernel: Option<&Path>,
        facts: &Facts<'_>,
    ) -> Result<Self, OpenError> {
        let name = format!("libvirt:{domain}");
        Self::of(name, kernel, facts, || Ok(libvirt::connect(domain)?))
    }

    fn of(
        name: String,
        kernel: Option<&Path>,
        facts: &Facts<'_>,
        connect: impl FnOnce() -> Result<Guest, Cause>,
    ) -> Result<Self, OpenError> {
        let open = || -> Result<_, Cause> {
            let kernel = kernel.map(named);
            let kernel = kernel.map(|path| Kernel::open(&path)).transpose()?;
            let mut guest = connect()?;
            let known = match kernel {
                Some(kernel) => {
                    let facts = facts(&guest.live(&kernel)?, &kernel);
                    Known::Kernel(Box::new(kernel), facts)
                }
                None => {
                    guest.check_unnamed()?;
                    Known::Page(Mutex::new(None))
                }
            };
            guest.prepare()?;
            Ok((guest, known))
        };
        let (guest, known) = open().map_err(|source| OpenError::Hosted {
            machine: name.clone(),
            source,
        })?;
        Ok(Self::new(name, Box::new(guest), known))
    }

    /// A guest of bhyve whose memory is at `path`, with its debug stub at
    /// `address`.
    ///
    /// # Errors
    /// It has another kernel, or nothing answers.
    pub fn of_bhyve(
        name: String,
        path: &Path,
        address: &str,
        kernel: Option<&Path>,
        facts: &Facts<'_>,
    ) -> Result<Self, OpenError> {
        let open = || -> Result<_, Cause> {
            let kernel = kernel.ok_or(NO_KERNEL)?;
            let kernel = Kernel::open(&named(kernel))?;
            let (guest, core) = bhyve::Guest::open(path, address, &kernel)?;
            let facts = facts(&core, &kernel);
            Ok((guest, Known::Kernel(Box::new(kernel), facts)))
        };
        let (guest, known) = open().map_err(|source| OpenError::Hosted {
            machine: name.clone(),
            source,
        })?;
        Ok(Self::new(name, Box::new(guest), known))
    }

    fn new(name: String, guest: Box<dyn Takes>, kernel: Known) -> Self {
        Self {
            name,
            guest,
            kernel,
            interrupted: AtomicBool::new(false),
            held: Mutex::new(None),
            failure: Mutex::new(None),
        }
    }

    fn held(&self) -> Option<Arc<Held>> {
        lock(&self.held).clone()
    }

    /// Takes its memory.
    fn take(&self) -> Result<Arc<Held>, Errno> {
        self.release();
        self.interrupted.store(false, Ordering::SeqCst);
        let stop = || self.interrupted.load(Ordering::SeqCst);
        let taken = match self.guest.take(self.kernel.wanted(), &stop) {
            Ok(taken) => taken,
            Err(Untaken::Interrupted) => return Err(Errno::EINTR),
            Err(Untaken::Failed(why)) => {
                *lock(&self.failure) = Some(why);
                return Err(Errno::EIO);
            }
        };
        let Some(memory) = taken.core.image().cloned() else {
            return Err(Errno::EIO);
        };
        memory.check_dumpable().map_err(|e| self.failed(&e))?;
        let is_first = matches!(self.kernel.wanted(), Wanted::Page(None));
        let facts = self.kernel.facts(&memory);
        if is_first {
            memory.notes.iter().for_each(note);
        }
        let machine = |facts| {
            let machine = ImageMachine::new(Arc::clone(&memory), facts);
            HostedDevice::new(&self.name, Arc::new(machine))
        };
        // The record of the instant has the number of pages.
        let mut estimate =
            MemMinidumpArg { flags: FLAG_ESTIMATE, ..MemMinidumpArg::new() };
        machine(facts.clone()).minidump(&mut estimate, None)?;
        let uptime = self.kernel.uptime(&memory);
        let uptime = uptime.and_then(|at| taken.core.read_u64(at).ok());
        let pause = taken.paused.unwrap_or_default().as_nanos();
        let record = FreezeRecord {
            cpus: taken.cpus,
            uptime_ns: uptime.unwrap_or(0).saturating_mul(1_000_000_000),
            time_ns: taken.time_ns,
            pause_ns: u64::try_from(pause).unwrap_or(u64::MAX),
            max_pause_ns: 0,
            pages: estimate.pages,
        };
        let outside = Outside { record, registers: memory.registers };
        let instant = Some(record);
        let machine = machine(ImageFacts { instant, ..facts });
        let held = Arc::new(Held { machine, outside });
        *lock(&self.held) = Some(Arc::clone(&held));
        Ok(held)
    }

    fn failed(&self, e: &dyn std::error::Error) -> Errno {
        *lock(&self.failure) = Some(chain(e));
        Errno::EIO
    }
}

impl Device for GuestDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn minidump(
        &self,
        arg: &mut MemMinidumpArg,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        let held = match self.held() {
            Some(held) if arg.flags & FLAG_ESTIMATE == 0 => held,
            _ => self.take()?,
        };
        held.machine.minidump(arg, file)
    }

    fn can_stream(&self) -> bool {
        true
    }

    fn stands_still(&self) -> bool {
        true
    }

    fn kerneldump(
        &self,
        _: &mut MemLivedumpArg,
        _: &File,
    ) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn status(&self) -> Result<MemMinidumpStatus, Errno> {
        match self.held() {
            Some(held) => held.machine.status(),
            None => Ok(MemMinidumpStatus {
                stage: Stage::Freeze as u32,
                pid: self.pid(),
                ..MemMinidumpStatus::default()
            }),
        }
    }

    fn pid(&self) -> i32 {
        self.held().map_or(1, |held| held.machine.pid())
    }

    fn readable_bytes(&self) -> Option<u64> {
        self.held()?.machine.readable_bytes()
    }

    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        if let Some(held) = self.held() {
            held.machine.interrupt();
        }
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Purpose)> {
        self.guest.descriptors()
    }

    fn outside(&self) -> Option<Outside> {
        Some(self.held()?.outside)
    }

    fn take_failure(&self) -> Option<String> {
        lock(&self.failure).take()
    }

    fn release(&self) {
        *lock(&self.held) = None;
        self.guest.release();
    }
}
