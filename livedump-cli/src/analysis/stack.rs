// SPDX-License-Identifier: BSD-2-Clause
//! A thread's registers, and the calls behind its frame pointer.
//!
//! Which registers, as debuggers choose them: those of the thread that took
//! the dump are in `dumppcb`, those of a stopped CPU in `stoppcbs`, all others
//! in the thread's own pcb, where its last switch left them. A thread that
//! was running on a CPU nobody stopped has only stale ones.

use super::modules::{MAX_MODULE, Module, modules};
use super::symbols::SymbolOffset;
use super::target::Target;
use super::threads::{State, Thread};
use super::types::Field;
use memdev::addr::Vaddr;
use memdev::arch::Machine;

/// Frames of one stack.
pub const MAX_FRAMES: usize = 256;
/// Where a stack's bounds are not known: it is not longer.
const MAX_STACK: u64 = 256 << 10;
/// `stoppcbs` is a pointer from here on.
const ALLOCATED_STOPPCBS: u32 = 1_400_089;
/// arm64's pcb has callee-saved registers only from here on.
const SHORT_ARM64_PCB: u32 = 1_400_084;

/// The registers that a stack starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Where it goes on.
    pub pc: Vaddr,
    /// Its frame.
    pub fp: Vaddr,
    /// Its stack.
    pub sp: Vaddr,
}

/// All registers of a thread that are known, by their numbers in DWARF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where it goes on.
    pub pc: u64,
    /// Its stack.
    pub sp: u64,
    /// The others.
    pub general: Vec<(u16, u64)>,
}

/// Where registers are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `dumppcb`: it took the dump.
    Dumppcb,
    /// `stoppcbs`: its CPU was stopped.
    Stoppcbs(u32),
    /// Its pcb: it was off any CPU.
    Pcb,
    /// Its pcb, but it was running: they are of its last switch.
    Stale(u32),
}

/// One call.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where it goes on.
    pub pc: Vaddr,
    /// What is there.
    pub place: Option<SymbolOffset>,
}

/// A stack.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Where its registers are from.
    pub source: Source,
    /// They, if they could be read.
    pub registers: Option<Registers>,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Why there are no more, where that is not its end.
    pub broken: Option<String>,
}

/// Reads stacks.
#[derive(Debug)]
pub struct Stacks<'t, 'a> {
    t: &'t Target<'a>,
    /// The thread whose registers are in `dumppcb`.
    dumptid: Option<i32>,
    stopped: Vec<u8>,
    stoppcbs: Option<Vaddr>,
    pcb_size: u64,
    modules: Vec<Module>,
}

/// Offsets of pc, fp and sp in a pcb.
type Pcb = [u64; 3];
const AMD64_PCB: Pcb = [56, 32, 40];
const ARM64_PCB: Pcb = [240, 232, 256];
const ARM64_SHORT_PCB: Pcb = [88, 80, 96];

/// The thread that takes the dump. In an image `dumppcb` is of an earlier
/// dump, or from its notes as the others, unless the kernel itself was
/// dumping. C: `doadump`.
fn dumptid(t: &Target<'_>) -> Option<i32> {
    let dumping = || t.int("dumping").is_some_and(|n| n != 0);
    let valid = t.core.image().is_none() || dumping();
    t.int("dumptid").filter(|_| valid).map(u32::cast_signed)
}

impl<'t, 'a> Stacks<'t, 'a> {
    /// Looks up where registers are.
    #[must_use]
    pub fn new(t: &'t Target<'a>) -> Self {
        let stopped = t.kernel.find("stopped_cpus").map(|s| {
            let mut set = vec![0; s.size.min(512) as usize];
            let read = t.core.read_va(s.address, &mut set);
            read.map(|()| set).unwrap_or_default()
        });
        let allocated = t.osreldate() >= ALLOCATED_STOPPCBS
            || t.kernel.find("stoppcbs").is_some_and(|s| s.size == 8);
        Self {
            t,
            dumptid: dumptid(t),
            stopped: stopped.unwrap_or_default(),
            stoppcbs: match allocated {
                true => t.pointer("stoppcbs"),
                false => t.address("stoppcbs"),
            },
            pcb_size: t.int("pcb_size").map_or(0, u64::from),
            modules: modules(t),
        }
    }

