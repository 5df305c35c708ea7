// SPDX-License-Identifier: BSD-2-Clause
//! One walk over allproc, or over children, and every process's threads.

use super::super::{ReadError, Vmcore};
use super::{
    MAX_PROCS, MAX_THREADS, Offsets, PID_MAX, Problem, Proc, Procs, Siblings,
    TID_MIN, Thread, field,
};
use memdev::addr::Vaddr;
use std::collections::HashSet;

pub(super) struct Walk<'a> {
    core: &'a Vmcore,
    offsets: Offsets,
    seen: HashSet<u64>,
    threads: usize,
    found: Procs,
}

impl<'a> Walk<'a> {
    pub(super) fn new(core: &'a Vmcore, offsets: Offsets) -> Self {
        Self {
            core,
            offsets,
            seen: HashSet::new(),
            threads: 0,
            found: Procs::default(),
        }
    }

    /// From the head of the list and its first element to the end.
    pub(super) fn run(mut self, head: Vaddr, first: Vaddr) -> Procs {
        self.procs(head, first);
        self.found
    }

    /// The children of processes that are known and not themselves; what is
    /// not right on the way ends a list, and is not told.
    pub(super) fn run_children(
        mut self,
        known: &[Proc],
        siblings: &Siblings,
    ) -> Vec<Proc> {
        self.seen.extend(known.iter().map(|p| p.address.0));
        let mut passed = HashSet::new();
        for parent in known {
            let from = field(parent.address, siblings.p_children);
            let mut next = self.core.read_u64(from).unwrap_or(0);
            while next != 0 && passed.insert(next) && passed.len() <= MAX_PROCS
            {
                let at = Vaddr(next);
                let link = field(at, siblings.p_sibling);
                next = self.core.read_u64(link).unwrap_or(0);
                if self.seen.contains(&at.0) {
                    continue;
                }
                let Ok((proc, _, _)) = self.proc(at) else { break };
                if !(1..=PID_MAX).contains(&proc.pid) {
                    break;
                }
                self.seen.insert(at.0);
                self.found.procs.push(proc);
                self.threads_of(at);
            }
        }
        self.found.procs
    }

    fn procs(&mut self, head: Vaddr, first: Vaddr) {
        let what = "process";
        let mut pids = HashSet::new();
        let (mut from, mut at) = (head, first);
        while at.0 != 0 {
            if !self.seen.insert(at.0) {
                let what = "processes";
                return self.found.problem(Problem::Cycle { what, at });
            }
            if self.found.procs.len() >= MAX_PROCS {
                let (what, limit) = ("processes", MAX_PROCS);
                return self.found.problem(Problem::TooMany { what, limit });
            }
            let read = self.proc(at);
            let (proc, next, back) = match read {
                Ok(p) => p,
                Err(source) => {
                    let unreadable = Problem::Unreadable { what, at, source };
                    return self.found.problem(unreadable);
                }
            };
            if back != from {
                let process = None;
                let p = Problem::BackLink { what, at, from, back, process };
                self.found.problem(p);
            }
            let id = proc.pid;
            if !(0..=PID_MAX).contains(&id) {
                self.found.problem(Problem::Id { what, at, id });
            } else if !pids.insert(id) {
                self.found.problem(Problem::DuplicatePid { id, at });
            }
            self.found.procs.push(proc);
            self.threads_of(at);
            from = field(at, self.offsets.p_list);
            at = next;
        }
    }

    /// One process without its threads, the next one, and its link back.
    fn proc(&self, at: Vaddr) -> Result<(Proc, Vaddr, Vaddr), ReadError> {
        let (core, o) = (self.core, &self.offsets);
        let link = field(at, o.p_list);
        let next = core.read_u64(link)?;
        let back = core.read_u64(field(link, 8))?;
        let proc = Proc {
            address: at,
            pid: core.read_u32(field(at, o.p_pid))?.cast_signed(),
            comm: core.name_at(field(at, o.p_comm))?,
            threads: Vec::new(),
        };
        Ok((proc, Vaddr(next), Vaddr(back)))
    }

    fn threads_of(&mut self, proc: Vaddr) {
        let what = "thread";
        let mut from = field(proc, self.offsets.p_threads);
        let mut at = match self.core.read_u64(from) {
            Ok(first) => Vaddr(first),
            Err(source) => {
                let at = from;
                return self.found.problem(Problem::Unreadable {
                    what,
                    at,
                    source,
                });
            }
        };
        while at.0 != 0 {
            if !self.seen.insert(at.0) {
                let what = "threads";
                return self.found.problem(Problem::Cycle { what, at });
            }
            self.threads = self.threads.saturating_add(1);
            if self.threads > MAX_THREADS {
                let (what, limit) = ("threads", MAX_THREADS);
                return self.found.problem(Problem::TooMany { what, limit });
            }
            let (thread, next, back) = match self.thread(at) {
                Ok(t) => t,
                Err(source) => {
                    let unreadable = Problem::Unreadable { what, at, source };
                    return self.found.problem(unreadable);
                }
            };
            if back != from {
                let process = Some(proc);
                let p = Problem::BackLink { what, at, from, back, process };
                self.found.problem(p);
            }
            if thread.tid < TID_MIN {
                let id = thread.tid;
                self.found.problem(Problem::Id { what, at, id });
            }
            if let Some(p) = self.found.procs.last_mut() {
                p.threads.push(thread);
            }
            from = field(at, self.offsets.td_plist);
            at = next;
        }
    }

    fn thread(&self, at: Vaddr) -> Result<(Thread, Vaddr, Vaddr), ReadError> {
        let (core, o) = (self.core, &self.offsets);
        let link = field(at, o.td_plist);
        let next = core.read_u64(link)?;
        let back = core.read_u64(field(link, 8))?;
        let thread = Thread {
            address: at,
            tid: core.read_u32(field(at, o.td_tid))?.cast_signed(),
            name: core.name_at(field(at, o.td_name))?,
            oncpu: core.read_u32(field(at, o.td_oncpu))?.cast_signed(),
            pcb: Vaddr(core.read_u64(field(at, o.td_pcb))?),
        };
        Ok((thread, Vaddr(next), Vaddr(back)))
    }
}
