// SPDX-License-Identifier: BSD-2-Clause
//! A minidump with its page tables where the kernel has them. The pmap section
//! has tables that the dump's pages need not have, and those above it are in
//! no minidump but by chance: what reads physical memory starts at the root.
//!
//! ```text
//!  root          its address is a variable of the kernel
//!  tables above  in the dump; else made up
//!  pmap section  a table each: at the address that the table above has, or,
//!                if that is made up, at one after the end of memory
//! ```

use super::{Error, PAGE, is_zero};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::kernel::ROOT_LEVEL;
use livedump_vmcore::image::{Claims, Format, MemoryImage, Run};
use livedump_vmcore::source::SourceError;
use livedump_vmcore::{MemoryError, PageState, Vmcore};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};
use memdev::arch::{ENTRIES, Entry, Machine, span};
use std::collections::BTreeMap;

/// Tables that are added; real kernels lack a few hundred at most.
const MAX_TABLES: usize = 16_384;
/// C: `X86_PG_V | X86_PG_RW | X86_PG_A | X86_PG_M`; `L1_TABLE`.
const AMD64_TABLE: u64 = 0x63;
const ARM64_TABLE: u64 = 3;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// Bytes of `kernel_pmap_store` in which arm64's root is looked for.
const PMAP_BYTES: usize = 512;

/// A minidump, and tables.
#[derive(Debug)]
pub struct WithTables<'a> {
    core: &'a Vmcore,
    tables: BTreeMap<u64, Box<Page>>,
    /// The next address that is not used.
    unused: u64,
    /// How many tables have contents that no kernel wrote.
    made_up: u64,
    /// There are more.
    limited: bool,
    /// Nothing tells where they are.
    unknown: bool,
}

impl<'a> WithTables<'a> {
    /// Adds what the dump lacks.
    ///
    /// # Errors
    /// The dump cannot be read.
    pub fn new(core: &'a Vmcore, kernel: &Kernel) -> Result<Self, Error> {
        let unused = core.end().next_multiple_of(PAGE);
        let tables = BTreeMap::new();
        let mut all = Self {
            core,
            tables,
            unused,
            made_up: 0,
            limited: false,
            unknown: false,
        };
        match all.root(kernel) {
            Some(root) => all.table(root, ROOT_LEVEL, base(core))?,
            None => all.limited = true,
        }
        Ok(all)
    }

    /// Nothing is added.
    #[must_use]
    pub fn none(core: &'a Vmcore) -> Self {
        let tables = BTreeMap::new();
        let unknown = true;
        Self { core, tables, unused: 0, made_up: 0, limited: true, unknown }
    }

