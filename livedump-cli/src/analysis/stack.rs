// SPDX-License-Identifier: BSD-2-Clause
//! A thread's registers, and its stack: by frame pointers alone, or with what
//! the debug information of the kernel and of its modules says.
//!
//! Which registers, as debuggers choose them: those of the thread that took
//! the dump are in `dumppcb`, those of a stopped CPU in `stoppcbs`, all others
//! in the thread's own pcb, where its last switch left them. A thread that
//! was running on a CPU nobody stopped has only stale ones.

use super::modules::{MAX_MODULE, Module, modules};
use super::symbols::{SymbolOffset, Symbols};
use super::target::Target;
use super::threads::{State, Thread};
use super::types::Field;
use livedump_vmcore::debuginfo::{
    Argument, Call, DebugInfo, Registers as Full,
};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::unwind::{self, Code, How, MAX_STACK, Unwinder, code};
use memdev::addr::Vaddr;
use memdev::arch::Machine;

/// Of a name that is demangled.
const MAX_MANGLED: usize = 1024;
/// `stoppcbs` is a pointer from here on.
const ALLOCATED_STOPPCBS: u32 = 1_400_089;
/// arm64's pcb has callee-saved registers only from here on.
const SHORT_ARM64_PCB: u32 = 1_400_084;

/// Why nothing is known of the stack of a thread that has stale registers.
pub const STALE: &str =
    "its registers at the time of the dump are not recorded";

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

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where it goes on.
    pub pc: Vaddr,
    /// What is there; the module where nothing else is known.
    pub place: Option<SymbolOffset>,
    /// The module that it is in.
    pub module: Option<String>,
    /// How it was found.
    pub how: How,
    /// Its function and those inlined in it, with lines, innermost first;
    /// empty where no debug information was asked.
    pub calls: Vec<Call>,
    /// The arguments of each of them, where they were asked for.
    pub arguments: Option<Vec<Vec<Argument>>>,
}

/// A module whose file was found.
#[derive(Debug)]
pub struct ModuleFile {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// The file, placed there.
    pub file: Kernel,
    /// Its debug file, placed there.
    pub debug: Option<Kernel>,
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

/// A stack, its frames by their addresses only.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where its registers are from.
    pub source: Source,
    /// They, if they could be read.
    pub registers: Option<Registers>,
    /// Innermost first.
    pub frames: Vec<unwind::Frame>,
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
    /// Where debug information is used.
    sources: Option<Sources<'t, 'a>>,
    /// With arguments.
    with_arguments: bool,
    /// With lines, and functions that are inlined.
    with_inlined: bool,
}

/// Symbols and debug information of the kernel and its modules.
#[derive(Debug)]
struct Sources<'t, 'a> {
    kernel: DebugInfo<'a>,
    modules: Vec<ModuleSource<'t>>,
}

