// SPDX-License-Identifier: BSD-2-Clause
//! The threads of the kernel, with their registers: those of the thread that
//! took the dump and of stopped CPUs, which the reader has from the notes of a
//! hypervisor's image, and else those of a thread's last switch.

use super::{Debugger, Thread, Threads};
use crate::analysis::Target;
use crate::analysis::stack::{Source, Stacks};
use crate::analysis::threads as analysis;

/// What is not as it should be.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Threads that were running, with registers of an earlier moment.
    pub stale: Vec<i32>,
    /// Threads without registers.
    pub unknown: Vec<i32>,
}

impl Threads {
    /// All threads of a dump; the one that took the dump is the first.
    #[must_use]
    pub fn of(
        target: &Target<'_>,
        found: &analysis::Threads,
        debugger: Debugger,
    ) -> (Self, Doubts) {
        let stacks = Stacks::new(target);
        let mut doubts = Doubts::default();
        let mut list = Vec::new();
        let mut first = None;
        for td in &found.list {
            let (source, saved) = stacks.saved(td);
            if let Source::Stale(_) = source {
                doubts.stale.push(td.tid);
            }
            if saved.is_none() {
                doubts.unknown.push(td.tid);
            }
            if let Source::Dumppcb = source {
                first = Some(list.len());
            }
            let comm = found.proc_of(td).map(|p| p.comm.clone());
            let name = match td.name.is_empty() {
                true => comm.unwrap_or_default(),
                false => td.name.clone(),
            };
            list.push(Thread { tid: td.tid, name, saved });
        }
        if let Some(part) = first.and_then(|n| list.get_mut(..=n)) {
            part.rotate_right(1);
        }
        if list.is_empty() {
            // Without any thread there is no core to lldb.
            let name = b"unknown".to_vec();
            list.push(Thread { tid: 1, name, saved: None });
        }
        let osreldate = target.osreldate();
        (Self { debugger, osreldate, list }, doubts)
    }
}
