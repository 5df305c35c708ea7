// SPDX-License-Identifier: BSD-2-Clause
//! Where waits end. A thread waits for one thing at most, so that each is
//! behind one root at most.

use super::wait::{Next, Resource, Wait};
use crate::analysis::clock::longest;
use std::collections::HashMap;

/// What waits lead to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RootOf {
    /// Threads that wait for each other, each for the next.
    Cycle(Vec<usize>),
    /// A thread that waits for nothing that is known to lead on.
    Thread(usize),
    /// What is no thread.
    Resource(usize),
}

/// Of what there is too little: so much sooner a wait is long, as it begins
/// anew whenever it was in vain.
const ANEW: f64 = 10.0;

/// A root, and the threads behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// Which.
    pub of: RootOf,
    /// The threads that wait for it, over whatever ways, the longest wait
    /// first; those of a cycle are not among them.
    pub behind: Vec<usize>,
    /// The thread from which the way to the root is the longest; of a cycle,
    /// its first.
    pub furthest: usize,
    /// The longest of their waits, and of those of a cycle.
    pub seconds: Option<f64>,
    /// Every wait between the thread that waits longest and the root agrees
    /// with itself.
    pub certain: bool,
    /// A wait that has to end is long, and certain up to here.
    pub stuck: bool,
}

impl Root {
    /// All threads that do not get on because of it.
    #[must_use]
    pub fn count(&self) -> usize {
        let own = match &self.of {
            RootOf::Cycle(all) => all.len(),
            RootOf::Thread(_) | RootOf::Resource(_) => 0,
        };
        own.saturating_add(self.behind.len())
    }
}

/// Where the wait of a thread leads.
#[derive(Clone, Copy, Debug)]
struct Way {
    end: End,
    /// Every wait up to there is certain.
    certain: bool,
    /// Waits up to there.
    length: usize,
}

/// What a walk ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Cycle(usize),
    Thread(usize),
    Resource(usize),
}

/// The roots, those that are stuck first, then by the number of threads.
pub(super) fn roots(
    waits: &[Option<Wait>],
    resources: &[Resource],
    limit: f64,
) -> Vec<Root> {
    let of = |n: usize| waits.get(n).and_then(Option::as_ref);
    let mut walk = Walk { of: &of, ends: HashMap::new(), cycles: Vec::new() };
    let mut behind: HashMap<End, Vec<(usize, Way)>> = HashMap::new();
    for wait in waits.iter().flatten() {
        let way = walk.from(wait.waiter);
        behind.entry(way.end).or_default().push((wait.waiter, way));
    }
    let cycles = walk.cycles;
    let mut found = Vec::new();
    for (end, mut members) in behind {
        let seconds = |n: usize| of(n).and_then(|w| w.seconds);
        members.sort_by(|a, b| {
            longest(seconds(a.0), seconds(b.0)).then(a.0.cmp(&b.0))
        });
        let first = members.first().copied();
        let root = match end {
            End::Cycle(n) => match cycles.get(n) {
                Some(cycle) => RootOf::Cycle(cycle.clone()),
                None => continue,
            },
            End::Thread(n) => RootOf::Thread(n),
            End::Resource(n) => RootOf::Resource(n),
        };
        let has_to_end = |n: usize| match &root {
            RootOf::Cycle(_) => true,
            RootOf::Resource(r) => {
                resources.get(*r).is_some_and(|r| r.kind.has_to_answer())
                    || of(n).is_some_and(|w| !w.is_message)
            }
            RootOf::Thread(_) => of(n).is_some_and(|w| !w.is_message),
        };
        let is_short = match &root {
            RootOf::Resource(r) => {
                resources.get(*r).is_some_and(|r| r.is_short)
            }
            _ => false,
        };
        let limit = if is_short { limit / ANEW } else { limit };
        let is_long = |n: usize| seconds(n).is_some_and(|s| s >= limit);
        let in_cycle = |n: &usize| match &root {
            RootOf::Cycle(all) => all.contains(n),
            _ => false,
        };
        // A cycle does not end by itself, however short it has stood.
        let stuck = members.iter().any(|&(n, way)| match &root {
            RootOf::Cycle(_) => way.certain && in_cycle(&n),
            _ => way.certain && has_to_end(n) && is_long(n),
        });
        // Of equal ones the first, which waits longest.
        let ways = members.iter().rev();
        let furthest = ways.max_by_key(|(_, way)| way.length);
        let furthest = match &root {
            RootOf::Cycle(all) => all.first().copied(),
            _ => furthest.map(|(n, _)| *n),
        };
        let all = members.iter().map(|m| m.0).filter(|n| !in_cycle(n));
        found.push(Root {
            behind: all.collect(),
            furthest: furthest.unwrap_or(0),
            seconds: first.and_then(|(n, _)| seconds(n)),
            certain: match &root {
                RootOf::Cycle(_) => stuck,
                _ => first.is_some_and(|(_, way)| way.certain),
            },
            stuck,
            of: root,
        });
    }
    found.sort_by(|a, b| {
        b.stuck
            .cmp(&a.stuck)
            .then(b.count().cmp(&a.count()))
            .then(longest(a.seconds, b.seconds))
            .then(order(&a.of).cmp(&order(&b.of)))
    });
    found
}

