// SPDX-License-Identifier: BSD-2-Clause
//! The model machine: an amd64 or arm64 FreeBSD-like physical memory, built
//! from a text recipe, that does what the KPI asks and no more.
//!
//! What a dump looks at is really there, in memory: page tables, dump_avail,
//! the page bitset, the message buffer, processes and threads in the kernel's
//! lists, and the kernel's variables where the ELF file that [`Machine`]
//! hands out says they are. Readers can be held against [`ModelMachine::page`]
//! and its neighbours, which do not go through a dump.
//!
//! ```text
//! recipe   text -> Recipe (words, parse, release, offsets)
//! layout   Recipe -> memory: image, tables, bitset, message buffer, processes
//! locks    who holds and waits, in the kernel's own structures
//! mutate   memory -> memory, by a seed
//! types    what the kernel's file tells of its structures
//! elf      symbols -> file
//! ```

mod check;
mod defaults;
mod directives;
mod dumpset;
mod elf;
mod frames;
mod instant;
mod kmap;
mod layout;
mod lists;
mod locks;
mod memory;
mod msgbuf;
mod mutate;
mod mutators;
mod objects;
mod offsets;
mod params;
mod parse;
mod populate;
mod procs;
mod programs;
pub mod recipe;
mod release;
mod rng;
mod stacks;
mod symbols;
mod system;
mod tables;
#[cfg(test)]
mod tests;
mod types;
mod variables;
mod words;

pub use mutators::Mutators;
pub use recipe::{
    Holder, Lock, LockKind, Process, Recipe, Thread, ThreadState, TypeInfo,
};
pub use release::Release;
pub use rng::{nodump_page, pattern_page, pattern_word};
pub use words::RecipeError;

use super::machine::{Machine, Running};
use dumpset::DumpSet;
use layout::Booted;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::{Context, Debugger, Target};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};
use memory::Memory;
use msgbuf::Ring;
use mutate::State;
use parking_lot::Mutex;
use rng::{Rng, mix};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use symbols::Image;
use tables::ROOT_LEVEL;
use variables::Live;

#[derive(Debug)]
struct Model {
    recipe: Recipe,
    version: String,
    mem: Memory,
    set: DumpSet,
    image: Image,
    live: Live,
    root: Paddr,
    kva_end: AtomicU64,
    msgbuf_bytes: u32,
    pattern: Vec<Paddr>,
    nodump: Vec<Paddr>,
    params: Option<Paddr>,
    locks: Vec<(String, u64)>,
    types: Vec<types::Extra>,
    /// Never held while `state` is waited for.
    ring: Mutex<Ring>,
    state: Mutex<State>,
    /// What was answered last about it.
    instants: Mutex<Vec<Context>>,
    /// User processes are suspended.
    quiesced: AtomicBool,
    /// All CPUs are stopped: `state` is held.
    stopped: AtomicBool,
}

/// A machine built from a [`Recipe`]. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct ModelMachine(Arc<Model>);

impl ModelMachine {
    /// Builds the machine.
    ///
    /// # Errors
    /// What of the recipe cannot be, or does not fit into its memory.
    pub fn build(recipe: &Recipe) -> core::result::Result<Self, RecipeError> {
        let Booted {
            mem,
            set,
            ring,
            image,
            kmap,
            procs,
            live,
            kva_end,
            pattern,
            nodump,
            params,
            locks,
            types,
        } = layout::boot(recipe)?;
        let root = Paddr(kmap.tables.root);
        let state = State {
            kmap,
            procs,
            uma: Vec::new(),
            // Half of them: the others are never in a dump.
            nodump: nodump.iter().skip(1).step_by(2).map(|pa| pa.0).collect(),
            grown: 0,
            ticks: 0,
        };
        Ok(Self(Arc::new(Model {
            version: recipe.release.version(),
            recipe: recipe.clone(),
            mem,
            set,
            image,
            live,
            root,
            kva_end: AtomicU64::new(kva_end),
            msgbuf_bytes: ring.size(),
            pattern,
            nodump,
            params,
            locks,
            types,
            ring: Mutex::new(ring),
            state: Mutex::new(state),
            instants: Mutex::default(),
            quiesced: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })))
    }

    /// Lets `threads` threads change the machine until what is returned is
    /// dropped: what the recipe's `mutate` says, or everything where it says
    /// nothing.
    pub fn start_mutators(&self, threads: usize) -> Mutators {
        Mutators::start(&self.0, threads)
    }

