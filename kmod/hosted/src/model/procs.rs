// SPDX-License-Identifier: BSD-2-Clause
//! Processes and threads: struct proc and struct thread in pages of UMA's, as
//! the kernel has them, linked into its lists. C: `fork1`, `exit1`,
//! `proc_reap`, <sys/proc.h>.

use super::dumpset::DumpSet;
use super::kmap::{Kmap, Wired};
use super::lists::{
    list_insert_head, list_remove, tailq_init, tailq_insert_tail, tailq_remove,
};
use super::memory::Memory;
use super::offsets::{Offsets, SLOT};
use super::recipe::{Lock, Process, Thread, ThreadState};
use super::release::Release;
use super::rng::Rng;
use super::stacks::{Activity, Functions, KSTACK_PAGES, Registers};
use livedump_kmod::error::{Errno, Result};
use memdev::addr::PAGE_SIZE;

const PAGE: u64 = PAGE_SIZE as u64;
/// C: `NOCPU`.
const NOCPU: u32 = u32::MAX;
/// Where a process's credential is: behind all fields of its struct proc.
const CRED: u64 = SLOT - 256;
/// C: `pidhash` + 1.
pub(super) const PIDHASH_ENTRIES: u64 = 64;

/// What creating and ending a process needs of the rest of the machine.
pub(super) struct Kernel<'a> {
    pub(super) mem: &'a Memory,
    pub(super) set: &'a DumpSet,
    pub(super) kmap: &'a mut Kmap,
    pub(super) rng: &'a mut Rng,
}

impl Kernel<'_> {
    /// A zeroed page of UMA's: in the direct map and in the bitset.
    pub(super) fn uma_page(&mut self) -> Result<u64> {
        let pa =
            self.kmap.frames.allocate_any(self.rng).ok_or(Errno::ENOMEM)?;
        self.mem.fill(pa, None)?;
        self.set.add(self.mem, pa);
        Ok(self.mem.kva.dmap(pa))
    }
}

/// Where one kind of struct lives. Type-stable: what was freed stays as it was
/// until it is handed out again.
#[derive(Debug, Default)]
struct Zone(Vec<u64>);

impl Zone {
    fn take(&mut self, k: &mut Kernel<'_>) -> Result<u64> {
        if let Some(va) = self.0.pop() {
            return Ok(va);
        }
        let page = k.uma_page()?;
        self.0.extend((1..PAGE / SLOT).map(|i| page + i * SLOT));
        Ok(page)
    }
}

/// Addresses of the kernel's variables about processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListHeads {
    pub(super) allproc: u64,
    /// 12.x only.
    pub(super) zombproc: Option<u64>,
    pub(super) pidhashtbl: u64,
    pub(super) nprocs: u64,
}

#[derive(Debug)]
struct ThreadAt {
    va: u64,
    stack: Wired,
    registers: Registers,
    what: Thread,
}

#[derive(Debug)]
struct ProcAt {
    va: u64,
    what: Process,
    threads: Vec<ThreadAt>,
    /// Made while the machine ran, so it may go again.
    forked: bool,
}

/// A thread that is on a CPU.
pub(super) struct Running<'a> {
    pub(super) thread: u64,
    pub(super) oncpu_offset: u32,
    pub(super) cpu: u32,
    pub(super) tid: i32,
    pub(super) stack: &'a Wired,
    pub(super) registers: Registers,
}

/// All processes.
#[derive(Debug)]
pub(super) struct Procs {
    heads: ListHeads,
    offsets: Offsets,
    release: Release,
    functions: Functions,
    /// Where `td_wmesg` points, for each text.
    wmesgs: Vec<(String, u64)>,
    locks: Vec<Lock>,
    all: Vec<ProcAt>,
    proc_zone: Zone,
    thread_zone: Zone,
    free_stacks: Vec<Wired>,
    next_pid: i32,
    next_tid: i32,
}

/// Processes that mutation adds at most.
const MAX_FORKED: usize = 48;

impl Procs {
    pub(super) fn new(
        heads: ListHeads,
        offsets: Offsets,
        release: Release,
        functions: Functions,
        wmesgs: Vec<(String, u64)>,
        locks: Vec<Lock>,
    ) -> Self {
        Self {
            heads,
            offsets,
            release,
            functions,
            wmesgs,
            locks,
            all: Vec::new(),
            proc_zone: Zone::default(),
            thread_zone: Zone::default(),
            free_stacks: Vec::new(),
            next_pid: 1000,
            next_tid: 101_000,
        }
    }

