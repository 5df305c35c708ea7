// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump deadlock` reports: which thread waits for what, held by
//! which, and whether that is a deadlock.

use super::bt::frames;
use super::thread::{Call, LockName, ThreadRef};
use super::{ReadChanged, Report};
use livedump_vmcore::verdict::Verdict;
use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// The wait-for graph of a dump, and whether it has a deadlock.
#[derive(Debug, Serialize)]
pub struct Deadlock {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
    /// "deadlock", "none" or "undetermined".
    #[serde(serialize_with = "as_word")]
    pub verdict: Verdict,
    /// Whether there is a deadlock; null where it cannot be told.
    pub deadlocked: Option<bool>,
    /// Why it cannot be told, or not all of it.
    pub reasons: Vec<String>,
    /// Threads that are on the list.
    pub threads: usize,
    /// How many of them wait for a lock.
    pub waiting: usize,
    /// Threads that wait for each other.
    pub cycles: Vec<Cycle>,
    /// Threads that wait one for the other, without a cycle.
    pub chains: Vec<Chain>,
    /// Every wait for a lock.
    pub waits: Vec<Wait>,
    /// Where the offsets are from.
    pub types: Vec<&'static str>,
    /// What was not right with the lists.
    pub problems: Vec<String>,
    /// What of it changed, if that was looked at.
    pub changed: Option<ReadChanged>,
}

impl Deadlock {
    /// The verdict in one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        word(&self.verdict)
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Sound => "none",
        Verdict::Damaged(_) => "deadlock",
        Verdict::Undetermined(_) => "undetermined",
    }
}

fn as_word<S: Serializer>(v: &Verdict, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(word(v))
}

/// Threads that wait for each other.
#[derive(Debug, Serialize)]
pub struct Cycle {
    /// No wait of it is uncertain.
    pub certain: bool,
    /// Each waits for the next one, the last for the first.
    pub waits: Vec<Wait>,
    /// Other threads that wait for one of these.
    pub waiters: usize,
}

/// Threads that wait one for the other.
#[derive(Debug, Serialize)]
pub struct Chain {
    /// Each waits for the next one.
    pub waits: Vec<Wait>,
    /// The thread at the end that waits for no lock, if it is one.
    pub last: Option<Last>,
    /// All threads that wait for the one at the end, by whatever way.
    pub waiters: usize,
}

/// A thread that others wait for.
#[derive(Clone, Debug, Serialize)]
pub struct Last {
    /// Which.
    #[serde(flatten)]
    pub who: ThreadRef,
    /// What it is doing.
    pub state: String,
    /// Its stack.
    pub stack: Vec<Call>,
}

/// One thread's wait.
#[derive(Clone, Debug, Serialize)]
pub struct Wait {
    /// Who waits.
    #[serde(flatten)]
    pub who: ThreadRef,
    /// For what.
    pub lock: LockName,
    /// It would share it.
    pub shared: Option<bool>,
    /// Who has it.
    pub holder: Holder,
    /// For how long.
    pub seconds: Option<f64>,
    /// What is inconsistent; the wait is uncertain then.
    pub inconsistencies: Vec<String>,
    /// Its stack, where it is part of a cycle or a chain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Call>,
}

/// Who has a lock.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// "thread", "shared", "kernel", "none" or "unknown".
    pub kind: &'static str,
    /// The thread.
    pub tid: Option<i32>,
    /// How many share it.
    pub count: Option<u64>,
    /// Threads that may be among them.
    pub candidates: Vec<i32>,
    /// All that in words.
    #[serde(skip)]
    pub text: String,
}

fn count(n: usize, one: &str, more: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {more}"),
    }
}

impl Wait {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "  {} waits", self.who)?;
        if let Some(seconds) = self.seconds.filter(|&s| s >= 0.0) {
            write!(out, " {seconds:.1} s")?;
        }
        let share = match self.shared {
            Some(true) => " (shared)",
            _ => "",
        };
        writeln!(out, " for {}{share}", self.lock)?;
        writeln!(out, "  held by {}", self.holder.text)?;
        for inconsistency in &self.inconsistencies {
            writeln!(out, "    uncertain: {inconsistency}")?;
        }
        frames(out, &self.stack, "   ")
    }
}

fn waiters(out: &mut dyn Write, n: usize) -> io::Result<()> {
    match n {
        0 => Ok(()),
        n => {
            let (who, verb) = match n {
                1 => ("1 other thread".to_string(), "waits"),
                n => (format!("{n} other threads"), "wait"),
            };
            writeln!(out, "  {who} {verb} for one of these")
        }
    }
}

impl Report for Deadlock {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for c in &self.cycles {
            let what = match (c.certain, c.waits.len()) {
                (true, 1) => "deadlock: a thread waits for itself".into(),
                (true, n) => format!("deadlock: {n} threads in a cycle"),
                (false, n) => format!(
                    "possible deadlock: {} in a cycle",
                    count(n, "thread", "threads")
                ),
            };
            writeln!(out, "{what}")?;
            c.waits.iter().try_for_each(|w| w.text(out))?;
            waiters(out, c.waiters)?;
        }
        for c in &self.chains {
            let n = c.waits.len().saturating_add(usize::from(c.last.is_some()));
            writeln!(out, "chain: {n} threads, no cycle")?;
            c.waits.iter().try_for_each(|w| w.text(out))?;
            if let Some(last) = &c.last {
                writeln!(out, "  {}: {}", last.who, last.state)?;
                frames(out, &last.stack, "   ")?;
            }
            waiters(out, c.waiters.saturating_sub(n.saturating_sub(1)))?;
        }
        let threads = count(self.threads, "thread", "threads");
        writeln!(out, "{threads}, {} waiting for a lock", self.waiting)?;
        match &self.verdict {
            Verdict::Damaged(what) => {
                writeln!(out, "verdict: deadlock: {what}")?;
            }
            verdict => writeln!(out, "verdict: {}", word(verdict))?,
        }
        if self.verdict.is_damaged() && !self.reasons.is_empty() {
            writeln!(out, "undetermined: whether there are others")?;
        }
        self.reasons.iter().try_for_each(|why| writeln!(out, "  {why}"))
    }
}
