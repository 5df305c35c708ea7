// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump stacks` reports: threads by their stacks.

use super::thread::ThreadRef;
use super::wrap::wrapped;
use super::{Hex, ReadChanged, Report, escape};
use crate::analysis::stack_groups::Place;
use livedump_vmcore::verdict::Verdict;
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};

/// Threads of a group that the text names.
const SHOWN_THREADS: usize = 5;
/// Wait messages of a group that the text names.
const SHOWN_MESSAGES: usize = 4;

/// The stacks of a dump.
#[derive(Debug, Serialize)]
pub struct Stacks {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
    /// Sound, or undetermined where a list or a stack could not be read to
    /// the end.
    pub verdict: Verdict,
    /// The first reason why, where it is not sound.
    pub reason: Option<String>,
    /// Threads that are on the list.
    pub threads: usize,
    /// How many of them are in a group.
    pub matched: usize,
    /// The longest wait first, then the largest.
    pub groups: Vec<StackGroup>,
    /// Fields that could not be shown because their offsets are missing.
    pub missing: Vec<String>,
    /// What was not right with the lists.
    pub problems: Vec<String>,
    /// What of it changed, if that was looked at.
    pub changed: Option<ReadChanged>,
}

/// Threads with the same stack and state.
#[derive(Debug, Serialize)]
pub struct StackGroup {
    /// How many they are.
    pub count: usize,
    /// "run", "runq", "lock", "sleep" and so on.
    pub state: &'static str,
    /// Their wait messages, or the names of the locks that they are blocked
    /// on, the most frequent first.
    pub wait_messages: Vec<String>,
    /// The longest wait.
    pub seconds: Option<f64>,
    /// Innermost first; empty where it could not be read to its end.
    pub stack: Vec<StackFrame>,
    /// Why it could not.
    pub broken: Option<String>,
    /// The longest wait first.
    pub threads: Vec<StackThread>,
}

/// A thread of a group.
#[derive(Debug, Serialize)]
pub struct StackThread {
    /// Which.
    #[serde(flatten)]
    pub who: ThreadRef,
    /// Its wait message, or the name of the lock that it is blocked on.
    pub wait_message: Option<String>,
    /// For how long it has waited.
    pub seconds: Option<f64>,
}

/// A frame of all threads of a group.
#[derive(Clone, Debug, Serialize)]
pub struct StackFrame {
    /// The function.
    pub function: Option<String>,
    /// The module, where it is not of the kernel.
    pub module: Option<String>,
    /// The offset in the module, where the function is not known.
    pub offset: Option<u64>,
    /// The address, where nothing else is known.
    pub pc: Option<Hex>,
}

impl StackFrame {
    /// What is at the address of a frame.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        let none =
            Self { function: None, module: None, offset: None, pc: None };
        let text = |s: &String| escape(s.as_bytes());
        match place {
            Place::Function { name, module } => Self {
                function: Some(escape(name)),
                module: module.as_ref().map(text),
                ..none
            },
            Place::Module { name, offset } => {
                Self { module: Some(text(name)), offset: Some(*offset), ..none }
            }
            Place::Address(pc) => Self { pc: Some(Hex(*pc)), ..none },
        }
    }
}

impl fmt::Display for StackFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, &self.module, self.pc) {
            (Some(name), Some(module), _) => write!(f, "{name} in {module}"),
            (Some(name), None, _) => f.write_str(name),
            (None, Some(module), _) => {
                write!(f, "{module}+{:#x}", self.offset.unwrap_or(0))
            }
            (None, None, Some(pc)) => write!(f, "{pc}"),
            (None, None, None) => Ok(()),
        }
    }
}

impl Report for Stacks {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for group in &self.groups {
            group.text(out)?;
            writeln!(out)?;
        }
        let groups = count(self.groups.len(), "group");
        match self.matched == self.threads {
            true => writeln!(out, "{}, {groups}", threads(self.threads)),
            false => {
                let all = threads(self.threads);
                writeln!(out, "{} of {all}, {groups}", self.matched)
            }
        }
    }
}

