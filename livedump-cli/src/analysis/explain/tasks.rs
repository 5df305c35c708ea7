// SPDX-License-Identifier: BSD-2-Clause
//! Tasks of taskqueue(9) that are running, and threads that wait for them to
//! end. C: `taskqueue_run_locked`, `taskqueue_drain`.
//!
//! A running task is recorded on the stack of the thread that runs it, in a
//! `struct taskqueue_busy` that is linked to its queue.

use super::fields::{Fields, Pointer};
use super::wait::{Next, Object};
use super::{Asleep, Context, Found};
use crate::analysis::stack::Stacks;
use crate::analysis::threads::Thread;
use memdev::addr::Vaddr;

/// The function that has such a record.
const RUNS: &[u8] = b"taskqueue_run_locked";
/// Tasks of a queue that are looked at.
const MAX_QUEUED: usize = 4096;
/// Words of all stacks that are looked at; a kernel's have 2,048 to 3,072 each.
pub(super) const MAX_WORDS: u64 = 1 << 21;
/// Of a queue's name. C: `TASKQUEUE_NAMELEN`.
const MAX_NAME: usize = 64;

/// A task that a thread runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// C: `struct task *`.
    pub(super) task: Pointer,
    /// Its function.
    pub(super) function: Option<String>,
    /// The thread, by its number in the list.
    pub(super) thread: usize,
    /// C: `struct taskqueue *`.
    queue: Option<Pointer>,
    /// The queue's name.
    pub(super) name: Option<String>,
    /// Tasks that wait in the queue.
    pub(super) queued: Vec<Pointer>,
}

/// The tasks that a thread runs; one may run tasks of several queues.
pub(super) fn running(
    f: &Fields<'_, '_>,
    stacks: &Stacks<'_, '_>,
    (thread, td): (usize, &Thread),
    left: &mut u64,
) -> Vec<Running> {
    let stack = stacks.addresses(td);
    let runs = |at: u64| {
        let place = f.t.symbols.find(Vaddr(at));
        place.is_some_and(|p| p.name == RUNS)
    };
    if !stack.frames.iter().any(|frame| runs(frame.at)) {
        return Vec::new();
    }
    let (Some(registers), Some((start, end))) = (stack.registers, td.kstack)
    else {
        return Vec::new();
    };
    let from = registers.sp.0.clamp(start, end);
    let mut found = Vec::new();
    let mut at = from.next_multiple_of(8);
    while at < end {
        let Some(fewer) = left.checked_sub(1) else { break };
        *left = fewer;
        found.extend(record(f, stacks, at, thread));
        at = at.saturating_add(8);
    }
    found
}

/// The record at an address, if that is one: what it is linked to has to point
/// back.
fn record(
    f: &Fields<'_, '_>,
    stacks: &Stacks<'_, '_>,
    at: Pointer,
    thread: usize,
) -> Option<Running> {
    let task = f.pointer(at, "taskqueue_busy", "tb_running")?;
    let link = f.address(at, "taskqueue_busy", "tb_link")?;
    let previous = f.word(link.wrapping_add(8))?;
    if f.word(previous)? != at {
        return None;
    }
    let function = f.pointer(task, "task", "ta_func");
    let function = stacks.function(Vaddr(function?))?;
    let queue = f.container(previous, "taskqueue", "tq_active");
    let name = queue.and_then(|q| {
        let name = f.pointer(q, "taskqueue", "tq_name")?;
        f.text(name, MAX_NAME)
    });
    let queue = queue.filter(|_| name.is_some());
    Some(Running {
        task,
        function: Some(function),
        thread,
        queue,
        name,
        queued: queue.map_or_else(Vec::new, |q| queued(f, q)),
    })
}

/// The tasks of a queue. C: `tq_queue`.
fn queued(f: &Fields<'_, '_>, queue: Pointer) -> Vec<Pointer> {
    let mut found = Vec::new();
    let mut next = f.pointer(queue, "taskqueue", "tq_queue");
    while let Some(task) = next {
        if found.len() >= MAX_QUEUED {
            break;
        }
        found.push(task);
        next = f.pointer(task, "task", "ta_link");
    }
    found
}

/// One that waits for a task to end, or to be begun: the queue runs others
/// before it.
pub(super) fn drain(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    if !matches!(td.wmesg, "tq_drain" | "tq_adrain" | "tq_qdrain") {
        return None;
    }
    let tasks = c.tasks();
    let runs = tasks.iter().find(|r| r.task == td.wchan);
    let runs =
        runs.or_else(|| tasks.iter().find(|r| r.queued.contains(&td.wchan)))?;
    let mut text = "a task".to_string();
    if let Some(function) = &runs.function {
        text.push_str(&format!(", {function},"));
    }
    match &runs.name {
        Some(name) => text.push_str(&format!(" of taskqueue \"{name}\"")),
        None => text.push_str(" of a taskqueue"),
    }
    Some((Object::Other(text), Next::Thread(runs.thread)))
}