    /// What it was built from.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.0.recipe
    }

    /// A page as it is now; `None` where there is no memory.
    #[must_use]
    pub fn page(&self, pa: Paddr) -> Option<Page> {
        let mut page = [0; PAGE_SIZE];
        self.0.mem.phys.read_page(pa, &mut page).ok()?;
        Some(page)
    }

    /// Where a symbol of the kernel is.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<Vaddr> {
        self.0.image.symbol(name)
    }

    /// Where a lock of the recipe's is.
    #[must_use]
    pub fn lock(&self, name: &str) -> Option<Vaddr> {
        let lock = self.0.locks.iter().find(|l| l.0 == name);
        lock.map(|l| Vaddr(l.1))
    }

    /// Where a thread's struct is.
    #[must_use]
    pub fn thread(&self, tid: i32) -> Option<Vaddr> {
        self.0.state.lock().procs.thread_address(tid).map(Vaddr)
    }

    /// All symbols' names.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, Vaddr)> + '_ {
        let all = self.0.image.symbols().iter();
        all.map(|s| (&*s.name, Vaddr(s.value)))
    }

    /// Pages that hold [`pattern_page`] as long as the machine lives, and
    /// that only the bitset knows: a dump is complete only with all of them.
    #[must_use]
    pub fn pattern_pages(&self) -> &[Paddr] {
        &self.0.pattern
    }

    /// Pages that are mapped and hold [`nodump_page`], and that no dump may
    /// have while PG_NODUMP is set: every other one always, the rest as long
    /// as nothing mutates the bitset.
    #[must_use]
    pub fn nodump_pages(&self) -> &[Paddr] {
        &self.0.nodump
    }

    /// Where its parameter page is, if the recipe wants one.
    #[must_use]
    pub fn parameter_page(&self) -> Option<Paddr> {
        self.0.params
    }

    /// The processes as they are now, in no order.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        self.0.state.lock().procs.list()
    }

    /// What was printed and is still in the message buffer, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<u8> {
        self.0.ring.lock().log()
    }

    /// What its CPUs did when a dump last asked.
    #[must_use]
    pub fn last_instant(&self) -> Vec<Context> {
        self.0.instants.lock().clone()
    }

    /// Pages of the host's that the machine takes up.
    #[must_use]
    pub fn touched_pages(&self) -> u64 {
        self.0.mem.phys.touched_pages()
    }
}

impl Machine for ModelMachine {
    fn target(&self) -> Target {
        let m = &*self.0;
        let kva = &m.mem.kva;
        let machine = kva.machine;
        let version = m.recipe.minidump;
        // VM_PHYSSEG_MAX is 63 on amd64 and 64 on arm64; a pair more.
        let dump_avail_bytes = match machine {
            _ if !machine.has_dump_avail(version) => 0,
            memdev::arch::Machine::Amd64 => 1024,
            memdev::arch::Machine::Arm64 => 1040,
        };
        Target {
            instant: None,
            machine,
            minidump_version: version,
            minidump_flags: 0,
            root: m.root,
            root_level: ROOT_LEVEL,
            kernbase: Vaddr(kva.kernbase),
            kva_end: Vaddr(m.kva_end.load(Ordering::Acquire)),
            dmapphys: kva.dmapphys,
            dmapbase: Vaddr(kva.dmapbase),
            dmapend: Vaddr(kva.dmapend),
            bitset_bits: m.set.bits,
            msgbuf_bytes: m.msgbuf_bytes,
            dump_avail_bytes,
        }
    }

    fn dump_avail(&self) -> &[(u64, u64)] {
        self.0.set.ram()
    }

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        self.0.set.copy(&self.0.mem, first, words);
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        self.0.ring.lock().copy(&self.0.mem, text);
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        let at = table.0.saturating_add(index * 8);
        self.0.mem.phys.load(Paddr(at)).unwrap_or(0)
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        self.0.mem.kva.phys_in_dmap(pa.0)
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        self.0.set.is_dumpable(pa.0)
    }

    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        self.0.mem.phys.read_page(pa, page)
    }

    fn hostname(&self) -> &str {
        &self.0.recipe.hostname
    }

    fn version(&self) -> &str {
        &self.0.version
    }

    fn running(&self) -> Option<&dyn Running> {
        Some(self)
    }
}

impl Running for ModelMachine {
    fn cpus(&self) -> usize {
        self.0.recipe.cpus as usize
    }

    fn debugger(&self) -> Debugger {
        self.0.debugger()
    }

    fn instant(&self, contexts: &mut [Context], stacks: &mut [Page]) {
        self.0.instant(contexts, stacks);
    }

    fn stop(&self, contexts: &mut [Context], work: &mut dyn FnMut()) {
        self.0.stop(contexts, work);
    }

    fn oncpus(&self) -> Vec<Paddr> {
        self.0.oncpus()
    }

    fn set_quiesced(&self, quiesced: bool) {
        self.0.quiesced.store(quiesced, Ordering::SeqCst);
    }

    fn step(&self, n: u64) {
        let m = &*self.0;
        if m.recipe.mutate.any() && !m.stopped.load(Ordering::SeqCst) {
            let mut rng = Rng::new(mix(m.recipe.seed) ^ n);
            m.mutate(&m.recipe.mutate, &mut rng);
        }
    }

    fn kernel_elf(&self) -> Option<Vec<u8>> {
        elf::kernel(&self.0.mem, &self.0.image, &self.0.types)
    }
}
