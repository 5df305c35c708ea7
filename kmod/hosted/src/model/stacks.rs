// SPDX-License-Identifier: BSD-2-Clause
//! What a switched-out thread leaves: a kernel stack with a chain of frames,
//! and a pcb at its top that points to the innermost. C: `cpu_switch`,
//! `savectx`, <machine/pcb.h>.

use super::kmap::Wired;
use super::memory::Memory;
use super::release::Release;
use super::symbols::{Image, Section};
use super::words::RecipeError;
use livedump_kmod::error::{Errno, Result};
use memdev::addr::Paddr;
use memdev::arch::Machine;

/// C: `KSTACK_PAGES`.
pub(super) const KSTACK_PAGES: u64 = 4;

/// C: `sizeof(struct pcb)`.
pub(super) fn pcb_size(machine: Machine) -> u64 {
    match machine {
        Machine::Amd64 => 320,
        Machine::Arm64 => 1376,
    }
}

/// Room for the floating-point state above the pcb.
const FPU_BYTES: u64 = 576;
const FRAME_BYTES: u64 = 64;
const FUNCTION_BYTES: u64 = 256;

/// What a debugger starts from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    pub(super) fp: u64,
    pub(super) sp: u64,
    pub(super) pc: u64,
}

/// Where the functions are that a stack can lead through.
#[derive(Clone, Debug)]
pub(super) struct Functions(Vec<(&'static str, u64)>);

/// Innermost first. A thread sleeps, or it is on a CPU.
const SLEEPING: &[&str] =
    &["sched_switch", "mi_switch", "sleepq_switch", "sleepq_wait", "_sleep"];
const IDLE: &[&str] = &["cpu_idle", "sched_idletd"];
const DUMPING: &[&str] =
    &["dump_savectx", "livedump_start_vnode", "livedump_start", "memioctl"];
const BLOCKED: &[&str] =
    &["sched_switch", "mi_switch", "turnstile_wait", "__mtx_lock_sleep"];
const LOCKING: &[&str] = &[
    "sched_switch",
    "mi_switch",
    "sleepq_switch",
    "sleepq_wait",
    "_sx_xlock_hard",
];
const QUEUED: &[&str] = &["sched_switch", "mi_switch", "ast_scheduler"];
/// Outermost: of a kernel process, and of one that came in from user mode.
const KERNEL: &[&str] = &["fork_exit", "fork_trampoline"];
const SYSCALL: &[&str] = &["kern_wait6", "sys_wait4"];
const ENTRY_AMD64: &[&str] = &["amd64_syscall", "fast_syscall_common"];
const ENTRY_ARM64: &[&str] = &["do_el0_sync", "handle_el0_sync"];

/// What a thread was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Sleeping,
    /// In a turnstile.
    Blocked,
    /// In the sleep queue of a lock.
    Locking,
    Idle,
    Dumping,
    Queued,
}

impl Functions {
    /// Defines the functions and writes how each starts: with a frame.
    pub(super) fn define(
        image: &mut Image,
        machine: Machine,
    ) -> core::result::Result<Self, RecipeError> {
        let entry = entry_functions(machine);
        let mut all = Vec::new();
        for list in [
            SLEEPING, BLOCKED, LOCKING, IDLE, DUMPING, QUEUED, KERNEL, SYSCALL,
            entry,
        ] {
            for &name in list {
                if all.iter().all(|&(n, _)| n != name) {
                    let at =
                        image.define(Section::Text, name, FUNCTION_BYTES)?;
                    all.push((name, at));
                }
            }
        }
        Ok(Self(all))
    }

    /// Writes the first instructions of each function.
    pub(super) fn write(&self, mem: &Memory) -> Result<()> {
        // What a frame starts with, and then nothing to do.
        let (prologue, nop): (&[u8], &[u8]) = match mem.kva.machine {
            // push %rbp; mov %rsp,%rbp; nop
            Machine::Amd64 => (&[0x55, 0x48, 0x89, 0xe5], &[0x90]),
            // stp x29, x30, [sp, #-16]!; mov x29, sp; nop
            Machine::Arm64 => (
                &[0xfd, 0x7b, 0xbf, 0xa9, 0xfd, 3, 0, 0x91],
                &[0x1f, 0x20, 0x03, 0xd5],
            ),
        };
        let code: Vec<u8> = prologue
            .iter()
            .chain(nop.iter().cycle())
            .copied()
            .take(FUNCTION_BYTES as usize)
            .collect();
        for &(_, at) in &self.0 {
            mem.write(at, &code)?;
        }
        Ok(())
    }

    fn return_address(&self, name: &str) -> u64 {
        let at = self.0.iter().find(|f| f.0 == name).map_or(0, |f| f.1);
        at + 0x40 + name.len() as u64 * 4
    }

    /// The chain of return addresses of a thread, innermost first.
    fn chain(
        &self,
        machine: Machine,
        activity: Activity,
        user: bool,
    ) -> Vec<u64> {
        let inner = match activity {
            Activity::Sleeping => SLEEPING,
            Activity::Blocked => BLOCKED,
            Activity::Locking => LOCKING,
            Activity::Idle => IDLE,
            Activity::Dumping => DUMPING,
            Activity::Queued => QUEUED,
        };
        let outer = match (user, activity) {
            (false, _) => [KERNEL, &[]],
            (true, Activity::Sleeping) => [SYSCALL, entry_functions(machine)],
            (true, _) => [entry_functions(machine), &[]],
        };
        inner
            .iter()
            .chain(outer.into_iter().flatten())
            .map(|name| self.return_address(name))
            .collect()
    }

    /// Fills a stack; returns the address of its pcb.
    pub(super) fn fill(
        &self,
        mem: &Memory,
        stack: &Wired,
        release: &Release,
        activity: Activity,
        user: bool,
    ) -> Result<(u64, Registers)> {
        let machine = mem.kva.machine;
        let size = pcb_size(machine);
        let pcb = (stack.end() - FPU_BYTES - size) & !63;
        let chain = self.chain(machine, activity, user);
        let mut fp = 0;
        let mut at = pcb;
        for &ret in chain.iter().skip(1).rev() {
            at -= FRAME_BYTES;
            mem.phys.store(stack.pa(at).ok_or(Errno::EFAULT)?, fp)?;
            mem.phys.store(stack.pa(at + 8).ok_or(Errno::EFAULT)?, ret)?;
            fp = at;
        }
        let pc = chain.first().copied().unwrap_or(0);
        let regs = Registers { fp, sp: fp - 0x30, pc };
        let pa = stack.pa(pcb).ok_or(Errno::EFAULT)?;
        write_pcb(mem, pa, release, regs)?;
        Ok((pcb, regs))
    }
}

fn entry_functions(machine: Machine) -> &'static [&'static str] {
    match machine {
        Machine::Amd64 => ENTRY_AMD64,
        Machine::Arm64 => ENTRY_ARM64,
    }
}

/// Writes a pcb, which lies in one page or in one piece.
pub(super) fn write_pcb(
    mem: &Memory,
    pa: Paddr,
    release: &Release,
    r: Registers,
) -> Result<()> {
    // fp, sp, and where to go on.
    let (fp, sp, pc) = match mem.kva.machine {
        Machine::Amd64 => (32, 40, 56),
        Machine::Arm64 if release.has_short_arm64_pcb() => (80, 96, 88),
        Machine::Arm64 => (232, 256, 240),
    };
    for (offset, value) in [(fp, r.fp), (sp, r.sp), (pc, r.pc)] {
        mem.phys.store(Paddr(pa.0 + offset), value)?;
    }
    Ok(())
}
