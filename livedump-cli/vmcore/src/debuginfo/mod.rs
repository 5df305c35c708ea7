// SPDX-License-Identifier: BSD-2-Clause
//! What an ELF file knows about its code: how frames are undone (CFI), which
//! functions and lines an address is of, and which calls were replaced by
//! others. Read as far as it is asked for.
//!
//! ```text
//!  bytes      a section's bytes, a few pieces of it in memory
//!  sections   sections unpacked and relocated
//!  units      address to compilation unit
//!  functions  address to functions, inlined ones too, and lines
//!  arguments  where a function's arguments are
//!  sites      calls that are not on the stack
//!  cfi        address to how its frame is undone
//!  evaluate   expressions
//!  registers  the registers of a frame
//! ```
//!
//! Versions 2 to 5 of DWARF. Nothing in it is believed: an entry, an
//! attribute, a row costs a step, and steps are limited; nothing goes deeper
//! than its limit; what cannot be followed is not known.

mod arguments;
mod bytes;
mod cfi;
mod evaluate;
mod functions;
mod registers;
mod sections;
mod sites;
mod units;

pub use arguments::{Argument, Value};
pub use functions::Call;
pub use registers::Registers;
pub(crate) use registers::{fp, sp};

use crate::elf::Kernel;
use bytes::{Bytes, Steps};
use cfi::{Cfi, Undone};
use evaluate::Inputs;
use functions::Within;
use gimli::{Dwarf, Expression};
use memdev::arch::Machine;
use sections::Sections;
use sites::Lookup;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use units::Units;

/// Steps for all that is asked of a file.
const ALL_STEPS: u64 = 4 << 30;
/// Addresses whose functions are kept.
const MAX_KEPT: usize = 1 << 14;

/// The functions of an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Located {
    /// Innermost first; one without a name where only the line is known.
    pub(crate) calls: Vec<Call>,
    within: Option<Within>,
}

/// The debug information of an ELF file and of the debug file beside it.
/// Addresses are those of memory.
#[derive(Debug)]
pub struct DebugInfo<'k> {
    /// The file, and its debug file.
    files: Vec<&'k Kernel>,
    steps: Rc<Steps>,
    units: OnceCell<Units>,
    cfi: OnceCell<Cfi>,
    located: RefCell<HashMap<u64, Rc<Located>>>,
    sites: sites::Kept,
}

impl<'k> DebugInfo<'k> {
    /// Of a file, and of its debug file. Nothing is read yet.
    #[must_use]
    pub fn new(file: &'k Kernel, debug: Option<&'k Kernel>) -> Self {
        Self {
            files: debug.into_iter().chain([file]).collect(),
            steps: Steps::new(ALL_STEPS),
            units: OnceCell::new(),
            cfi: OnceCell::new(),
            located: RefCell::new(HashMap::new()),
            sites: sites::Kept::default(),
        }
    }

