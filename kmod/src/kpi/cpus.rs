// SPDX-License-Identifier: BSD-2-Clause
//! What every CPU was doing at one instant.

use crate::error::Result;
use memdev::addr::{Paddr, Page, Vaddr};

/// Where debuggers look for the registers of running threads: addresses of the
/// kernel's variables, 0 where there is no such thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Debugger {
    /// The pcb of CPU 0; those of the others follow. C: `stoppcbs`, the array
    /// or (from 14 on) what it points to.
    pub stoppcbs: Vaddr,
    /// C: `stopped_cpus`.
    pub stopped_cpus: Vaddr,
    /// C: `dumppcb`.
    pub dumppcb: Vaddr,
    /// C: `dumptid`.
    pub dumptid: Vaddr,
    /// C: `sizeof(struct pcb)`.
    pub pcb_bytes: u32,
    /// C: `sizeof(cpuset_t)`.
    pub cpuset_bytes: u32,
}

/// Words at the start of a pcb that hold all registers a debugger takes from
/// it: 8 on amd64, 33 on arm64.
pub const PCB_WORDS: usize = 34;

/// [`Context::tid`] of a CPU that did not come in time.
pub const MISSING: i32 = -1;

/// What a CPU was doing at the instant. C: `struct livedump_cpu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Context {
    /// The thread; 0 where nothing was saved.
    pub thread: Vaddr,
    /// Where its `td_oncpu` is.
    pub oncpu: Paddr,
    /// The part of its kernel stack that was saved begins here.
    pub stack: Vaddr,
    /// And is so long.
    pub stack_bytes: u32,
    /// Bytes of `pcb` that are used.
    pub pcb_bytes: u32,
    /// The CPU's number.
    pub cpu: u32,
    /// The thread's.
    pub tid: i32,
    /// As a pcb of this machine begins.
    pub pcb: [u64; PCB_WORDS],
}

impl Context {
    /// Nothing was saved.
    pub const NONE: Self = Self {
        thread: Vaddr(0),
        oncpu: Paddr(0),
        stack: Vaddr(0),
        stack_bytes: 0,
        pcb_bytes: 0,
        cpu: 0,
        tid: 0,
        pcb: [0; PCB_WORDS],
    };
}

/// How all CPUs were stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopped {
    /// From the first CPU stopped to the last that went on.
    pub pause_ns: u64,
    /// When the last had stopped, since boot.
    pub uptime_ns: u64,
    /// And since 1970.
    pub time_ns: i64,
    /// How many there were.
    pub cpus: u32,
}

/// The CPUs, and where debuggers look for their registers.
pub trait Cpus {
    /// Saves this thread's context where debuggers look (`dumppcb`,
    /// `dumptid`). C: `dump_savectx`.
    fn dump_savectx(&self);

    /// CPUs there may be. C: `mp_maxid` + 1.
    fn cpus(&self) -> usize;

    /// Where debuggers look.
    fn debugger(&self) -> Debugger;

    /// Interrupts all CPUs and saves what each was doing, and the upper part
    /// of the stack it was on. `contexts` has a place for each CPU and one
    /// more, the last, for the caller; `stacks` as many pages for each. A CPU
    /// that has interrupts off for longer than 100 ms is [`MISSING`].
    /// C: `callout_reset_sbt_on(C_DIRECT_EXEC)`.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn instant(
        &self,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) -> Result<()>;

    /// Stops all CPUs as [`Cpus::instant`] does, saves what each was doing
    /// (not the stacks, which memory has), and lets each run `work`, interrupts
    /// off; they go on when all have returned. `work` is told when time is up,
    /// as [`super::DirectMap::uptime_ns`] counts, and returns by then; what it
    /// calls must not sleep, lock, fault or print. CPUs are stopped no longer
    /// than `max_pause_ns`, for each of a few tries to gather them; `work` is
    /// begun at most once.
    ///
    /// # Errors
    /// `ENOMEM`; `ETIMEDOUT` when a CPU did not come, or did not return from
    /// `work` in time; `EOPNOTSUPP` where one CPU has the event timer of all, or
    /// the clock would be wrong after `max_pause_ns`. Every CPU that came has
    /// gone on then, and has left `work`.
    fn freeze(
        &self,
        contexts: &mut [Context],
        max_pause_ns: u64,
        work: &(dyn Fn(u64) + Sync),
    ) -> Result<Stopped>;
}