    /// Adds a process. `place` are the addresses of its struct proc and its
    /// first thread, where they are the kernel's own.
    pub(super) fn add(
        &mut self,
        k: &mut Kernel<'_>,
        what: Process,
        place: Option<(u64, u64)>,
    ) -> Result<()> {
        let va = match place {
            Some((proc0, _)) => proc0,
            None => self.proc_zone.take(k)?,
        };
        let mem = k.mem;
        let at = |field| va + self.offsets.of(field);
        mem.store32(at("p_pid"), what.pid as u32)?;
        mem.write_str::<20>(at("p_comm"), &what.comm)?;
        mem.store(at("p_ucred"), va + CRED)?;
        let cr_uid = u64::from(self.release.cr_uid());
        mem.store32(va + CRED + cr_uid, what.uid)?;
        // The kernel starts init, and init is the parent of all others here.
        let parent = match what.pid {
            0 => None,
            1 => self.address(0),
            _ => self.address(1),
        };
        mem.store(at("p_pptr"), parent.unwrap_or(0))?;
        tailq_init(mem, at("p_threads"))?;
        let mut threads = Vec::new();
        for (i, thread) in what.threads.iter().enumerate() {
            let td = match place {
                Some((_, thread0)) if i == 0 => thread0,
                _ => self.thread_zone.take(k)?,
            };
            threads.push(self.add_thread(k, va, td, &what, thread)?);
        }
        let head = match self.heads.zombproc {
            _ if !what.zombie => Some(self.heads.allproc),
            zombproc => zombproc,
        };
        if let Some(head) = head {
            list_insert_head(mem, head, va, self.offsets.of("p_list"))?;
        }
        if let Some(parent) = parent.filter(|_| what.pid > 1) {
            let children = parent + self.offsets.of("p_children");
            list_insert_head(mem, children, va, self.offsets.of("p_sibling"))?;
        }
        let chain = self.chain(what.pid);
        list_insert_head(mem, chain, va, self.offsets.of("p_hash"))?;
        self.all.push(ProcAt { va, what, threads, forked: false });
        mem.store32(self.heads.nprocs, self.all.len() as u32)
    }

    /// C: `PIDHASH`.
    fn chain(&self, pid: i32) -> u64 {
        self.heads.pidhashtbl + (pid as u64 & (PIDHASH_ENTRIES - 1)) * 8
    }

    fn add_thread(
        &mut self,
        k: &mut Kernel<'_>,
        proc_va: u64,
        va: u64,
        process: &Process,
        what: &Thread,
    ) -> Result<ThreadAt> {
        let mem = k.mem;
        let stack = match self.free_stacks.pop() {
            Some(stack) => stack,
            None => {
                k.kmap.wired(mem, k.rng, KSTACK_PAGES).ok_or(Errno::ENOMEM)?
            }
        };
        let user = process.pid == 1 || process.pid >= 100;
        let activity = match &what.state {
            ThreadState::Sleep(_) => Activity::Sleeping,
            ThreadState::Running(_) if user => Activity::Dumping,
            ThreadState::Running(_) => Activity::Idle,
            ThreadState::RunQueue => Activity::Queued,
            ThreadState::Wait { lock, .. } => self.activity(lock),
        };
        let (pcb, registers) =
            self.functions.fill(mem, &stack, &self.release, activity, user)?;
        let at = |field| va + self.offsets.of(field);
        // TDS_INHIBITED with TDI_SLEEPING, TDS_RUNNING, TDS_RUNQ.
        let (state, inhibitors, cpu) = match what.state {
            ThreadState::Sleep(_) => (1, 2, NOCPU),
            ThreadState::Running(cpu) => (4, 0, cpu),
            ThreadState::RunQueue => (3, 0, NOCPU),
            // The lock tells the rest, once it is there.
            ThreadState::Wait { .. } => (1, 0, NOCPU),
        };
        let wmesg = match &what.state {
            ThreadState::Sleep(w) => {
                self.wmesgs.iter().find(|m| m.0 == *w).map_or(0, |m| m.1)
            }
            _ => 0,
        };
        let wchan = if wmesg == 0 { 0 } else { proc_va };
        mem.store32(at("td_tid"), what.tid as u32)?;
        mem.write_str::<20>(at("td_name"), &what.name)?;
        mem.store32(at("td_state"), state)?;
        mem.store32(at("td_inhibitors"), inhibitors)?;
        mem.store32(at("td_oncpu"), cpu)?;
        for (field, value) in [
            ("td_proc", proc_va),
            ("td_wmesg", wmesg),
            ("td_wchan", wchan),
            ("td_pcb", pcb),
            ("td_kstack", stack.va),
        ] {
            mem.store(at(field), value)?;
        }
        mem.store32(at("td_kstack_pages"), KSTACK_PAGES as u32)?;
        let head = proc_va + self.offsets.of("p_threads");
        tailq_insert_tail(mem, head, va, self.offsets.of("td_plist"))?;
        let what = what.clone();
        Ok(ThreadAt { va, stack, registers, what })
    }

