// SPDX-License-Identifier: BSD-2-Clause
//! A model machine seen through a filter: fewer pages that may be dumped,
//! fewer moments at which it changes, or a look at it while it is stopped.

use livedump_hosted::machine::{Machine, Running};
use livedump_hosted::model::ModelMachine;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::{Context, Debugger, Target};
use memdev::addr::{Paddr, Page};
use std::sync::Arc;

/// The model, but for these things.
#[derive(Clone)]
pub struct Wrapped {
    /// What it is of.
    pub model: ModelMachine,
    /// It changes at every so many steps.
    pub every: u64,
    /// What else must hold for a page to be dumpable.
    pub dumpable: fn(Paddr) -> bool,
    /// Called when it has been copied, and before it goes on.
    pub stopped: Option<Look>,
}

/// A look at a machine.
pub type Look = Arc<dyn Fn(&ModelMachine) + Send + Sync>;

impl Wrapped {
    /// Nothing is different yet.
    #[must_use]
    pub fn new(model: ModelMachine) -> Self {
        Self { model, every: 1, dumpable: |_| true, stopped: None }
    }
}

impl Machine for Wrapped {
    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        (self.dumpable)(pa) && self.model.vm_phys_is_dumpable(pa)
    }

    fn running(&self) -> Option<&dyn Running> {
        Some(self)
    }

    fn target(&self) -> Target {
        self.model.target()
    }

    fn dump_avail(&self) -> &[(u64, u64)] {
        self.model.dump_avail()
    }

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        self.model.copy_bitset(first, words);
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        self.model.copy_msgbuf(text);
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        self.model.load_entry(table, index)
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        self.model.phys_in_dmap(pa)
    }

    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        self.model.read_page(pa, page)
    }

    fn hostname(&self) -> &str {
        self.model.hostname()
    }

    fn version(&self) -> &str {
        self.model.version()
    }
}

impl Running for Wrapped {
    fn step(&self, n: u64) {
        if n.is_multiple_of(self.every) {
            self.model.step(n);
        }
    }

    fn cpus(&self) -> usize {
        self.model.cpus()
    }

    fn debugger(&self) -> Debugger {
        self.model.debugger()
    }

    fn instant(&self, contexts: &mut [Context], stacks: &mut [Page]) {
        self.model.instant(contexts, stacks);
    }

    fn stop(&self, contexts: &mut [Context], work: &mut dyn FnMut()) {
        self.model.stop(contexts, &mut || {
            work();
            if let Some(look) = &self.stopped {
                look(&self.model);
            }
        });
    }

    fn oncpus(&self) -> Vec<Paddr> {
        self.model.oncpus()
    }

    fn set_quiesced(&self, quiesced: bool) {
        self.model.set_quiesced(quiesced);
    }

    fn kernel_elf(&self) -> Option<Vec<u8>> {
        self.model.kernel_elf()
    }
}
