// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump bt` reports: a thread's registers and stack.

use super::thread::{Call, ThreadRef, calls, source};
use super::{Hex, ReadChanged, Report};
use crate::analysis::stack::{Source, Stack};
use livedump_vmcore::verdict::Verdict;
use serde::Serialize;
use std::io::{self, Write};

/// One thread's stack.
#[derive(Debug, Serialize)]
pub struct Bt {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
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
    /// What of it changed, if that was looked at.
    pub changed: Option<ReadChanged>,
}

impl Bt {
    /// A stack, and whose it is.
    #[must_use]
    pub fn new(
        (file, kernel): (String, String),
        (who, state): (ThreadRef, &'static str),
        stack: &Stack,
        lists: Verdict,
        changed: Option<ReadChanged>,
    ) -> Self {
        let broken = stack.broken.clone().map(Verdict::Undetermined);
        let stale = matches!(stack.source, Source::Stale(_)).then(|| {
            let why = "its registers at the time of the dump are not recorded";
            Verdict::Undetermined(why.into())
        });
        let verdict = lists
            .and(broken.unwrap_or(Verdict::Sound))
            .and(stale.unwrap_or(Verdict::Sound));
        let (registers, cpu) = source(stack.source);
        let r = stack.registers.as_ref();
        Self {
            file,
            kernel,
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
            changed,
        }
    }
}

impl Report for Bt {
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
