// SPDX-License-Identifier: BSD-2-Clause
//! Checks of one dump, from its own pages and the symbols of the kernel. They
//! do not use `verify`, which is tested by them.

use crate::arch::Arch;
use crate::console::Console;
use crate::info;
use crate::symbols::Symbols;
use livedump_vmcore::Vmcore;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::arch::{ENTRIES, Entry, Machine, span};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

/// Pages that may have left the bitset between its copy and theirs.
const CHURN: usize = 2000;

/// A dump, and what it is checked against.
pub(crate) struct DumpCheck<'a> {
    pub(crate) core: Vmcore,
    pub(crate) arch: &'static Arch,
    pub(crate) symbols: Symbols,
    pub(crate) console: &'a Console,
    /// The text into which a tool has put the kernel dump header, and the
    /// status that it should have.
    pub(crate) info: Option<(&'a str, &'a str)>,
    pub(crate) problems: &'a mut Vec<String>,
}

pub(crate) type Answer<T> = Result<T, String>;

impl DumpCheck<'_> {
    pub(crate) fn all(self, length: u64) {
        let answers = [
            ("structure", self.structure()),
            ("info", self.info(length)),
            ("hz", self.hz()),
            ("version", self.version()),
            ("msgbuf", self.msgbuf()),
            ("allproc", self.allproc()),
            ("pattern", self.pattern()),
            ("unrelated pages", self.unrelated_pages()),
        ];
        for (what, answer) in answers {
            if let Err(e) = answer {
                self.problems.push(format!("{what}: {e}"));
            }
        }
    }

    pub(crate) fn symbol(&self, name: &str) -> Answer<Vaddr> {
        self.symbols.get(name).ok_or_else(|| format!("no symbol {name}"))
    }

    pub(crate) fn u32_at(&self, va: Vaddr) -> Answer<u32> {
        self.core.read_u32(va).map_err(|e| format!("{va}: {e}"))
    }

    pub(crate) fn u64_at(&self, va: Vaddr) -> Answer<u64> {
        self.core.read_u64(va).map_err(|e| format!("{va}: {e}"))
    }

    fn structure(&self) -> Answer<()> {
        let core = &self.core;
        let expected = core.expected_len().ok_or("no size")?;
        match core.trailer() {
            None if self.info.is_some() => {}
            None => return Err("no kernel dump header".into()),
            Some(_) if self.info.is_some() => {
                return Err("the kernel dump header was left in".into());
            }
            Some(trailer) => {
                if !trailer.parity_ok() {
                    return Err("parity of the kernel dump header".into());
                }
                let header = trailer.decode().map_err(|e| e.to_string())?;
                if header.dumpextent != expected {
                    return Err(format!(
                        "dumpextent {} but sections and pages are {expected}",
                        header.dumpextent
                    ));
                }
            }
        }
        let mut last = [0; 1];
        let got = core.source().read_at(expected - 1, &mut last);
        if got.map_err(|e| e.to_string())? != 1 {
            return Err(format!("ends before {expected}"));
        }
        let pages = core.pages().map_err(|e| e.to_string())?;
        match pages.excess_bits() {
            0 => Ok(()),
            n => Err(format!("{n} bits after the last page")),
        }
    }

    /// How many keys the kernel had, and that nothing of them is in the dump:
    /// case_panic.c has the one it uses.
    pub(crate) fn keys(&self, want: u32) -> Answer<()> {
        let told = self.core.keys_overwritten();
        if told != Some(want) {
            return Err(format!("keys: {told:?} overwritten, not {want}"));
        }
        let key: [u8; 32] = std::array::from_fn(|i| i as u8 * 7 + 1);
        let mut page = [0; PAGE_SIZE];
        let mut at = 0;
        while self.core.source().read_at(at, &mut page).is_ok_and(|n| n > 0) {
            if page.windows(key.len()).any(|w| w == key) {
                return Err(format!("keys: one is at {at:#x} of the dump"));
            }
            at += PAGE_SIZE as u64;
        }
        Ok(())
    }

    /// Kernel text is patched while booting, then stays: two dumps of one boot
    /// have the same.
    pub(crate) fn text_equals(&self, other: &Path) -> Answer<()> {
        let other = Vmcore::open(other).map_err(|e| format!("text: {e}"))?;
        let end = self.symbol("etext")?.0;
        let mut at = self.symbol(self.arch.text)?.0;
        let mut wrong = 0;
        let mut pages = [[0; PAGE_SIZE]; 2];
        // Of the first page, what is before is not text.
        at = at.next_multiple_of(PAGE_SIZE as u64);
        while at < end {
            for (core, page) in [&self.core, &other].iter().zip(&mut pages) {
                core.read_va(Vaddr(at), page).map_err(|e| e.to_string())?;
            }
            wrong += u32::from(pages[0] != pages[1]);
            at += PAGE_SIZE as u64;
        }
        match wrong {
            0 => Ok(()),
            n => Err(format!("text: {n} pages differ")),
        }
    }

    fn info(&self, length: u64) -> Answer<()> {
        let Some(info) = self.info else { return Ok(()) };
        let extent = self.core.expected_len().ok_or("no size")?;
        info::check(info, length, extent, self.core.compression())
    }

    pub(crate) fn hz(&self) -> Answer<()> {
        let hz = u64::from(self.u32_at(self.symbol("hz")?)?);
        match self.console.fact("hz") {
            Some(want) if want != hz => Err(format!("{hz}, not {want}")),
            _ => Ok(()),
        }
    }

    fn version(&self) -> Answer<()> {
        let mut text = [0; 64];
        let va = self.symbol("version")?;
        self.core.read_va(va, &mut text).map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&text);
        match self.console.facts.get("osrelease") {
            Some(want) if !text.contains(want.as_str()) => {
                Err(format!("{text:?} has no {want}"))
            }
            _ => Ok(()),
        }
    }

    /// struct msgbuf: msg_ptr@0, msg_magic@8, msg_size@12.
    pub(crate) fn msgbuf(&self) -> Answer<()> {
        let at = self.u64_at(self.symbol("msgbufp")?)?;
        let magic = self.u32_at(Vaddr(at.wrapping_add(8)))?;
        if magic != 0x06_3062 {
            return Err(format!("magic {magic:#x}"));
        }
        let size = self.u32_at(Vaddr(at.wrapping_add(12)))?.min(1 << 24);
        let mut text = vec![0; size as usize];
        let from = Vaddr(self.u64_at(Vaddr(at))?);
        self.core.read_va(from, &mut text).map_err(|e| e.to_string())?;
        let Some(marker) = self.console.facts.get("marker") else {
            return Ok(());
        };
        let section = self.section(self.core.layout().msgbuf, size as usize)?;
        for (what, text) in [("msgbufp", &text), ("section", &section)] {
            if !text.windows(marker.len()).any(|w| w == marker.as_bytes()) {
                return Err(format!("marker not in the {what}'s text"));
            }
        }
        Ok(())
    }

    fn section(&self, at: u64, len: usize) -> Answer<Vec<u8>> {
        let mut bytes = vec![0; len];
        match self.core.source().read_at(at, &mut bytes) {
            Ok(n) if n == len => Ok(bytes),
            Ok(n) => Err(format!("{n} of {len} bytes at {at:#x}")),
            Err(e) => Err(e.to_string()),
        }
    }

    /// The whole list, with kernel and init in it. A process may come or go
    /// while its page is copied; the list must end all the same.
    pub(crate) fn allproc(&self) -> Answer<()> {
        let offset =
            |name: &str| self.u32_at(self.symbol(name)?).map(u64::from);
        let list = offset("proc_off_p_list")?;
        let pid_at = offset("proc_off_p_pid")?;
        let mut at = self.u64_at(self.symbol("allproc")?)?;
        let mut seen = HashSet::new();
        let mut pids = HashSet::new();
        while at != 0 {
            if !seen.insert(at) {
                return Err(format!("{at:#x} is on the list twice"));
            }
            pids.insert(self.u32_at(Vaddr(at.wrapping_add(pid_at)))?);
            at = self.u64_at(Vaddr(at.wrapping_add(list)))?;
            if seen.len() > 100_000 {
                return Err("no end".into());
            }
        }
        for pid in [0, 1] {
            if !pids.contains(&pid) {
                return Err(format!("no pid {pid} among {}", pids.len()));
            }
        }
        Ok(())
    }

    fn pattern(&self) -> Answer<()> {
        let Some(want) = self.console.fact("pattern") else { return Ok(()) };
        let mut numbers = HashSet::new();
        self.pages(|_, page| {
            let whole = page.chunks_exact(16).all(|w| w == &page[..16]);
            if page.starts_with(b"LDTEST\0\0") && whole {
                numbers.insert(page[8..16].to_vec());
            }
        })?;
        match numbers.len() as u64 {
            n if n == want => Ok(()),
            n => Err(format!("{n} of {want} pages")),
        }
    }

    fn pages(&self, mut f: impl FnMut(Paddr, &[u8])) -> Answer<()> {
        let mut page = vec![0; PAGE_SIZE];
        let mut error = None;
        self.core
            .for_each_page(|pa, at| {
                match self.core.source().read_at(at, &mut page) {
                    Ok(n) if n == PAGE_SIZE => f(pa, &page),
                    Ok(n) => error = Some(format!("{n} bytes at {at:#x}")),
                    Err(e) => error = Some(e.to_string()),
                }
                match error {
                    None => ControlFlow::Continue(()),
                    Some(_) => ControlFlow::Break(()),
                }
            })
            .map_err(|e| e.to_string())?;
        error.map_or(Ok(()), Err)
    }

    /// Pages that are neither mapped by the dump's page tables nor in the
    /// kernel's own bitset as the dump has it.
    fn unrelated_pages(&self) -> Answer<()> {
        // At one instant there is no churn.
        let churn = match self.record()? {
            Some(_) => 0,
            None => CHURN,
        };
        let mapped = self.mapped()?;
        let pages = self.core.pages().map_err(|e| e.to_string())?;
        let words_at = self.u64_at(self.symbol("vm_page_dump")?)?;
        let words = pages.bits().div_ceil(64) as usize;
        let mut bitset = vec![0; words * 8];
        let va = Vaddr(words_at);
        self.core.read_va(va, &mut bitset).map_err(|e| e.to_string())?;
        let avail = memdev::dump_avail::DumpAvail::new(pages.ranges())
            .map_err(|e| e.to_string())?;
        let mut unrelated_pages = 0;
        self.core
            .for_each_page(|pa, _| {
                let bit = avail.bit_of(pa).unwrap_or(0) as usize;
                let in_set = bitset
                    .get(bit / 8)
                    .is_some_and(|b| b >> (bit % 8) & 1 == 1);
                if !in_set && !mapped.contains(&pa.0) {
                    unrelated_pages += 1;
                }
                ControlFlow::Continue(())
            })
            .map_err(|e| e.to_string())?;
        match unrelated_pages > churn {
            true => Err(format!("{unrelated_pages} pages")),
            false => Ok(()),
        }
    }

    /// Every page the kernel map's tables lead to, and the tables. What the
    /// section has are those of level 0 on arm64, of level 1 on amd64.
    fn mapped(&self) -> Answer<HashSet<u64>> {
        let layout = self.core.layout();
        let size = self.core.header().pmapsize as usize;
        let section = self.section(layout.pmap, size)?;
        let mut mapped = HashSet::new();
        let decode = |level, raw: &[u8]| {
            let raw = u64::from_le_bytes(raw.try_into().unwrap_or_default());
            self.arch.machine.decode(level, raw)
        };
        let level = match self.arch.machine {
            Machine::Amd64 => 1,
            Machine::Arm64 => 0,
        };
        for entry in section.chunks_exact(8) {
            match decode(level, entry) {
                Entry::Invalid => {}
                Entry::Mapped(pa) => {
                    let pages = span(level) / PAGE_SIZE as u64;
                    mapped.extend((0..pages).map(|i| pa.0 + i * 4096));
                }
                Entry::Table(pa) => {
                    mapped.insert(pa.0);
                    let mut table = vec![0; 8 * ENTRIES as usize];
                    self.core
                        .read_phys(pa, &mut table)
                        .map_err(|e| format!("page table: {e}"))?;
                    for entry in table.chunks_exact(8) {
                        if let Entry::Mapped(pa) = decode(0, entry) {
                            mapped.insert(pa.0);
                        }
                    }
                }
            }
        }
        Ok(mapped)
    }
}
