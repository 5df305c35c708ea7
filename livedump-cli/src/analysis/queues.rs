// SPDX-License-Identifier: BSD-2-Clause
//! Who waits where, by the kernel's own tables: `turnstile_chains` and
//! `sleepq_chains`. All chains are walked, so how a kernel hashes does not
//! matter. C: subr_turnstile.c, subr_sleepqueue.c.

use super::target::{Target, at};
use super::types::{Field, Missing, RequiredFields};
use livedump_vmcore::procs::MAX_THREADS;
use memdev::addr::Vaddr;
use std::collections::{HashMap, HashSet};

/// No table has more chains.
const MAX_CHAINS: u64 = 1 << 16;
const MAX_PROBLEMS: usize = 64;

/// C: `SLEEPQ_SX`.
pub const SLEEPQ_SX: u64 = 3;
/// C: `SLEEPQ_LK`.
pub const SLEEPQ_LK: u64 = 4;

/// Those who wait for one thing.
#[derive(Clone, Debug)]
pub struct Queue {
    /// C: `struct turnstile *`, `struct sleepqueue *`.
    pub address: Vaddr,
    /// A turnstile's `ts_owner`.
    pub owner: Option<Vaddr>,
    /// A sleep queue's `sq_type`.
    pub kind: Option<u64>,
    /// The threads on its two queues.
    pub blocked: [HashSet<u64>; 2],
    /// Threads that are being woken. C: `ts_pending`.
    pub pending: HashSet<u64>,
}

/// All of them, by what is waited for.
#[derive(Debug, Default)]
pub struct Queues {
    /// By `ts_lockobj`.
    pub turnstiles: HashMap<u64, Queue>,
    /// By `sq_wchan`.
    pub sleepqueues: HashMap<u64, Queue>,
    /// What was not right on the way.
    pub problems: Vec<String>,
}

/// One kind of chain.
pub(super) struct Kind {
    what: &'static str,
    table: &'static str,
    chain_bytes: u64,
    head: Field,
    hash: Field,
    pub(super) object: Field,
    owner: Option<Field>,
    kind: Option<Field>,
    pub(super) blocked: Field,
    pending: Option<Field>,
    pub(super) link: Field,
}

impl Kind {
    /// Turnstiles and sleep queues.
    pub(super) fn both(t: &Target<'_>) -> Result<(Self, Self), Missing> {
        let mut n = RequiredFields::new(&t.types);
        let turnstiles = Kind {
            what: "turnstile",
            table: "turnstile_chains",
            chain_bytes: n.size("turnstile_chain"),
            head: n.field("turnstile_chain", "tc_turnstiles"),
            hash: n.field("turnstile", "ts_hash"),
            object: n.field("turnstile", "ts_lockobj"),
            owner: Some(n.field("turnstile", "ts_owner")),
            kind: None,
            blocked: n.field("turnstile", "ts_blocked"),
            pending: Some(n.field("turnstile", "ts_pending")),
            link: n.field("thread", "td_lockq"),
        };
        let sleepqueues = Kind {
            what: "sleep queue",
            table: "sleepq_chains",
            chain_bytes: n.size("sleepqueue_chain"),
            head: n.field("sleepqueue_chain", "sc_queues"),
            hash: n.field("sleepqueue", "sq_hash"),
            object: n.field("sleepqueue", "sq_wchan"),
            owner: None,
            kind: Some(n.field("sleepqueue", "sq_type")),
            blocked: n.field("sleepqueue", "sq_blocked"),
            pending: None,
            link: n.field("thread", "td_slpq"),
        };
        n.check()?;
        Ok((turnstiles, sleepqueues))
    }
}

impl Queues {
    /// Walks both tables.
    ///
    /// # Errors
    /// All that is missing.
    pub fn walk(t: &Target<'_>) -> Result<Self, Missing> {
        let (turnstiles, sleepqueues) = Kind::both(t)?;
        let mut w = Walk::new(t);
        Ok(Self {
            turnstiles: w.table(&turnstiles),
            sleepqueues: w.table(&sleepqueues),
            problems: w.problems,
        })
    }
}

