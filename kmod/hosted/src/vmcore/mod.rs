// SPDX-License-Identifier: BSD-2-Clause
//! The machine `vmcore:FILE`: its memory is an uncompressed minidump, so that
//! the engine works on what a real FreeBSD kernel left. Read where it lies,
//! page by page; nothing changes.
//!
//! A minidump has no root and (on arm64) no directories: they are made up
//! above dump_avail (see `tables`), where they are in the direct map and
//! dumpable, as page tables are, and have no bit. The pmap section's pages
//! stand there too.
//!
//! A page that is not in the dump is no memory: not dumpable. That goes for
//! pages behind the end of a file that is cut off, too: their bits are
//! cleared, and [`VmcoreMachine::missing_pages`] counts them. A page that the
//! file ends in is there, zero behind the end.

mod cache;
mod error;
mod open;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;

pub use error::VmcoreError;

use super::errno::from_host;
use super::machine::Machine;
use super::tables::{ROOT_LEVEL, Table, Tables};
use cache::TableCache;
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::Target;
use memdev::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr, Page};
use memdev::bitset::{Bitset, Rank};
use memdev::dump_avail::DumpAvail;
use memdev::minidump::{Layout, MinidumpHeader};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

/// A minidump as memory.
#[derive(Debug)]
pub struct VmcoreMachine {
    file: File,
    /// Where the data ends.
    end: u64,
    header: MinidumpHeader,
    layout: Layout,
    ranges: Vec<(u64, u64)>,
    set: Bitset<Vec<u64>>,
    rank: Rank<Vec<u64>>,
    tables: Tables,
    cache: TableCache,
    missing: u64,
    hostname: String,
    version: String,
}

impl VmcoreMachine {
    /// Pages in the file's bitset.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.rank.total()
    }

    /// Pages that the file's bitset has besides, and that are behind its
    /// end: their bits are cleared here.
    #[must_use]
    pub fn missing_pages(&self) -> u64 {
        self.missing
    }

    /// The file's header.
    #[must_use]
    pub fn header(&self) -> &MinidumpHeader {
        &self.header
    }

    /// Where in the file the page that holds `pa` is.
    fn offset_of(&self, pa: Paddr) -> Option<u64> {
        let avail = DumpAvail::new(&self.ranges).ok()?;
        let rank = self.rank.rank(&self.set, avail.bit_of(pa)?)?;
        Some(self.layout.pages + (rank << PAGE_SHIFT))
    }

    fn read(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        let offset = match self.tables.at(pa) {
            Some(Table::Given(n)) => Some(self.layout.pmap + (n << PAGE_SHIFT)),
            Some(upper) => {
                self.tables.copy(upper, page);
                return Ok(());
            }
            None => self.offset_of(pa),
        };
        self.read_at(offset.ok_or(Errno::EFAULT)?, page)
    }

    /// Reads a page of the file; behind the end of the data it is zero.
    fn read_at(&self, offset: u64, page: &mut Page) -> Result<()> {
        let there = self.end.saturating_sub(offset).min(PAGE_SIZE as u64);
        let (data, behind) = page.split_at_mut(there as usize);
        behind.fill(0);
        self.file.read_exact_at(data, offset).map_err(|e| match e.kind() {
            // It was longer when it was opened.
            ErrorKind::UnexpectedEof => Errno::EIO,
            _ => from_host(&e),
        })
    }
}

impl Machine for VmcoreMachine {
    fn target(&self) -> Target {
        let h = &self.header;
        Target {
            machine: h.machine,
            minidump_version: h.version,
            minidump_flags: h.flags,
            root: self.tables.root(),
            root_level: ROOT_LEVEL,
            kernbase: h.kernbase,
            kva_end: self.tables.kva_end(),
            dmapphys: h.dmapphys,
            dmapbase: h.dmapbase,
            dmapend: h.dmapend,
            bitset_bits: self.set.bits(),
            msgbuf_bytes: h.msgbufsize,
            dump_avail_bytes: h.dumpavailsize,
        }
    }

    fn dump_avail(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    fn copy_bitset(&self, words: &mut [u64]) {
        words.fill(0);
        for (to, from) in words.iter_mut().zip(self.set.words()) {
            *to = *from;
        }
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        let len = text.len().min(self.header.msgbufsize as usize);
        let (text, behind) = text.split_at_mut(len);
        behind.fill(0);
        if self.file.read_exact_at(text, self.layout.msgbuf).is_err() {
            text.fill(0);
        }
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        if let Some(Table::Upper(level, n)) = self.tables.at(table) {
            return self.tables.entry(level, n, index);
        }
        self.cache.entry(table, index, |page| {
            if self.read(table, page).is_err() {
                page.fill(0);
            }
        })
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        let size = self.header.dmapend.0 - self.header.dmapbase.0;
        let in_dmap =
            pa.0.checked_sub(self.header.dmapphys)
                .is_some_and(|offset| offset < size);
        in_dmap || self.tables.at(pa).is_some()
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        self.tables.at(pa).is_some() || self.offset_of(pa).is_some()
    }

    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        let result = self.read(pa, page);
        if result.is_err() {
            page.fill(0);
        }
        result
    }

    fn hostname(&self) -> &str {
        &self.hostname
    }

    fn version(&self) -> &str {
        &self.version
    }
}
