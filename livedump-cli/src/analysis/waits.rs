// SPDX-License-Identifier: BSD-2-Clause
//! The wait-for graph: from each thread that waits for a lock to the thread
//! that has it. C: what ddb(4)'s `show lockchain` follows.
//!
//! A thread waits for one thing at most, so that it has one edge at most. An
//! edge is certain only where everything agrees that has to: the thread, the
//! lock, its word, and the turnstile or sleep queue between them; and where
//! the wait is older than the dump. All else is a doubt, and is said.

use super::clock::Clock;
use super::locks::{Class, Holder, Lock, Locks};
use super::queues::{Queue, Queues, SLEEPQ_LK, SLEEPQ_SX};
use super::rm_readers;
use super::target::Target;
use super::threads::{TDI_LOCK, TDI_SLEEPING, Thread, Threads};
use super::types::{Missing, RequiredFields};
use livedump_vmcore::chain;
use memdev::addr::Vaddr;
use std::collections::HashMap;

/// A thread that says it shares more locks is not believed.
const MAX_SHARED: u64 = 1024;
/// Threads that are named as possible holders of one lock.
pub(super) const MAX_SHARERS: usize = 32;
const MAX_PROBLEMS: usize = 64;

/// Who has what a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitTarget {
    /// A thread of the list, by its number there.
    Thread(usize),
    /// Readers: how many, where that can be told, and who counts such a lock
    /// among its own.
    Shared(Option<u64>, Vec<usize>),
    /// The kernel itself. C: `LK_KERNPROC`.
    Kernel,
    /// Nobody: it has just been given back, or was destroyed.
    NoThread,
    /// Something that is on no list.
    UnknownThread(Vaddr),
}

/// One thread's wait.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Its number in the list.
    pub waiter: usize,
    /// What it waits for.
    pub lock: Lock,
    /// It would share it. `None` where that is not known.
    pub shared: Option<bool>,
    /// Who has it.
    pub to: WaitTarget,
    /// For how long, in seconds.
    pub seconds: Option<f64>,
    /// What does not agree.
    pub inconsistencies: Vec<String>,
    /// It began while the dump was taken, or just before: what was read for
    /// it may be of different moments, and it is no deadlock yet.
    pub is_recent: bool,
}

impl Edge {
    fn new(
        waiter: usize,
        lock: Lock,
        shared: Option<bool>,
        to: WaitTarget,
        inconsistencies: Vec<String>,
    ) -> Self {
        let (seconds, is_recent) = (None, false);
        Self { waiter, lock, shared, to, seconds, inconsistencies, is_recent }
    }

    /// Nothing speaks against it.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.inconsistencies.is_empty()
    }

    /// The thread that it leads to.
    #[must_use]
    pub fn next(&self) -> Option<usize> {
        match self.to {
            WaitTarget::Thread(n) => Some(n),
            _ => None,
        }
    }
}

/// The graph.
#[derive(Debug)]
pub struct Waits {
    /// One for each thread of the list.
    pub edges: Vec<Option<Edge>>,
    /// What was not right on the way.
    pub problems: Vec<String>,
    /// All of it is of one instant: a wait that does not agree with itself is
    /// no wait that changed meanwhile, however short it is.
    pub of_one_instant: bool,
}

