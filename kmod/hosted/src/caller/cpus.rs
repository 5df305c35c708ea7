// SPDX-License-Identifier: BSD-2-Clause
//! One instant, which only a running machine has.

use super::Caller;
use crate::machine::Running;
use crate::method::Method;
use crate::threads;
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::{Context, Cpus, Debugger, Stopped};
use memdev::addr::Page;
use std::sync::atomic::Ordering;

impl Cpus for Caller<'_> {
    fn dump_savectx(&self) {
        self.pass(Method::DumpSavectx);
    }

    fn cpus(&self) -> usize {
        self.pass(Method::Cpus);
        self.kernel.running().map_or(1, Running::cpus)
    }

    fn debugger(&self) -> Debugger {
        self.pass(Method::Debugger);
        let machine = self.kernel.running();
        machine.map_or_else(Debugger::default, Running::debugger)
    }

    fn instant(
        &self,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) -> Result<()> {
        self.step(Method::Instant)?;
        if let Some(machine) = self.kernel.running() {
            machine.instant(contexts, stacks);
        }
        Ok(())
    }

    fn freeze(
        &self,
        contexts: &mut [Context],
        max_pause_ns: u64,
        work: &(dyn Fn(u64) + Sync),
    ) -> Result<Stopped> {
        self.step(Method::Freeze)?;
        let kernel = self.kernel;
        if kernel.late_cpu.load(Ordering::Relaxed) {
            return Err(Errno::ETIMEDOUT);
        }
        let cpus = kernel.running().map_or(1, Running::cpus).max(1);
        let mut stopped = Stopped::default();
        let began = kernel.uptime_ns();
        let mut all = || {
            let deadline = began.saturating_add(max_pause_ns);
            stopped.uptime_ns = kernel.uptime_ns();
            threads::with_workers(cpus - 1, &|| work(deadline), &mut || {
                work(deadline);
            });
        };
        match kernel.running() {
            Some(machine) => machine.stop(contexts, &mut all),
            None => all(),
        }
        let silent = kernel.silent_cpu.load(Ordering::Relaxed);
        if silent > 0 {
            kernel.silent_cpu.store(silent - 1, Ordering::Relaxed);
            return Err(Errno::ETIMEDOUT);
        }
        let now = kernel.uptime_ns();
        stopped.pause_ns = now.saturating_sub(began);
        let since = now.saturating_sub(stopped.uptime_ns);
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        stopped.time_ns = kernel.time_ns().saturating_sub(since);
        stopped.cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        Ok(stopped)
    }
}