    /// The file that has a section, and it.
    fn file_of(&self, section: &str) -> Option<&'k Kernel> {
        let has = |k: &&&Kernel| k.section(section).is_some();
        self.files.iter().find(has).copied()
    }

    fn units(&self) -> &Units {
        self.units.get_or_init(|| {
            let first = self.files.first().copied();
            let file = self.file_of(".debug_info").or(first);
            let mut sections = file.map(|f| Sections::new(f, &self.steps));
            let mut open = |name: &str| match &mut sections {
                Some(sections) => sections.open(name),
                None => bytes::Section::of_memory(Vec::new(), &self.steps),
            };
            let load =
                |id: gimli::SectionId| -> Result<Bytes, std::convert::Infallible> {
                    Ok(open(id.name()))
                };
            let Ok(dwarf) = Dwarf::load(load);
            Units::new(dwarf, &self.steps)
        })
    }

    fn cfi(&self) -> &Cfi {
        self.cfi.get_or_init(|| {
            let open = |name: &str| match self.file_of(name) {
                Some(file) => (
                    Sections::new(file, &self.steps).open(name),
                    file.section_address(name),
                ),
                None => (bytes::Section::of_memory(Vec::new(), &self.steps), 0),
            };
            let (debug, _) = open(".debug_frame");
            let machine =
                self.files.first().map_or(Machine::Amd64, |f| f.machine());
            Cfi::new(debug, open(".eh_frame"), machine, &self.steps)
        })
    }

    /// What is added to the addresses of the file.
    fn bias(&self) -> u64 {
        self.files.first().map_or(0, |k| k.bias())
    }

    /// Whether it has any CFI.
    #[must_use]
    pub fn has_cfi(&self) -> bool {
        !self.cfi().is_empty()
    }

    /// Whether it has any lines or functions.
    #[must_use]
    pub fn has_functions(&self) -> bool {
        !self.units().is_empty()
    }

    /// The functions of an address.
    pub(crate) fn locate(&self, address: u64) -> Rc<Located> {
        if let Ok(kept) = self.located.try_borrow()
            && let Some(found) = kept.get(&address)
        {
            return Rc::clone(found);
        }
        let at = address.wrapping_sub(self.bias());
        let found = self.units().locate(at);
        let found = found.map(|(calls, within)| Located { calls, within });
        let found = Rc::new(found.unwrap_or_default());
        if let Ok(mut kept) = self.located.try_borrow_mut()
            && kept.len() < MAX_KEPT
        {
            kept.insert(address, Rc::clone(&found));
        }
        found
    }

    /// The functions of an address, innermost first; none where the file does
    /// not say. One without a name has only a line.
    #[must_use]
    pub fn calls(&self, address: u64) -> Vec<Call> {
        self.locate(address).calls.clone()
    }

    /// The arguments of one of [`calls`](Self::calls) at an address of a
    /// frame, by its number there.
    #[must_use]
    pub fn arguments(
        &self,
        at: u64,
        call: usize,
        registers: &Registers,
        memory: &dyn Fn(u64) -> Option<u64>,
    ) -> Vec<Argument> {
        let located = self.locate(at);
        let Some(within) = &located.within else { return Vec::new() };
        let die = within.dies.iter().rev().nth(call);
        let Some(&die) = die else { return Vec::new() };
        let bias = self.bias();
        let place = at.wrapping_sub(bias);
        let row = self.cfi().row(place);
        let cfa = row.and_then(|row| row.cfa(registers, memory, bias));
        let mut inputs =
            OfFrame { registers, memory, bias, cfa, frame_base: None };
        let (open, function) = (&within.open, within.function.at);
        inputs.frame_base = self.units().frame_base(open, function, &inputs);
        self.units().arguments(open, die, place, &inputs)
    }

    /// The caller's registers, by the CFI of `address`, an address of the
    /// frame.
    pub(crate) fn undo(
        &self,
        address: u64,
        registers: &Registers,
        memory: &dyn Fn(u64) -> Option<u64>,
    ) -> Option<Undone> {
        let bias = self.bias();
        let row = self.cfi().row(address.wrapping_sub(bias))?;
        row.undo(registers, memory, bias)
    }

    /// Addresses in functions that were left by a call, between the frame of
    /// `caller` and the one that it called, of which `callee` is an address;
    /// the innermost first.
    pub(crate) fn between(
        &self,
        caller: (u64, &Registers),
        callee: u64,
        entry: &dyn Fn(&str) -> Option<u64>,
        memory: &dyn Fn(u64) -> Option<u64>,
    ) -> Vec<u64> {
        let bias = self.bias();
        let (after, registers) = caller;
        let of_caller = self.locate(after.wrapping_sub(1));
        let of_callee = self.locate(callee);
        let (Some(outer), Some(inner)) = (&of_caller.within, &of_callee.within)
        else {
            return Vec::new();
        };
        let inputs = At { registers, memory, bias };
        let entry = |name: &str| Some(entry(name)?.wrapping_sub(bias));
        let lookup = Lookup {
            units: self.units(),
            kept: &self.sites,
            entry: &entry,
            inputs: &inputs,
        };
        let end = inner.function.start;
        let mut found = lookup.between(outer, after.wrapping_sub(bias), end);
        found.reverse();
        found.iter_mut().for_each(|at| *at = at.wrapping_add(bias));
        found
    }
}

/// Registers and memory of a frame.
struct At<'a> {
    registers: &'a Registers,
    memory: &'a dyn Fn(u64) -> Option<u64>,
    bias: u64,
}

impl Inputs for At<'_> {
    fn register(&self, number: u16) -> Option<u64> {
        let value = self.registers.get(number)?;
        Some(value.wrapping_sub(self.bias))
    }

    fn memory(&self, at: u64, size: u8) -> Option<u64> {
        let value = (self.memory)(at)?;
        let unused = 64u32.checked_sub(u32::from(size).checked_mul(8)?)?;
        u64::MAX.checked_shr(unused).map(|mask| value & mask)
    }

    fn bias(&self) -> u64 {
        0
    }
}

/// What a frame's arguments are found with.
struct OfFrame<'a> {
    registers: &'a Registers,
    memory: &'a dyn Fn(u64) -> Option<u64>,
    bias: u64,
    cfa: Option<u64>,
    frame_base: Option<u64>,
}

impl Inputs for OfFrame<'_> {
    fn register(&self, number: u16) -> Option<u64> {
        self.registers.get(number)
    }

    fn memory(&self, at: u64, size: u8) -> Option<u64> {
        let value = (self.memory)(at)?;
        let unused = 64u32.checked_sub(u32::from(size).checked_mul(8)?)?;
        u64::MAX.checked_shr(unused).map(|mask| value & mask)
    }

    fn frame_base(&self) -> Option<u64> {
        self.frame_base
    }

    fn cfa(&self) -> Option<u64> {
        self.cfa
    }

    // Nobody has kept it.
    fn at_entry(&self, _: Expression<Bytes>) -> Option<u64> {
        None
    }

    fn bias(&self) -> u64 {
        self.bias
    }
}
