// SPDX-License-Identifier: BSD-2-Clause
//! Registers of running threads as kgdb and LLDB would find them, and the list
//! of pages that changed.

use crate::arch::Offsets;
use crate::check::extract;
use crate::console::{Console, DumpAt};
use crate::dump_check::{Answer, DumpCheck};
use memdev::addr::{PAGE_SIZE, Vaddr};
use memdev::changes::{HEADER_BYTES, Header, RECORD_BYTES, Record};
use std::path::Path;

/// Frames that a stack has at most.
const MAX_FRAMES: usize = 64;
/// Words of a stack in which an interrupt's frame is looked for.
const MAX_WORDS: u64 = 512;

/// Registers that lead through a stack, and the one that ldhang.ko counts in.
struct Registers {
    counter: u64,
    fp: u64,
    sp: u64,
    pc: u64,
}

/// A thread and where the kernel says it ran.
struct Thread {
    at: u64,
    tid: u32,
    oncpu: u32,
}

impl DumpCheck<'_> {
    /// A thread spins on a CPU: with the flag its registers say so, without
    /// it they are those it had when it stopped running before.
    pub(crate) fn spinner(&self, saved: bool) -> Answer<()> {
        let (r, from, to, thread) = self.spinning()?;
        let inside = (from..=to).contains(&r.pc);
        if inside != saved {
            return Err(format!(
                "pc {:#x}, the loop {from:#x} to {to:#x}, CPU {}",
                r.pc, thread.oncpu as i32
            ));
        }
        if saved {
            self.returns_to(&r, "fork_exit")?;
            self.caller()?;
        }
        Ok(())
    }

    /// The same of a dump that no thread took.
    pub(crate) fn spins(&self) -> Answer<()> {
        let (r, from, to, _) = self.spinning()?;
        let r = self.interrupted(r, from, to)?;
        if !(from..=to).contains(&r.pc) {
            let pc = r.pc;
            return Err(format!("pc {pc:#x}, the loop {from:#x} to {to:#x}"));
        }
        self.returns_to(&r, "fork_exit")
    }

    /// The registers of the thread that spins, its loop, and the thread.
    fn spinning(&self) -> Answer<(Registers, u64, u64, Thread)> {
        let fact = |name: &str| {
            let fact = self.console.fact(name);
            fact.ok_or_else(|| format!("no fact {name}"))
        };
        let (from, to) = (fact("spin_from")?, fact("spin_to")?);
        let thread = self.thread_of("ldspin")?;
        let r = self.registers(&thread)?;
        Ok((r, from, to, thread))
    }

    /// A CPU is stopped from outside anywhere, in the handler of an interrupt
    /// as well: then the registers are those that the loop had, from the
    /// interrupt's frame.
    fn interrupted(
        &self,
        r: Registers,
        from: u64,
        to: u64,
    ) -> Answer<Registers> {
        if (from..=to).contains(&r.pc) {
            return Ok(r);
        }
        let offsets = &self.arch.registers.trapframe;
        let (mask, kernel) = self.arch.registers.kernel;
        for at in (0..MAX_WORDS).map(|n| r.sp.wrapping_add(n * 8)) {
            // The stack ends there.
            let Ok(pc) = self.u64_at(Vaddr(at)) else { break };
            if (from..=to).contains(&pc)
                && self.u64_at(Vaddr(at + 8))? & mask == kernel
            {
                let frame = at.wrapping_sub(offsets.pc);
                return self.registers_at(frame, offsets);
            }
        }
        Ok(r)
    }

    /// The turns of that thread's loop: counted in a register, then stored.
    pub(crate) fn turns(&self) -> Answer<()> {
        let at = self.console.fact("spin_turns").ok_or("no fact spin_turns")?;
        let stored = self.u64_at(Vaddr(at))?;
        let (r, from, to, _) = self.spinning()?;
        // A handler begins with the loop's own, and saves it into the frame.
        let own = r.counter;
        let saved = self.interrupted(r, from, to)?.counter;
        let fits = |counted: u64| {
            counted > 1 && matches!(counted.wrapping_sub(stored), 0 | 1)
        };
        match fits(saved) || fits(own) {
            true => Ok(()),
            false => Err(format!(
                "turns: {own} in the register, {saved} saved, {stored} stored"
            )),
        }
    }

    /// The thread that made the dump came in by a system call.
    fn caller(&self) -> Answer<()> {
        let at = self.symbol("dumppcb")?.0;
        let tid = self.u32_at(self.symbol("dumptid")?)?;
        if tid < 100_000 {
            return Err(format!("dumptid {tid}"));
        }
        self.returns_to(&self.pcb(at)?, self.arch.registers.syscall)
    }

    /// Up the chain of frames to a return address in `function`.
    fn returns_to(&self, r: &Registers, function: &str) -> Answer<()> {
        let start = self.symbol(function)?.0;
        let inside = |pc: u64| (start..start + 0x1000).contains(&pc);
        let mut frames = vec![r.pc];
        let mut fp = r.fp;
        while frames.len() < MAX_FRAMES && fp != 0 {
            let next = self.u64_at(Vaddr(fp))?;
            let ret = self.u64_at(Vaddr(fp.wrapping_add(8)))?;
            let ret = ret | self.arch.registers.canonical;
            frames.push(ret);
            if inside(ret) {
                return Ok(());
            }
            if next <= fp {
                break;
            }
            fp = next;
        }
        let frames: Vec<_> =
            frames.iter().map(|pc| format!("{pc:#x}")).collect();
        Err(format!("no {function} up {}", frames.join(" ")))
    }

    /// Whether the thread that took the dump was in a module, whichever stacks
    /// it had, from that of an NMI on.
    pub(crate) fn was_in(&self, module: std::ops::Range<u64>) -> Answer<bool> {
        let mut fp = self.pcb(self.symbol("dumppcb")?.0)?.fp;
        for _ in 0..MAX_FRAMES {
            let (Ok(next), Ok(ret)) = (
                self.u64_at(Vaddr(fp)),
                self.u64_at(Vaddr(fp.wrapping_add(8))),
            ) else {
                break;
            };
            if module.contains(&(ret | self.arch.registers.canonical)) {
                return Ok(true);
            }
            fp = next;
        }
        Ok(false)
    }

    /// As kgdb chooses: the dumping thread, one on a stopped CPU, others.
    fn registers(&self, thread: &Thread) -> Answer<Registers> {
        if self.u32_at(self.symbol("dumptid")?)? == thread.tid {
            return self.pcb(self.symbol("dumppcb")?.0);
        }
        let cpu = u64::from(thread.oncpu);
        if thread.oncpu != u32::MAX {
            let word = self.symbol("stopped_cpus")?.0 + cpu / 64 * 8;
            if self.u64_at(Vaddr(word))? >> (cpu % 64) & 1 == 1 {
                let mut base = self.symbol("stoppcbs")?.0;
                let reldate = self.console.fact("osreldate").unwrap_or(0);
                if reldate >= 1_400_089 {
                    base = self.u64_at(Vaddr(base))?;
                }
                let size = u64::from(self.u32_at(self.symbol("pcb_size")?)?);
                return self.pcb(base + cpu * size);
            }
        }
        let at = self.offset("thread_off_td_pcb")?;
        self.pcb(self.u64_at(Vaddr(thread.at + at))?)
    }

    fn pcb(&self, at: u64) -> Answer<Registers> {
        self.registers_at(at, &self.arch.registers.pcb)
    }

    fn registers_at(&self, at: u64, offsets: &Offsets) -> Answer<Registers> {
        let word = |offset: u64| self.u64_at(Vaddr(at.wrapping_add(offset)));
        Ok(Registers {
            counter: word(offsets.counter)?,
            fp: word(offsets.fp)?,
            sp: word(offsets.sp)?,
            pc: word(offsets.pc)? | self.arch.registers.canonical,
        })
    }

    fn offset(&self, name: &str) -> Answer<u64> {
        self.u32_at(self.symbol(name)?).map(u64::from)
    }

    /// The first thread of the process of that name.
    fn thread_of(&self, comm: &str) -> Answer<Thread> {
        let list = self.offset("proc_off_p_list")?;
        let comm_at = self.offset("proc_off_p_comm")?;
        let threads = self.offset("proc_off_p_threads")?;
        let mut at = self.u64_at(self.symbol("allproc")?)?;
        for _ in 0..100_000 {
            if at == 0 {
                break;
            }
            let mut name = vec![0; comm.len() + 1];
            self.core
                .read_va(Vaddr(at + comm_at), &mut name)
                .map_err(|e| e.to_string())?;
            if name.strip_suffix(&[0]) == Some(comm.as_bytes()) {
                let td = self.u64_at(Vaddr(at + threads))?;
                let field =
                    |name| Ok::<_, String>(Vaddr(td + self.offset(name)?));
                return Ok(Thread {
                    at: td,
                    tid: self.u32_at(field("thread_off_td_tid")?)?,
                    oncpu: self.u32_at(field("thread_off_td_oncpu")?)?,
                });
            }
            at = self.u64_at(Vaddr(at.wrapping_add(list)))?;
        }
        Err(format!("no process {comm}"))
    }
}

