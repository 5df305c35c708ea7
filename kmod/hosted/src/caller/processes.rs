// SPDX-License-Identifier: BSD-2-Clause
//! User processes, which the machine has or has not.

use super::Caller;
use crate::machine::Running;
use crate::method::Method;
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::{LinkedPage, Processes};
use std::sync::atomic::Ordering;

impl Processes for Caller<'_> {
    fn quiesce(&self) -> Result<()> {
        self.step(Method::Quiesce)?;
        let k = self.kernel;
        k.let_go.store(false, Ordering::SeqCst);
        if k.held.quiesces.fetch_add(1, Ordering::SeqCst) != 0 {
            k.held.misuses.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn suspend_pass(&self) -> u64 {
        self.pass(Method::SuspendPass);
        self.kernel.set_quiesced(true);
        let before = self.passes.fetch_add(1, Ordering::Relaxed);
        let passes = self.kernel.passes.load(Ordering::Relaxed);
        passes.saturating_sub(before)
    }

    fn quiesced(&self) -> Result<()> {
        self.step(Method::Quiesced)?;
        match self.kernel.let_go.load(Ordering::SeqCst) {
            true => Err(Errno::EAGAIN),
            false => Ok(()),
        }
    }

    fn pause(&self) {
        self.pass(Method::Pause);
        // Time passes, for those who look at the clock.
        self.kernel.skipped_ns.fetch_add(10_000_000, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.pass(Method::Resume);
        self.kernel.set_quiesced(false);
        if self.kernel.held.quiesces.fetch_sub(1, Ordering::SeqCst) != 1 {
            self.kernel.held.misuses.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn linked_pages(&self, visit: &mut dyn FnMut(LinkedPage)) {
        self.pass(Method::LinkedPages);
        let machine = self.kernel.running();
        for pa in machine.map_or_else(Vec::new, Running::oncpus) {
            visit(LinkedPage::Oncpu(pa));
        }
    }
}
