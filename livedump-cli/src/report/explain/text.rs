// SPDX-License-Identifier: BSD-2-Clause
//! An explanation as text: a sentence first, then each root with the longest
//! way to it.

use super::{Explain, Root, Wait, word};
use crate::report::Report;
use crate::report::bt::frames;
use crate::report::wrap::wrapped;
use livedump_vmcore::verdict::Verdict;
use std::io::{self, Write};

/// Roots that are not stuck and are shown.
const SHOWN_ROOTS: usize = 10;
/// Waits of a path that are shown, from its start and from its end.
const SHOWN_WAITS: usize = 16;
/// Ids of waiters that are shown.
const SHOWN_WAITERS: usize = 16;

fn threads(n: usize) -> String {
    match n {
        1 => "1 thread".into(),
        n => format!("{n} threads"),
    }
}

impl Root {
    /// `thread 100734 of nfsiod (pid 9), which sleeps on "nfsreq"`.
    fn named(&self) -> String {
        match (&self.thread, &self.name, self.path.len()) {
            (Some(who), ..) => match &self.state {
                Some(state) => format!("{who}, which {state}"),
                None => who.to_string(),
            },
            (None, Some(name), _) => match self.kind {
                "memory" | "buffers" => name.clone(),
                "lock" => format!("a lock: {name}"),
                kind => format!("{kind} {name}"),
            },
            (None, None, 1) => "a thread that waits for itself".into(),
            (None, None, n) => format!("a cycle of {n} threads"),
        }
    }

    fn waits(&self) -> String {
        let verb = if self.count == 1 { "waits" } else { "wait" };
        match self.kind {
            "cycle" => format!("{verb} in or behind"),
            _ => format!("{verb} behind"),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let word = match (self.stuck, self.certain) {
            (true, _) => "stuck",
            (false, true) => "not stuck",
            (false, false) => "uncertain",
        };
        let longest = match self.seconds {
            Some(seconds) => format!(", longest wait {:.1} s", seconds.max(0.)),
            None => String::new(),
        };
        let head = format!(
            "{word}: {} {} {}{longest}",
            threads(self.count),
            self.waits(),
            self.named()
        );
        wrapped(out, "", head.split(' '))?;
        self.details.iter().try_for_each(|d| writeln!(out, "  {d}"))?;
        let n = self.path.len();
        for (i, wait) in self.path.iter().enumerate() {
            if i == SHOWN_WAITS && n > 2 * SHOWN_WAITS {
                writeln!(out, "  ({} more)", n - 2 * SHOWN_WAITS)?;
            }
            if i < SHOWN_WAITS || i + SHOWN_WAITS >= n {
                wait.text(out)?;
            }
        }
        if let (Some(who), Some(state)) = (&self.thread, &self.state) {
            writeln!(out, "  {who}: {state}")?;
            frames(out, &self.stack, "   ")?;
        }
        let shown = self.waiters.iter().take(SHOWN_WAITERS);
        let mut ids: Vec<_> = shown.map(i32::to_string).collect();
        let more = self.waiters.len().saturating_sub(ids.len());
        if more > 0 {
            ids.push(format!("and {more} more"));
        }
        if self.waiters.len() > 1 {
            wrapped(out, "  waiters:", ids.iter().map(String::as_str))?;
        }
        writeln!(out, "  signature: {}", self.signature)
    }
}

impl Wait {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.spins { "spins" } else { "waits" };
        write!(out, "  {} {verb}", self.who)?;
        if let Some(seconds) = self.seconds.filter(|&s| s >= 0.0) {
            write!(out, " {seconds:.1} s")?;
        }
        writeln!(out, " for {}", self.object)?;
        for inconsistency in &self.inconsistencies {
            writeln!(out, "    uncertain: {inconsistency}")?;
        }
        frames(out, &self.stack, "   ")
    }
}

