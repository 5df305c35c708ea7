// SPDX-License-Identifier: BSD-2-Clause
//! From what was found to what is reported.

use crate::analysis::Target;
use crate::analysis::clock::Clock;
use crate::analysis::explain::{
    self, Explanation, Next, Object, RootOf, of_root,
};
use crate::analysis::stack::{Source, Stacks};
use crate::analysis::threads::{Thread, Threads};
use crate::analysis::waits::Waits;
use crate::report::escape;
use crate::report::explain::{
    Explain, Handler, Root, Spinner, StalledCpu, Wait,
};
use crate::report::thread::{LockName, ThreadRef, calls, doing};
use livedump_vmcore::verdict::Verdict;
use std::cmp::Reverse;

/// Waits of a path that are reported.
const MAX_PATH: usize = 128;
/// Reasons of one kind that are named.
const MAX_REASONS: usize = 16;

/// What an explanation is made of.
#[derive(Debug)]
pub struct Explained<'s, 't, 'a> {
    /// The dump.
    pub target: &'s Target<'a>,
    /// Its threads.
    pub threads: &'s Threads,
    /// Their waits for locks.
    pub waits: &'s Waits,
    /// Their stacks.
    pub stacks: &'s Stacks<'t, 'a>,
    /// All waits, followed.
    pub explanation: &'s Explanation,
    /// A wait of so many seconds is long.
    pub limit: f64,
}

