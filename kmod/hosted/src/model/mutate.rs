// SPDX-License-Identifier: BSD-2-Clause
//! What a live kernel does to its memory while it is being dumped, by a seed:
//! between any two KPI calls (`step`), or from threads of the host at any
//! moment (`mutators`).
//!
//! What holds at every moment, as in a kernel: a table's page is filled before
//! an entry leads to it, and is reused only after none does; a page of the
//! known pattern is neither written nor freed; lists are linked in
//! <sys/queue.h>'s order. What need not hold between two moments: everything
//! else. A page that was freed is scribbled over, so that whoever still
//! follows an old entry finds garbage.

use super::Model;
use super::dumpset::DumpSet;
use super::kmap::{Kmap, Slot};
use super::memory::Memory;
use super::procs::{Kernel, Procs};
use super::recipe::Mutate;
use super::rng::Rng;
use super::tables::{Prot, demote, leaf, software_bit};
use super::variables::TICKS;
use livedump_kmod::error::Result;
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use std::sync::atomic::Ordering;

const PAGE: u64 = PAGE_SIZE as u64;
const M2: u64 = 2 << 20;
/// The kernel map grows by 2 MB at most so often.
const MAX_GROWN: u32 = 32;
/// Pages of UMA's that come and go.
const MAX_UMA: usize = 512;

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) kmap: Kmap,
    pub(super) procs: Procs,
    /// Pages of UMA's that may be freed.
    pub(super) uma: Vec<u64>,
    /// Pages in the kernel map whose PG_NODUMP comes and goes.
    pub(super) nodump: Vec<u64>,
    pub(super) grown: u32,
    pub(super) ticks: u64,
}

impl Mutate {
    /// Whether anything changes.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// One of each.
    #[must_use]
    pub fn all(times: u32) -> Self {
        Self {
            pages: times,
            tables: times,
            bitset: times,
            msgbuf: times,
            procs: times,
        }
    }
}

impl Model {
    /// Changes things as often as `what` says. A change that finds no memory
    /// left does not happen.
    pub(super) fn mutate(&self, what: &Mutate, rng: &mut Rng) {
        let mut state = self.state.lock();
        let s = &mut *state;
        // What user processes do, they do not while they are suspended. (Under
        // the lock: whoever suspended them has seen the last of it.)
        let quiesced = self.quiesced.load(Ordering::SeqCst);
        let (pages, procs) = match quiesced {
            true => (0, 0),
            false => (what.pages, what.procs),
        };
        for _ in 0..pages {
            let _ = page(&self.mem, s, rng);
        }
        for _ in 0..what.tables {
            let _ = self.table(s, rng);
        }
        for _ in 0..what.bitset {
            let _ = bit(&self.mem, &self.set, s, rng);
        }
        for _ in 0..procs {
            let mem = &self.mem;
            let State { kmap, procs, .. } = &mut *s;
            let set = &self.set;
            let fork = rng.below(2) == 0;
            let mut kernel = Kernel { mem, set, kmap, rng: &mut *rng };
            let _ = match fork {
                true => procs.fork(&mut kernel),
                false => procs.exit_or_reap(&mut kernel),
            };
        }
        let _ = self.reach(s.kmap.next);
        s.ticks += 1;
        let ticks = s.ticks;
        let _ = self.clock(ticks);
        // Under the lock: whoever holds it has stopped the machine.
        for i in 0..what.msgbuf {
            let text = format!("model: tick {ticks}.{i}\n");
            let _ = self.ring.lock().append(&self.mem, &text);
        }
    }

    fn clock(&self, ticks: u64) -> Result<()> {
        let seconds = ticks / 1000;
        self.mem.store32(self.live.ticks, TICKS.wrapping_add(ticks as u32))?;
        self.mem.store(self.live.time_second, 1_700_000_000 + seconds)?;
        self.mem.store(self.live.time_uptime, 16 + seconds)
    }

