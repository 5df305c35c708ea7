// SPDX-License-Identifier: BSD-2-Clause
//! Callouts that are running, and threads that wait for them to end. C:
//! `callout_drain`, `struct callout_cpu` of kern_timeout.c.

use super::fields::{Fields, Pointer};
use super::hardclock::sbintime_seconds;
use super::wait::{Next, Object};
use super::{Asleep, Context, Found};
use crate::analysis::stack::Stacks;
use crate::analysis::threads::Threads;
use memdev::addr::Vaddr;

/// CPUs that are looked at. C: `MAXCPU`.
const MAX_CPUS: u32 = 1024;

/// A callout that a CPU runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    /// The CPU.
    pub(super) cpu: u32,
    /// Its function.
    pub(super) function: Option<String>,
    /// The thread that runs it, by its number in the list.
    pub(super) thread: Option<usize>,
    /// For how many seconds a callout that has expired has waited for the CPU
    /// to come to it; `None` where that cannot be told.
    pub(super) late: Option<f64>,
    /// What those sleep on that wait for it. C: `cc_waiting`.
    waiting: Pointer,
}

/// The callouts that run. Nothing where the kernel's types are not known.
pub(super) fn running(
    f: &Fields<'_, '_>,
    threads: &Threads,
    stacks: &Stacks<'_, '_>,
) -> Vec<Running> {
    let cpus = f.t.int("mp_maxid").map_or(0, |n| n.min(MAX_CPUS));
    let mut found = Vec::new();
    for cpu in 0..=cpus {
        let Some(cc) = callout_cpu(f, cpu) else { continue };
        let first = f.address(cc, "callout_cpu", "cc_exec_entity");
        let size = f.t.types.size("cc_exec");
        let Some((first, size)) = first.zip(size) else { break };
        // From the softclock thread, and from the interrupt itself.
        for direct in 0..2 {
            let at = first.wrapping_add(size.wrapping_mul(direct));
            if f.pointer(at, "cc_exec", "cc_curr").is_none() {
                continue;
            }
            let waiting = f.address(at, "cc_exec", "cc_waiting");
            let Some(waiting) = waiting else { continue };
            let function = f.pointer(at, "cc_exec", "cc_last_func");
            let function = function.and_then(|at| stacks.function(Vaddr(at)));
            let thread = match direct {
                0 => softclock(f, threads, cc, cpu),
                _ => threads.list.iter().position(|td| td.cpu == Some(cpu)),
            };
            let late = late(f, cc).filter(|_| direct == 0);
            found.push(Running { cpu, function, thread, late, waiting });
        }
    }
    found
}

/// What a CPU has for callouts: 14 and later among its own variables, releases
/// before in an array. C: `CC_CPU`.
fn callout_cpu(f: &Fields<'_, '_>, cpu: u32) -> Option<Pointer> {
    f.per_cpu("pcpu_entry_cc_cpu", cpu).or_else(|| {
        let array = f.t.address("cc_cpu")?;
        let size = f.t.types.size("callout_cpu")?;
        Some(array.0.wrapping_add(size.wrapping_mul(u64::from(cpu))))
    })
}

/// How late the first callout is that has expired and has not been run. C:
/// `cc_expireq`. In a live dump it was copied at another moment.
fn late(f: &Fields<'_, '_>, cc: Pointer) -> Option<f64> {
    if !f.is_of_one_instant() {
        return None;
    }
    let now = f.get(cc, "callout_cpu", "cc_lastscan")?;
    let first = f.pointer(cc, "callout_cpu", "cc_expireq");
    let Some(first) = first else { return Some(0.0) };
    let due = f.get(first, "callout", "c_time")?;
    let late = now.saturating_sub(due);
    Some(sbintime_seconds(late))
}

/// The thread that runs a CPU's callouts: 14 and later record it, before it is
/// an interrupt thread, which is known by its name.
fn softclock(
    f: &Fields<'_, '_>,
    threads: &Threads,
    cc: Pointer,
    cpu: u32,
) -> Option<usize> {
    if f.optional("callout_cpu", "cc_thread").is_some() {
        let td = f.pointer(cc, "callout_cpu", "cc_thread")?;
        return threads.at(Vaddr(td));
    }
    let name = format!("clock ({cpu})");
    let is = |name: &[u8], wanted: &str| name.ends_with(wanted.as_bytes());
    threads.list.iter().position(|td| is(&td.name, &name))
}

pub(super) fn drain(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    if td.wmesg != "codrain" {
        return None;
    }
    let runs = c.callouts.iter().find(|r| r.waiting == td.wchan)?;
    // On which CPU is where its thread is.
    let text = match &runs.function {
        Some(function) => format!("callout {function}"),
        None => "a callout".to_string(),
    };
    Some((Object::Other(text), Next::Thread(runs.thread?)))
}