/// The list of a dump under which one page was rewritten all the time, and
/// another left alone.
pub(crate) fn changes(
    dir: &Path,
    console: &Console,
    at: &DumpAt,
) -> Answer<()> {
    let path = dir.join(&at.name);
    extract(&dir.join(crate::qemu::OUTPUT), at, &path)?;
    let bytes = std::fs::read(&path).map_err(|e| e.to_string())?;
    let (head, rest) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or("shorter than its header")?;
    let header = Header::decode(head).map_err(|e| e.to_string())?;
    let records: Vec<Record> = rest
        .as_chunks::<RECORD_BYTES>()
        .0
        .iter()
        .map(|r| Record::decode(r).ok_or("a record that makes no sense"))
        .collect::<Result<_, _>>()?;
    if records.len() != header.records as usize {
        let n = records.len();
        return Err(format!("{n} of {} records", header.records));
    }
    let pages: u64 = records.iter().map(|r| u64::from(r.pages)).sum();
    if pages != header.total() || pages > header.pages {
        return Err(format!("{pages} pages of {header:?}"));
    }
    let pa = |name: &str| {
        let pfn = console.fact(name).ok_or(format!("no fact {name}"))?;
        Ok::<_, String>(pfn * PAGE_SIZE as u64)
    };
    let holds =
        |pa: u64| records.iter().any(|r| (r.start.0..r.end()).contains(&pa));
    if !holds(pa("rewritten")?) {
        return Err("the page that is rewritten is not in it".into());
    }
    if holds(pa("idle")?) {
        return Err("the page that is left alone is in it".into());
    }
    let _ = std::fs::remove_file(&path);
    Ok(())
}
