// SPDX-License-Identifier: BSD-2-Clause
//! Frame by frame through a kernel stack: by CFI where the kernel or the
//! module has it, by frame pointers elsewhere, through trap frames.
//!
//! Each frame must be above the one before it on the same stack; only a trap
//! may have come from another. Whatever a stack holds, it ends.

mod trap;

use crate::debuginfo::{self, DebugInfo, Registers};
use memdev::arch::Machine;

/// Frames of one stack, without those of inlined functions.
pub const MAX_FRAMES: usize = 256;
/// Where a stack's bounds are not known: it is not longer.
pub const MAX_STACK: u64 = 256 << 10;
/// Stacks that a thread has been on: its own, and those of nested traps.
const MAX_TRAPS: usize = 16;

/// How a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is the innermost: the thread's own registers.
    Registers,
    /// By CFI.
    Cfi,
    /// By the frame pointer.
    FramePointer,
    /// A trap or an interrupt left its registers on the stack.
    Trap,
    /// It is not on the stack: it ended by a call, of which the debug
    /// information tells.
    TailCall,
}

impl How {
    /// A word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::Cfi => "cfi",
            Self::FramePointer => "frame pointer",
            Self::Trap => "trap",
            Self::TailCall => "tail call",
        }
    }
}

/// A frame, without what is inlined in it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where it goes on.
    pub pc: u64,
    /// An address of the instruction that it is at: that before it goes on,
    /// where it made a call.
    pub at: u64,
    /// How it was found.
    pub how: How,
    /// Its registers, as far as they are known.
    pub registers: Registers,
}

/// The code that a stack's addresses are of.
pub trait Code {
    /// The debug information for an address.
    fn debug(&self, at: u64) -> Option<&DebugInfo<'_>>;
    /// The name of the function that has it, from symbols.
    fn symbol(&self, at: u64) -> Option<Vec<u8>>;
    /// Where a function starts.
    fn entry(&self, name: &str) -> Option<u64>;
}

/// Goes through stacks.
#[derive(Clone, Copy)]
pub struct Unwinder<'a> {
    /// The code.
    pub code: &'a dyn Code,
    /// Reads eight bytes.
    pub memory: &'a dyn Fn(u64) -> Result<u64, String>,
    /// By CFI as well, and not by frame pointers alone.
    pub with_cfi: bool,
}

impl std::fmt::Debug for Unwinder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("with_cfi", &self.with_cfi).finish()
    }
}

/// A stack, and why it ends before its end.
#[derive(Debug, Default)]
pub struct Unwound {
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Why there are no more, where that is not the end.
    pub broken: Option<String>,
}

/// What is behind a frame.
enum Next {
    Frame(Box<Frame>),
    /// Nothing: it is the last.
    End,
    Broken(String),
    /// This way leads nowhere.
    Unknown,
}