    /// Forks a process with one sleeping thread.
    pub(super) fn fork(&mut self, k: &mut Kernel<'_>) -> Result<()> {
        let forked = self.all.iter().filter(|p| p.forked).count();
        if forked >= MAX_FORKED {
            return Ok(());
        }
        let pid = self.next_pid;
        // As the kernel does, with fewer of them so that they come around.
        self.next_pid = if pid >= 99_998 { 1000 } else { pid + 1 };
        if self.all.iter().any(|p| p.what.pid == pid) {
            return Ok(());
        }
        let wmesg = self.wmesgs.first().map_or("-", |m| m.0.as_str());
        let state = ThreadState::Sleep(wmesg.into());
        let thread = Thread { tid: self.next_tid, name: "sh".into(), state };
        self.next_tid = self.next_tid.checked_add(1).unwrap_or(101_000);
        let threads = [thread].into();
        let what =
            Process { pid, comm: "sh".into(), uid: 0, zombie: false, threads };
        self.add(k, what, None)?;
        if let Some(last) = self.all.last_mut() {
            last.forked = true;
        }
        Ok(())
    }

    /// One of the forked processes exits, or, when it has, is waited for.
    pub(super) fn exit_or_reap(&mut self, k: &mut Kernel<'_>) -> Result<()> {
        let forked: Vec<usize> = (0..self.all.len())
            .filter(|&i| self.all.get(i).is_some_and(|p| p.forked))
            .collect();
        let Some(&i) = k.rng.index(forked.len()).and_then(|i| forked.get(i))
        else {
            return Ok(());
        };
        let p_list = self.offsets.of("p_list");
        let Some(p) = self.all.get_mut(i) else { return Ok(()) };
        let va = p.va;
        if p.what.zombie {
            let gone = self.all.swap_remove(i);
            if self.heads.zombproc.is_some() {
                list_remove(k.mem, va, p_list)?;
            }
            list_remove(k.mem, va, self.offsets.of("p_sibling"))?;
            list_remove(k.mem, va, self.offsets.of("p_hash"))?;
            self.proc_zone.0.push(gone.va);
            return k.mem.store32(self.heads.nprocs, self.all.len() as u32);
        }
        p.what.zombie = true;
        p.what.threads.clear();
        let threads = core::mem::take(&mut p.threads);
        list_remove(k.mem, va, p_list)?;
        if let Some(zombproc) = self.heads.zombproc {
            list_insert_head(k.mem, zombproc, va, p_list)?;
        }
        let head = va + self.offsets.of("p_threads");
        for td in threads {
            tailq_remove(k.mem, head, td.va, self.offsets.of("td_plist"))?;
            self.thread_zone.0.push(td.va);
            self.free_stacks.push(td.stack);
        }
        Ok(())
    }

    /// All processes as they are now.
    pub(super) fn list(&self) -> Vec<Process> {
        self.all.iter().map(|p| p.what.clone()).collect()
    }

    /// The address of a process.
    pub(super) fn address(&self, pid: i32) -> Option<u64> {
        self.all.iter().find(|p| p.what.pid == pid).map(|p| p.va)
    }

    /// What a thread does that waits for a lock.
    fn activity(&self, lock: &str) -> Activity {
        let lock = self.locks.iter().find(|l| l.name == lock);
        match lock.is_some_and(|l| l.kind.spins_or_blocks()) {
            true => Activity::Blocked,
            false => Activity::Locking,
        }
    }

    /// The address of a thread.
    pub(super) fn thread_address(&self, tid: i32) -> Option<u64> {
        self.threads().find(|t| t.what.tid == tid).map(|t| t.va)
    }

    /// The registers of a thread.
    pub(super) fn registers(&self, tid: i32) -> Option<Registers> {
        self.threads().find(|t| t.what.tid == tid).map(|t| t.registers)
    }

    /// The thread that makes the dump: of a user process and on a CPU. The
    /// first of all where there is none.
    pub(super) fn dumper(&self) -> Option<i32> {
        self.all
            .iter()
            .rev()
            .filter(|p| p.what.pid >= 100)
            .flat_map(|p| &p.threads)
            .find(|t| matches!(t.what.state, ThreadState::Running(_)))
            .or_else(|| self.threads().next())
            .map(|t| t.what.tid)
    }

    /// The threads that are on a CPU.
    pub(super) fn running(&self) -> impl Iterator<Item = Running<'_>> {
        let oncpu_offset = self.offsets.of("td_oncpu") as u32;
        self.threads().filter_map(move |t| match t.what.state {
            ThreadState::Running(cpu) => Some(Running {
                thread: t.va,
                oncpu_offset,
                cpu,
                tid: t.what.tid,
                stack: &t.stack,
                registers: t.registers,
            }),
            _ => None,
        })
    }

    /// Addresses of the threads' `td_oncpu`.
    pub(super) fn oncpus(&self) -> Vec<u64> {
        let offset = self.offsets.of("td_oncpu");
        self.threads().map(|t| t.va + offset).collect()
    }

    fn threads(&self) -> impl Iterator<Item = &ThreadAt> {
        self.all.iter().flat_map(|p| &p.threads)
    }
}