impl Explain {
    /// What is to be said first.
    pub(in crate::report) fn first_sentence(&self) -> String {
        let limit = self.limit_seconds;
        if let Some(root) = self.roots.first().filter(|r| r.stuck) {
            let of = threads(self.threads);
            let n = root.count;
            let named = root.named();
            let mut text = format!("{n} of {of} {} {named}", root.waits());
            let last = root.path.last().filter(|_| root.thread.is_none());
            if let Some(w) = last.filter(|_| root.kind != "cycle") {
                let seconds = w.seconds.unwrap_or(0.0).max(0.0);
                let (who, what) = (&w.who, &w.object);
                text.push_str(&format!(
                    ": {who} has waited {seconds:.1} s for {what}"
                ));
            } else if root.kind == "cycle" {
                let names: Vec<_> = root
                    .path
                    .iter()
                    .take(4)
                    .map(|w| format!("thread {}", w.who.tid))
                    .collect();
                text.push_str(&format!(": {}", names.join(", ")));
            } else if let Some(seconds) = root.seconds {
                text.push_str(&format!("; the longest wait is {seconds:.1} s"));
            }
            text.push('.');
            return text;
        }
        let stalled = self.stalled_cpus.iter().flatten().next();
        if let Some(s) = stalled {
            let runs = match &s.thread {
                Some(who) => format!("; it runs {who}"),
                None => String::new(),
            };
            return format!(
                "CPU {} has not taken a clock interrupt for {:.1} s{runs}.",
                s.cpu, s.seconds
            );
        }
        if let Some(h) = self.handlers.first() {
            return format!(
                "{} keeps others from being run for {:.1} s: {} runs it.",
                h.what, h.seconds, h.who
            );
        }
        match &self.verdict {
            Verdict::Undetermined(_) => {
                "It cannot be told whether anything is stuck.".into()
            }
            _ => format!(
                "Nothing is stuck: no wait that could be followed and has to \
                 end is {limit} s long."
            ),
        }
    }
}

impl Report for Explain {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        wrapped(out, "", self.summary.split(' '))?;
        let not_stuck = self.roots.iter().filter(|r| !r.stuck);
        let more = not_stuck.clone().count().saturating_sub(SHOWN_ROOTS);
        let stuck = self.roots.iter().filter(|r| r.stuck);
        for root in stuck.chain(not_stuck.take(SHOWN_ROOTS)) {
            writeln!(out)?;
            root.text(out)?;
        }
        if more > 0 {
            writeln!(out, "\n{more} more that are not stuck")?;
        }
        for s in self.stalled_cpus.iter().flatten() {
            let runs = s.thread.as_ref();
            let runs = runs.map_or("no known thread".into(), |w| w.to_string());
            writeln!(
                out,
                "\nCPU {} has not taken a clock interrupt for {:.1} s: {runs}",
                s.cpu, s.seconds
            )?;
        }
        for h in &self.handlers {
            let (what, who, seconds) = (&h.what, &h.who, h.seconds);
            writeln!(out, "\n{what}: others wait {seconds:.1} s; {who}")?;
        }
        for s in &self.spinners {
            let cpu = s.cpu.map_or(String::new(), |n| format!(" on CPU {n}"));
            writeln!(
                out,
                "\n{} spins{cpu} in {}: for which lock is not recorded",
                s.who, s.function
            )?;
        }
        let all = threads(self.threads);
        writeln!(out, "\n{all}, {} waits followed", self.waiting)?;
        match &self.verdict {
            Verdict::Damaged(what) => {
                writeln!(out, "verdict: stuck: {what}")?;
            }
            verdict => writeln!(out, "verdict: {}", word(verdict))?,
        }
        if self.verdict.is_damaged() && !self.reasons.is_empty() {
            writeln!(out, "undetermined: whether there are others")?;
        }
        self.reasons.iter().try_for_each(|why| writeln!(out, "  {why}"))
    }
}
