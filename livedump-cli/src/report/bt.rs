// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump bt` reports: registers and stacks of threads.

use super::thread::{Call, ThreadRef, calls, source};
use super::{Hex, ReadChanged, Report};
use crate::analysis::stack::{STALE, Source, Stack};
use livedump_vmcore::verdict::Verdict;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use std::cell::RefCell;
use std::io::{self, Write};

/// One thread's stack, and the files that it is from.
#[derive(Debug, Serialize)]
pub struct Bt {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
    /// The stack.
    #[serde(flatten)]
    pub stack: ThreadStack,
    /// What of it changed, if that was looked at.
    pub changed: Option<ReadChanged>,
}

impl Report for Bt {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.stack.text(out)
    }
}

/// The stacks of many threads. Each is made when it is written.
pub struct BtAll<'a, I> {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
    /// The stacks.
    pub threads: RefCell<I>,
    /// The verdict on all that were written so far, and on the lists.
    pub verdict: &'a RefCell<Verdict>,
    /// What of it changed, asked when all are written.
    pub changed: &'a dyn Fn() -> Option<ReadChanged>,
}

impl<I: Iterator<Item = ThreadStack>> BtAll<'_, I> {
    /// Writes it on standard output, thread by thread.
    ///
    /// # Errors
    /// Standard output does not take it.
    pub fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if json {
            super::json::stream(self, &mut out)?;
        } else {
            let mut first = true;
            while let Some(stack) = self.next() {
                if !std::mem::take(&mut first) {
                    writeln!(out)?;
                }
                stack.text(&mut out)?;
            }
            (self.changed)();
        }
        out.flush()
    }

    fn next(&self) -> Option<ThreadStack> {
        let stack = self.threads.borrow_mut().next()?;
        let verdict = self.verdict.borrow().clone();
        let verdict = verdict.and(stack.verdict.clone());
        self.verdict.replace(verdict);
        Some(stack)
    }
}

impl<I: Iterator<Item = ThreadStack>> Serialize for BtAll<'_, I> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("kernel", &self.kernel)?;
        map.serialize_entry("threads", &Each(self))?;
        let verdict = self.verdict.borrow();
        map.serialize_entry("verdict", &*verdict)?;
        map.serialize_entry("reason", &verdict.reason())?;
        map.serialize_entry("changed", &(self.changed)())?;
        map.end()
    }
}

struct Each<'b, 'a, I>(&'b BtAll<'a, I>);

impl<I: Iterator<Item = ThreadStack>> Serialize for Each<'_, '_, I> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut all = s.serialize_seq(None)?;
        while let Some(stack) = self.0.next() {
            all.serialize_element(&stack)?;
        }
        all.end()
    }
}

/// One thread's stack.
#[derive(Debug, Serialize)]
pub struct ThreadStack {
    /// Whose it is.
    #[serde(flatten)]
    pub who: ThreadRef,
    /// "run", "runq", "lock", "sleep" and so on.
    pub state: &'static str,
    /// "dumppcb", "stoppcbs", "pcb", or "stale": the thread was running, and
    /// they are those of its last switch.
    pub registers: &'static str,
    /// The CPU, where that counts.
    pub cpu: Option<u32>,
    /// Where it goes on.
    pub pc: Option<Hex>,
    /// Its frame pointer.
    pub fp: Option<Hex>,
    /// Its stack pointer.
    pub sp: Option<Hex>,
    /// Innermost first.
    pub frames: Vec<Call>,
    /// Sound, or undetermined where it breaks off or is of another moment.
    pub verdict: Verdict,
    /// The first reason why, where it is not sound.
    pub reason: Option<String>,
    /// Why there are no more, where that is not the end.
    pub broken: Option<String>,
}

impl ThreadStack {
    /// A stack, and whose it is.
    #[must_use]
    pub fn new(
        (who, state): (ThreadRef, &'static str),
        stack: &Stack,
        lists: Verdict,
    ) -> Self {
        let broken = stack.broken.clone().map(Verdict::Undetermined);
        let stale = matches!(stack.source, Source::Stale(_))
            .then(|| Verdict::Undetermined(STALE.into()));
        let verdict = lists
            .and(broken.unwrap_or(Verdict::Sound))
            .and(stale.unwrap_or(Verdict::Sound));
        let (registers, cpu) = source(stack.source);
        let r = stack.registers.as_ref();
        Self {
            who,
            state,
            registers,
            cpu,
            pc: r.map(|r| Hex(r.pc.0)),
            fp: r.map(|r| Hex(r.fp.0)),
            sp: r.map(|r| Hex(r.sp.0)),
            frames: calls(stack),
            reason: verdict.reason().map(String::from),
            verdict,
            broken: stack.broken.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let from = match (self.registers, self.cpu) {
            ("stale", Some(cpu)) => format!(
                "was running on CPU {cpu}: this is its stack at its last \
                 context switch, not at the time of the dump"
            ),
            ("dumppcb", _) => "took the dump".into(),
            ("stoppcbs", Some(cpu)) => format!("stopped on CPU {cpu}"),
            _ if self.state == "unknown" => "not running".into(),
            _ => format!("not running, state {}", self.state),
        };
        writeln!(out, "{}, {from}", self.who)?;
        frames(out, &self.frames, "")?;
        match &self.broken {
            Some(why) => writeln!(out, "incomplete: {why}"),
            None => Ok(()),
        }
    }
}

/// Calls, one to a line.
pub(super) fn frames(
    out: &mut dyn Write,
    frames: &[Call],
    indent: &str,
) -> io::Result<()> {
    for (n, call) in frames.iter().enumerate() {
        writeln!(out, "{indent}{:>4} {call}", format!("#{n}"))?;
    }
    Ok(())
}
