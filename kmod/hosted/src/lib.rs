// SPDX-License-Identifier: BSD-2-Clause
//! Machines in user space: the engine's KPI over a model of a FreeBSD kernel,
//! or over the memory in a file. Test equipment, and what
//! `livedump capture --machine` runs.
//!
//! ```text
//!   Process::ioctl --> Livedump (the engine) --> Caller: Kpi
//!     Machine       memory: model, vmcore, raw   <--|
//!     Process       credentials, files, signals  <--|
//!     Vnode         where the dump goes          <--|
//!     HostedKernel  lock, events, books, faults  <--'
//! ```
//!
//! A machine that is only memory implements [`machine::Machine`]; the model
//! adds [`machine::Running`]. The rest does what the KPI asks and no more.
//! Everything the engine takes is counted (locks, references, memory), every
//! call is a numbered step, and a script may make any of them fail.

mod caller;
pub mod compressor;
mod contents;
mod copies;
pub mod errno;
pub mod fault;
mod frames;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod method;
pub mod model;
pub mod phys;
pub mod process;
pub mod raw;
pub mod tables;
pub mod threads;
pub mod vmcore;
pub mod vnode;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_freeze;

pub use caller::Caller;

use fault::Faults;
use livedump_kmod::error::Result;
use livedump_kmod::livedump::Livedump;
use lock::SleepLock;
use machine::{Machine, Running};
use memdev::addr::Vaddr;
use memory::Memory;
use method::Method;
use parking_lot::RwLock;
use process::{Credentials, Process};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU64, AtomicUsize, Ordering,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a handler of `livedumper_dump` is given: the block and its offset,
/// or `None` at the end of the dump.
pub type Block<'a> = Option<(&'a [u8], u64)>;

/// A handler of `livedumper_start`.
pub type OnStart = dyn Fn() -> Result<()> + Send + Sync;
/// A handler of `livedumper_dump`.
pub type OnDump = dyn Fn(Block<'_>) -> Result<()> + Send + Sync;
/// A handler of `livedumper_finish`.
pub type OnFinish = dyn Fn() + Send + Sync;

/// Handlers of the livedumper events. C: `EVENTHANDLER_REGISTER`.
#[derive(Default)]
pub struct Events {
    /// May refuse the dump.
    pub start: Option<Arc<OnStart>>,
    /// May end it before any block.
    pub dump: Option<Arc<OnDump>>,
    /// It is over.
    pub finish: Option<Arc<OnFinish>>,
}

/// What stands in for compression.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedCodec {
    /// Of each chunk.
    pub takes: Duration,
    /// Bytes that it becomes.
    pub bytes: usize,
}

/// Locks and references that are out, in the whole kernel.
#[derive(Debug, Default)]
struct Held {
    locks: AtomicI64,
    files: AtomicI64,
    misuses: AtomicU64,
    quiesces: AtomicI64,
}

/// A kernel that is not one: a machine's memory, and what the engine needs
/// besides.
pub struct HostedKernel {
    machine: Arc<dyn Machine>,
    livedump: Livedump,
    livedump_lock: SleepLock,
    events: RwLock<Events>,
    faults: Faults,
    memory: Memory,
    held: Held,
    next_pid: AtomicI32,
    request_steps: AtomicU64,
    kmem_read_granted: AtomicBool,
    has_gzip: AtomicBool,
    has_zstd: AtomicBool,
    zstd_level: AtomicI32,
    clock: RwLock<Option<i64>>,
    /// What stands in for compression.
    simulated: RwLock<Option<SimulatedCodec>>,
    /// Blocks with keys, where the kernel says so.
    dump_keys: RwLock<Option<Vec<Vaddr>>>,
    ncpus: AtomicUsize,
    /// Passes until all threads have stopped.
    passes: AtomicU64,
    let_go: AtomicBool,
    /// Free pages that copies may have.
    free_pages: AtomicUsize,
    /// A CPU does not come when all are to stop.
    late_cpu: AtomicBool,
    /// So often a CPU does not say that its work is done.
    silent_cpu: AtomicUsize,
    /// Nanoseconds that sleeps took which nobody slept.
    skipped_ns: AtomicU64,
    booted: Instant,
}

