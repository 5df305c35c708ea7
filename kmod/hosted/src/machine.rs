// SPDX-License-Identifier: BSD-2-Clause
//! What a hosted machine is made of: physical memory, page tables, the page
//! bitset and the message buffer. Who calls, what they may do and where the
//! dump goes are not the machine's: see `process` and `vnode`.
//!
//! Everything may change between any two calls, as it does on a real machine;
//! a method must only never block on a dump in progress.

use livedump_kmod::error::Result;
use livedump_kmod::kpi::{Context, Debugger, Target};
use memdev::addr::{Paddr, Page};

/// The memory side of the KPI: the model, an existing dump, a raw file.
pub trait Machine: Send + Sync {
    /// What the kernel is.
    fn target(&self) -> Target;

    /// The ranges of dump_avail, without the terminating pair.
    fn dump_avail(&self) -> &[(u64, u64)];

    /// Copies the page bitset as it is now; words behind it are zero.
    fn copy_bitset(&self, words: &mut [u64]);

    /// Copies the message buffer's text as it is now.
    fn copy_msgbuf(&self, text: &mut [u8]);

    /// One entry of the page table at `table`; 0 where there is no memory.
    fn load_entry(&self, table: Paddr, index: u64) -> u64;

    /// Whether the direct map covers `pa`.
    fn phys_in_dmap(&self, pa: Paddr) -> bool;

    /// Whether the page may be in a dump.
    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool;

    /// Copies one page.
    ///
    /// # Errors
    /// `EFAULT` where there is no memory; `page` is then zero.
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()>;

    /// Copies adjacent pages in one go; `None` where the machine has no better
    /// way than one by one.
    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Option<Result<()>> {
        let _ = (pa, pages);
        None
    }

    /// The host name.
    fn hostname(&self) -> &str;

    /// The kernel's `version`.
    fn version(&self) -> &str;

    /// CPUs there may be.
    fn cpus(&self) -> usize {
        1
    }

    /// Where debuggers look for registers.
    fn debugger(&self) -> Debugger {
        Debugger::default()
    }

    /// What each CPU does now, and the caller in the last place.
    fn instant(&self, contexts: &mut [Context], stacks: &mut [Page]) {
        let _ = (contexts, stacks);
    }

    /// Where the threads' `td_oncpu` are.
    fn oncpus(&self) -> Vec<Paddr> {
        Vec::new()
    }

    /// User processes are suspended, or go on.
    fn set_quiesced(&self, quiesced: bool) {
        let _ = quiesced;
    }

    /// Told of each KPI call before it is made, counted from 1 since the
    /// kernel was built: a seeded script changes the machine here and is
    /// replayed exactly.
    fn step(&self, n: u64) {
        let _ = n;
    }

    /// The ELF kernel that belongs to this memory, where there is one.
    fn kernel_elf(&self) -> Option<Vec<u8>> {
        None
    }
}
