// SPDX-License-Identifier: BSD-2-Clause
//! Locks, and the turnstiles and sleep queues of those who wait for them, as
//! the kernel has them. C: <sys/lock.h>, subr_turnstile.c, subr_sleepqueue.c.

use super::lists::{list_insert_head, tailq_init, tailq_insert_tail};
use super::memory::Memory;
use super::offsets::Offsets;
use super::procs::{Kernel, Procs};
use super::recipe::{Holder, Lock, LockKind, Recipe, ThreadState};
use super::symbols::{Image, Section};
use super::variables::{TICKS, Variables};
use super::words::RecipeError;
use livedump_kmod::error::{Errno, Result};
use memdev::addr::PAGE_SIZE;
use memdev::arch::Machine;
use std::collections::BTreeMap;

/// C: `TC_TABLESIZE`, sizeof(struct turnstile_chain).
const TC_TABLESIZE: u64 = 128;
const TC_BYTES: u64 = 40;
/// C: sizeof(struct sleepqueue_chain): a cache line.
const SC_BYTES: u64 = 64;
/// Room for a lock, a turnstile or a sleep queue.
const SLOT: u64 = 256;
/// C: `LO_INITIALIZED`.
const LO_INITIALIZED: u32 = 0x10000;
/// How long everybody has been waiting at boot.
const WAIT_TICKS: u32 = 15_000;

/// C: `lock_classes`, in its order; the kinds that recipes have, the rest.
const CLASSES: [(&str, &str, Option<LockKind>); 7] = [
    ("lock_class_mtx_spin", "spin mutex", Some(LockKind::Spin)),
    ("lock_class_mtx_sleep", "sleep mutex", Some(LockKind::Mutex)),
    ("lock_class_sx", "sx", Some(LockKind::Sx)),
    ("lock_class_rm", "rm", None),
    ("lock_class_rm_sleepable", "sleepable rm", None),
    ("lock_class_rw", "rw", Some(LockKind::Rw)),
    ("lock_class_lockmgr", "lockmgr", Some(LockKind::Lockmgr)),
];

/// Where the tables are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    turnstiles: u64,
    sleepqueues: u64,
    /// C: `SC_TABLESIZE`.
    sleepq_chains: u64,
}

impl Tables {
    /// Defines them, and the classes.
    pub(super) fn define(
        image: &mut Image,
        vars: &mut Variables,
        recipe: &Recipe,
    ) -> core::result::Result<Self, RecipeError> {
        let rw = Section::Data;
        let sleepq_chains = match recipe.machine {
            Machine::Amd64 => 1024,
            Machine::Arm64 => 256,
        };
        let mut classes = Vec::new();
        for (symbol, name, _) in CLASSES {
            let name = [name.as_bytes(), &[0]].concat();
            let name = vars.unnamed(image, &name)?;
            let mut class = name.to_le_bytes().to_vec();
            class.resize(64, 0);
            classes.extend(vars.variable(image, symbol, &class)?.to_le_bytes());
        }
        classes.resize(16 * 8, 0);
        vars.variable(image, "lock_classes", &classes)?;
        let (tc, sc) = (TC_TABLESIZE * TC_BYTES, sleepq_chains * SC_BYTES);
        Ok(Self {
            turnstiles: image.define(rw, "turnstile_chains", tc)?,
            sleepqueues: image.define(rw, "sleepq_chains", sc)?,
            sleepq_chains,
        })
    }

    /// C: `TC_LOOKUP`, `SC_LOOKUP`.
    fn chain(&self, lock: &Lock, at: u64) -> u64 {
        if lock.kind.spins_or_blocks() {
            self.turnstiles + ((at >> 8) & (TC_TABLESIZE - 1)) * TC_BYTES
        } else {
            let hash = ((at >> 8) ^ at) & (self.sleepq_chains - 1);
            self.sleepqueues + hash * SC_BYTES
        }
    }
}

/// Places for locks and queues: pages of UMA's in slots.
#[derive(Default)]
struct Slots(Vec<u64>);

impl Slots {
    fn take(&mut self, k: &mut Kernel<'_>) -> Result<u64> {
        if self.0.is_empty() {
            let page = k.uma_page()?;
            let slots = PAGE_SIZE as u64 / SLOT;
            self.0.extend((0..slots).rev().map(|i| page + i * SLOT));
        }
        self.0.pop().ok_or(Errno::ENOMEM)
    }
}

/// What is needed to make them.
pub(super) struct LockBuilder<'a> {
    pub(super) tables: Tables,
    pub(super) procs: &'a Procs,
    pub(super) offsets: &'a Offsets,
    /// Where each lock's name is.
    pub(super) names: Vec<u64>,
}

/// A thread that waits: its struct, and whether it would share.
type Waiter = (u64, bool);