impl StackGroup {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        wrapped(out, &self.heading(), self.messages().iter().map(|m| &**m))?;
        for (n, frame) in self.stack.iter().enumerate() {
            writeln!(out, "  {:>4} {frame}", format!("#{n}"))?;
        }
        if let Some(why) = &self.broken {
            let why = format!("incomplete: {why}");
            wrapped(out, "  ", why.split(' '))?;
        }
        let mut names: Vec<String> = self
            .threads
            .iter()
            .take(SHOWN_THREADS)
            .map(|t| t.who.to_string())
            .collect();
        let more = self.threads.len().saturating_sub(names.len());
        if more > 0 {
            names.push(format!("{more} more"));
        }
        wrapped(out, "  ", separated(names).iter().map(|name| &**name))
    }

    /// How many, in which state, and for how long.
    fn heading(&self) -> String {
        let mut text = format!("{}, state {}", threads(self.count), self.state);
        if let Some(seconds) = self.seconds {
            let word = if self.count == 1 { "wait" } else { "longest wait" };
            text.push_str(&format!(", {word} {seconds:.1} s"));
        }
        text
    }

    fn messages(&self) -> Vec<String> {
        let of = match self.state {
            "lock" => "lock",
            _ => "wait channel",
        };
        let mut all: Vec<_> = self
            .wait_messages
            .iter()
            .take(SHOWN_MESSAGES)
            .map(|m| format!("\"{m}\""))
            .collect();
        let more = self.wait_messages.len().saturating_sub(all.len());
        if more > 0 {
            all.push(format!("{more} more"));
        }
        match all.is_empty() {
            true => all,
            false => {
                let plural =
                    if self.wait_messages.len() > 1 { "s" } else { "" };
                let mut words = vec![format!("on {of}{plural}")];
                words.extend(separated(all));
                words
            }
        }
    }
}

/// A comma after each but the last.
fn separated(mut words: Vec<String>) -> Vec<String> {
    let but_last = words.len().saturating_sub(1);
    words.iter_mut().take(but_last).for_each(|word| word.push(','));
    words
}

fn threads(n: usize) -> String {
    count(n, "thread")
}

fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: usize, messages: &[&str]) -> StackGroup {
        let thread = |n: usize| StackThread {
            who: ThreadRef {
                tid: 100_000 + n as i32,
                name: "worker".into(),
                pid: 200,
                command: "daemon".into(),
            },
            wait_message: None,
            seconds: None,
        };
        let place = Place::Module { name: "a.ko".into(), offset: 16 };
        StackGroup {
            count: n,
            state: "sleep",
            wait_messages: messages.iter().map(ToString::to_string).collect(),
            seconds: Some(1.25),
            stack: vec![StackFrame::new(&place)],
            broken: None,
            threads: (0..n).map(thread).collect(),
        }
    }

    fn text(group: &StackGroup) -> String {
        let mut out = Vec::new();
        group.text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_group_names_its_first_threads_and_how_many_more_there_are() {
        let all = text(&group(7, &["a", "b", "c", "d", "e", "f"]));
        let mut lines = all.lines();
        assert_eq!(
            lines.next(),
            Some(
                "7 threads, state sleep, longest wait 1.2 s on wait channels \
                 \"a\", \"b\", \"c\", \"d\","
            )
        );
        assert_eq!(lines.next(), Some("  2 more"));
        assert_eq!(lines.next(), Some("    #0 a.ko+0x10"));
        assert!(all.ends_with("pid 200), 2 more\n"), "{all}");
        assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
        let one = text(&group(1, &["a"]));
        let head = "1 thread, state sleep, wait 1.2 s on wait channel \"a\"\n";
        assert!(one.starts_with(head), "{one}");
    }
}
