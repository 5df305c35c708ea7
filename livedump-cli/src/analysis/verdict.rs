// SPDX-License-Identifier: BSD-2-Clause
//! Whether there is a deadlock. That none was found says little where a list
//! was torn, a lock could not be read or a holder is not recorded: then it
//! cannot be told, and each reason is named.

use super::threads::Threads;
use super::wait_chains::WaitChains;
use super::waits::{Edge, MAX_SHARERS, WaitTarget, Waits};
use livedump_vmcore::verdict::Verdict;
use std::collections::HashSet;

/// Reasons of one kind that are named.
const MAX_REASONS: usize = 16;
/// Waits that are followed for all locks that are held shared.
const MAX_STEPS: usize = 1 << 22;

/// What can be said of a dump's wait-for graph.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// Damaged is a deadlock.
    pub verdict: Verdict,
    /// Why it cannot be told whether there is another, or one at all.
    pub reasons: Vec<String>,
}

impl Conclusion {
    /// Draws it. `unproven`: what is not known about the dump's files.
    #[must_use]
    pub fn new(
        unproven: &[String],
        threads: &Threads,
        waits: &Waits,
        chains: &WaitChains,
    ) -> Self {
        let mut reasons = unproven.to_vec();
        reasons.extend(threads.incomplete());
        let queues = waits.problems.iter().take(MAX_REASONS);
        reasons.extend(queues.map(|p| format!("waits: {p}")));
        let uncertain = chains.cycles.iter().filter(|c| !c.certain);
        let mut reported: HashSet<usize> = HashSet::new();
        for cycle in uncertain.take(MAX_REASONS) {
            reported.extend(cycle.threads.iter().copied());
            let n = cycle.threads.len();
            reasons.push(match n {
                1 => "a wait of a thread for itself is uncertain".into(),
                n => format!("a cycle of {n} threads is uncertain"),
            });
        }
        let not_recent = || waits.all().filter(|e| !e.is_recent);
        let settled = |e: &&Edge| waits.of_one_instant || !e.is_recent;
        let uncertain = waits.all().filter(settled);
        let uncertain = uncertain.filter(|e| !reported.contains(&e.waiter));
        let uncertain = uncertain.filter_map(|e| {
            let inconsistency = e.inconsistencies.first()?;
            Some(format!("{}: {inconsistency}", describe(threads, e)))
        });
        reasons.extend(uncertain.take(MAX_REASONS));
        let mut readers = Readers { waits, left: MAX_STEPS };
        let shared = not_recent().filter_map(|e| {
            let why = readers.may_wait(e)?;
            Some(format!("{}: {why}", describe(threads, e)))
        });
        reasons.extend(shared.take(MAX_REASONS));
        let certain = chains.cycles.iter().filter(|c| c.certain).count();
        let verdict = match (certain, reasons.first()) {
            (0, None) => Verdict::Sound,
            (0, Some(first)) => Verdict::Undetermined(first.clone()),
            (1, _) => Verdict::Damaged("1 cycle".into()),
            (n, _) => Verdict::Damaged(format!("{n} cycles")),
        };
        Self { verdict, reasons }
    }
}

/// `thread 100201 waits for sx "proctree"`.
fn describe(threads: &Threads, e: &Edge) -> String {
    let tid = threads.list.get(e.waiter).map_or(-1, |td| td.tid);
    let class = e.lock.class.word();
    match &e.lock.name.text {
        Some(name) => format!("thread {tid} waits for {class} {name:?}"),
        None => {
            format!("thread {tid} waits for {class} at {}", e.lock.address)
        }
    }
}

/// Who shares a lock is not recorded: only how many they are, and which
/// threads share any of that class.
struct Readers<'w> {
    waits: &'w Waits,
    left: usize,
}

impl Readers<'_> {
    /// Why a reader of the lock that `e` waits for may wait for its waiter.
    fn may_wait(&mut self, e: &Edge) -> Option<&'static str> {
        let WaitTarget::Shared(count, candidates) = &e.to else { return None };
        let known = candidates.len() as u64;
        let all = known < MAX_SHARERS as u64
            && count.is_some_and(|count| count <= known);
        if !all {
            return Some(
                "it is held by readers, which are not recorded and may wait \
                 themselves",
            );
        }
        let mut seen = HashSet::new();
        let mut next = candidates.clone();
        while let Some(n) = next.pop() {
            let Some(left) = self.left.checked_sub(1) else {
                return Some("it has too many possible holders to follow");
            };
            self.left = left;
            if n == e.waiter {
                return Some(
                    "one of its possible readers waits, directly or \
                     indirectly, for this thread",
                );
            }
            if !seen.insert(n) {
                continue;
            }
            match self.waits.of(n).map(|e| &e.to) {
                Some(WaitTarget::Thread(n)) => next.push(*n),
                Some(WaitTarget::Shared(_, candidates)) => {
                    next.extend(candidates)
                }
                _ => {}
            }
        }
        None
    }
}