impl Unwinder<'_> {
    /// The stack that starts with these registers; `kstack` is the thread's,
    /// first byte and that behind its last.
    #[must_use]
    pub fn unwind(
        &self,
        first: Registers,
        kstack: Option<(u64, u64)>,
    ) -> Unwound {
        let pc = first.pc;
        let how = How::Registers;
        let mut frames = vec![Frame { pc, at: pc, how, registers: first }];
        let mut bounds = bounds(&first, kstack);
        let mut traps = 0usize;
        let mut physical = 1usize;
        let broken = loop {
            let Some(of) = frames.last() else { break None };
            let of = of.clone();
            let next = match self.next(&of, bounds) {
                Next::Frame(next) => *next,
                Next::End | Next::Unknown => break None,
                Next::Broken(why) => break Some(why),
            };
            if physical >= MAX_FRAMES {
                break Some(format!("more than {MAX_FRAMES} frames"));
            }
            physical = physical.saturating_add(1);
            if next.how == How::Trap {
                traps = traps.saturating_add(1);
                if traps > MAX_TRAPS {
                    break Some(format!("more than {MAX_TRAPS} traps"));
                }
                let new = self::bounds(&next.registers, kstack);
                // On the same stack what was interrupted is above.
                let (sp, old) = (next.registers.sp(), of.registers.sp());
                if new == bounds && sp <= old {
                    break Some("a trap frame leads back".into());
                }
                bounds = new;
            } else if self.with_cfi {
                self.tail_calls(&of, &next, &mut frames);
            }
            frames.push(next);
        };
        let broken = broken.or_else(|| self.ends_nowhere(&frames));
        Unwound { frames, broken }
    }

    /// Why these are not the frames of a whole stack, although there is no
    /// other: one ends where the kernel starts a thread or was entered, and
    /// not at an address that is in no function.
    fn ends_nowhere(&self, frames: &[Frame]) -> Option<String> {
        let last = frames.last()?;
        let debug = || self.code.debug(last.at)?.calls(last.at).pop();
        if self.code.symbol(last.at).is_some() || debug().is_some() {
            return None;
        }
        Some(format!(
            "it ends at {:#x}, which is in no known function",
            last.pc
        ))
    }

    fn next(&self, of: &Frame, bounds: (u64, u64)) -> Next {
        let name = self.code.symbol(of.at).unwrap_or_default();
        if name == b"fork_trampoline" {
            return Next::End;
        }
        let machine = of.registers.machine();
        if trap::is_entry(machine, &name) {
            match trap::read(&of.registers, self.memory) {
                Some(trap::From::User) => return Next::End,
                Some(trap::From::Kernel(registers)) => {
                    let registers = *registers;
                    let pc = registers.pc;
                    let how = How::Trap;
                    let frame = Frame { pc, at: pc, how, registers };
                    return Next::Frame(Box::new(frame));
                }
                None => {}
            }
        }
        match self.by_cfi(of, bounds) {
            Next::Unknown => self.by_frame_pointer(of, bounds),
            next => next,
        }
    }

    fn by_cfi(&self, of: &Frame, (low, high): (u64, u64)) -> Next {
        let debug = self.code.debug(of.at).filter(|_| self.with_cfi);
        let Some(debug) = debug else { return Next::Unknown };
        let read = |at| (self.memory)(at).ok();
        let undone = debug.undo(of.at, &of.registers, &read);
        let Some(undone) = undone else { return Next::Unknown };
        let cfa = undone.cfa;
        // That is what it was before the call, whatever CFI says of it.
        let mut registers = undone.registers;
        registers.set(debuginfo::sp(registers.machine()), Some(cfa));
        let above = of.registers.sp().is_none_or(|sp| {
            // A function may have pushed nothing, on arm64: the innermost.
            let leaf = of.registers.machine() == Machine::Arm64
                && matches!(of.how, How::Registers | How::Trap);
            cfa > sp || leaf && cfa == sp
        });
        if !above || cfa < low || cfa > high {
            return Next::Unknown;
        }
        registers.pc = code(registers.machine(), registers.pc);
        Next::of(registers, How::Cfi)
    }

    fn by_frame_pointer(&self, of: &Frame, (low, high): (u64, u64)) -> Next {
        let Some(fp) = of.registers.fp() else { return Next::End };
        // A frame pointer of user mode, or none: nothing is behind it.
        if fp >> 63 == 0 {
            return Next::End;
        }
        let below = of.registers.sp().is_some_and(|sp| fp < sp);
        if below && of.how == How::FramePointer {
            return Next::Broken(format!(
                "the next frame, {fp:#x}, is not above it"
            ));
        }
        if below || fp < low || fp >= high || !fp.is_multiple_of(8) {
            return Next::Broken(format!(
                "the frame at {fp:#x} is not on the stack"
            ));
        }
        let (next, back) = match ((self.memory)(fp), (self.memory)(fp | 8)) {
            (Ok(next), Ok(back)) => (next, back),
            (Err(why), _) | (_, Err(why)) => return Next::Broken(why),
        };
        let machine = of.registers.machine();
        let mut registers = Registers::new(machine, code(machine, back));
        registers.set(debuginfo::fp(machine), Some(next));
        registers.set(debuginfo::sp(machine), fp.checked_add(16));
        Next::of(registers, How::FramePointer)
    }

    /// Those that ended by a call between `caller` and the frame before it.
    fn tail_calls(
        &self,
        callee: &Frame,
        caller: &Frame,
        frames: &mut Vec<Frame>,
    ) {
        let Some(debug) = self.code.debug(caller.at) else { return };
        let read = |at| (self.memory)(at).ok();
        let found = debug.between(
            (caller.pc, &caller.registers),
            callee.at,
            &|name| self.code.entry(name),
            &read,
        );
        for pc in found {
            frames.push(Frame {
                pc,
                at: pc.wrapping_sub(1),
                how: How::TailCall,
                registers: Registers::new(caller.registers.machine(), pc),
            });
        }
    }
}

impl Next {
    fn of(registers: Registers, how: How) -> Self {
        let pc = registers.pc;
        // Of user mode, or none. CFI does not lead out of the kernel.
        if pc >> 63 == 0 {
            return match how {
                How::Cfi if pc != 0 => Self::Broken(format!(
                    "the return address {pc:#x} is not in the kernel"
                )),
                _ => Self::End,
            };
        }
        // What returns there was called just before.
        let at = pc.wrapping_sub(1);
        Self::Frame(Box::new(Frame { pc, at, how, registers }))
    }
}

/// The stack that registers are on.
fn bounds(of: &Registers, kstack: Option<(u64, u64)>) -> (u64, u64) {
    let (sp, fp) = (of.sp(), of.fp());
    let low = match (sp, fp) {
        // It may be that of user mode, or anything.
        (Some(sp), Some(fp)) if fp >> 63 != 0 => sp.min(fp),
        (Some(sp), _) => sp,
        (None, fp) => fp.unwrap_or(0),
    };
    match kstack {
        Some((start, end)) if (start..end).contains(&low) => (start, end),
        _ => (low, low.saturating_add(MAX_STACK)),
    }
}

/// An address of code without what pointer authentication put into it.
#[must_use]
pub fn code(machine: Machine, pc: u64) -> u64 {
    match machine {
        Machine::Arm64 if pc >> 55 & 1 != 0 => pc | 0xffff << 48,
        _ => pc,
    }
}

#[cfg(test)]
mod tests;
