// SPDX-License-Identifier: BSD-2-Clause
//! What is worth a look in the wait-for graph: cycles, which are deadlocks,
//! and long chains, which are not but look like them from outside.

use super::waits::{WaitTarget, Waits};
use std::collections::HashMap;

/// Threads of a chain that is worth a line.
pub const MIN_LENGTH: usize = 3;
/// Chains that are shown.
const MAX_CHAINS: usize = 64;

/// Threads that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Each waits for the next, the last for the first.
    pub threads: Vec<usize>,
    /// No wait of it is uncertain.
    pub certain: bool,
    /// Threads outside that wait for one inside.
    pub waiters: usize,
}

/// Threads that wait one for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Each waits for the next; what the last does, its edge or state says.
    pub threads: Vec<usize>,
    /// All threads that wait, over whatever ways, for the last.
    pub waiters: usize,
}

/// Cycles and chains.
#[derive(Debug, Default)]
pub struct WaitChains {
    /// Certain ones first, then by their first thread. An uncertain one has
    /// at least two threads.
    pub cycles: Vec<Cycle>,
    /// The longest of those that end at one thread; longest first.
    pub chains: Vec<Chain>,
}

impl WaitChains {
    /// Finds them.
    #[must_use]
    pub fn new(waits: &Waits) -> Self {
        let next = |n: usize| waits.of(n).and_then(|e| e.next());
        let (cycles, on_cycle) = cycles(waits);
        let mut cycles = cycles;
        let mut ends: HashMap<usize, ChainEnd> = HashMap::new();
        let mut reaches = ChainEnds::default();
        for edge in waits.all() {
            let waiter = edge.waiter;
            if on_cycle.contains_key(&waiter) {
                continue;
            }
            let (last, length) = reaches.from(waiter, next, &on_cycle);
            if let Some(&c) = on_cycle.get(&last) {
                if let Some(cycle) = cycles.get_mut(c) {
                    cycle.waiters = cycle.waiters.saturating_add(1);
                }
                continue;
            }
            let end = ends.entry(last).or_default();
            // The last of all may have an edge that leads to no thread.
            if last != waiter {
                end.waiters = end.waiters.saturating_add(1);
            }
            if length > end.length {
                (end.length, end.first) = (length, waiter);
            }
        }
        // One that got the lock between the copies of its wait and of the
        // lock seems to wait for itself.
        cycles.retain(|c| c.certain || c.threads.len() > 1);
        cycles.sort_by_key(|c| (!c.certain, c.threads.first().copied()));
        let is_shown = |c: &Chain| {
            let last = c.threads.last().and_then(|&n| waits.of(n));
            let shared =
                last.is_some_and(|e| matches!(e.to, WaitTarget::Shared(..)));
            let n = c.threads.len().saturating_add(usize::from(shared));
            n >= MIN_LENGTH
        };
        let mut chains: Vec<_> = ends
            .into_values()
            .map(|e| Chain { threads: path(e.first, next), waiters: e.waiters })
            .filter(is_shown)
            .collect();
        chains.sort_by_key(|c| {
            let length = c.threads.len();
            (core::cmp::Reverse((length, c.waiters)), c.threads.clone())
        });
        chains.truncate(MAX_CHAINS);
        Self { cycles, chains }
    }
}

#[derive(Default)]
struct ChainEnd {
    first: usize,
    length: usize,
    waiters: usize,
}

/// Where chains lead to, and how many threads they have, for each thread that
/// one was followed from.
#[derive(Default)]
struct ChainEnds(HashMap<usize, (usize, usize)>);

impl ChainEnds {
    fn from(
        &mut self,
        start: usize,
        next: impl Fn(usize) -> Option<usize>,
        on_cycle: &HashMap<usize, usize>,
    ) -> (usize, usize) {
        let mut visited = Vec::new();
        let mut at = start;
        let (last, mut length) = loop {
            if let Some(&known) = self.0.get(&at) {
                break known;
            }
            // Every cycle of edges is known: this ends.
            match next(at).filter(|_| !on_cycle.contains_key(&at)) {
                Some(n) => {
                    visited.push(at);
                    at = n;
                }
                None => {
                    self.0.insert(at, (at, 1));
                    break (at, 1);
                }
            }
        };
        for n in visited.into_iter().rev() {
            length = length.saturating_add(1);
            self.0.insert(n, (last, length));
        }
        (last, length)
    }
}

/// The threads from one on, up to the last.
fn path(start: usize, next: impl Fn(usize) -> Option<usize>) -> Vec<usize> {
    std::iter::successors(Some(start), |&n| next(n)).collect()
}

/// The cycles, and for each thread on one which that is.
fn cycles(waits: &Waits) -> (Vec<Cycle>, HashMap<usize, usize>) {
    let next = |n: usize| waits.of(n).and_then(|e| e.next());
    let mut found = Vec::new();
    let mut on_cycle = HashMap::new();
    // Which walk came by.
    let mut seen: HashMap<usize, usize> = HashMap::new();
    for edge in waits.all() {
        let walk = edge.waiter;
        let mut at = Some(walk);
        while let Some(n) = at {
            match seen.get(&n) {
                None => {
                    seen.insert(n, walk);
                    at = next(n);
                }
                Some(&earlier) if earlier == walk => {
                    let threads = cycle_from(n, next);
                    for &t in &threads {
                        on_cycle.insert(t, found.len());
                    }
                    let mut edges = threads.iter().map(|&t| waits.of(t));
                    let certain =
                        edges.all(|e| e.is_some_and(|e| e.is_certain()));
                    found.push(Cycle { threads, certain, waiters: 0 });
                    break;
                }
                Some(_) => break,
            }
        }
    }
    (found, on_cycle)
}

/// The cycle that `start` is on, from its first thread.
fn cycle_from(
    start: usize,
    next: impl Fn(usize) -> Option<usize>,
) -> Vec<usize> {
    let mut all = vec![start];
    let mut at = next(start);
    while let Some(n) = at.filter(|&n| n != start) {
        all.push(n);
        at = next(n);
    }
    let least = all.iter().enumerate().min_by_key(|(_, n)| **n);
    let start_index = least.map_or(0, |(i, _)| i);
    all.rotate_left(start_index);
    all
}
