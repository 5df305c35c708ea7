// SPDX-License-Identifier: BSD-2-Clause
//! What a hosted machine is made of: physical memory, page tables, the page
//! bitset and the message buffer. Who calls, what they may do and where the
//! dump goes are not the machine's: see `process` and `vnode`. Memory alone
//! (an image, a raw file) is a machine; [`Running`] is what the model adds.
//!
//! Everything may change between any two calls, as it does on a real machine;
//! a method must only never block on a dump in progress.

use livedump_kmod::error::Result;
use livedump_kmod::kpi::{Context, Debugger, Target};
use memdev::addr::{Paddr, Page};

/// Pages that a dump of a machine should have, and whose contents are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// None that anything is known of.
    #[default]
    None,
    /// A minidump ends before its last page.
    Truncated {
        /// How many.
        pages: u64,
        /// How many it should have.
        of: u64,
    },
    /// The kernel has marked them for dumps, and they are not in its memory.
    Absent {
        /// How many.
        pages: u64,
        /// How many are marked.
        of: u64,
        /// One of them.
        first: Paddr,
    },
}

/// The memory of a machine: the model's, an existing dump, a raw file.
pub trait Machine: Send + Sync {
    /// What the kernel is.
    fn target(&self) -> Target;

    /// The ranges of dump_avail, without the terminating pair.
    fn dump_avail(&self) -> &[(u64, u64)];

    /// Copies words of the page bitset from the `first` on, as it is now;
    /// words behind it are zero.
    fn copy_bitset(&self, first: usize, words: &mut [u64]);

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

    /// What of its memory should be there and is not.
    fn missing(&self) -> Missing {
        Missing::None
    }

    /// What it does besides, where it is more than memory.
    fn running(&self) -> Option<&dyn Running> {
        None
    }
}

/// A machine that runs: it has CPUs and processes, and its memory changes.
pub trait Running: Send + Sync {
    /// CPUs there may be.
    fn cpus(&self) -> usize;

    /// Where debuggers look for registers.
    fn debugger(&self) -> Debugger;

    /// What each CPU does now, and the caller in the last place.
    fn instant(&self, contexts: &mut [Context], stacks: &mut [Page]);

    /// Fills `contexts` as [`Running::instant`] does, and runs `work` while
    /// nothing changes; then the threads go on.
    fn stop(&self, contexts: &mut [Context], work: &mut dyn FnMut());

    /// Where the threads' `td_oncpu` are.
    fn oncpus(&self) -> Vec<Paddr>;

    /// User processes are suspended, or go on.
    fn set_quiesced(&self, quiesced: bool);

    /// Told of each KPI call before it is made, counted from 1 since the
    /// kernel was built: a seeded script changes the machine here and is
    /// replayed exactly.
    fn step(&self, n: u64);

    /// The ELF kernel that belongs to this memory, where there is one.
    fn kernel_elf(&self) -> Option<Vec<u8>>;
}
