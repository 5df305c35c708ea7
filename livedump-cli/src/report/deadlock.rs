// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump deadlock` says: who waits for what, held by whom.

use super::bt::frames;
use super::thread::{Call, LockName, Who};
use super::{ReadChanged, Report};
use serde::Serialize;
use std::io::{self, Write};

/// The wait-for graph of a dump, and what is wrong with it.
#[derive(Debug, Serialize)]
pub struct Deadlock {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
    /// Whether some cycle is certain.
    pub deadlocked: bool,
    /// Threads that were looked at.
    pub threads: usize,
    /// How many of them wait for a lock.
    pub waiting: usize,
    /// Circles of threads that wait for each other.
    pub cycles: Vec<Cycle>,
    /// Threads that wait one for the other, without a circle.
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

/// Threads that wait for each other.
#[derive(Debug, Serialize)]
pub struct Cycle {
    /// Nothing speaks against it. Otherwise some wait has doubts.
    pub certain: bool,
    /// Each waits for the next one, the last for the first.
    pub waits: Vec<Wait>,
    /// Other threads that wait for one of these.
    pub behind: usize,
}

/// Threads that wait one for the other.
#[derive(Debug, Serialize)]
pub struct Chain {
    /// Each waits for the next one.
    pub waits: Vec<Wait>,
    /// The thread at the end that waits for no lock, if it is one.
    pub last: Option<Last>,
    /// All threads that wait for the one at the end, by whatever way.
    pub behind: usize,
}

/// A thread that others wait for.
#[derive(Clone, Debug, Serialize)]
pub struct Last {
    /// Which.
    #[serde(flatten)]
    pub who: Who,
    /// What it is doing.
    pub state: String,
    /// Its calls.
    pub stack: Vec<Call>,
}

/// One thread's wait.
#[derive(Clone, Debug, Serialize)]
pub struct Wait {
    /// Who waits.
    #[serde(flatten)]
    pub who: Who,
    /// For what.
    pub lock: LockName,
    /// It would share it.
    pub shared: Option<bool>,
    /// Who has it.
    pub holder: Holder,
    /// For how long.
    pub seconds: Option<f64>,
    /// What does not agree.
    pub doubts: Vec<String>,
    /// Its calls, where it is part of a circle or a chain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Call>,
}

/// Who has a lock.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// "thread", "shared", "kernel", "nobody" or "stray".
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
            Some(true) => " (to share it)",
            _ => "",
        };
        writeln!(out, " for {}{share}", self.lock)?;
        writeln!(out, "  held by {}", self.holder.text)?;
        for doubt in &self.doubts {
            writeln!(out, "    in doubt: {doubt}")?;
        }
        frames(out, &self.stack, "   ")
    }
}

fn behind(out: &mut dyn Write, n: usize) -> io::Result<()> {
    match n {
        0 => Ok(()),
        n => {
            let (who, verb) = match n {
                1 => ("1 other thread".to_string(), "waits"),
                n => (format!("{n} other threads"), "wait"),
            };
            writeln!(out, "  {who} {verb} behind them")
        }
    }
}

impl Report for Deadlock {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for c in &self.cycles {
            let what = match (c.certain, c.waits.len()) {
                (true, 1) => "deadlock: a thread waits for itself".into(),
                (true, n) => format!("deadlock: {n} threads in a circle"),
                (false, n) => format!(
                    "perhaps a deadlock: {} in a circle, not beyond doubt",
                    count(n, "thread", "threads")
                ),
            };
            writeln!(out, "{what}")?;
            c.waits.iter().try_for_each(|w| w.text(out))?;
            behind(out, c.behind)?;
        }
        for c in &self.chains {
            let n = c.waits.len().saturating_add(usize::from(c.last.is_some()));
            writeln!(out, "chain: {n} threads, no circle")?;
            c.waits.iter().try_for_each(|w| w.text(out))?;
            if let Some(last) = &c.last {
                writeln!(out, "  {}: {}", last.who, last.state)?;
                frames(out, &last.stack, "   ")?;
            }
            behind(out, c.behind.saturating_sub(n.saturating_sub(1)))?;
        }
        let certain = self.cycles.iter().filter(|c| c.certain).count();
        let doubtful = self.cycles.len().saturating_sub(certain);
        write!(
            out,
            "{}: {} waiting for a lock: {}",
            count(self.threads, "thread", "threads"),
            self.waiting,
            match certain {
                0 => "no deadlock".to_string(),
                n => count(n, "deadlock", "deadlocks"),
            }
        )?;
        match doubtful {
            0 => writeln!(out),
            n => writeln!(out, ", {n} in doubt"),
        }
    }
}