/// One order for all runs.
fn order(of: &RootOf) -> (u8, usize) {
    match of {
        RootOf::Cycle(all) => (0, all.first().copied().unwrap_or(0)),
        RootOf::Thread(n) => (1, *n),
        RootOf::Resource(n) => (2, *n),
    }
}

struct Walk<'w, F> {
    of: &'w F,
    /// Where each thread leads.
    ends: HashMap<usize, Way>,
    cycles: Vec<Vec<usize>>,
}

impl<'w, F: Fn(usize) -> Option<&'w Wait>> Walk<'w, F> {
    fn from(&mut self, start: usize) -> Way {
        let mut visited: Vec<usize> = Vec::new();
        let mut position: HashMap<usize, usize> = HashMap::new();
        let mut at = start;
        let certain = |end| Way { end, certain: true, length: 0 };
        let mut way = loop {
            if let Some(&known) = self.ends.get(&at) {
                break known;
            }
            if let Some(&first) = position.get(&at) {
                break self.cycle(visited.split_off(first));
            }
            let Some(wait) = (self.of)(at) else {
                break certain(End::Thread(at));
            };
            position.insert(at, visited.len());
            visited.push(at);
            match wait.next {
                Next::Thread(next) => at = next,
                Next::Resource(n) => break certain(End::Resource(n)),
            }
        };
        for &n in visited.iter().rev() {
            let wait = (self.of)(n);
            way.certain &= wait.is_some_and(|w| w.inconsistencies.is_empty());
            way.length = way.length.saturating_add(1);
            self.ends.insert(n, way);
        }
        self.ends.get(&start).copied().unwrap_or(way)
    }

    /// A cycle, from its first thread on.
    fn cycle(&mut self, mut threads: Vec<usize>) -> Way {
        let least = threads.iter().enumerate().min_by_key(|(_, n)| **n);
        let first = least.map_or(0, |(i, _)| i);
        threads.rotate_left(first);
        let certain = threads.iter().all(|&n| {
            (self.of)(n).is_some_and(|w| w.inconsistencies.is_empty())
        });
        let end = End::Cycle(self.cycles.len());
        let way = Way { end, certain, length: 0 };
        for &n in &threads {
            self.ends.insert(n, way);
        }
        self.cycles.push(threads);
        way
    }
}

#[cfg(test)]
mod tests {
    use super::super::wait::{Kind, Object};
    use super::*;