impl LockBuilder<'_> {
    /// Makes all locks of a recipe with those who wait for them; returns
    /// where each is.
    pub(super) fn make(
        &self,
        k: &mut Kernel<'_>,
        recipe: &Recipe,
    ) -> Result<Vec<(String, u64)>> {
        let mut slots = Slots::default();
        let mut waiters: BTreeMap<&str, Vec<Waiter>> = BTreeMap::new();
        for td in recipe.processes.iter().flat_map(|p| &p.threads) {
            if let ThreadState::Wait { lock, shared } = &td.state {
                let at = self.thread(td.tid)?;
                waiters.entry(lock).or_default().push((at, *shared));
            }
        }
        let mut made = Vec::new();
        for (lock, &name) in recipe.locks.iter().zip(&self.names) {
            let waiters = waiters.get(lock.name.as_str());
            let waiters = waiters.map_or(&[][..], Vec::as_slice);
            let at = slots.take(k)?;
            let owner = self.lock(k.mem, recipe, lock, (at, name), waiters)?;
            if !waiters.is_empty() {
                let queue = slots.take(k)?;
                self.queue(k.mem, lock, (at, queue, owner), waiters)?;
                for &(td, shared) in waiters {
                    self.waits(k.mem, lock, (at, queue, name), td, shared)?;
                }
            }
            made.push((lock.name.clone(), at));
        }
        Ok(made)
    }

    fn thread(&self, tid: i32) -> Result<u64> {
        self.procs.thread_address(tid).ok_or(Errno::ENOENT)
    }

    /// The lock itself; returns its owner, or 0.
    fn lock(
        &self,
        mem: &Memory,
        recipe: &Recipe,
        lock: &Lock,
        (at, name): (u64, u64),
        waiters: &[Waiter],
    ) -> Result<u64> {
        let class = CLASSES.iter().position(|c| c.2 == Some(lock.kind));
        let class = class.ok_or(Errno::EINVAL)? as u32;
        mem.store(at, name)?;
        mem.store32(at + 8, class << 24 | LO_INITIALIZED)?;
        let owner = match lock.held {
            Holder::By(tid) => self.thread(tid)?,
            _ => 0,
        };
        let mutex = matches!(lock.kind, LockKind::Mutex | LockKind::Spin);
        let contested = if waiters.is_empty() {
            0
        } else if mutex {
            2
        } else {
            let shared = waiters.iter().any(|w| w.1);
            let alone = waiters.iter().any(|w| !w.1);
            u64::from(shared) << 1 | u64::from(alone) << 2
        };
        // C: SX_SHARERS_SHIFT, LK_SHARERS_SHIFT; RW_READERS_SHIFT stayed.
        let moved =
            lock.kind == LockKind::Rw || recipe.release.osreldate >= 1_300_000;
        let shift = if moved { 5 } else { 4 };
        let word = match &lock.held {
            Holder::By(_) => owner,
            Holder::Shared(n, by) => {
                for &tid in by {
                    let field = match lock.kind {
                        LockKind::Rw => "td_rw_rlocks",
                        LockKind::Sx => "td_sx_slocks",
                        _ => "td_lk_slocks",
                    };
                    let at = self.thread(tid)? + self.offsets.of(field);
                    mem.write(at, &[1, 0])?;
                }
                n << shift | 1
            }
            Holder::Kernel => !0x1f,
            Holder::Nobody if mutex => 0,
            Holder::Nobody => 1,
        };
        mem.store(at + 24, word | contested)?;
        Ok(owner)
    }

    /// A turnstile or a sleep queue, on its chain.
    fn queue(
        &self,
        mem: &Memory,
        lock: &Lock,
        (at, queue, owner): (u64, u64, u64),
        waiters: &[Waiter],
    ) -> Result<()> {
        let chain = self.tables.chain(lock, at);
        let (heads, link) = if lock.kind.spins_or_blocks() {
            tailq_init(mem, queue + 64)?;
            mem.store(queue + 120, at)?;
            mem.store(queue + 128, owner)?;
            list_insert_head(mem, chain, queue, 80)?;
            (queue + 32, "td_lockq")
        } else {
            let kind = if lock.kind == LockKind::Sx { 3 } else { 4 };
            mem.store(queue + 64, at)?;
            mem.store32(queue + 72, kind)?;
            list_insert_head(mem, chain, queue, 40)?;
            (queue, "td_slpq")
        };
        tailq_init(mem, heads)?;
        tailq_init(mem, heads + 16)?;
        for &(td, shared) in waiters {
            let head = heads + u64::from(shared) * 16;
            tailq_insert_tail(mem, head, td, self.offsets.of(link))?;
        }
        Ok(())
    }

    /// What a thread that waits says of it.
    fn waits(
        &self,
        mem: &Memory,
        lock: &Lock,
        (at, queue, name): (u64, u64, u64),
        td: u64,
        shared: bool,
    ) -> Result<()> {
        let field = |name| td + self.offsets.of(name);
        let since = TICKS - WAIT_TICKS;
        if lock.kind.spins_or_blocks() {
            // TDI_LOCK.
            mem.store32(field("td_inhibitors"), 8)?;
            mem.store(field("td_blocked"), queue)?;
            mem.store(field("td_lockname"), name)?;
            mem.write(field("td_tsqueue"), &[u8::from(shared)])?;
            mem.store32(field("td_blktick"), since)
        } else {
            // TDI_SLEEPING.
            mem.store32(field("td_inhibitors"), 2)?;
            mem.store(field("td_wchan"), at)?;
            mem.store(field("td_wmesg"), name)?;
            mem.store32(field("td_sqqueue"), shared.into())?;
            mem.store32(field("td_slptick"), since)
        }
    }
}