impl Waits {
    /// Builds it.
    ///
    /// # Errors
    /// All that is missing.
    pub fn new(t: &Target<'_>, threads: &Threads) -> Result<Self, Missing> {
        let mut required = RequiredFields::new(&t.types);
        for field in
            ["td_state", "td_inhibitors", "td_wchan", "td_wmesg", "td_blocked"]
        {
            required.field("thread", field);
        }
        let required = required.check();
        let locks = Locks::new(t);
        let queues = Queues::walk(t);
        let (locks, mut queues) = match (required, locks, queues) {
            (Ok(()), Ok(locks), Ok(queues)) => (locks, queues),
            (a, b, c) => {
                let all = [a.err(), b.err(), c.err()];
                let all = all.into_iter().flatten().flat_map(|m| m.0);
                return Err(Missing(all.collect()));
            }
        };
        queues.find_unlinked(t, threads, &locks)?;
        let turnstiles = queues.turnstiles.iter();
        let build = Build {
            threads,
            locks,
            queues: &queues,
            turnstiles: turnstiles.map(|(&o, q)| (q.address.0, o)).collect(),
            sharers: [0, 1, 2].map(|class| sharers(threads, class)),
            clock: Clock::new(t),
            moment: match (t.has_panicked(), t.core.is_frozen()) {
                (_, true) => Moment::Instant,
                (true, false) => Moment::Panic,
                (false, false) => Moment::Live,
            },
        };
        let mut problems = Vec::new();
        let missing = build.locks.missing_classes();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            problems.push(format!("lock_classes lacks {missing}"));
        }
        let mut edges = Vec::new();
        for (n, td) in threads.list.iter().enumerate() {
            edges.push(match build.edge(n) {
                Ok(edge) => edge,
                Err(why) => {
                    let tid = td.tid;
                    if problems.len() < MAX_PROBLEMS {
                        problems.push(format!("thread {tid} {why}"));
                    }
                    None
                }
            });
        }
        problems.append(&mut queues.problems);
        let of_one_instant = t.core.is_frozen();
        Ok(Self { edges, problems, of_one_instant })
    }

    /// The wait of a thread.
    #[must_use]
    pub fn of(&self, thread: usize) -> Option<&Edge> {
        self.edges.get(thread)?.as_ref()
    }

    /// All waits.
    pub fn all(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter().flatten()
    }
}

struct Build<'g, 't, 'a> {
    threads: &'g Threads,
    locks: Locks<'t, 'a>,
    queues: &'g Queues,
    /// What a turnstile at an address is for.
    turnstiles: HashMap<u64, u64>,
    /// The threads that share rwlocks, sx and lockmgr locks.
    sharers: [Vec<usize>; 3],
    clock: Option<Clock>,
    moment: Moment,
}

/// When what was read for a wait was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// While the machine ran: at several.
    Live,
    /// In a panic, which may have stopped CPUs that held spin locks.
    Panic,
    /// At one, at which no CPU held a spin lock: queues are whole.
    Instant,
}

/// Why it cannot be told what a thread waits for.
type Reason = String;

