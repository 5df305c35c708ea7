// SPDX-License-Identifier: BSD-2-Clause
//! Processes and threads, with what they wait for.

use super::waits::holder;
use crate::analysis::Target;
use crate::analysis::clock::Clock;
use crate::analysis::threads::{Thread, Threads};
use crate::analysis::waits::{Edge, Waits};
use crate::report::thread::{LockName, shown};
use crate::report::{Hex, Process, ThreadRow, escape};

/// Fields without which columns are empty.
#[must_use]
pub fn unknown_columns(target: &Target<'_>) -> Vec<String> {
    let fields = [("proc", "p_pptr"), ("proc", "p_ucred"), ("ucred", "cr_uid")];
    fields
        .iter()
        .filter(|(of, name)| target.types.field(of, name).is_none())
        .map(|(of, name)| format!("{of}.{name}"))
        .collect()
}

/// All of them, with their threads.
#[must_use]
pub fn processes(
    threads: &Threads,
    waits: Option<&Waits>,
    clock: Option<Clock>,
) -> Vec<Process> {
    let mut all: Vec<Process> = threads
        .procs
        .iter()
        .map(|p| Process {
            pid: p.pid,
            ppid: p.ppid,
            uid: p.uid,
            command: escape(&p.comm),
            threads: Vec::new(),
        })
        .collect();
    for (n, td) in threads.list.iter().enumerate() {
        let row = row(threads, td, waits.and_then(|w| w.of(n)), clock);
        if let Some(p) = all.get_mut(td.proc) {
            p.threads.push(row);
        }
    }
    all
}

fn row(
    threads: &Threads,
    td: &Thread,
    edge: Option<&Edge>,
    clock: Option<Clock>,
) -> ThreadRow {
    let state = td.state_word();
    let sleeps = state == "sleep" && td.wchan.0 != 0;
    ThreadRow {
        tid: td.tid,
        name: escape(&td.name),
        address: Hex(td.address.0),
        state,
        cpu: td.cpu,
        wait_message: td.wait_message().and_then(shown),
        seconds: clock.and_then(|clock| clock.waited(td)),
        wait_channel: sleeps.then_some(Hex(td.wchan.0)),
        lock: edge.map(|e| LockName::new(&e.lock)),
        holder: edge.map(|e| holder(threads, e).text),
    }
}
