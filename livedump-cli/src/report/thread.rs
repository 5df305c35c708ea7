// SPDX-License-Identifier: BSD-2-Clause
//! Threads, locks and calls, as `ps`, `bt` and `deadlock` name them. Names of
//! another machine's are shown without what a terminal would obey.

use super::{Hex, escape};
use crate::analysis::locks::Lock;
use crate::analysis::stack::{Frame, Source, Stack};
use crate::analysis::threads::{State, Text, Thread, Threads};
use livedump_vmcore::debuginfo;
use serde::Serialize;
use std::fmt;

/// A thread's names.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadRef {
    /// Its id.
    pub tid: i32,
    /// Its name.
    pub name: String,
    /// Its process's id.
    pub pid: i32,
    /// Its process's name.
    pub command: String,
}

impl ThreadRef {
    /// The names of a thread.
    #[must_use]
    pub fn new(threads: &Threads, thread: &Thread) -> Self {
        let proc = threads.proc_of(thread);
        Self {
            tid: thread.tid,
            name: escape(&thread.name),
            pid: proc.map_or(-1, |p| p.pid),
            command: proc.map_or(String::new(), |p| escape(&p.comm)),
        }
    }
}

impl fmt::Display for ThreadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tid, name, pid, command } = self;
        write!(f, "thread {tid} ")?;
        if name != command && !name.is_empty() {
            write!(f, "\"{name}\" ")?;
        }
        write!(f, "of {command} (pid {pid})")
    }
}

/// What a thread does that waits for no lock, as "thread 100200 ..." goes on.
#[must_use]
pub fn doing(thread: &Thread) -> String {
    match (thread.state, thread.cpu, shown(&thread.wmesg)) {
        (State::Running, Some(cpu), _) => format!("runs on CPU {cpu}"),
        (State::RunQueue | State::CanRun, ..) => "waits for a CPU".to_string(),
        (State::Inhibited(_), _, Some(wmesg)) => {
            format!("sleeps on \"{wmesg}\"")
        }
        (state, ..) => format!("is in state {}", state.word()),
    }
}

/// A lock's names.
#[derive(Clone, Debug, Serialize)]
pub struct LockName {
    /// "mutex", "sx", "rw", "rm", "lockmgr" or "spin mutex".
    pub class: &'static str,
    /// What it is called.
    pub name: Option<String>,
    /// Where it is.
    pub address: Hex,
    /// Its word.
    pub word: Option<Hex>,
}

impl LockName {
    /// The names of a lock.
    #[must_use]
    pub fn new(lock: &Lock) -> Self {
        Self {
            class: lock.class.word(),
            name: shown(&lock.name),
            address: Hex(lock.address.0),
            word: lock.word.map(Hex),
        }
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.address.0;
        match &self.name {
            Some(name) => write!(f, "{} \"{name}\" at {at:#x}", self.class),
            None => write!(f, "{} at {at:#x}", self.class),
        }
    }
}

/// A string of the kernel's, if it could be read.
#[must_use]
pub fn shown(text: &Text) -> Option<String> {
    text.text.as_ref().map(|t| escape(t.as_bytes()))
}

/// An argument.
#[derive(Clone, Debug, Serialize)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its value, a number in the base of its type; null where it is not
    /// available.
    pub value: Option<String>,
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("unavailable");
        write!(f, "{}={value}", self.name)
    }
}

/// A call.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Where it goes on.
    pub pc: Hex,
    /// The function, or the module.
    pub function: Option<String>,
    /// How far into it; null for one that is inlined.
    pub offset: Option<u64>,
    /// Its arguments, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<Arg>>,
    /// The module, where it is not of the kernel.
    pub module: Option<String>,
    /// The source file, as the compiler names it.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u64>,
    /// The column.
    pub column: Option<u64>,
    /// Whether it is inlined in the next.
    pub inlined: bool,
    /// "registers", "cfi", "frame pointer", "trap" or "tail call".
    pub how: &'static str,
}

impl Call {
    /// A frame, and what is inlined in it.
    fn of(frame: &Frame) -> Vec<Self> {
        let place = frame.place.as_ref();
        let physical = Self {
            pc: Hex(frame.pc.0),
            function: place.map(|p| escape(&p.name)),
            offset: place.map(|p| p.offset),
            args: frame.arguments.as_ref().map(|_| Vec::new()),
            module: frame.module.as_ref().map(|m| escape(m.as_bytes())),
            file: None,
            line: None,
            column: None,
            inlined: false,
            how: frame.how.word(),
        };
        if frame.calls.is_empty() {
            return vec![physical];
        }
        let text = |s: &String| escape(s.as_bytes());
        let arg = |a: &debuginfo::Argument| Arg {
            name: text(&a.name),
            value: a.value.as_ref().map(ToString::to_string),
        };
        let args = |n: usize| {
            let of = frame.arguments.as_ref()?.get(n)?;
            Some(of.iter().map(arg).collect())
        };
        let call = |(n, c): (usize, &debuginfo::Call)| Self {
            args: args(n),
            function: match &c.function {
                Some(name) => Some(text(name)),
                None => physical.function.clone(),
            },
            offset: physical.offset.filter(|_| !c.inlined),
            file: c.file.as_ref().map(text),
            line: c.line,
            column: c.column,
            inlined: c.inlined,
            ..physical.clone()
        };
        frame.calls.iter().enumerate().map(call).collect()
    }

    /// The source file without its directory.
    fn file_name(&self) -> Option<&str> {
        self.file.as_ref()?.rsplit('/').next()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.pc.0)?;
        match (&self.function, self.offset) {
            (Some(name), Some(offset)) => write!(f, " {name}+{offset:#x}")?,
            (Some(name), None) => write!(f, " {name}")?,
            (None, _) => {}
        }
        if let Some(args) = &self.args
            && !args.is_empty()
        {
            let args: Vec<_> = args.iter().map(Arg::to_string).collect();
            write!(f, "({})", args.join(", "))?;
        }
        match (self.file_name(), self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}")?,
            (Some(file), None) => write!(f, " at {file}")?,
            (None, _) => {}
        }
        if let Some(module) = &self.module
            && self.function.as_ref() != Some(module)
        {
            write!(f, " in {module}")?;
        }
        match (self.inlined, self.how) {
            (true, _) => f.write_str(", inlined"),
            (false, "trap" | "tail call") => write!(f, ", {}", self.how),
            (false, _) => Ok(()),
        }
    }
}

/// The calls of a stack.
#[must_use]
pub fn calls(stack: &Stack) -> Vec<Call> {
    stack.frames.iter().flat_map(Call::of).collect()
}

/// Where registers are from: a word that stays, and the CPU if that counts.
#[must_use]
pub fn source(source: Source) -> (&'static str, Option<u32>) {
    match source {
        Source::Dumppcb => ("dumppcb", None),
        Source::Stoppcbs(cpu) => ("stoppcbs", Some(cpu)),
        Source::Pcb => ("pcb", None),
        Source::Stale(cpu) => ("stale", Some(cpu)),
    }
}
