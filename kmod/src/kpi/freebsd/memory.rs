// SPDX-License-Identifier: BSD-2-Clause
//! The machine's memory, through the direct map.

use super::{FreeBsd, caller::livedump_maybe_yield};
use crate::error::{Errno, Result};
use crate::kpi::{DirectMap, Memory, Target, read_each_page};
use core::mem::{offset_of, size_of};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};
use memdev::arch::{ENTRIES, Machine};

/// The machine this is compiled for. What else differs between machines is in
/// C: csrc/livedump_arch.h.
const MACHINE: Machine = match cfg!(target_arch = "aarch64") {
    true => Machine::Arm64,
    false => Machine::Amd64,
};

/// C: `struct livedump_target`.
#[repr(C)]
#[derive(Default)]
struct ShimTarget {
    root: u64,
    kernbase: u64,
    kva_end: u64,
    dmapphys: u64,
    dmapbase: u64,
    dmapend: u64,
    bitset_bits: u64,
    root_level: u32,
    minidump_version: u32,
    minidump_flags: u32,
    msgbuf_bytes: u32,
    dump_avail_bytes: u32,
    pad: u32,
}

const _: () = {
    assert!(size_of::<ShimTarget>() == 80);
    assert!(offset_of!(ShimTarget, root_level) == 56);
};

unsafe extern "C" {
    safe fn livedump_target(target: &mut ShimTarget);
    fn livedump_dump_avail(nth: usize, pair: *mut [u64; 2]) -> bool;
    fn livedump_copy_bitset(first: usize, words: *mut u64, n: usize);
    fn livedump_copy_msgbuf(text: *mut u8, len: usize);
    fn livedump_load_entry(table: u64, index: u64) -> u64;
    fn livedump_load_entries(
        table: u64,
        first: u64,
        entries: *mut u64,
        n: usize,
    );
    safe fn livedump_phys_in_dmap(pa: u64) -> bool;
    safe fn livedump_vm_phys_is_dumpable(pa: u64) -> bool;
    fn livedump_read_page(pa: u64, page: *mut Page);
    fn livedump_page_is_zero(pa: u64) -> bool;
    safe fn livedump_kva_end() -> u64;
    safe fn livedump_uptime_ns() -> u64;
}

/// Whether the shim may be handed this page's address.
pub(super) fn can_be_read(pa: Paddr) -> bool {
    livedump_phys_in_dmap(pa.0) && pa.0 % PAGE_SIZE as u64 == 0
}

impl DirectMap for FreeBsd {
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        if !can_be_read(pa) {
            page.fill(0);
            return Err(Errno::EFAULT);
        }
        // SAFETY: the shim copies one page that is in the direct map to one
        // that is ours.
        unsafe { livedump_read_page(pa.0, page) };
        Ok(())
    }

    /// What a dump reads page by page: no lock is held.
    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Result<()> {
        read_each_page(pa, pages, |pa, page| {
            DirectMap::read_page(self, pa, page)
        })?;
        livedump_maybe_yield();
        Ok(())
    }

    fn page_is_zero(&self, pa: Paddr) -> bool {
        // SAFETY: the shim reads one page that is in the direct map.
        !can_be_read(pa) || unsafe { livedump_page_is_zero(pa.0) }
    }

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        // SAFETY: the shim writes `len` words, all ours, and reads none that
        // the bitset does not have.
        unsafe {
            livedump_copy_bitset(first, words.as_mut_ptr(), words.len());
        }
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        // A stray entry must not lead outside the direct map.
        if !livedump_phys_in_dmap(table.0) {
            return 0;
        }
        // SAFETY: a page in the direct map, and an entry of it. It may change
        // at any time: the shim loads it once.
        unsafe { livedump_load_entry(table.0, index % ENTRIES) }
    }

    fn load_entries(&self, table: Paddr, first: u64, entries: &mut [u64]) {
        let end = first.saturating_add(entries.len() as u64);
        if !livedump_phys_in_dmap(table.0) || end > ENTRIES {
            entries.fill(0);
            return;
        }
        // SAFETY: a page in the direct map, and entries of it, each of which
        // the shim loads once, into as many words of ours.
        unsafe {
            livedump_load_entries(
                table.0,
                first,
                entries.as_mut_ptr(),
                entries.len(),
            );
        }
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        livedump_phys_in_dmap(pa.0)
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        livedump_vm_phys_is_dumpable(pa.0)
    }

    fn kva_end(&self) -> Vaddr {
        Vaddr(livedump_kva_end())
    }

    fn uptime_ns(&self) -> u64 {
        livedump_uptime_ns()
    }
}

impl Memory for FreeBsd {
    type DirectMap = Self;

    fn target(&self) -> Target {
        let mut t = ShimTarget::default();
        livedump_target(&mut t);
        Target {
            instant: None,
            machine: MACHINE,
            minidump_version: t.minidump_version,
            minidump_flags: t.minidump_flags,
            root: Paddr(t.root),
            root_level: t.root_level,
            kernbase: Vaddr(t.kernbase),
            kva_end: Vaddr(t.kva_end),
            dmapphys: t.dmapphys,
            dmapbase: Vaddr(t.dmapbase),
            dmapend: Vaddr(t.dmapend),
            bitset_bits: t.bitset_bits,
            msgbuf_bytes: t.msgbuf_bytes,
            dump_avail_bytes: t.dump_avail_bytes,
        }
    }

    fn dump_avail(&self, ranges: &mut [(u64, u64)]) -> usize {
        let mut n = 0;
        for slot in ranges {
            let mut pair = [0; 2];
            // SAFETY: the shim writes one pair at most, into this one.
            let got = unsafe { livedump_dump_avail(n, &mut pair) };
            if !got {
                break;
            }
            *slot = (pair[0], pair[1]);
            n += 1;
        }
        n
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        // SAFETY: the shim writes at most `len` bytes, all ours.
        unsafe { livedump_copy_msgbuf(text.as_mut_ptr(), text.len()) };
    }

    fn direct_map(&self) -> &Self {
        self
    }
}