    fn is_stopped(&self, cpu: u32) -> bool {
        let byte = self.stopped.get(cpu as usize / 8);
        byte.is_some_and(|b| b >> (cpu % 8) & 1 != 0)
    }

    /// The stack of a thread.
    #[must_use]
    pub fn of(&self, thread: &Thread) -> Stack {
        let (source, pcb) = self.pcb(thread);
        let broken = |why: String| Stack {
            source,
            registers: None,
            frames: Vec::new(),
            broken: Some(why),
        };
        let Some(pcb) = pcb else {
            return broken("it has no pcb".to_string());
        };
        match self.registers(pcb) {
            Some(registers) => self.unwind(thread, source, registers),
            None => broken(format!("the pcb at {pcb} is not in the dump")),
        }
    }

    fn pcb(&self, thread: &Thread) -> (Source, Option<Vaddr>) {
        if self.dumptid == Some(thread.tid) {
            return (Source::Dumppcb, self.t.address("dumppcb"));
        }
        let own = (thread.pcb.0 != 0).then_some(thread.pcb);
        let running = matches!(thread.state, State::Running | State::Unknown);
        match thread.cpu {
            Some(cpu) if self.is_stopped(cpu) => {
                let skip = u64::from(cpu).wrapping_mul(self.pcb_size);
                let at = self.stoppcbs.map(|s| s.0.wrapping_add(skip));
                (Source::Stoppcbs(cpu), at.map(Vaddr))
            }
            Some(cpu) if running => (Source::Stale(cpu), own),
            _ => (Source::Pcb, own),
        }
    }

    /// Where a pcb has its registers: by its type, else as each machine has
    /// it; kernels of arm64 that do not tell their age are tried both ways.
    fn layouts(&self) -> Vec<Pcb> {
        let of = |name| self.t.types.field("pcb", name);
        let offset = |f: Option<Field>| f.map(|f| f.offset);
        match self.t.core.header().machine {
            Machine::Amd64 => {
                let told = [of("pcb_rip"), of("pcb_rbp"), of("pcb_rsp")];
                match told.map(offset) {
                    [Some(pc), Some(fp), Some(sp)] => vec![[pc, fp, sp]],
                    _ => vec![AMD64_PCB],
                }
            }
            Machine::Arm64 => match (of("pcb_x"), of("pcb_sp")) {
                // x19 to x30.
                (Some(x), Some(sp)) if x.size == 96 => {
                    let at = |n: u64| x.offset.saturating_add(n);
                    vec![[at(88), at(80), sp.offset]]
                }
                (Some(x), Some(sp)) if x.size >= 240 => {
                    let at = |n: u64| x.offset.saturating_add(n);
                    let lr = of("pcb_lr").map_or(at(240), |f| f.offset);
                    vec![[lr, at(232), sp.offset]]
                }
                _ => match self.t.osreldate() {
                    0 => vec![ARM64_SHORT_PCB, ARM64_PCB],
                    n if n >= SHORT_ARM64_PCB => vec![ARM64_SHORT_PCB],
                    _ => vec![ARM64_PCB],
                },
            },
        }
    }

    /// The registers that a thread was left with, all that are known.
    #[must_use]
    pub fn saved(&self, thread: &Thread) -> (Source, Option<Saved>) {
        let (source, pcb) = self.pcb(thread);
        (source, pcb.and_then(|pcb| self.saved_at(pcb)))
    }

    fn saved_at(&self, pcb: Vaddr) -> Option<Saved> {
        let (layout, r) = self.layout_of(pcb)?;
        let [pc, ..] = layout;
        // The first register of the area, its offset before that of pc, and
        // the numbers of the others.
        let amd64: &[u16] = &[15, 14, 13, 12, 6, 7, 3];
        let arm64: Vec<u16> = match pc >= 240 {
            true => (0..30).collect(),
            false => (19..30).collect(),
        };
        let numbers = match self.t.core.header().machine {
            Machine::Amd64 => amd64,
            Machine::Arm64 => &arm64,
        };
        let bytes = (numbers.len() as u64).saturating_mul(8);
        let start = pcb.0.wrapping_add(pc.checked_sub(bytes)?);
        let mut all = Vec::new();
        for (n, &number) in (0u64..).zip(numbers) {
            let at = Vaddr(start.wrapping_add(n.saturating_mul(8)));
            all.push((number, self.t.core.read_u64(at).ok()?));
        }
        // arm64's link register is not known: pc is in its place. As lr, it
        // would make a function that saves none its own caller.
        Some(Saved { pc: r.pc.0, sp: r.sp.0, general: all })
    }