    fn wait(waiter: usize, next: Next, seconds: f64) -> Option<Wait> {
        Some(Wait {
            waiter,
            object: Object::Other("it".into()),
            spins: false,
            is_message: false,
            next,
            seconds: Some(seconds),
            inconsistencies: Vec::new(),
        })
    }

    fn disk() -> Vec<Resource> {
        let (kind, name) = (Kind::Device, "da0".to_string());
        let (details, is_short) = (Vec::new(), false);
        vec![Resource { kind, name, details, is_short }]
    }

    use Next::{Resource as Res, Thread};

    #[test]
    fn each_thread_is_behind_one_root_and_the_most_come_first() {
        let waits = [
            wait(0, Thread(1), 20.0),
            wait(1, Res(0), 30.0),
            None,
            wait(3, Thread(2), 5.0),
            wait(4, Thread(1), 1.5),
        ];
        let found = roots(&waits, &disk(), 10.0);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].of, RootOf::Resource(0));
        assert_eq!(found[0].behind, [1, 0, 4]);
        assert_eq!(found[0].seconds, Some(30.0));
        assert_eq!(found[0].furthest, 0);
        assert!(found[0].stuck && found[0].certain);
        assert_eq!(found[1].of, RootOf::Thread(2));
        assert!(!found[1].stuck, "5 s are not long");
    }

    #[test]
    fn of_what_is_short_a_wait_is_long_sooner() {
        let mut memory = disk();
        let waits = [wait(0, Res(0), 1.5), wait(1, Res(0), 0.2)];
        assert!(!roots(&waits, &memory, 10.0)[0].stuck);
        memory[0].is_short = true;
        assert!(roots(&waits, &memory, 10.0)[0].stuck);
        assert!(!roots(&waits[1..], &memory, 10.0)[0].stuck);
    }

    #[test]
    fn a_cycle_is_found_from_outside_and_from_inside() {
        let waits = [
            wait(0, Thread(2), 2.0),
            wait(1, Thread(2), 2.0),
            wait(2, Thread(1), 3.0),
            wait(3, Thread(0), 50.0),
        ];
        let found = roots(&waits, &[], 10.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].of, RootOf::Cycle(vec![1, 2]));
        assert_eq!(found[0].behind, [3, 0]);
        assert_eq!(found[0].count(), 4);
        assert!(found[0].stuck);
        let itself = [wait(0, Thread(0), 1.0)];
        let found = roots(&itself, &[], 10.0);
        assert_eq!(found[0].of, RootOf::Cycle(vec![0]));
    }

    #[test]
    fn what_does_not_agree_is_not_called_stuck() {
        let mut waits = vec![wait(0, Thread(1), 20.0), wait(1, Res(0), 30.0)];
        let doubt = |w: &mut Option<Wait>| {
            w.as_mut().unwrap().inconsistencies.push("no".into());
        };
        doubt(&mut waits[0]);
        let found = roots(&waits, &disk(), 10.0);
        assert!(found[0].stuck, "the other is certain");
        doubt(&mut waits[1]);
        let found = roots(&waits, &disk(), 10.0);
        assert!(!found[0].stuck && !found[0].certain);
        // Neither is a cycle of such.
        let mut waits =
            vec![wait(0, Thread(1), 20.0), wait(1, Thread(0), 30.0)];
        doubt(&mut waits[1]);
        let found = roots(&waits, &[], 10.0);
        assert!(matches!(found[0].of, RootOf::Cycle(_)));
        assert!(!found[0].stuck);
    }

    #[test]
    fn a_message_that_does_not_come_is_no_hang() {
        let mut waits = vec![wait(0, Thread(1), 900.0), None];
        waits[0].as_mut().unwrap().is_message = true;
        assert!(!roots(&waits, &[], 10.0)[0].stuck);
        // What waits for a lock of one that waits for a message is one.
        waits[1] = None;
        waits.push(wait(2, Thread(0), 900.0));
        assert!(roots(&waits, &[], 10.0)[0].stuck);
    }
}