pub(super) struct Walk<'t, 'a> {
    pub(super) t: &'t Target<'a>,
    /// Elements that may still be checked.
    left: usize,
    pub(super) problems: Vec<String>,
}

impl<'t, 'a> Walk<'t, 'a> {
    pub(super) fn new(t: &'t Target<'a>) -> Self {
        Self { t, left: MAX_THREADS, problems: Vec::new() }
    }

    /// One more element, of those that may be checked.
    pub(super) fn within_limit(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(text);
        }
    }

    fn table(&mut self, k: &Kind) -> HashMap<u64, Queue> {
        let mut all = HashMap::new();
        let Some(symbol) = self.t.kernel.find(k.table) else {
            self.problem(format!("the kernel has no symbol {}", k.table));
            return all;
        };
        let count = symbol.size.checked_div(k.chain_bytes).unwrap_or(0);
        if count == 0 || count > MAX_CHAINS {
            let bytes = symbol.size;
            self.problem(format!("{} has {bytes} bytes", k.table));
            return all;
        }
        let mut seen = HashSet::new();
        for i in 0..count {
            let chain = i.wrapping_mul(k.chain_bytes);
            let chain = Vaddr(symbol.address.0.wrapping_add(chain));
            self.chain(k, at(chain, k.head), &mut seen, &mut all);
        }
        all
    }

    fn chain(
        &mut self,
        k: &Kind,
        head: Vaddr,
        seen: &mut HashSet<u64>,
        all: &mut HashMap<u64, Queue>,
    ) {
        let (t, what) = (self.t, k.what);
        let mut link = head;
        loop {
            let address = match t.core.read_u64(link) {
                Ok(0) => return,
                Ok(next) => Vaddr(next),
                Err(e) => {
                    let why = super::target::read_error_text(&e);
                    return self.problem(format!("{}: {why}", k.table));
                }
            };
            if !seen.insert(address.0) {
                let twice = format!("the {what} at {address} is linked twice");
                return self.problem(twice);
            }
            if !self.within_limit() {
                return self.problem(format!("{} is too long", k.table));
            }
            match t.core.read_u64(at(address, k.object)) {
                Ok(object) => {
                    let queue = self.queue(k, address);
                    all.insert(object, queue);
                }
                Err(e) => {
                    let why = super::target::read_error_text(&e);
                    return self.problem(format!("{what}: {why}"));
                }
            }
            link = at(address, k.hash);
        }
    }

    pub(super) fn queue(&mut self, k: &Kind, address: Vaddr) -> Queue {
        let t = self.t;
        let get = |field: Option<Field>| t.get(address, field?).ok();
        let head = at(address, k.blocked);
        let second = Vaddr(head.0.wrapping_add(16));
        Queue {
            address,
            owner: get(k.owner).map(Vaddr),
            kind: get(k.kind),
            blocked: [self.threads(k, head), self.threads(k, second)],
            pending: match k.pending {
                Some(f) => self.threads(k, at(address, f)),
                None => HashSet::new(),
            },
        }
    }

    /// A TAILQ of threads.
    fn threads(&mut self, k: &Kind, head: Vaddr) -> HashSet<u64> {
        let mut found = HashSet::new();
        let mut link = head;
        loop {
            match self.t.core.read_u64(link) {
                Ok(0) => return found,
                Ok(next) => {
                    if !self.within_limit() {
                        self.problem(format!("{} is too long", k.table));
                        return found;
                    }
                    if !found.insert(next) {
                        let what = k.what;
                        let at = Vaddr(next);
                        self.problem(format!(
                            "the thread at {at} is on a {what} twice"
                        ));
                        return found;
                    }
                    link = at(Vaddr(next), k.link);
                }
                Err(e) => {
                    let why = super::target::read_error_text(&e);
                    self.problem(format!("on a {}: {why}", k.what));
                    return found;
                }
            }
        }
    }
}