impl Build<'_, '_, '_> {
    fn edge(&self, n: usize) -> Result<Option<Edge>, Reason> {
        let Some(td) = self.threads.list.get(n) else { return Ok(None) };
        let edge = if td.state.is_inhibited_by(TDI_LOCK) {
            self.blocked(n, td).map(Some)
        } else if td.state.is_inhibited_by(TDI_SLEEPING) {
            self.sleeping(n, td)
        } else {
            return Ok(None);
        };
        let mut edge = match edge {
            Ok(Some(edge)) => edge,
            Ok(None) => return Ok(None),
            // It has just begun, or ends: its parts are of different moments.
            Err(_) if self.is_recent(td) && self.is_live() => {
                return Ok(None);
            }
            Err(why) => return Err(why),
        };
        if !edge.lock.contested {
            edge.inconsistencies.push("its lock word has no waiters".into());
        }
        if let WaitTarget::UnknownThread(owner) = edge.to {
            let what = format!("its owner {owner} is not a known thread");
            edge.inconsistencies.push(what);
        }
        // Whoever gave it back woke others than this one, which have not run
        // yet: at one instant that is how it was.
        let handed_over =
            self.moment == Moment::Instant && edge.lock.holder == Holder::Free;
        if edge.to == WaitTarget::NoThread && !handed_over {
            edge.inconsistencies.push("no thread holds it".into());
        }
        if td.address.0 & 0x1f != 0 {
            edge.inconsistencies
                .push("the address of the thread is not aligned".into());
        }
        self.age(td, &mut edge);
        Ok(Some(edge))
    }

    /// In a turnstile: mutexes, rwlocks, rmlocks.
    fn blocked(&self, n: usize, td: &Thread) -> Result<Edge, Reason> {
        let mut inconsistencies = Vec::new();
        let at = td.blocked;
        let object = self.turnstiles.get(&at.0).copied();
        let queue = object.and_then(|o| self.queues.turnstiles.get(&o));
        let Some((object, queue)) = object.zip(queue) else {
            return Err(format!(
                "is blocked, but its turnstile {at} was not found"
            ));
        };
        let object = Vaddr(object);
        let lock = match self.locks.at(object) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                return Err(format!(
                    "is blocked, but there is no lock at {object}"
                ));
            }
            Err(e) => {
                return Err(format!("is blocked on a lock: {}", chain(&e)));
            }
        };
        let blocking = [Class::Mutex, Class::Rw, Class::Rm];
        if !blocking.contains(&lock.class) {
            let class = lock.class.word();
            inconsistencies.push(format!(
                "threads do not block on locks of class {class}"
            ));
        }
        let shared = self.queued(td, queue, td.tsqueue, &mut inconsistencies);
        if td.lockname.address != lock.name.address {
            let name = &td.lockname;
            inconsistencies
                .push(format!("the thread calls it {:?}", name.to_string()));
        }
        let mut to = self.holder(&lock);
        let owner = queue.owner.filter(|o| o.0 != 0);
        let by_turnstile = owner.map(|owner| self.thread(owner));
        match (lock.holder, by_turnstile) {
            (Holder::NotRecorded, Some(by)) => {
                to = by;
                // Whoever waits for an rmlock's readers waits for the first.
                let reader = owner.and_then(|td| {
                    rm_readers::is_reader(self.locks.target(), object, td)
                });
                if reader != Some(true) {
                    inconsistencies
                        .push("only its turnstile names its owner".into());
                }
            }
            (Holder::NotRecorded, None) => {
                to = WaitTarget::Shared(None, Vec::new())
            }
            (_, by) => {
                let named = matches!(
                    to,
                    WaitTarget::Thread(_) | WaitTarget::UnknownThread(_)
                );
                if (named || by.is_some()) && by.as_ref() != Some(&to) {
                    let what = "its turnstile names another owner";
                    inconsistencies.push(what.into());
                }
            }
        }
        Ok(Edge::new(n, lock, shared, to, inconsistencies))
    }

    /// In a sleep queue: sx and lockmgr locks. A thread that sleeps for
    /// anything else has no edge.
    fn sleeping(&self, n: usize, td: &Thread) -> Result<Option<Edge>, Reason> {
        let wchan = td.wchan;
        if wchan.0 == 0 {
            return Err("sleeps without a wait channel".into());
        }
        let queue = self.queues.sleepqueues.get(&wchan.0);
        let kind = queue.and_then(|q| q.kind);
        let on_lock = matches!(kind, Some(SLEEPQ_SX | SLEEPQ_LK));
        let lock = match self.locks.at(wchan) {
            Ok(Some(lock)) => lock,
            Ok(None) if on_lock => {
                return Err(format!(
                    "sleeps on a lock, but there is none at {wchan}"
                ));
            }
            Err(e) if on_lock || kind.is_none() => {
                return Err(format!("sleeps at {wchan}: {}", chain(&e)));
            }
            Ok(None) | Err(_) => return Ok(None),
        };
        let named = lock.name.address == td.wmesg.address;
        let expected = match lock.class {
            // Sleeping on its address, a thread need not want the lock.
            Class::Sx if named || kind == Some(SLEEPQ_SX) => SLEEPQ_SX,
            Class::Lockmgr if kind.is_none_or(|k| k == SLEEPQ_LK) => SLEEPQ_LK,
            _ => return Ok(None),
        };
        let mut inconsistencies = Vec::new();
        if lock.class == Class::Sx && !named {
            let name = &td.wmesg;
            inconsistencies
                .push(format!("the thread calls it {:?}", name.to_string()));
        }
        let shared = match queue {
            Some(queue) => {
                if kind != Some(expected) {
                    let class = lock.class.word();
                    inconsistencies.push(format!(
                        "its sleep queue is not for {class} locks"
                    ));
                }
                self.queued(td, queue, td.sqqueue, &mut inconsistencies)
            }
            None => {
                inconsistencies.push("it has no sleep queue".into());
                td.sqqueue.map(|n| n == 1)
            }
        };
        let to = self.holder(&lock);
        Ok(Some(Edge::new(n, lock, shared, to, inconsistencies)))
    }

    /// Whether the thread is where it says on the queue; and whether that is
    /// the queue of those who would share.
    fn queued(
        &self,
        td: &Thread,
        queue: &Queue,
        on: Option<u64>,
        inconsistencies: &mut Vec<String>,
    ) -> Option<bool> {
        let [first, second] = &queue.blocked;
        let td = td.address.0;
        let found = match (first.contains(&td), second.contains(&td)) {
            (true, true) => {
                inconsistencies
                    .push("the thread is on both of its queues".into());
                None
            }
            (true, false) => Some(0),
            (false, true) => Some(1),
            (false, false) if queue.pending.contains(&td) => {
                inconsistencies.push("the thread is being woken".into());
                None
            }
            (false, false) => {
                inconsistencies.push("the thread is not in its queue".into());
                None
            }
        };
        if let (Some(found), Some(on)) = (found, on)
            && found != on
        {
            inconsistencies.push(format!(
                "the thread is on queue {found} of it, expected {on}"
            ));
        }
        found.or(on).map(|n| n == 1)
    }

    fn thread(&self, address: Vaddr) -> WaitTarget {
        match self.threads.at(address) {
            Some(n) => WaitTarget::Thread(n),
            None => WaitTarget::UnknownThread(address),
        }
    }

    fn holder(&self, lock: &Lock) -> WaitTarget {
        match lock.holder {
            Holder::Thread(address) => self.thread(address),
            Holder::Shared(n) => {
                WaitTarget::Shared(n, self.sharers(lock.class))
            }
            Holder::Kernel => WaitTarget::Kernel,
            Holder::Free | Holder::Destroyed | Holder::NotRecorded => {
                WaitTarget::NoThread
            }
        }
    }

    /// The threads that may share a lock of this class.
    fn sharers(&self, class: Class) -> Vec<usize> {
        let [rw, sx, lockmgr] = &self.sharers;
        match class {
            Class::Rw => rw.clone(),
            Class::Sx => sx.clone(),
            Class::Lockmgr => lockmgr.clone(),
            _ => Vec::new(),
        }
    }

    /// Seconds that a thread has waited; `None` where that is not known.
    fn seconds(&self, td: &Thread) -> Option<f64> {
        Some(self.clock?.since(td.since?))
    }

    fn is_live(&self) -> bool {
        self.moment == Moment::Live
    }

    fn is_recent(&self, td: &Thread) -> bool {
        self.moment != Moment::Panic
            && self.seconds(td).is_some_and(|seconds| seconds < 1.0)
    }

    /// A wait that began while the dump was taken may have ended meanwhile,
    /// too: what it waited for was copied at another moment.
    fn age(&self, td: &Thread, edge: &mut Edge) {
        edge.seconds = self.seconds(td);
        edge.is_recent = self.is_recent(td);
        if edge.is_recent && self.is_live() {
            edge.inconsistencies.push(
                "it began less than a second before the dump, or during it"
                    .into(),
            );
        } else if self.is_live() && edge.seconds.is_none() {
            edge.inconsistencies.push("its start time is not known".into());
        }
    }
}

/// The threads that count a lock of some class among those they share.
fn sharers(threads: &Threads, class: usize) -> Vec<usize> {
    let counts = |td: &Thread| td.shared.get(class).copied().unwrap_or(0);
    let all = threads.list.iter().enumerate();
    all.filter(|(_, td)| (1..=MAX_SHARED).contains(&counts(td)))
        .map(|(n, _)| n)
        .take(MAX_SHARERS)
        .collect()
}
