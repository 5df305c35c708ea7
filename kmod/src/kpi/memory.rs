// SPDX-License-Identifier: BSD-2-Clause
//! The memory of the machine: what a minidump is of.

use crate::error::Result;
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};
use memdev::arch::Machine;
use memdev::freeze::FreezeRecord;

/// What the running kernel is, as far as a minidump is concerned. Constant
/// while a dump runs, except `kva_end`.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The machine.
    pub machine: Machine,
    /// Version of the minidump header that this kernel's own dumps have.
    pub minidump_version: u32,
    /// arm64 version 3: the header's flags; 0 for 4 KB pages.
    pub minidump_flags: u32,
    /// The root of the kernel's page tables (a table of level
    /// `root_level`). C: `KPML4phys`, `kernel_pmap->pm_l0_paddr`.
    pub root: Paddr,
    /// Level of the root table, leaf tables being level 0: 3 on amd64 (also
    /// under LA57, where the kernel's half hangs off KPML4phys) and on arm64.
    pub root_level: u32,
    /// First address of the kernel map. C: `VM_MIN_KERNEL_ADDRESS`.
    pub kernbase: Vaddr,
    /// First address behind what the walk covers. C: amd64
    /// `MAX(KERNBASE + nkpt * NBPDR, kernel_vm_end)`, arm64 `kernel_vm_end`.
    pub kva_end: Vaddr,
    /// Physical address at `dmapbase`. C: arm64 `DMAP_MIN_PHYSADDR`.
    pub dmapphys: u64,
    /// C: `DMAP_MIN_ADDRESS`.
    pub dmapbase: Vaddr,
    /// C: `DMAP_MAX_ADDRESS`.
    pub dmapend: Vaddr,
    /// Bits in the page bitset. C: `vm_page_dump_pages`, or (12.x)
    /// `vm_page_dump_size * NBBY`.
    pub bitset_bits: u64,
    /// Bytes of the message buffer's text. C: `msgbufp->msg_size`.
    pub msgbuf_bytes: u32,
    /// `sizeof(dump_avail)`; 0 where the minidump version has no such
    /// section.
    pub dump_avail_bytes: u32,
    /// The instant that this memory is of, where it is a dump of one: no
    /// kernel that runs.
    pub instant: Option<FreezeRecord>,
}

/// Copies adjacent pages, each by a call of `read`.
///
/// # Errors
/// Those of the first page that cannot be had.
pub fn read_each_page(
    mut pa: Paddr,
    pages: &mut [Page],
    read: impl Fn(Paddr, &mut Page) -> Result<()>,
) -> Result<()> {
    for page in pages {
        read(pa, page)?;
        pa.0 = pa.0.saturating_add(PAGE_SIZE as u64);
    }
    Ok(())
}

/// Memory as every thread of a dump may read it, and every CPU while all are
/// stopped: none of them need be the caller's, nothing here takes a lock.
pub trait DirectMap: Sync {
    /// Copies one page, once, through the direct map.
    ///
    /// # Errors
    /// `EFAULT` where there is no such memory; `page` is then zero. Does not
    /// happen for a page that `phys_in_dmap` and `vm_phys_is_dumpable`.
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()>;

    /// Copies adjacent pages, each as [`DirectMap::read_page`] does.
    ///
    /// # Errors
    /// Those of the first page that cannot be had.
    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Result<()> {
        read_each_page(pa, pages, |pa, page| self.read_page(pa, page))
    }

    /// Whether a page holds only zeros; one that cannot be read does.
    fn page_is_zero(&self, pa: Paddr) -> bool;

    /// Copies words of the page bitset from the `first` on, each read once;
    /// words behind it are zero. C: `vm_page_dump`.
    fn copy_bitset(&self, first: usize, words: &mut [u64]);

    /// Loads one entry of the page table at `table` (a table in the direct
    /// map; `index` is below 512). C: `atomic_load_64` through
    /// `PHYS_TO_DMAP`.
    fn load_entry(&self, table: Paddr, index: u64) -> u64;

    /// Loads adjacent entries of a page table, each as
    /// [`DirectMap::load_entry`] does.
    fn load_entries(&self, table: Paddr, first: u64, entries: &mut [u64]) {
        for (index, entry) in (first..).zip(entries) {
            *entry = self.load_entry(table, index);
        }
    }

    /// Whether `pa` may be read through the direct map. C: `PHYS_IN_DMAP`.
    fn phys_in_dmap(&self, pa: Paddr) -> bool;

    /// Whether a page belongs in a dump: PG_NODUMP clear, or, where there is
    /// no vm_page, within dump_avail. C: `vm_phys_is_dumpable`.
    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool;

    /// [`Target::kva_end`] as it is now.
    fn kva_end(&self) -> Vaddr;

    /// Nanoseconds since boot. C: `sbinuptime`.
    fn uptime_ns(&self) -> u64;
}

/// Memory, and what the kernel says of it.
pub trait Memory {
    /// The machine's memory.
    type DirectMap: DirectMap;

    /// What the running kernel is.
    fn target(&self) -> Target;

    /// Copies the ranges of dump_avail, up to the pair whose end is 0 or as
    /// many as fit, and returns how many. C: `dump_avail[]`.
    fn dump_avail(&self, ranges: &mut [(u64, u64)]) -> usize;

    /// Copies the message buffer's text, under its lock. `text` is
    /// `msgbuf_bytes` long. C: `msgbufp->msg_ptr`.
    fn copy_msgbuf(&self, text: &mut [u8]);

    /// The memory itself.
    fn direct_map(&self) -> &Self::DirectMap;

    /// Copies one page, as [`DirectMap::read_page`] does.
    ///
    /// # Errors
    /// Its own.
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        self.direct_map().read_page(pa, page)
    }

    /// As [`DirectMap::phys_in_dmap`].
    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        self.direct_map().phys_in_dmap(pa)
    }

    /// As [`DirectMap::vm_phys_is_dumpable`].
    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        self.direct_map().vm_phys_is_dumpable(pa)
    }
}