impl Explained<'_, '_, '_> {
    /// The report on `file`, which must be escaped.
    #[must_use]
    pub fn report(&self, file: String) -> Explain {
        let found = self.explanation;
        let roots: Vec<_> = found.roots.iter().map(|r| self.root(r)).collect();
        let handlers: Vec<_> =
            found.handlers.iter().filter_map(|h| self.handler(h)).collect();
        let stalled_cpus: Option<Vec<_>> = found
            .stalled
            .as_ref()
            .map(|all| all.iter().map(|s| self.stalled(s)).collect());
        let reasons = self.reasons();
        let stuck = roots.iter().filter(|r| r.stuck).count();
        let stalled = stalled_cpus.as_ref().map_or(0, Vec::len);
        let causes =
            stuck.saturating_add(handlers.len()).saturating_add(stalled);
        let verdict = match (causes, reasons.first()) {
            (0, None) => Verdict::Sound,
            (0, Some(first)) => Verdict::Undetermined(first.clone()),
            (1, _) => Verdict::Damaged("1 cause".into()),
            (n, _) => Verdict::Damaged(format!("{n} causes")),
        };
        let problems = found.problems.iter().chain(&self.waits.problems);
        let mut report = Explain {
            file,
            kernel: self.target.kernel.path().to_string(),
            stuck: match verdict {
                Verdict::Sound => Some(false),
                Verdict::Damaged(_) => Some(true),
                Verdict::Undetermined(_) => None,
            },
            verdict,
            summary: String::new(),
            signature: roots
                .first()
                .filter(|r| r.stuck)
                .map(|r| r.signature.clone()),
            reasons,
            limit_seconds: self.limit,
            threads: self.threads.list.len(),
            waiting: found.waits.iter().flatten().count(),
            roots,
            waits: (0..found.waits.len())
                .filter_map(|n| self.wait(n, false))
                .collect(),
            handlers,
            stalled_cpus,
            spinners: found
                .spinners
                .iter()
                .filter_map(|s| self.spinner(s))
                .collect(),
            missing: found.missing.clone(),
            types: self.target.types.sources().to_vec(),
            problems: problems.cloned().collect(),
            changed: None,
        };
        report.summary = report.first_sentence();
        report
    }

    /// Why it cannot be told whether something else is stuck.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = self.target.unproven.clone();
        reasons.extend(self.threads.incomplete());
        let queues = self.waits.problems.iter().take(MAX_REASONS);
        reasons.extend(queues.map(|p| format!("waits: {p}")));
        let found = self.explanation;
        if !found.missing.is_empty() {
            let n = found.missing.len();
            let first = found.missing.first().map_or("", String::as_str);
            reasons.push(format!(
                "type information is missing: {first}{}",
                match n {
                    1 => String::new(),
                    n => format!(" and {} more", n.saturating_sub(1)),
                }
            ));
        }
        reasons.extend(found.problems.iter().cloned());
        let unfollowed = found.unfollowed.iter();
        let unfollowed = unfollowed
            .filter(|u| u.seconds.is_none_or(|s| s >= self.limit))
            .filter_map(|u| {
                let tid = self.threads.list.get(u.thread)?.tid;
                let wmesg = escape(u.wmesg.as_bytes());
                Some(format!(
                    "thread {tid} sleeps on \"{wmesg}\": for what could not be \
                     read"
                ))
            });
        reasons.extend(unfollowed.take(MAX_REASONS));
        let long = found.waits.iter().flatten().filter(|w| {
            !w.inconsistencies.is_empty()
                && !w.is_message
                && w.seconds.is_none_or(|s| s >= self.limit)
        });
        let doubts = long.filter_map(|w| {
            let td = self.threads.list.get(w.waiter)?;
            let doubt = w.inconsistencies.first()?;
            Some(format!("the wait of thread {}: {doubt}", td.tid))
        });
        reasons.extend(doubts.take(MAX_REASONS));
        reasons
    }

    fn who(&self, thread: usize) -> Option<ThreadRef> {
        let td = self.threads.list.get(thread)?;
        Some(ThreadRef::new(self.threads, td))
    }

    fn root(&self, root: &explain::Root) -> Root {
        let found = self.explanation;
        let signature = of_root(found, root, self.threads, self.stacks).0;
        let tid = |&n: &usize| self.threads.list.get(n).map(|td| td.tid);
        let path = match &root.of {
            RootOf::Cycle(all) => all.clone(),
            _ => found.path(root.furthest),
        };
        let with_stack = |n: usize| match &root.of {
            RootOf::Cycle(_) => true,
            // Of those before it the root's stack says more.
            RootOf::Resource(_) => {
                let next = found.of(n).map(|w| w.next);
                matches!(next, Some(Next::Resource(_)))
            }
            RootOf::Thread(_) => false,
        };
        let path = path.iter().take(MAX_PATH);
        let path = path.filter_map(|&n| self.wait(n, with_stack(n)));
        let mut reported = Root {
            kind: "cycle",
            name: None,
            thread: None,
            state: None,
            stack: Vec::new(),
            details: Vec::new(),
            stuck: root.stuck,
            certain: root.certain,
            count: root.count(),
            seconds: root.seconds,
            signature,
            path: path.collect(),
            waiters: root.behind.iter().filter_map(tid).collect(),
        };
        match &root.of {
            RootOf::Cycle(_) => {}
            RootOf::Thread(n) => {
                reported.kind = "thread";
                reported.thread = self.who(*n);
                if let Some(td) = self.threads.list.get(*n) {
                    reported.state = Some(self.doing(td));
                    let stack = self.stacks.of(td);
                    // Where one was that has run since says nothing.
                    if !matches!(stack.source, Source::Stale(_)) {
                        reported.stack = calls(&stack);
                    }
                }
            }
            RootOf::Resource(n) => {
                if let Some(resource) = found.resources.get(*n) {
                    reported.kind = resource.kind.word();
                    reported.name = Some(escape(resource.name.as_bytes()));
                    let details = resource.details.iter();
                    reported.details =
                        details.map(|d| escape(d.as_bytes())).collect();
                }
            }
        }
        reported
    }

    /// `sleeps on "nfsreq" for 41.0 s`.
    fn doing(&self, td: &Thread) -> String {
        let waited = Clock::new(self.target).and_then(|c| c.waited(td));
        match waited {
            Some(seconds) => format!("{} for {seconds:.1} s", doing(td)),
            None => doing(td),
        }
    }

    fn wait(&self, thread: usize, with_stack: bool) -> Option<Wait> {
        let wait = self.explanation.of(thread)?;
        let td = self.threads.list.get(thread)?;
        let (object, lock) = match &wait.object {
            Object::Lock(lock, of) => {
                let name = LockName::new(lock);
                let of = of.as_ref().map(|of| escape(of.as_bytes()));
                let of = of.map_or(String::new(), |of| format!(", {of}"));
                (format!("{name}{of}"), Some(name))
            }
            Object::Other(text) => (escape(text.as_bytes()), None),
        };
        let (next_tid, next) = match wait.next {
            Next::Thread(n) => {
                (self.threads.list.get(n).map(|td| td.tid), None)
            }
            Next::Resource(n) => {
                let resource = self.explanation.resources.get(n);
                let named = resource.map(|r| r.to_string());
                (None, named.map(|name| escape(name.as_bytes())))
            }
        };
        Some(Wait {
            who: ThreadRef::new(self.threads, td),
            object,
            lock,
            next_tid,
            next,
            spins: wait.spins,
            seconds: wait.seconds,
            inconsistencies: wait.inconsistencies.clone(),
            stack: match with_stack {
                true => calls(&self.stacks.of(td)),
                false => Vec::new(),
            },
        })
    }

    fn handler(&self, handler: &explain::Handler) -> Option<Handler> {
        Some(Handler {
            what: escape(handler.what.as_bytes()),
            function: handler.function.as_ref().map(|f| escape(f.as_bytes())),
            who: self.who(handler.thread)?,
            seconds: handler.seconds,
        })
    }

    fn stalled(&self, stalled: &explain::Stalled) -> StalledCpu {
        let on_it = self.threads.list.iter().enumerate();
        // The idle thread has the CPU where no other has.
        let mut on_it: Vec<_> = on_it
            .filter(|(_, td)| td.cpu == Some(stalled.cpu))
            .map(|(n, td)| (Reverse(td.state_word() == "run"), n))
            .collect();
        on_it.sort();
        StalledCpu {
            cpu: stalled.cpu,
            seconds: stalled.seconds,
            thread: on_it.first().and_then(|&(_, n)| self.who(n)),
        }
    }

    fn spinner(&self, spinner: &(usize, String)) -> Option<Spinner> {
        let (thread, function) = spinner;
        Some(Spinner {
            who: self.who(*thread)?,
            cpu: self.threads.list.get(*thread)?.cpu,
            function: escape(function.as_bytes()),
        })
    }
}
