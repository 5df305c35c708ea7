// SPDX-License-Identifier: BSD-2-Clause
//! A minidump as a machine.
//!
//! It has no root and (on arm64) no directories: they are made up above
//! dump_avail (see `tables`), where they are in the direct map and dumpable,
//! as page tables are, and have no bit. The pmap section's pages stand there
//! too.
//!
//! A page that is not in the dump is no memory: not dumpable. That goes for
//! pages after the end of a file that is cut off, too: their bits are
//! cleared, and [`VmcoreMachine::missing_pages`] counts them. A page that the
//! file ends in is there, zero after the end.

use super::VmcoreError;
use super::cache::TableCache;
use crate::errno::from_host;
use crate::machine::{Machine, Missing};
use crate::tables::{ROOT_LEVEL, Table, Tables};
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::Target;
use livedump_vmcore::source::SourceError;
use livedump_vmcore::{MemoryError, PageState, Vmcore};
use memdev::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr, Page, round_page};
use memdev::arch;
use memdev::bitset::{Bitset, words_for};
use memdev::minidump::MinidumpHeader;

/// The bits of 16 TB. What a bitset may claim is not to be believed.
const MAX_BITS: u64 = 1 << 32;
/// C: `PHYS_AVAIL_COUNT` has 63 ranges.
const MAX_RANGES: usize = 64;
/// What the version string is where no header tells.
const NO_VERSION: &str = "FreeBSD (version not in the dump)\n";

/// A minidump as memory.
#[derive(Debug)]
pub struct VmcoreMachine {
    core: Vmcore,
    ranges: Vec<(u64, u64)>,
    pub(super) set: Bitset<Vec<u64>>,
    pages: u64,
    missing: u64,
    pub(super) tables: Tables,
    cache: TableCache,
    hostname: String,
    version: String,
}

impl VmcoreMachine {
    /// The machine whose memory an open minidump is.
    ///
    /// # Errors
    /// What of it no machine can have.
    pub fn new(core: Vmcore) -> core::result::Result<Self, VmcoreError> {
        let path = || core.file().path.clone();
        let h = *core.header();
        if h.machine == arch::Machine::Amd64 && h.version < 2 {
            return Err(VmcoreError::Version1 { path: path() });
        }
        let size = |what, found, most| VmcoreError::Size {
            path: path(),
            what,
            found,
            most,
        };
        let (ranges, bits, capacity) = match core.pages() {
            Ok(p) => (p.ranges().to_vec(), p.bits(), p.capacity()),
            Err(_) => return Err(pages_error(core)),
        };
        if ranges.len() > MAX_RANGES {
            let found = ranges.len() as u64;
            return Err(size("ranges of memory", found, MAX_RANGES as u64));
        }
        let most = MAX_BITS.min(capacity);
        if bits == 0 || bits > most {
            return Err(size("pages of memory", bits, most));
        }
        let mut set = bitset(&core, bits).map_err(|source| {
            let path = path();
            VmcoreError::Section { path, section: "page bitset", source }
        })?;
        let end = core.source().known_len().unwrap_or(u64::MAX);
        let missing = cut(&mut set, end.saturating_sub(core.layout().pages));
        let pages = set.count();
        let tables = tables(&core, &ranges)?;
        let (hostname, version) = texts(&core);
        let cache = TableCache::new();
        Ok(Self {
            core,
            ranges,
            set,
            pages,
            missing,
            tables,
            cache,
            hostname,
            version,
        })
    }

    /// Pages in the file's bitset.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Pages that the file's bitset has besides, and that are after its
    /// end: their bits are cleared here.
    #[must_use]
    pub fn missing_pages(&self) -> u64 {
        self.missing
    }

    /// The file's header.
    #[must_use]
    pub fn header(&self) -> &MinidumpHeader {
        self.core.header()
    }

    /// The dump.
    #[must_use]
    pub fn core(&self) -> &Vmcore {
        &self.core
    }

    fn read(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        match self.tables.at(pa) {
            Some(Table::Given(n)) => {
                let at = self.core.layout().pmap + (n << PAGE_SHIFT);
                let got = self.core.source().read_at(at, page);
                match got.map_err(|e| errno(&MemoryError::Source(e)))? {
                    PAGE_SIZE => Ok(()),
                    // It was longer when it was opened.
                    _ => Err(Errno::EIO),
                }
            }
            Some(upper) => {
                page.fill(0);
                self.tables.copy(upper, page);
                Ok(())
            }
            None => {
                let pa = Paddr(pa.0 & !(PAGE_SIZE as u64 - 1));
                let Err(e) = self.core.read_phys(pa, page) else {
                    return Ok(());
                };
                match &e.why {
                    // The end of the file is in it.
                    MemoryError::BeyondEnd { .. } if e.done > 0 => {
                        page[e.done..].fill(0);
                        Ok(())
                    }
                    why => Err(errno(why)),
                }
            }
        }
    }
}