    /// What a reader may miss, in a sentence without an end.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let n = self.made_up;
        let missing =
            "page tables that the dump lacks are missing in the output";
        if self.unknown {
            Some(format!("{missing}: name the kernel with -k"))
        } else if self.limited {
            Some(missing.into())
        } else if n > 0 {
            Some(format!(
                "{n} page tables above the kernel map are not in the dump and \
                 were made up from its pmap section"
            ))
        } else {
            None
        }
    }

    /// The tables that were added, in the order of their addresses.
    pub fn pages(&self) -> impl Iterator<Item = (Paddr, &[u8])> {
        let all = self.tables.iter();
        all.map(|(&pa, page)| (Paddr(pa), page.as_slice()))
    }

    /// The root, a table of level 3.
    fn root(&self, kernel: &Kernel) -> Option<Paddr> {
        match self.core.header().machine {
            Machine::Amd64 => {
                let at = kernel.find("KPML4phys")?.address;
                let root = self.core.read_u64(at).ok()? & FRAME;
                (root != 0).then_some(Paddr(root))
            }
            // Which of its words it is differs: one that is a table.
            Machine::Arm64 => {
                let at = kernel.find("kernel_pmap_store")?.address;
                let mut raw = [0; PMAP_BYTES];
                self.core.read_va(at, &mut raw).ok()?;
                let words = raw.as_chunks().0.iter();
                let mut words = words.map(|&w| u64::from_le_bytes(w) & FRAME);
                words.find(|&w| self.leads(Paddr(w))).map(Paddr)
            }
        }
    }

    /// Whether a table leads to where the kernel map begins.
    fn leads(&self, root: Paddr) -> bool {
        let index = base(self.core).checked_div(span(ROOT_LEVEL));
        let at = (index.unwrap_or(0) % ENTRIES).saturating_mul(8);
        let mut entry = [0; 8];
        let at = Paddr(root.0.saturating_add(at));
        if root.0 == 0 || self.core.read_phys(at, &mut entry).is_err() {
            return false;
        }
        let machine = self.core.header().machine;
        let entry = machine.decode(ROOT_LEVEL, u64::from_le_bytes(entry));
        match entry {
            Entry::Table(below) => self.is_there(below),
            _ => false,
        }
    }

    fn is_there(&self, pa: Paddr) -> bool {
        matches!(self.core.page_state(pa), Ok(PageState::Present(_)))
    }

    /// The part of the kernel map that the pmap section covers.
    fn covered(&self) -> (u64, u64) {
        let h = self.core.header();
        let pages = u64::from(h.pmapsize) / PAGE;
        let each = h.machine.pmap_page_span(h.version);
        let start = base(self.core);
        (start, start.saturating_add(pages.saturating_mul(each)))
    }

    /// A table of the pmap section.
    fn section(&self, va: u64) -> Result<Option<Box<Page>>, Error> {
        let h = self.core.header();
        let each = h.machine.pmap_page_span(h.version);
        let index = va.saturating_sub(base(self.core)).checked_div(each);
        let into = index.unwrap_or(0).saturating_mul(PAGE);
        let at = self.core.layout().pmap.saturating_add(into);
        let source = self.core.source();
        let mut page = Box::new([0; PAGE_SIZE]);
        if source.next_data(at) >= at.saturating_add(PAGE) {
            return Ok(None);
        }
        source.read_at(at, page.as_mut_slice())?;
        Ok((!is_zero(page.as_slice())).then_some(page))
    }

    fn add(&mut self, pa: Paddr, page: Box<Page>) {
        if self.tables.len() >= MAX_TABLES {
            self.limited = true;
        } else {
            self.tables.insert(pa.0, page);
        }
    }

    /// Sees to it that a table of `level`, whose first entry is that of `va`,
    /// is there, and what is below it.
    fn table(&mut self, pa: Paddr, level: u32, va: u64) -> Result<(), Error> {
        if self.limited {
            return Ok(());
        }
        let h = *self.core.header();
        let there = self.is_there(pa);
        if level == h.machine.pmap_level(h.version) {
            if !there && let Some(page) = self.section(va)? {
                self.add(pa, page);
            }
            return Ok(());
        }
        let mut page = Box::new([0; PAGE_SIZE]);
        let there =
            there && self.core.read_phys(pa, page.as_mut_slice()).is_ok();
        let Some(below) = level.checked_sub(1) else { return Ok(()) };
        let (start, end) = self.covered();
        let each = span(level);
        // The whole table, where it begins before the kernel map does.
        let first = va & !each.saturating_mul(ENTRIES).saturating_sub(1);
        for (n, slot) in (0u64..).zip(page.as_chunks_mut().0) {
            let at = first.saturating_add(n.saturating_mul(each));
            let last = at.saturating_add(each.saturating_sub(1));
            if last < start || at >= end {
                continue;
            }
            let at = at.max(start);
            let entry = u64::from_le_bytes(*slot);
            match h.machine.decode(level, entry) {
                Entry::Table(table) => self.table(table, below, at)?,
                Entry::Invalid if !there && self.has_any(at, last)? => {
                    let table = Paddr(self.unused);
                    self.unused = self.unused.saturating_add(PAGE);
                    let bits = match h.machine {
                        Machine::Amd64 => AMD64_TABLE,
                        Machine::Arm64 => ARM64_TABLE,
                    };
                    *slot = (table.0 | bits).to_le_bytes();
                    self.table(table, below, at)?;
                }
                Entry::Invalid | Entry::Mapped(_) => {}
            }
        }
        if !there {
            self.made_up = self.made_up.saturating_add(1);
            self.add(pa, page);
        }
        Ok(())
    }

    /// Whether anything is mapped between two addresses.
    fn has_any(&self, from: u64, last: u64) -> Result<bool, Error> {
        let h = self.core.header();
        let each = h.machine.pmap_page_span(h.version);
        let (_, end) = self.covered();
        let mut at = from;
        while at <= last && at < end {
            if self.section(at)?.is_some() {
                return Ok(true);
            }
            let Some(next) = at.checked_add(each) else { break };
            at = next;
        }
        Ok(false)
    }
}

/// Where the kernel map begins.
fn base(core: &Vmcore) -> u64 {
    let Vaddr(base) = core.header().kernbase;
    base
}

impl MemoryImage for WithTables<'_> {
    fn format(&self) -> Format {
        self.core.format()
    }

    fn claims(&self) -> &Claims {
        MemoryImage::claims(self.core)
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        let run = self.core.next_run(from)?;
        let table = self.tables.range(from.0..).next().map(|(&pa, _)| pa);
        let table = table.filter(|&pa| run.is_none_or(|r| pa < r.start));
        let table =
            table.map(|start| Run { start, end: start.saturating_add(PAGE) });
        Ok(table.or(run))
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let end = pa.0.saturating_add(buf.len() as u64);
        let first = pa.0.saturating_sub(pa.0 % PAGE);
        if self.tables.range(first..end).next().is_none() {
            return MemoryImage::read(self.core, pa, buf);
        }
        let mut at = pa.0;
        let mut left = buf;
        while !left.is_empty() {
            let into = at % PAGE;
            let n = PAGE.saturating_sub(into) as usize;
            let n = n.min(left.len());
            let Some((part, rest)) = left.split_at_mut_checked(n) else {
                break;
            };
            let page = self.tables.get(&at.saturating_sub(into));
            let have = page.and_then(|page| {
                page.get(into as usize..(into as usize).saturating_add(n))
            });
            match have {
                Some(have) => part.copy_from_slice(have),
                None => MemoryImage::read(self.core, Paddr(at), part)?,
            }
            left = rest;
            at = at.saturating_add(n as u64);
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        let last = self.tables.keys().next_back();
        let last = last.map_or(0, |pa| pa.saturating_add(PAGE));
        last.max(self.core.end())
    }
}
