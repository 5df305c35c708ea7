// SPDX-License-Identifier: BSD-2-Clause
//! What no machine can be: what one line of a recipe cannot know of another.

use super::recipe::{
    Holder, LockKind, MAX_CPUS, MAX_DEVICES, MAX_KERNEL, MAX_PADDR, MAX_RAM,
    MAX_RANGES, Recipe, ThreadState,
};
use super::words::RecipeError;
use memdev::addr::PAGE_SIZE;
use memdev::arch::{Machine, span};
use memdev::dump_avail::DumpAvail;

impl Recipe {
    /// Checks it as a whole.
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let wrong = |problem: &str| Err(RecipeError::machine(problem));
        let avail = DumpAvail::new(&self.ram)
            .map_err(|e| RecipeError::machine(format!("{e}")))?;
        let ram = avail.bits() * PAGE_SIZE as u64;
        if ram > MAX_RAM || self.ram.len() > MAX_RANGES {
            return wrong("its memory is more than 1T, or in too many pieces");
        }
        if self.ram.last().is_none_or(|r| r.1 > MAX_PADDR) {
            return wrong("it has no memory, or some of it above 4T");
        }
        if !(1..=MAX_CPUS).contains(&self.cpus.into()) {
            return wrong("it has no CPUs, or more than 256");
        }
        if !(PAGE_SIZE as u64..=16 << 20).contains(&self.msgbuf_bytes)
            || !self.msgbuf_bytes.is_multiple_of(8)
        {
            return wrong("its message buffer is not 4K to 16M in words");
        }
        let least = self.machine == Machine::Amd64;
        if !(1 + u32::from(least)..=3).contains(&self.minidump) {
            return wrong("its minidump version is not supported");
        }
        if self.la57 && self.machine == Machine::Arm64 {
            return wrong("la57 requires amd64");
        }
        self.check_regions()?;
        check_locks(self)?;
        for t in self.processes.iter().flat_map(|p| &p.threads) {
            if let ThreadState::Running(cpu) = t.state
                && cpu >= self.cpus
            {
                return Err(RecipeError::machine(format!(
                    "thread {} runs on CPU {cpu} of {}",
                    t.tid, self.cpus
                )));
            }
        }
        Ok(())
    }

    fn check_regions(&self) -> Result<(), RecipeError> {
        let wrong = |problem: &str| Err(RecipeError::machine(problem));
        let Self { text, data, .. } = *self;
        if text.level > 1 || data.level > 1 {
            return wrong("its kernel is mapped by pages larger than 2M");
        }
        if text.bytes > MAX_KERNEL || data.bytes > MAX_KERNEL {
            return wrong("its kernel is larger than 256M");
        }
        if !self.kernphys.is_multiple_of(span(1))
            || !text.bytes.is_multiple_of(span(text.level))
            || !data.bytes.is_multiple_of(span(data.level))
            || !text.bytes.is_multiple_of(span(data.level))
        {
            return wrong("text and data must fill the pages that map them");
        }
        for r in &self.kmap {
            if r.level > 2 || !r.bytes.is_multiple_of(span(r.level)) {
                return wrong("a kmap must fill the pages that map it");
            }
        }
        let kmap = self.kmap.iter().map(|r| r.bytes);
        let devices = self.devices.iter().map(|d| d.1);
        let sum = |sizes: &mut dyn Iterator<Item = u64>| {
            sizes.fold(0, u64::saturating_add)
        };
        if sum(&mut { kmap }) > MAX_RAM || sum(&mut { devices }) > MAX_DEVICES {
            return wrong("too much memory is mapped");
        }
        let page = PAGE_SIZE as u64;
        for &(pa, bytes) in &self.devices {
            let whole = pa.is_multiple_of(page) && bytes.is_multiple_of(page);
            if !whole || pa > MAX_PADDR {
                return wrong("a device is not in whole pages below 4T");
            }
        }
        Ok(())
    }
}

/// Locks that no thread can have or wait for.
fn check_locks(recipe: &Recipe) -> Result<(), RecipeError> {
    let wrong = |text| Err(RecipeError::machine(text));
    let threads = || recipe.processes.iter().flat_map(|p| &p.threads);
    for td in threads() {
        if let ThreadState::Wait { lock, shared } = &td.state {
            let Some(lock) = recipe.locks.iter().find(|l| l.name == *lock)
            else {
                return wrong(format!(
                    "thread {} waits for an unknown lock",
                    td.tid
                ));
            };
            if lock.kind == LockKind::Spin {
                return wrong(format!(
                    "threads cannot wait for spin {}",
                    lock.name
                ));
            }
            if *shared && lock.kind == LockKind::Mutex {
                return wrong(format!(
                    "threads cannot share mtx {}",
                    lock.name
                ));
            }
        }
    }
    for lock in &recipe.locks {
        let tids = match &lock.held {
            Holder::By(tid) => core::slice::from_ref(tid),
            Holder::Shared(_, by) => by.as_slice(),
            _ => &[],
        };
        for tid in tids {
            if threads().all(|t| t.tid != *tid) {
                let name = &lock.name;
                return wrong(format!("lock {name}: no thread has tid {tid}"));
            }
        }
    }
    Ok(())
}
