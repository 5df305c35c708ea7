// SPDX-License-Identifier: BSD-2-Clause
//! One instant: interrupts on all CPUs.

use super::{FreeBsd, check};
use crate::error::{Errno, Result};
use crate::kpi::{Context, Cpus, Debugger, PCB_WORDS, Stopped};
use core::ffi::{c_int, c_void};
use core::mem::{offset_of, size_of};
use memdev::addr::{PAGE_SIZE, Page, Vaddr};

/// C: `struct livedump_debugger`.
#[repr(C)]
#[derive(Default)]
struct ShimDebugger {
    stoppcbs: u64,
    stopped_cpus: u64,
    dumppcb: u64,
    dumptid: u64,
    pcb_bytes: u32,
    cpuset_bytes: u32,
}

const _: () = {
    assert!(size_of::<ShimDebugger>() == 40);
    assert!(size_of::<ShimStopped>() == 32);
    assert!(size_of::<Context>() == 40 + 8 * PCB_WORDS);
    assert!(offset_of!(Context, stack_bytes) == 24);
    assert!(offset_of!(Context, pcb) == 40);
};

unsafe extern "C" {
    safe fn livedump_savectx();
    safe fn livedump_cpus() -> usize;
    safe fn livedump_debugger(debugger: &mut ShimDebugger);
    fn livedump_instant(
        cpus: *mut Context,
        n: usize,
        stacks: *mut Page,
        room: usize,
    ) -> c_int;
    fn livedump_freeze(
        cpus: *mut Context,
        n: usize,
        max_pause_ns: u64,
        work: extern "C" fn(*mut c_void, u64),
        arg: *mut c_void,
        stopped: *mut ShimStopped,
    ) -> c_int;
}

/// C: `struct livedump_stopped`.
#[repr(C)]
#[derive(Default)]
struct ShimStopped {
    pause_ns: u64,
    uptime_ns: u64,
    time_ns: i64,
    cpus: u32,
    pad: u32,
}

/// `work` of [`Cpus::freeze`], as a C function on each CPU.
extern "C" fn run_work(arg: *mut c_void, deadline_ns: u64) {
    let work = arg.cast::<&(dyn Fn(u64) + Sync)>();
    // SAFETY: freeze points it to a reference on its stack, and leaves only
    // when every CPU has returned from here.
    let work = unsafe { *work };
    work(deadline_ns);
}

impl Cpus for FreeBsd {
    fn dump_savectx(&self) {
        livedump_savectx();
    }

    fn cpus(&self) -> usize {
        livedump_cpus()
    }

    fn debugger(&self) -> Debugger {
        let mut d = ShimDebugger::default();
        livedump_debugger(&mut d);
        Debugger {
            stoppcbs: Vaddr(d.stoppcbs),
            stopped_cpus: Vaddr(d.stopped_cpus),
            dumppcb: Vaddr(d.dumppcb),
            dumptid: Vaddr(d.dumptid),
            pcb_bytes: d.pcb_bytes,
            cpuset_bytes: d.cpuset_bytes,
        }
    }

    fn instant(
        &self,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) -> Result<()> {
        let pages = stacks.len().checked_div(contexts.len()).unwrap_or(0);
        // A place for the caller, and any that no CPU has stay empty.
        if contexts.is_empty() {
            return Ok(());
        }
        // SAFETY: the shim writes contexts by CPU number below the last, which
        // is the caller's, and as many pages of stack for each; both are ours
        // until every CPU has gone on, which is when it returns.
        check(unsafe {
            livedump_instant(
                contexts.as_mut_ptr(),
                contexts.len(),
                stacks.as_mut_ptr(),
                pages * PAGE_SIZE,
            )
        })
    }

    fn freeze(
        &self,
        contexts: &mut [Context],
        max_pause_ns: u64,
        work: &(dyn Fn(u64) + Sync),
    ) -> Result<Stopped> {
        if contexts.is_empty() {
            return Err(Errno::EINTEGRITY);
        }
        let mut stopped = ShimStopped::default();
        let arg: *const &(dyn Fn(u64) + Sync) = &work;
        // SAFETY: as for instant, without stacks; `work` is on this stack
        // until every CPU has left it, which is when the shim returns. It
        // stays in memory: callout_drain(9) sleeps at a priority at which no
        // stack is swapped out.
        check(unsafe {
            livedump_freeze(
                contexts.as_mut_ptr(),
                contexts.len(),
                max_pause_ns,
                run_work,
                arg as *mut c_void,
                &mut stopped,
            )
        })?;
        Ok(Stopped {
            pause_ns: stopped.pause_ns,
            uptime_ns: stopped.uptime_ns,
            time_ns: stopped.time_ns,
            cpus: stopped.cpus,
        })
    }
}
