// SPDX-License-Identifier: BSD-2-Clause
//! What the model's CPUs do at one instant. A thread that is on a CPU runs: it
//! is further each time one looks, while its pcb has where it stopped running
//! last; and as soon as it goes on it writes to its stack.

use super::Model;
use super::mutate::State;
use super::procs::Running;
use livedump_kmod::kpi::{Context, Debugger, PCB_WORDS};
use memdev::addr::{PAGE_SIZE, Page, Vaddr};
use memdev::arch::Machine;
use std::sync::atomic::Ordering;

/// What a running thread leaves below its frames, later.
const OVERWRITTEN: u64 = 0x1a7e_1a7e_1a7e_1a7e;

impl Model {
    pub(super) fn debugger(&self) -> Debugger {
        let symbol = |name| self.image.symbol(name).unwrap_or_default();
        let mut stoppcbs = symbol("stoppcbs");
        if self.recipe.release.has_allocated_stoppcbs() {
            let at = self.mem.load(stoppcbs.0);
            stoppcbs = Vaddr(at.unwrap_or(0));
        }
        let wide = self.recipe.release.osreldate >= 1_500_000;
        Debugger {
            stoppcbs,
            stopped_cpus: symbol("stopped_cpus"),
            dumppcb: symbol("dumppcb"),
            dumptid: symbol("dumptid"),
            pcb_bytes: super::stacks::pcb_size(self.recipe.machine) as u32,
            cpuset_bytes: if wide { 128 } else { 32 },
        }
    }

    /// Fills a place for each CPU, the last being the caller's: the thread
    /// that the recipe, or the machine, has for the dumper.
    pub(super) fn instant(
        &self,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) {
        let state = self.state.lock();
        self.save_contexts(&state, contexts, stacks);
        self.overwrite_stacks(&state);
    }

    /// The same, and nothing changes until `work` has returned.
    pub(super) fn stop(
        &self,
        contexts: &mut [Context],
        work: &mut dyn FnMut(),
    ) {
        let state = self.state.lock();
        self.stopped.store(true, Ordering::SeqCst);
        self.save_contexts(&state, contexts, &mut []);
        work();
        self.stopped.store(false, Ordering::SeqCst);
        self.overwrite_stacks(&state);
    }

    fn save_contexts(
        &self,
        state: &State,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) {
        let Some(caller) = contexts.len().checked_sub(1) else { return };
        let room = stacks.len() / contexts.len() * PAGE_SIZE;
        let dumper = self.recipe.dumper.or_else(|| state.procs.dumper());
        for td in state.procs.running() {
            let slot = match Some(td.tid) == dumper {
                true => caller,
                false => td.cpu as usize,
            };
            let stack = stacks.as_flattened_mut().get_mut(slot * room..);
            let (Some(context), Some(stack)) = (contexts.get_mut(slot), stack)
            else {
                continue;
            };
            *context = self.context(&td, state.ticks, &mut stack[..room]);
        }
        let saved = contexts.iter().filter(|c| c.thread.0 != 0);
        *self.instants.lock() = saved.copied().collect();
    }

    fn context(&self, td: &Running<'_>, ticks: u64, out: &mut [u8]) -> Context {
        let mut pcb = [0; PCB_WORDS];
        let (fp, sp, pc, words) = match self.mem.kva.machine {
            Machine::Amd64 => (4, 5, 7, 8),
            Machine::Arm64 if self.recipe.release.has_short_arm64_pcb() => {
                (10, 12, 11, 13)
            }
            Machine::Arm64 => (29, 32, 30, 33),
        };
        let r = td.registers;
        // Within the function it was in.
        let further = r.pc + 4 * (1 + ticks % 15);
        for (at, value) in [(fp, r.fp), (sp, r.sp), (pc, further)] {
            pcb[at] = value;
        }
        let mut bytes = 0;
        for at in (r.sp..td.stack.end()).step_by(8) {
            let to = out.get_mut(bytes..bytes + 8);
            let (Some(to), Some(pa)) = (to, td.stack.pa(at)) else { break };
            let word = self.mem.phys.load(pa).unwrap_or(0);
            to.copy_from_slice(&word.to_le_bytes());
            bytes += 8;
        }
        let oncpu = td.thread + u64::from(td.oncpu_offset);
        Context {
            thread: Vaddr(td.thread),
            oncpu: self.mem.kva.pa(oncpu).unwrap_or_default(),
            stack: Vaddr(r.sp),
            stack_bytes: bytes as u32,
            pcb_bytes: 8 * words,
            cpu: td.cpu,
            tid: td.tid,
            pcb,
        }
    }

    /// As soon as threads go on.
    fn overwrite_stacks(&self, state: &State) {
        for td in state.procs.running() {
            let r = td.registers;
            for at in (r.sp..r.fp).step_by(8) {
                if let Some(pa) = td.stack.pa(at) {
                    let _ = self.mem.phys.store(pa, OVERWRITTEN);
                }
            }
        }
    }

    /// Where the threads' `td_oncpu` are.
    pub(super) fn oncpus(&self) -> Vec<memdev::addr::Paddr> {
        let state = self.state.lock();
        let all = state.procs.oncpus();
        all.into_iter().filter_map(|va| self.mem.kva.pa(va)).collect()
    }
}
