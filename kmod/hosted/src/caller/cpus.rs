// SPDX-License-Identifier: BSD-2-Clause
//! One instant, which only a running machine has.

use super::Caller;
use crate::machine::Running;
use crate::method::Method;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::{Context, Cpus, Debugger};
use memdev::addr::Page;

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
}