    /// Kernel stacks take addresses, too, and the map ends after them.
    /// C: `kernel_vm_end`, which `pmap_growkernel` moves.
    fn reach(&self, next: u64) -> Result<()> {
        let end = next.next_multiple_of(M2);
        if self.mem.load(self.live.kernel_vm_end)? < end {
            self.mem.store(self.live.kernel_vm_end, end)?;
        }
        self.kva_end.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// One change of the kernel map.
    fn table(&self, s: &mut State, rng: &mut Rng) -> Result<()> {
        match rng.below(16) {
            0..4 => remap(&self.mem, &mut s.kmap, rng),
            4..8 => unmap_or_map(&self.mem, &mut s.kmap, rng),
            8..12 => split_or_join(&self.mem, &mut s.kmap, rng),
            12 => self.grow(s, rng),
            _ => touch(&self.mem, &s.kmap, rng),
        }
    }

    /// The next 2 MB of addresses, with some pages in them.
    /// C: `pmap_growkernel`.
    fn grow(&self, s: &mut State, rng: &mut Rng) -> Result<()> {
        if s.grown >= MAX_GROWN {
            return Ok(());
        }
        s.grown += 1;
        let kmap = &mut s.kmap;
        let end = kmap.next.next_multiple_of(M2) + M2;
        for _ in 0..8 {
            let Some(pa) = kmap.frames.allocate_any(rng) else { break };
            renew(&self.mem, pa, rng)?;
            if kmap.add_slot(&self.mem, pa).is_none() {
                kmap.frames.give(pa);
                break;
            }
        }
        self.mem.store(self.live.kernel_vm_end, end)?;
        // amd64's map ends behind the kernel's text, far above.
        self.kva_end.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }
}

/// What INVARIANTS fills freed memory with, in every word; an entry read out
/// of it is valid and leads nowhere.
const JUNK: Page = {
    let word = 0xdead_c0de_dead_c0df_u64.to_le_bytes();
    let mut page = [0; PAGE_SIZE];
    let mut i = 0;
    while i < PAGE_SIZE {
        page[i] = word[i % 8];
        i += 1;
    }
    page
};

/// Frees a page: it is scribbled over first.
fn free(mem: &Memory, kmap: &mut Kmap, pa: u64) -> Result<()> {
    mem.fill(pa, Some(&JUNK))?;
    kmap.frames.give(pa);
    Ok(())
}

/// Other contents for a page that is taken into use: sometimes none.
fn renew(mem: &Memory, pa: u64, rng: &mut Rng) -> Result<()> {
    let (first, step) = (rng.next(), rng.next());
    if first & 3 == 0 {
        return mem.fill(pa, None);
    }
    let mut page = [0; PAGE_SIZE];
    let mut word = first;
    for to in page.as_chunks_mut::<8>().0 {
        *to = word.to_le_bytes();
        word = word.wrapping_add(step);
    }
    mem.fill(pa, Some(&page))
}

/// Writes into a page that is malloc(9)'s, UMA's, or nobody's.
fn page(mem: &Memory, s: &State, rng: &mut Rng) -> Result<()> {
    let slots = &s.kmap.slots;
    let from_slot = |i| slots.get(i).and_then(|slot: &Slot| slot.page);
    let pa = match rng.below(4) {
        0 => rng.index(s.uma.len()).and_then(|i| s.uma.get(i).copied()),
        1 => rng
            .index(s.kmap.blocks.len())
            .and_then(|i| s.kmap.blocks.get(i))
            .map(|b| b.pa + rng.below(M2 / PAGE) * PAGE),
        _ => rng.index(slots.len()).and_then(from_slot),
    };
    let Some(pa) = pa else { return Ok(()) };
    if rng.below(8) == 0 {
        return renew(mem, pa, rng);
    }
    for _ in 0..1 + rng.below(16) {
        let at = Paddr(pa + rng.below(PAGE / 8) * 8);
        mem.phys.store(at, rng.next())?;
    }
    Ok(())
}

/// Two addresses exchange their pages.
fn remap(mem: &Memory, kmap: &mut Kmap, rng: &mut Rng) -> Result<()> {
    let (Some(a), Some(b)) =
        (rng.index(kmap.slots.len()), rng.index(kmap.slots.len()))
    else {
        return Ok(());
    };
    let machine = kmap.tables.machine;
    let page_of = |i| kmap.slots.get(i).and_then(|s: &Slot| s.page);
    let (Some(pa), Some(pb)) = (page_of(a), page_of(b)) else {
        return Ok(());
    };
    for i in [a, b] {
        if let Some(slot) = kmap.slots.get(i) {
            mem.phys.store(slot.entry, 0)?;
        }
    }
    for (i, page) in [(a, pb), (b, pa)] {
        if let Some(slot) = kmap.slots.get_mut(i) {
            let entry = leaf(machine, 0, page, Prot::Data);
            mem.phys.store(slot.entry, entry)?;
            slot.page = Some(page);
        }
    }
    Ok(())
}

/// One address loses its page, or gets one again.
fn unmap_or_map(mem: &Memory, kmap: &mut Kmap, rng: &mut Rng) -> Result<()> {
    let Some(i) = rng.index(kmap.slots.len()) else { return Ok(()) };
    let machine = kmap.tables.machine;
    let Some(slot) = kmap.slots.get_mut(i) else { return Ok(()) };
    let entry = slot.entry;
    if let Some(pa) = slot.page.take() {
        mem.phys.store(entry, 0)?;
        return free(mem, kmap, pa);
    }
    let Some(pa) = kmap.frames.allocate_any(rng) else { return Ok(()) };
    renew(mem, pa, rng)?;
    if let Some(slot) = kmap.slots.get_mut(i) {
        slot.page = Some(pa);
    }
    mem.phys.store(entry, leaf(machine, 0, pa, Prot::Data))
}

/// A block of 2 MB becomes 512 pages, or they become a block again and their
/// table's page is freed.
fn split_or_join(mem: &Memory, kmap: &mut Kmap, rng: &mut Rng) -> Result<()> {
    let Some(i) = rng.index(kmap.blocks.len()) else { return Ok(()) };
    let machine = kmap.tables.machine;
    let Some(block) = kmap.blocks.get_mut(i) else { return Ok(()) };
    if let Some(pt) = block.split.take() {
        let whole = leaf(machine, 1, block.pa, Prot::Data);
        mem.phys.store(block.entry, whole)?;
        return free(mem, kmap, pt);
    }
    let entry = block.entry;
    let Some(pt) = kmap.frames.allocate_any(rng) else { return Ok(()) };
    if let Some(block) = kmap.blocks.get_mut(i) {
        block.split = Some(pt);
    }
    demote(mem, machine, entry, pt)
}

/// The kernel changes a bit of an entry that is its own.
fn touch(mem: &Memory, kmap: &Kmap, rng: &mut Rng) -> Result<()> {
    let bit = software_bit(kmap.tables.machine);
    let slot = rng.index(kmap.slots.len()).and_then(|i| kmap.slots.get(i));
    let Some(slot) = slot.filter(|s| s.page.is_some()) else {
        return Ok(());
    };
    mem.phys.update(slot.entry, |e| e ^ bit).map(|_| ())
}

/// UMA takes a page or gives one back; or PG_NODUMP changes.
fn bit(
    mem: &Memory,
    set: &DumpSet,
    s: &mut State,
    rng: &mut Rng,
) -> Result<()> {
    let kind = rng.below(8);
    if kind == 0 {
        let i = rng.index(s.nodump.len());
        if let Some(&pa) = i.and_then(|i| s.nodump.get(i)) {
            set.set_nodump(pa, rng.below(2) == 0);
        }
        return Ok(());
    }
    if kind < 5 && s.uma.len() < MAX_UMA {
        let Some(pa) = s.kmap.frames.allocate_any(rng) else { return Ok(()) };
        renew(mem, pa, rng)?;
        set.add(mem, pa);
        s.uma.push(pa);
        return Ok(());
    }
    let Some(i) = rng.index(s.uma.len()) else { return Ok(()) };
    let pa = s.uma.swap_remove(i);
    set.drop_page(mem, pa);
    free(mem, &mut s.kmap, pa)
}
