// SPDX-License-Identifier: BSD-2-Clause
//! What each CPU ran, and the stacks of that.

use super::panic::backtrace;
use crate::analysis::cpus::{Cpu, Cpus};
use crate::analysis::stack::Source;
use crate::report::escape;
use crate::report::thread::ThreadRef;
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::right("cpu", "CPU"),
    Column::right("tid", "TID"),
    Column::right("pid", "PID"),
    Column::left("state", "STATE"),
    Column::left("idle", "IDLE"),
    Column::left("command", "COMMAND"),
    Column::left("thread", "THREAD"),
    Column::left("address", "ADDRESS"),
];
/// CPUs whose stacks are shown.
const MAX_STACKS: usize = 64;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let (t, threads) = (s.target()?, s.threads()?);
    let cpus = Cpus::new(t, threads);
    if cpus.list.is_empty() {
        return Err(Absent::unknown(match cpus.problem {
            Some(why) => format!("no thread is on a CPU, and {why}"),
            None => "no CPU is recorded".into(),
        }));
    }
    let thread = |cpu: &Cpu| threads.list.get(cpu.thread?);
    let row = |cpu: &Cpu| {
        let td = thread(cpu);
        let proc = td.and_then(|td| threads.proc_of(td));
        let other = cpu.unlisted.as_ref();
        let tid = td.map(|td| td.tid).or(other.and_then(|td| td.tid));
        let pid = proc.map(|p| p.pid).or(other.and_then(|td| td.pid));
        let comm = proc.map(|p| &p.comm);
        let comm = comm.or(other.and_then(|td| td.comm.as_ref()));
        let name = td.map(|td| &td.name);
        let name = name.or(other.and_then(|td| td.name.as_ref()));
        let id = |id: Option<i32>| match id {
            Some(id) => Cell::Id(id),
            None => Cell::Unknown,
        };
        vec![
            Cell::Number(cpu.number.into()),
            id(tid),
            id(pid),
            td.map_or(Cell::Unknown, |td| Cell::Text(td.state_word().into())),
            cpu.idle.map_or(Cell::Unknown, Cell::Flag),
            Cell::maybe(comm.map(|comm| &**comm)),
            Cell::maybe(name.map(|name| &**name)),
            cpu.address.map_or(Cell::Unknown, |at| Cell::Address(at.0)),
        ]
    };
    let rows = cpus.list.iter().map(row).collect();
    let mut body = Body::of("cpus", Content::Table(COLUMNS, rows));
    let mut lines = Vec::new();
    let busy = cpus.list.iter().filter(|cpu| cpu.idle != Some(true));
    for (cpu, td) in
        busy.filter_map(|cpu| Some((cpu, thread(cpu)?))).take(MAX_STACKS)
    {
        if td.name.starts_with(b"idle") {
            continue;
        }
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let who = ThreadRef::new(threads, td);
        lines.push(format!("CPU {}: {who}", cpu.number));
        let (stack, broken) = backtrace(s.known()?, td);
        if let (Source::Stale(_), _) = s.known()?.stacks.saved(td) {
            lines.push("  registers of its last switch:".into());
        }
        lines.extend(stack);
        lines.extend(broken.map(|why| escape(why.as_bytes())));
    }
    if !lines.is_empty() {
        body = body.and("stacks", Content::Lines(lines));
    }
    let gone = cpus.list.iter().filter(|cpu| cpu.thread.is_none());
    let problems = gone.map(|cpu| match cpu.address {
        Some(_) => {
            format!("the thread of CPU {} is not on the list", cpu.number)
        }
        None => format!("CPU {} has no current thread", cpu.number),
    });
    let source = format!("by {}", cpus.source);
    Ok(body.notes([source]).notes(cpus.problem).problems(problems))
}