    fn registers(&self, pcb: Vaddr) -> Option<Registers> {
        self.layout_of(pcb).map(|(_, registers)| registers)
    }

    fn layout_of(&self, pcb: Vaddr) -> Option<(Pcb, Registers)> {
        let read = |layout: Pcb| {
            let get = |offset: u64| {
                let at = Vaddr(pcb.0.wrapping_add(offset));
                self.t.core.read_u64(at).map(Vaddr).ok()
            };
            let [pc, fp, sp] = layout.map(get);
            let pc = self.code(pc?);
            Some((layout, Registers { pc, fp: fp?, sp: sp? }))
        };
        let all: Vec<_> = self.layouts().into_iter().filter_map(read).collect();
        let plausible = all.iter().find(|(_, r)| {
            r.fp.0 >= r.sp.0 && r.fp.0.wrapping_sub(r.sp.0) < MAX_STACK
        });
        plausible.or(all.first()).copied()
    }

    /// An address of code without what pointer authentication put into it.
    fn code(&self, pc: Vaddr) -> Vaddr {
        match self.t.core.header().machine {
            Machine::Arm64 if pc.0 >> 55 & 1 != 0 => Vaddr(pc.0 | 0xffff << 48),
            _ => pc,
        }
    }

    fn unwind(
        &self,
        thread: &Thread,
        source: Source,
        registers: Registers,
    ) -> Stack {
        let first = registers.pc;
        let mut frames = vec![self.frame(first, first)];
        let broken = self.follow(thread, registers, &mut frames);
        Stack { source, registers: Some(registers), frames, broken }
    }

    /// Frame by frame, outwards; what ended it too early.
    fn follow(
        &self,
        thread: &Thread,
        registers: Registers,
        frames: &mut Vec<Frame>,
    ) -> Option<String> {
        let low = registers.sp.0.min(registers.fp.0);
        let bounds = match thread.kstack {
            Some((start, end)) if (start..end).contains(&low) => (start, end),
            _ => (low, low.saturating_add(MAX_STACK)),
        };
        let mut fp = registers.fp.0;
        loop {
            // A frame pointer of user mode, or none: nothing is behind it.
            if fp >> 63 == 0 {
                return None;
            }
            let within = fp >= bounds.0 && fp < bounds.1;
            if !within || !fp.is_multiple_of(8) {
                return Some(format!(
                    "the frame at {fp:#x} is not on the stack"
                ));
            }
            if frames.len() >= MAX_FRAMES {
                return Some(format!("more than {MAX_FRAMES} frames"));
            }
            let mut raw = [0; 16];
            if let Err(e) = self.t.core.read_va(Vaddr(fp), &mut raw) {
                return Some(super::target::read_error_text(&e));
            }
            let raw = u128::from_le_bytes(raw);
            let next = raw as u64;
            let back = self.code(Vaddr((raw >> 64) as u64));
            if back.0 >> 63 == 0 {
                return None;
            }
            // What returns there was called just before.
            frames.push(self.frame(back, Vaddr(back.0.wrapping_sub(1))));
            if next <= fp && next >> 63 != 0 {
                return Some(format!(
                    "the next frame, {next:#x}, is not above it"
                ));
            }
            fp = next;
        }
    }

    fn frame(&self, pc: Vaddr, within: Vaddr) -> Frame {
        let found = self.t.symbols.find(within).or_else(|| self.module(within));
        let place = found.map(|p| SymbolOffset {
            offset: p.offset.wrapping_add(pc.0.wrapping_sub(within.0)),
            ..p
        });
        Frame { pc, place }
    }

    fn module(&self, pc: Vaddr) -> Option<SymbolOffset> {
        self.modules.iter().find_map(|m| {
            let offset = pc.0.checked_sub(m.start)?;
            let size = m.size.unwrap_or(MAX_MODULE);
            let name = m.name.clone().into_bytes();
            (offset < size).then_some(SymbolOffset { name, offset })
        })
    }
}