#[derive(Debug)]
struct ModuleSource<'t> {
    start: u64,
    end: u64,
    symbols: Symbols,
    debug: DebugInfo<'t>,
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
            sources: None,
            with_arguments: false,
            with_inlined: true,
        }
    }

    /// The same with the debug information of the kernel, and of modules
    /// whose files were found.
    #[must_use]
    pub fn with_debug_info(mut self, files: &'t [ModuleFile]) -> Self {
        let modules = files.iter().map(|m| ModuleSource {
            start: m.start,
            end: m.end,
            symbols: Symbols::new(m.debug.as_ref().unwrap_or(&m.file)),
            debug: DebugInfo::new(&m.file, m.debug.as_ref()),
        });
        self.sources = Some(Sources {
            kernel: DebugInfo::new(self.t.kernel, self.t.debug),
            modules: modules.collect(),
        });
        self
    }

    /// The same with the arguments of functions, where debug information is
    /// used.
    #[must_use]
    pub fn with_arguments(mut self, with: bool) -> Self {
        self.with_arguments = with;
        self
    }

    /// The same without lines and the functions that are inlined, if `with` is
    /// false.
    #[must_use]
    pub fn with_inlined(mut self, with: bool) -> Self {
        self.with_inlined = with;
        self
    }

    /// What the kernel linker has loaded besides the kernel.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    fn is_stopped(&self, cpu: u32) -> bool {
        let byte = self.stopped.get(cpu as usize / 8);
        byte.is_some_and(|b| b >> (cpu % 8) & 1 != 0)
    }

    /// The stack of a thread.
    #[must_use]
    pub fn of(&self, thread: &Thread) -> Stack {
        let Addresses { source, registers, frames, broken } =
            self.addresses(thread);
        let frames = frames.iter().map(|f| self.frame(f)).collect();
        Stack { source, registers, frames, broken }
    }

    /// The same without what is at the addresses: most of the time goes into
    /// that, and many threads have the same ones.
    #[must_use]
    pub fn addresses(&self, thread: &Thread) -> Addresses {
        let (source, pcb) = self.pcb(thread);
        let broken = |why: String| Addresses {
            source,
            registers: None,
            frames: Vec::new(),
            broken: Some(why),
        };
        let Some(pcb) = pcb else {
            return broken("it has no pcb".to_string());
        };
        match self.registers(pcb) {
            Some(registers) => self.unwind(thread, source, (pcb, registers)),
            None => broken(format!("the pcb at {pcb} is not in the dump")),
        }
    }

    /// Where the unpacked dump has the page of its pcb, which is at the base of
    /// its stack.
    #[must_use]
    pub fn place_in_file(&self, thread: &Thread) -> Option<u64> {
        let (_, pcb) = self.pcb(thread);
        self.t.core.offset_of(pcb?)
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
            let machine = self.t.core.header().machine;
            let pc = Vaddr(code(machine, pc?.0));
            Some((layout, Registers { pc, fp: fp?, sp: sp? }))
        };
        let all: Vec<_> = self.layouts().into_iter().filter_map(read).collect();
        let plausible = all.iter().find(|(_, r)| {
            r.fp.0 >= r.sp.0 && r.fp.0.wrapping_sub(r.sp.0) < MAX_STACK
        });
        plausible.or(all.first()).copied()
    }

    fn unwind(
        &self,
        thread: &Thread,
        source: Source,
        (pcb, registers): (Vaddr, Registers),
    ) -> Addresses {
        let machine = self.t.core.header().machine;
        let mut first = Full::new(machine, registers.pc.0);
        if let Some(saved) = self.saved_at(pcb) {
            for (number, value) in saved.general {
                first.set(number, Some(value));
            }
        }
        let numbers = match machine {
            Machine::Amd64 => (7, 6),
            Machine::Arm64 => (31, 29),
        };
        first.set(numbers.0, Some(registers.sp.0));
        first.set(numbers.1, Some(registers.fp.0));
        let read = |at| {
            let value = self.t.core.read_u64(Vaddr(at));
            value.map_err(|e| super::target::read_error_text(&e))
        };
        let unwinder = Unwinder {
            code: self,
            memory: &read,
            with_cfi: self.sources.is_some(),
        };
        let unwound = unwinder.unwind(first, thread.kstack);
        Addresses {
            source,
            registers: Some(registers),
            frames: unwound.frames,
            broken: unwound.broken,
        }
    }

    /// What is at the address of a frame.
    #[must_use]
    pub fn frame(&self, f: &unwind::Frame) -> Frame {
        let (pc, within) = (Vaddr(f.pc), Vaddr(f.at));
        let place = self.place(within).map(|p| SymbolOffset {
            offset: p.offset.wrapping_add(pc.0.wrapping_sub(within.0)),
            ..p
        });
        let module = self.module(within).map(|(m, _)| m.name.clone());
        let debug = self.debug(f.at).filter(|_| self.with_inlined);
        let calls = debug.map_or_else(Vec::new, |debug| debug.calls(f.at));
        let read = |at| self.t.core.read_u64(Vaddr(at)).ok();
        let arguments = debug.filter(|_| self.with_arguments).map(|debug| {
            let of = |n| debug.arguments(f.at, n, &f.registers, &read);
            (0..calls.len()).map(of).collect()
        });
        Frame { pc, place, module, how: f.how, calls, arguments }
    }

    /// The name of the function at an address; `foo.ko+0x10` where only the
    /// module is known.
    #[must_use]
    pub fn function(&self, at: Vaddr) -> Option<String> {
        let SymbolOffset { name, offset } = self.place(at)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let is_module = self.module(at).is_some_and(|(m, _)| m.name == name);
        Some(match is_module {
            true => format!("{name}+{offset:#x}"),
            false => name,
        })
    }

    /// The function of an address, or its module.
    fn place(&self, at: Vaddr) -> Option<SymbolOffset> {
        if let Some(found) = self.t.symbols.find(at) {
            return Some(found);
        }
        let source = self.module_source(at.0);
        source.and_then(|m| m.symbols.find(at)).map(demangled).or_else(|| {
            let (module, offset) = self.module(at)?;
            let name = module.name.clone().into_bytes();
            Some(SymbolOffset { name, offset })
        })
    }

    fn module(&self, pc: Vaddr) -> Option<(&Module, u64)> {
        self.modules.iter().find_map(|m| {
            let offset = pc.0.checked_sub(m.start)?;
            let size = m.size.unwrap_or(MAX_MODULE);
            (offset < size).then_some((m, offset))
        })
    }

    fn module_source(&self, at: u64) -> Option<&ModuleSource<'t>> {
        let sources = self.sources.as_ref()?;
        let has = |m: &&ModuleSource<'_>| (m.start..m.end).contains(&at);
        sources.modules.iter().find(has)
    }
}

/// Names of functions in Rust, as their authors wrote them.
fn demangled(place: SymbolOffset) -> SymbolOffset {
    let text = std::str::from_utf8(&place.name).ok();
    let text = text.filter(|t| t.len() <= MAX_MANGLED);
    let name = text.and_then(|t| rustc_demangle::try_demangle(t).ok());
    match name.map(|name| format!("{name:#}")) {
        Some(name) if name.len() <= MAX_MANGLED * 4 => {
            SymbolOffset { name: name.into_bytes(), ..place }
        }
        _ => place,
    }
}

impl Code for Stacks<'_, '_> {
    fn debug(&self, at: u64) -> Option<&DebugInfo<'_>> {
        let sources = self.sources.as_ref()?;
        match self.module_source(at) {
            Some(module) => Some(&module.debug),
            None => Some(&sources.kernel),
        }
    }

    fn symbol(&self, at: u64) -> Option<Vec<u8>> {
        let found = self.t.symbols.find(Vaddr(at));
        let found =
            found.or_else(|| self.module_source(at)?.symbols.find(Vaddr(at)));
        found.map(|f| f.name)
    }

    fn entry(&self, name: &str) -> Option<u64> {
        self.t.symbols.entry(name)
    }
}
