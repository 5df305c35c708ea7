// SPDX-License-Identifier: BSD-2-Clause
//! Threads, locks and calls, as `ps`, `bt` and `deadlock` name them. Names of
//! another machine's are shown without what a terminal would obey.

use super::{Hex, escape};
use crate::analysis::locks::Lock;
use crate::analysis::stack::{Frame, Source, Stack};
use crate::analysis::threads::{Text, Thread, Threads};
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

/// A call.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Where it goes on.
    pub pc: Hex,
    /// The function, or the module.
    pub function: Option<String>,
    /// How far into it.
    pub offset: Option<u64>,
}

impl Call {
    fn new(frame: &Frame) -> Self {
        let place = frame.place.as_ref();
        Self {
            pc: Hex(frame.pc.0),
            function: place.map(|p| escape(&p.name)),
            offset: place.map(|p| p.offset),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.pc.0)?;
        match (&self.function, self.offset) {
            (Some(name), Some(offset)) => write!(f, " {name}+{offset:#x}"),
            _ => Ok(()),
        }
    }
}

/// The calls of a stack.
#[must_use]
pub fn calls(stack: &Stack) -> Vec<Call> {
    stack.frames.iter().map(Call::new).collect()
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
