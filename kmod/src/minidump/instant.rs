// SPDX-License-Identifier: BSD-2-Clause
//! What every CPU was doing at one instant, shown where debuggers look:
//!
//! | thread | its `td_oncpu` | its registers |
//! |---|---|---|
//! | asked for the dump | its CPU | `dumppcb`, as `dumptid` says |
//! | ran on another CPU | that CPU, in `stopped_cpus` | `stoppcbs` |
//! | did not run | none | its `td_pcb`, as always |
//!
//! The stack of a thread that ran changes as soon as it goes on, so that its
//! registers alone would lead nowhere: the part in use is saved with them.
//! (kgdb and LLDB look in this order; threads that ran have in `td_pcb` what
//! they left there when they last stopped running.)

use super::linked::Linked;
use super::overlay::Overlay;
use crate::error::{Errno, Result};
use crate::kpi::{Context, Kpi, LinkedPage, MISSING, PCB_WORDS, Target};
use core::iter::repeat;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::ioctl::MISSING_CPUS_MORE;

/// Of each stack. C: `KSTACK_PAGES`.
const STACK_PAGES: usize = 4;
/// CPUs that one could have.
const MAX_CPUS: usize = 4096;
/// Largest set of CPUs.
const CPUSET_BYTES: usize = MAX_CPUS / 8;
/// Threads that ran while the lists were copied, and not at the instant.
const MAX_LATE_THREADS: usize = 256;
/// C: `NOCPU`.
const NOCPU: u32 = u32::MAX;

/// The instant.
pub(super) struct Instant<K: Kpi> {
    contexts: K::Array<Context>,
    /// What the dump shows for it.
    pub(super) overlay: Overlay<K>,
    /// Threads whose registers were saved.
    pub(super) saved: u32,
    /// CPUs that did not come in time, as `MemMinidumpArg::missing_cpus`.
    pub(super) missing: u64,
}

impl<K: Kpi> Instant<K> {
    /// It is now, and the machine goes on.
    #[inline(never)] // Its stack is not everyone's.
    pub(super) fn take(kpi: &K, target: &Target) -> Result<Self> {
        let mut instant = Self::allocate(kpi, STACK_PAGES)?;
        let Self { contexts, overlay, .. } = &mut instant;
        kpi.instant(contexts, overlay.pages())?;
        instant.missing = instant
            .contexts
            .iter()
            .zip((0..MISSING_CPUS_MORE).chain(repeat(MISSING_CPUS_MORE)))
            .filter(|(context, _)| context.tid == MISSING)
            .fold(0, |set, (_, bit)| set | 1 << bit);
        instant.fill_overlay(kpi, target);
        Ok(instant)
    }

    /// Memory for all CPUs, with so many pages of each stack.
    pub(super) fn allocate(kpi: &K, stack_pages: usize) -> Result<Self> {
        let n = kpi.cpus();
        if n > MAX_CPUS {
            return Err(Errno::E2BIG);
        }
        // And the caller.
        let n = n + 1;
        let contexts = kpi.malloc_array(n, |_| Ok(Context::NONE))?;
        // A stack may begin within a page, a pcb cross into the next.
        let patches = n * (stack_pages + 1 + 2 + 1) + 8 + MAX_LATE_THREADS;
        let bytes =
            n * (8 * PCB_WORDS + 4) + CPUSET_BYTES + 16 + 4 * MAX_LATE_THREADS;
        let overlay = Overlay::new(kpi, patches, n * stack_pages, bytes)?;
        Ok(Self { contexts, overlay, saved: 0, missing: 0 })
    }

    /// A place for what each CPU was doing, and one for the caller.
    pub(super) fn contexts(&mut self) -> &mut [Context] {
        &mut self.contexts
    }

    /// Shows what the contexts have.
    #[inline(never)]
    pub(super) fn fill_overlay(&mut self, kpi: &K, target: &Target) {
        let debugger = kpi.debugger();
        let mut stopped = [0; CPUSET_BYTES];
        let caller = self.contexts.len().saturating_sub(1);
        for (slot, context) in self.contexts.iter().enumerate() {
            if context.thread.0 == 0 {
                continue;
            }
            self.saved += 1;
            let pcb_at = if slot == caller {
                let tid = context.tid.to_le_bytes();
                self.overlay.patch_va(kpi, target, debugger.dumptid, &tid);
                debugger.dumppcb
            } else {
                let bit = 1 << (context.cpu % 8);
                if let Some(b) = stopped.get_mut(context.cpu as usize / 8) {
                    *b |= bit;
                }
                let mut at = debugger.stoppcbs;
                if at.0 != 0 {
                    let nth = u64::from(context.cpu);
                    let from = nth * u64::from(debugger.pcb_bytes);
                    at.0 = at.0.saturating_add(from);
                }
                at
            };
            let mut pcb = [0; 8 * PCB_WORDS];
            for (to, word) in
                pcb.as_chunks_mut::<8>().0.iter_mut().zip(context.pcb)
            {
                *to = word.to_le_bytes();
            }
            let len = (context.pcb_bytes as usize).min(pcb.len());
            let pcb = pcb.get(..len).unwrap_or(&[]);
            self.overlay.patch_va(kpi, target, pcb_at, pcb);
            self.overlay.patch_filled_va(
                kpi,
                target,
                context.stack,
                slot * STACK_PAGES * PAGE_SIZE,
                (context.stack_bytes as usize).min(STACK_PAGES * PAGE_SIZE),
            );
            self.overlay.patch(context.oncpu, &context.cpu.to_le_bytes());
        }
        let len = (debugger.cpuset_bytes as usize).min(stopped.len());
        let stopped = stopped.get(..len).unwrap_or(&[]);
        self.overlay.patch_va(kpi, target, debugger.stopped_cpus, stopped);
    }

    /// Threads that came to run between the instant and the copying of the
    /// lists have no CPU in the dump: those are others' registers. On a CPU
    /// that is missing the thread that runs there stays the one that did.
    pub(super) fn clear_late_oncpu(
        &mut self,
        kpi: &K,
        lists: &Linked<K>,
    ) -> Result<()> {
        let mut scratch = kpi.malloc_pages(1)?;
        let Self { contexts, overlay, .. } = self;
        let ran = |pa| contexts.iter().any(|c| c.oncpu == pa);
        let is_missing = |cpu: u32| {
            let context =
                usize::try_from(cpu).ok().and_then(|n| contexts.get(n));
            context.is_some_and(|c| c.tid == MISSING)
        };
        let mut result = Ok(());
        kpi.linked_pages(&mut |linked| {
            if let LinkedPage::Oncpu(pa) = linked
                && let Some(page) = scratch.first_mut()
                && !ran(pa)
            {
                let offset = pa.0 % PAGE_SIZE as u64;
                let read = lists.read(kpi, Paddr(pa.0 - offset), page);
                result = result.and(read);
                let value = page.get(offset as usize..);
                let value = value.and_then(|b| b.first_chunk::<4>());
                let cpu = value.map_or(NOCPU, |v| u32::from_le_bytes(*v));
                if cpu != NOCPU && !is_missing(cpu) {
                    overlay.patch(pa, &NOCPU.to_le_bytes());
                }
            }
        });
        result
    }
}
