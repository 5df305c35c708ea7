// SPDX-License-Identifier: BSD-2-Clause
//! Threads, waits and holders of the graph, as they are reported.

use crate::analysis::stack::Stacks;
use crate::analysis::threads::{Thread, Threads};
use crate::analysis::waits::{Edge, WaitTarget, Waits};
use crate::report::thread::{Call, LockName, ThreadRef, calls, doing};
use crate::report::{Holder, Last, Wait};

/// Waits that are shown of one cycle or chain.
const MAX_SHOWN: usize = 128;

/// Turns what was found into a report.
#[derive(Debug)]
pub struct Builder<'s, 't, 'a> {
    /// All threads.
    pub threads: &'s Threads,
    /// The graph.
    pub waits: &'s Waits,
    /// Their stacks.
    pub stacks: &'s Stacks<'t, 'a>,
}

impl Builder<'_, '_, '_> {
    /// Those of some threads, with stacks.
    #[must_use]
    pub fn waits(&self, threads: &[usize]) -> Vec<Wait> {
        let edges = threads.iter().filter_map(|&n| self.waits.of(n));
        edges.filter_map(|e| self.wait(e, true)).take(MAX_SHOWN).collect()
    }

    fn stack(&self, thread: &Thread) -> Vec<Call> {
        calls(&self.stacks.of(thread))
    }

    /// One.
    #[must_use]
    pub fn wait(&self, e: &Edge, with_stack: bool) -> Option<Wait> {
        let thread = self.threads.list.get(e.waiter)?;
        Some(Wait {
            who: ThreadRef::new(self.threads, thread),
            lock: LockName::new(&e.lock),
            shared: e.shared,
            holder: holder(self.threads, e),
            seconds: e.seconds,
            inconsistencies: e.inconsistencies.clone(),
            stack: match with_stack {
                true => self.stack(thread),
                false => Vec::new(),
            },
        })
    }

    /// What a thread does that waits for no lock.
    #[must_use]
    pub fn last(&self, n: usize) -> Option<Last> {
        if self.waits.of(n).is_some() {
            return None;
        }
        let thread = self.threads.list.get(n)?;
        let state = doing(thread);
        let who = ThreadRef::new(self.threads, thread);
        Some(Last { who, state, stack: self.stack(thread) })
    }
}

/// The holder of what a thread waits for.
#[must_use]
pub fn holder(threads: &Threads, edge: &Edge) -> Holder {
    let tid = |&n: &usize| threads.list.get(n).map(|t| t.tid);
    let new = |kind, text: String| Holder {
        kind,
        tid: None,
        count: None,
        candidates: Vec::new(),
        text,
    };
    match &edge.to {
        WaitTarget::Thread(n) => {
            let thread = threads.list.get(*n);
            let who = thread.map(|t| ThreadRef::new(threads, t).to_string());
            let text = match *n == edge.waiter {
                true => "itself".to_string(),
                false => who.unwrap_or_default(),
            };
            Holder { tid: tid(n), ..new("thread", text) }
        }
        WaitTarget::Shared(count, candidates) => {
            let candidates: Vec<_> =
                candidates.iter().filter_map(tid).collect();
            let mut text = match count {
                Some(1) => "1 reader".to_string(),
                Some(n) => format!("{n} readers"),
                None => "readers".to_string(),
            };
            text.push_str(", which are not recorded");
            let known: Vec<_> =
                candidates.iter().map(|t| t.to_string()).collect();
            if !known.is_empty() {
                let thread =
                    if known.len() == 1 { "thread" } else { "threads" };
                let known = known.join(", ");
                text.push_str(&format!("; perhaps {thread} {known}"));
            }
            Holder { count: *count, candidates, ..new("shared", text) }
        }
        WaitTarget::Kernel => new("kernel", "the kernel itself".into()),
        WaitTarget::NoThread => new("none", "no thread".into()),
        WaitTarget::UnknownThread(at) => {
            new("unknown", format!("{at}, which is not a known thread"))
        }
    }
}