impl HostedKernel {
    /// A kernel on `machine`, as a stock one is configured: everyone has
    /// `PRIV_KMEM_READ`, both compressors are there.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>) -> Arc<Self> {
        // Memory in a file has none; the host's do its work.
        let running = machine.running();
        let ncpus = running.map_or_else(threads::ncpus, |m| m.cpus().max(1));
        let dump_keys = running.map(|_| vec![]);
        Arc::new(Self {
            machine,
            livedump: Livedump::new(),
            livedump_lock: SleepLock::default(),
            events: RwLock::default(),
            faults: Faults::new(),
            memory: Memory::new(),
            held: Held::default(),
            next_pid: AtomicI32::new(100),
            request_steps: AtomicU64::new(0),
            kmem_read_granted: AtomicBool::new(true),
            has_gzip: AtomicBool::new(true),
            has_zstd: AtomicBool::new(true),
            zstd_level: AtomicI32::new(compressor::ZSTD_LEVEL),
            clock: RwLock::new(None),
            simulated: RwLock::new(None),
            dump_keys: RwLock::new(dump_keys),
            ncpus: AtomicUsize::new(ncpus),
            passes: AtomicU64::new(1),
            let_go: AtomicBool::new(false),
            free_pages: AtomicUsize::new(usize::MAX),
            late_cpu: AtomicBool::new(false),
            silent_cpu: AtomicUsize::new(0),
            skipped_ns: AtomicU64::new(0),
            booted: Instant::now(),
        })
    }

    /// A new process.
    #[must_use]
    pub fn process(self: &Arc<Self>, credentials: Credentials) -> Process {
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        Process::new(Arc::clone(self), credentials, pid)
    }

    /// The memory under it.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// The machine, where it is one that runs.
    fn running(&self) -> Option<&dyn Running> {
        self.machine.running()
    }

    fn set_quiesced(&self, quiesced: bool) {
        if let Some(machine) = self.running() {
            machine.set_quiesced(quiesced);
        }
    }

    /// The engine of this kernel.
    pub fn livedump(&self) -> &Livedump {
        &self.livedump
    }

    /// Steps and scripts.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What the engine has asked for.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Steps that the last request to end took.
    pub fn request_steps(&self) -> u64 {
        self.request_steps.load(Ordering::Relaxed)
    }

    /// Livedump and range locks that are held; 0 when no request runs.
    pub fn locks_held(&self) -> i64 {
        self.held.locks.load(Ordering::SeqCst)
    }

    /// References to files that are held; 0 when no request runs.
    pub fn files_held(&self) -> i64 {
        self.held.files.load(Ordering::SeqCst)
    }

    /// Locks given back that nobody held; always 0.
    pub fn misuses(&self) -> u64 {
        self.held.misuses.load(Ordering::SeqCst)
    }

    /// Whether user processes are suspended; false when no request runs.
    pub fn is_quiesced(&self) -> bool {
        self.held.quiesces.load(Ordering::SeqCst) != 0
    }

    /// Threads take so many passes until they have stopped.
    pub fn set_passes(&self, passes: u64) {
        self.passes.store(passes, Ordering::Relaxed);
    }

    /// Suspended processes are resumed, as when a dump does not get on.
    pub fn let_go(&self) {
        self.let_go.store(true, Ordering::SeqCst);
        self.set_quiesced(false);
    }

    /// Replaces the event handlers.
    pub fn set_events(&self, events: Events) {
        *self.events.write() = events;
    }

    /// Whether everyone has `PRIV_KMEM_READ`, as in the kernel itself, or root
    /// alone.
    pub fn grant_kmem_read(&self, to_everyone: bool) {
        self.kmem_read_granted.store(to_everyone, Ordering::Relaxed);
    }

    /// Which compressors were compiled in. C: `options GZIO`, `ZSTDIO`.
    pub fn set_compressors(&self, gzip: bool, zstd: bool) {
        self.has_gzip.store(gzip, Ordering::Relaxed);
        self.has_zstd.store(zstd, Ordering::Relaxed);
    }

    /// The level of zstd of requests that name none. C:
    /// `kern.livedump.zstd_level`.
    pub fn set_zstd_level(&self, level: i32) {
        self.zstd_level.store(level, Ordering::Relaxed);
    }

    /// Compression takes a time and no CPU, so that more threads can be
    /// simulated than the host has CPUs. What is written is no dump.
    pub fn set_simulated_codec(&self, codec: Option<SimulatedCodec>) {
        *self.simulated.write() = codec;
    }

    /// Stops the clock at `second`, so that two dumps can be compared.
    pub fn set_time_second(&self, second: i64) {
        *self.clock.write() = Some(second);
    }

    /// The kernel encrypts its own dumps with the keys in these blocks; it does
    /// not say where to look for them.
    pub fn set_dump_keys(&self, blocks: Option<Vec<Vaddr>>) {
        *self.dump_keys.write() = blocks;
    }

    /// CPUs the engine is told of; the host's at first.
    pub fn set_ncpus(&self, n: usize) {
        self.ncpus.store(n, Ordering::Relaxed);
    }

    /// Copies may take so many pages; as many as they want at first.
    pub fn set_free_pages(&self, pages: usize) {
        self.free_pages.store(pages, Ordering::Relaxed);
    }

    /// A CPU has interrupts off, and does not come when all are to stop.
    pub fn set_late_cpu(&self, late: bool) {
        self.late_cpu.store(late, Ordering::Relaxed);
    }

    /// So often a CPU does not say that its work is done, as one that the host
    /// takes away then.
    pub fn set_silent_cpu(&self, times: usize) {
        self.silent_cpu.store(times, Ordering::Relaxed);
    }

    /// Nanoseconds since boot.
    fn uptime_ns(&self) -> u64 {
        let up = self.booted.elapsed().as_nanos();
        let skipped = self.skipped_ns.load(Ordering::Relaxed);
        u64::try_from(up).unwrap_or(u64::MAX).saturating_add(skipped)
    }

    /// Nanoseconds since 1970.
    fn time_ns(&self) -> i64 {
        if let Some(second) = *self.clock.read() {
            return second.saturating_mul(1_000_000_000);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }

    #[inline]
    fn step(&self, method: Method) -> Result<()> {
        self.faults.step(method, &*self.machine)
    }

    /// The step of a method that cannot fail.
    fn pass(&self, method: Method) {
        let _ = self.step(method);
    }

    fn request_ended(&self, steps_before: u64) {
        let steps = self.faults.steps().saturating_sub(steps_before);
        self.request_steps.store(steps, Ordering::Relaxed);
    }

    fn lock_taken(&self) {
        self.held.locks.fetch_add(1, Ordering::SeqCst);
    }

    fn lock_given_back(&self, was_held: bool) {
        if was_held {
            self.held.locks.fetch_sub(1, Ordering::SeqCst);
        } else {
            self.held.misuses.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Sleepers look again whether a signal is waiting for them.
    fn wake(&self) {
        self.livedump_lock.wake();
    }
}
