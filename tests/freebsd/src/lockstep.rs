// SPDX-License-Identifier: BSD-2-Clause
//! Whether a dump is of one instant: ldstep.ko's counters and list, which are
//! in step at any, and what a dump of one instant says of itself.

use crate::check::Found;
use crate::dump_check::{Answer, DumpCheck};
use memdev::addr::{PAGE_SIZE, Vaddr};
use memdev::freeze::FreezeRecord;

/// The lower bits of a mutex's word are flags, the rest its owner.
const MTX_FLAGS: u64 = 7;
/// `MAGIC` of ldstep.c.
const NODE_MAGIC: u64 = 0x6c64_7374_6570_4e4f;
/// ldstep.ko's threads have 64 nodes each.
const MAX_NODES: u64 = 100_000;

/// What ldstep.ko's list was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Whole,
    /// Not, while a thread had its mutex.
    Held,
    Torn,
}

/// What ldstep.ko's memory was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) pairs: u32,
    /// More than the one step between two writes apart.
    pub(crate) torn: u32,
    /// That one step apart.
    pub(crate) between: u32,
    pub(crate) list: List,
}

impl DumpCheck<'_> {
    /// The counters and the list.
    pub(crate) fn steps(&self) -> Answer<Steps> {
        let pairs = self.console.fact("pairs").ok_or("no fact pairs")?;
        let list = self.list()?;
        let mut steps = Steps { pairs: 0, torn: 0, between: 0, list };
        for n in 0..pairs {
            let numbers = self.numbers(&format!("pair-{n}"))?;
            let &[first, second] = &numbers[..] else {
                return Err(format!("pair-{n}: {numbers:?}"));
            };
            let first = self.u64_at(Vaddr(first))?;
            let second = self.u64_at(Vaddr(second))?;
            match first.wrapping_sub(second) {
                0 => {}
                1 => steps.between += 1,
                _ => steps.torn += 1,
            }
            steps.pairs += 1;
        }
        Ok(steps)
    }

    /// The numbers of a fact, without the words before.
    fn numbers(&self, name: &str) -> Answer<Vec<u64>> {
        let text = self.console.facts.get(name);
        let text = text.ok_or_else(|| format!("no fact {name}"))?;
        Ok(text.split(' ').filter_map(|word| word.parse().ok()).collect())
    }

    fn list(&self) -> Answer<List> {
        let numbers = self.numbers("steplist")?;
        let &[head, mutex, count, next, magic] = &numbers[..] else {
            return Err(format!("steplist: {numbers:?}"));
        };
        let count = self.u64_at(Vaddr(count))?;
        let whole = self.nodes(head, next, magic)? == Some(count);
        let held = self.u64_at(Vaddr(mutex))? & !MTX_FLAGS != 0;
        Ok(match (whole, held) {
            (true, _) => List::Whole,
            (false, true) => List::Held,
            (false, false) => List::Torn,
        })
    }

    /// How many nodes the list has; `None` where it has none but nodes only up
    /// to some point.
    fn nodes(&self, head: u64, next: u64, magic: u64) -> Answer<Option<u64>> {
        // Each node has where it is pointed to from behind where the next is.
        let mut from = head;
        let mut nodes = 0;
        loop {
            let node = self.u64_at(Vaddr(from))?;
            if node == 0 {
                return Ok(Some(nodes));
            }
            let field = |at: u64| self.u64_at(Vaddr(node.wrapping_add(at)));
            let Ok(found) = field(magic) else { return Ok(None) };
            if found != NODE_MAGIC || field(next + 8)? != from {
                return Ok(None);
            }
            from = node.wrapping_add(next);
            nodes += 1;
            if nodes > MAX_NODES {
                return Ok(None);
            }
        }
    }

    /// What the dump says of the instant it is of, if it is.
    pub(crate) fn record(&self) -> Answer<Option<FreezeRecord>> {
        let mut page = [0; PAGE_SIZE];
        match self.core.source().read_at(0, &mut page) {
            Ok(n) if n == PAGE_SIZE => {}
            Ok(n) => return Err(format!("first page: {n} bytes")),
            Err(e) => return Err(e.to_string()),
        }
        FreezeRecord::decode(&page).map_err(|e| e.to_string())
    }

    /// A dump of one instant, with as many pages as were copied then.
    pub(crate) fn one_instant(&self, name: &str) -> Answer<()> {
        let record = self.record()?.ok_or("no record of the instant")?;
        let pages = self.core.pages().map_err(|e| e.to_string())?.count_set();
        let told = self.console.fact(&format!("frozen-pages-{name}"));
        if record.pages != pages || told != Some(pages) {
            return Err(format!(
                "{pages} pages, the record has {}, the request {told:?}",
                record.pages
            ));
        }
        match self.console.fact("ncpu") {
            Some(n) if n != u64::from(record.cpus) => {
                Err(format!("{} of {n} CPUs", record.cpus))
            }
            _ => Ok(()),
        }
    }

    /// A dump from outside: of one instant, without a budget for the pause.
    pub(crate) fn taken_outside(&self) -> Answer<()> {
        let record = self.record()?.ok_or("no record of the instant")?;
        let pages = self.core.pages().map_err(|e| e.to_string())?.count_set();
        let cpus = self.console.fact("ncpu");
        let is_whole =
            record.pages == pages && cpus == Some(record.cpus.into());
        match is_whole && record.max_pause_ns == 0 && record.pause_ns > 0 {
            true => Ok(()),
            false => Err(format!("{record:?}, {pages} pages")),
        }
    }

    /// What holds in a dump of this kind only.
    pub(crate) fn lockstep(&self, name: &str, found: &mut Found) -> Answer<()> {
        let kind = name.split('-').next().unwrap_or(name);
        match kind {
            "freeze" => {
                self.one_instant(name)?;
                let steps = self.steps()?;
                found.steps = Some(steps);
                if steps.torn != 0 || steps.list == List::Torn {
                    return Err(format!("lockstep: {steps:?}"));
                }
            }
            "spinning" => {
                self.one_instant(name)?;
                self.spinner(true)?;
                self.turns()?;
            }
            "running" => {
                if self.record()?.is_some() {
                    return Err("a record of an instant".into());
                }
                found.steps = Some(self.steps()?);
            }
            _ => {}
        }
        Ok(())
    }
}
