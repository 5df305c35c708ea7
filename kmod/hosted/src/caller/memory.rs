// SPDX-License-Identifier: BSD-2-Clause
//! The machine's memory.

use super::Caller;
use crate::HostedKernel;
use crate::method::Method;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::{DirectMap, Memory, Target, read_each_page};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};

impl DirectMap for HostedKernel {
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        if let Err(errno) = self.step(Method::ReadPage) {
            page.fill(0);
            return Err(errno);
        }
        self.machine.read_page(pa, page)
    }

    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Result<()> {
        if let Some(read) = self.machine.read_pages(pa, pages) {
            // A step for each page, as on any other machine.
            return pages
                .iter()
                .try_for_each(|_| self.step(Method::ReadPage))
                .and(read);
        }
        read_each_page(pa, pages, |pa, page| self.read_page(pa, page))
    }

    fn page_is_zero(&self, pa: Paddr) -> bool {
        self.pass(Method::PageIsZero);
        let mut page = [0; PAGE_SIZE];
        let read = self.machine.read_page(pa, &mut page);
        read.is_err() || page.iter().all(|&b| b == 0)
    }

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        self.pass(Method::CopyBitset);
        self.machine.copy_bitset(first, words);
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        self.pass(Method::LoadEntry);
        self.machine.load_entry(table, index)
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        self.pass(Method::PhysInDmap);
        self.machine.phys_in_dmap(pa)
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        self.pass(Method::VmPhysIsDumpable);
        self.machine.vm_phys_is_dumpable(pa)
    }

    fn kva_end(&self) -> Vaddr {
        self.machine.target().kva_end
    }

    // No step: how often it is asked for is a matter of time.
    fn uptime_ns(&self) -> u64 {
        HostedKernel::uptime_ns(self)
    }
}

impl Memory for Caller<'_> {
    type DirectMap = HostedKernel;

    fn target(&self) -> Target {
        self.pass(Method::Target);
        self.kernel.machine.target()
    }

    fn dump_avail(&self, ranges: &mut [(u64, u64)]) -> usize {
        self.pass(Method::DumpAvail);
        let all = self.kernel.machine.dump_avail();
        for (to, from) in ranges.iter_mut().zip(all) {
            *to = *from;
        }
        all.len().min(ranges.len())
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        self.pass(Method::CopyMsgbuf);
        self.kernel.machine.copy_msgbuf(text);
    }

    fn direct_map(&self) -> &HostedKernel {
        self.kernel
    }
}
