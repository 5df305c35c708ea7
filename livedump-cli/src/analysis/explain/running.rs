// SPDX-License-Identifier: BSD-2-Clause
//! Threads that run: those that spin for a lock, and for how long a thread has
//! had its CPU. C: `td_wantedlock`, `pc_switchticks`.

use super::fields::Fields;
use crate::analysis::clock::Clock;
use crate::analysis::locks::{Lock, Locks};
use crate::analysis::stack::{Source, Stacks};
use crate::analysis::threads::{State, Thread};
use livedump_vmcore::unwind::How;
use memdev::addr::Vaddr;

/// Functions that spin for a lock before they sleep, if they ever do.
const SPINNING: [&[u8]; 14] = [
    b"__mtx_lock_sleep",
    b"_mtx_lock_spin_cookie",
    b"thread_lock_flags_",
    b"_thread_lock",
    b"_sx_xlock_hard",
    b"_sx_slock_hard",
    b"_sx_slock_int",
    b"__rw_wlock_hard",
    b"__rw_rlock_hard",
    b"__rw_rlock_int",
    b"lockmgr_xlock_adaptive",
    b"lockmgr_slock_adaptive",
    b"lockmgr_xlock_hard",
    b"lockmgr_slock_hard",
];
/// Frames in which such a function is looked for: what it calls to wait.
const NEAR: usize = 3;

/// What a running thread spins for.
#[derive(Debug)]
pub(super) enum Spins {
    /// A lock.
    For(Box<Lock>),
    /// A lock that is not recorded: releases before 15 do not.
    Unknown(String),
}

/// Seconds for which a thread has run without its CPU running another; `None`
/// where that is not known: in a live dump the CPU's time and the machine's
/// were copied at different moments. C: `pc_switchticks`.
pub(super) fn has_run(
    f: &Fields<'_, '_>,
    clock: Option<Clock>,
    td: &Thread,
) -> Option<f64> {
    if !f.is_of_one_instant() {
        return None;
    }
    let skip = u64::from(td.cpu?).checked_mul(8)?;
    let table = f.t.address("cpuid_to_pcpu")?;
    let pcpu = f.word(table.0.wrapping_add(skip)).filter(|&at| at != 0)?;
    let current = f.pointer(pcpu, "pcpu", "pc_curthread")?;
    let then = f.get(pcpu, "pcpu", "pc_switchticks")?;
    let then = Some(then as u32).filter(|_| current == td.address.0)?;
    Some(clock?.since(then).max(0.0))
}

/// Whether a thread that runs spins for a lock, or one that would run: it was
/// preempted.
pub(super) fn spins(
    f: &Fields<'_, '_>,
    locks: &Locks<'_, '_>,
    stacks: &Stacks<'_, '_>,
    td: &Thread,
) -> Option<Spins> {
    if f.optional("thread", "td_wantedlock").is_some() {
        let wanted = f.pointer(td.address.0, "thread", "td_wantedlock")?;
        let lock = locks.at(Vaddr(wanted)).ok()??;
        return Some(Spins::For(Box::new(lock)));
    }
    if td.state != State::Running {
        return None;
    }
    let stack = stacks.addresses(td);
    if matches!(stack.source, Source::Stale(_)) {
        return None;
    }
    // What was interrupted counts as well.
    let frames = &stack.frames;
    let traps = frames.iter().enumerate().filter(|f| f.1.how == How::Trap);
    let starts = std::iter::once(0).chain(traps.map(|(n, _)| n));
    let near = starts.flat_map(|n| frames.iter().skip(n).take(NEAR));
    let mut names = near.filter_map(|frame| f.t.symbols.find(Vaddr(frame.at)));
    let found = names.find(|p| SPINNING.contains(&p.name.as_slice()))?;
    Some(Spins::Unknown(String::from_utf8_lossy(&found.name).into_owned()))
}