/// What a device would answer.
fn errno(e: &MemoryError) -> Errno {
    match e {
        MemoryError::NotDumped { .. }
        | MemoryError::OutsideMemory { .. }
        | MemoryError::BeyondEnd { .. } => Errno::EFAULT,
        MemoryError::Source(SourceError::Io { source, .. }) => {
            from_host(source)
        }
        _ => Errno::EIO,
    }
}

/// Why its pages are not known; they are not.
fn pages_error(core: Vmcore) -> VmcoreError {
    let path = core.file().path.clone();
    match core.into_pages() {
        Err(source) => VmcoreError::Pages { path, source },
        Ok(_) => VmcoreError::Version1 { path },
    }
}

fn bitset(
    core: &Vmcore,
    bits: u64,
) -> core::result::Result<Bitset<Vec<u64>>, SourceError> {
    let n = usize::try_from(words_for(bits)).unwrap_or(0);
    let mut words = vec![0; n];
    let mut buf = vec![0; 64 * PAGE_SIZE];
    let mut at = core.layout().bitmap;
    for chunk in words.chunks_mut(buf.len() / 8) {
        let (buf, _) = buf.split_at_mut(chunk.len() * 8);
        // What a file lacks of it is no pages.
        buf.fill(0);
        core.source().read_at(at, buf)?;
        for (word, bytes) in chunk.iter_mut().zip(buf.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        at += buf.len() as u64;
    }
    let empty = || Bitset::new(Vec::new(), 0);
    let set = Bitset::new(words, bits).or_else(empty);
    Ok(set.expect("no words are enough for no bits"))
}

/// Of the kernel dump header, where the file has one.
fn texts(core: &Vmcore) -> (String, String) {
    let header =
        core.trailer().filter(|t| t.parity_ok()).and_then(|t| t.decode().ok());
    let text = |b| String::from_utf8_lossy(b).into_owned();
    match header {
        Some(h) => (text(h.hostname), text(h.versionstring)),
        None => (String::new(), NO_VERSION.to_owned()),
    }
}

/// The tables above the file's, after all memory.
fn tables(
    core: &Vmcore,
    ranges: &[(u64, u64)],
) -> core::result::Result<Tables, VmcoreError> {
    let h = core.header();
    let memory_end = ranges.last().map_or(0, |r| r.1);
    let pages = u64::from(h.pmapsize) / PAGE_SIZE as u64;
    let level = h.machine.pmap_level(h.version);
    round_page(memory_end)
        .and_then(|base| {
            Tables::new(h.machine, Paddr(base), h.kernbase, level, pages)
        })
        .ok_or_else(|| VmcoreError::KernelMap {
            path: core.file().path.clone(),
            kernbase: h.kernbase.0,
            pages,
            memory_end,
        })
}

/// Clears the bits of the pages that are after the end of the data, of
/// which there are `bytes`, and counts them.
fn cut(set: &mut Bitset<Vec<u64>>, bytes: u64) -> u64 {
    set.clear_padding();
    let total = set.count();
    let there = bytes.div_ceil(PAGE_SIZE as u64);
    let first = usize::try_from(there).ok().and_then(|n| set.iter().nth(n));
    let mut from = first.unwrap_or(set.bits());
    while let Some(bit) = set.next(from) {
        set.clear(bit);
        from = bit + 1;
    }
    total.saturating_sub(there)
}

impl Machine for VmcoreMachine {
    fn target(&self) -> Target {
        let h = self.header();
        Target {
            instant: self.core.instant().ok().flatten().copied(),
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

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        words.fill(0);
        let has = self.set.words().iter().skip(first);
        for (to, from) in words.iter_mut().zip(has) {
            *to = *from;
        }
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        let len = text.len().min(self.header().msgbufsize as usize);
        let (text, after) = text.split_at_mut(len);
        after.fill(0);
        let at = self.core.layout().msgbuf;
        if self.core.source().read_at(at, text).is_err() {
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
        let h = self.header();
        let size = h.dmapend.0.saturating_sub(h.dmapbase.0);
        let in_dmap =
            pa.0.checked_sub(h.dmapphys).is_some_and(|offset| offset < size);
        in_dmap || self.tables.at(pa).is_some()
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        let has = || {
            let state = self.core.page_state(pa);
            matches!(state, Ok(PageState::Present(_)))
        };
        self.tables.at(pa).is_some() || has()
    }

    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        let result = self.read(pa, page);
        if result.is_err() {
            page.fill(0);
        }
        result
    }

    fn missing(&self) -> Missing {
        match self.missing {
            0 => Missing::None,
            pages => {
                let of = self.pages.saturating_add(pages);
                Missing::Truncated { pages, of }
            }
        }
    }

    fn hostname(&self) -> &str {
        &self.hostname
    }

    fn version(&self) -> &str {
        &self.version
    }
}
