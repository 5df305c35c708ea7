// SPDX-License-Identifier: BSD-2-Clause
//! Call frame information: .debug_frame and .eh_frame. Which of their entries
//! is for an address is looked up in a table that is made once.

use super::bytes::{Bytes, Steps};
use super::evaluate::{Inputs, Outcome, evaluate};
use super::registers::{self, Registers};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, DebugFrame,
    EhFrame, Encoding, Expression, RegisterRule, UnwindContext, UnwindOffset,
    UnwindSection, Vendor,
};
use memdev::arch::Machine;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Entries of a section. GENERIC has some 40,000.
const MAX_ENTRIES: usize = 1 << 20;
/// Rows that are kept.
const MAX_ROWS: usize = 4096;
/// Steps for the table, and for one entry.
const TABLE_STEPS: u64 = 64 << 20;
const ENTRY_STEPS: u64 = 1 << 20;

/// A function's entry: its first address, that behind its last, its offset.
type Entry = (u64, u64, usize);

/// The entries of one section.
#[derive(Debug)]
struct Table<S> {
    section: S,
    bases: BaseAddresses,
    entries: Vec<Entry>,
}

impl<S> Table<S>
where
    S: UnwindSection<Bytes>,
{
    fn new(section: S, bases: BaseAddresses, steps: &Steps) -> Self {
        steps.start(TABLE_STEPS);
        let mut all = Vec::new();
        let mut cies: HashMap<usize, CommonInformationEntry<Bytes>> =
            HashMap::new();
        let mut entries = section.entries(&bases);
        // What is before an entry that cannot be read is used.
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let offset = partial.offset();
            let fde = partial.parse(|section, bases, at| {
                let key = UnwindOffset::into(at);
                if let Some(cie) = cies.get(&key) {
                    return Ok(cie.clone());
                }
                let cie = section.cie_from_offset(bases, at)?;
                if cies.len() < 4096 {
                    cies.insert(key, cie.clone());
                }
                Ok(cie)
            });
            let Ok(fde) = fde else { continue };
            let start = fde.initial_address();
            let end = start.saturating_add(fde.len());
            if end > start && all.len() < MAX_ENTRIES {
                all.push((start, end, offset));
            }
        }
        all.sort_unstable();
        Self { section, bases, entries: all }
    }

    /// How the frame of an address is undone.
    fn row(&self, address: u64) -> Option<Row> {
        let after = self.entries.partition_point(|e| e.0 <= address);
        let &(_, end, offset) = self.entries.get(after.checked_sub(1)?)?;
        if address >= end {
            return None;
        }
        let fde = self
            .section
            .fde_from_offset(
                &self.bases,
                S::Offset::from(offset),
                |s, b, at| s.cie_from_offset(b, at),
            )
            .ok()?;
        let encoding = fde.cie().encoding();
        let ra = fde.cie().return_address_register().0;
        let mut context = UnwindContext::new();
        let row = fde
            .unwind_info_for_address(
                &self.section,
                &self.bases,
                &mut context,
                address,
            )
            .ok()?;
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                Cfa::Register(register.0, *offset)
            }
            CfaRule::Expression(e) => {
                Cfa::Expression(e.get(&self.section).ok()?)
            }
        };
        let mut rules = Vec::new();
        for (register, rule) in row.registers() {
            let rule = match rule {
                RegisterRule::SameValue => Rule::Same,
                RegisterRule::Offset(n) => Rule::At(*n),
                RegisterRule::ValOffset(n) => Rule::Value(*n),
                RegisterRule::Register(r) => Rule::Register(r.0),
                RegisterRule::Constant(n) => Rule::Constant(*n),
                RegisterRule::Expression(e) => {
                    Rule::ExpressionAt(e.get(&self.section).ok()?)
                }
                RegisterRule::ValExpression(e) => {
                    Rule::ExpressionValue(e.get(&self.section).ok()?)
                }
                _ => Rule::Undefined,
            };
            rules.push((register.0, rule));
        }
        Some(Row { cfa, rules, ra, encoding })
    }
}

/// The CFI of a file.
#[derive(Debug)]
pub(super) struct Cfi {
    debug: Table<DebugFrame<Bytes>>,
    eh: Table<EhFrame<Bytes>>,
    steps: Rc<Steps>,
    /// Rows by address: many stacks have the same ones.
    kept: RefCell<HashMap<u64, Option<Rc<Row>>>>,
}

impl Cfi {
    /// `eh`: .eh_frame, and where it is in memory.
    pub(super) fn new(
        debug: Bytes,
        (eh, eh_address): (Bytes, u64),
        machine: Machine,
        steps: &Rc<Steps>,
    ) -> Self {
        let bases = BaseAddresses::default().set_eh_frame(eh_address);
        let vendor = match machine {
            Machine::Amd64 => Vendor::Default,
            Machine::Arm64 => Vendor::AArch64,
        };
        let mut debug = DebugFrame::from(debug);
        debug.set_vendor(vendor);
        let mut eh = EhFrame::from(eh);
        eh.set_vendor(vendor);
        Self {
            debug: Table::new(debug, BaseAddresses::default(), steps),
            eh: Table::new(eh, bases, steps),
            steps: Rc::clone(steps),
            kept: RefCell::new(HashMap::new()),
        }
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.debug.entries.is_empty() && self.eh.entries.is_empty()
    }

    /// How the frame of an address of the file is undone.
    pub(super) fn row(&self, address: u64) -> Option<Rc<Row>> {
        if let Ok(kept) = self.kept.try_borrow()
            && let Some(row) = kept.get(&address)
        {
            return row.clone();
        }
        self.steps.start(ENTRY_STEPS);
        let row = self.debug.row(address);
        let row = row.or_else(|| self.eh.row(address)).map(Rc::new);
        if let Ok(mut kept) = self.kept.try_borrow_mut()
            && kept.len() < MAX_ROWS
        {
            kept.insert(address, row.clone());
        }
        row
    }
}

#[derive(Debug)]
enum Cfa {
    Register(u16, i64),
    Expression(Expression<Bytes>),
}

#[derive(Debug)]
enum Rule {
    Undefined,
    Same,
    At(i64),
    Value(i64),
    Register(u16),
    Constant(u64),
    ExpressionAt(Expression<Bytes>),
    ExpressionValue(Expression<Bytes>),
}

/// How one frame is undone.
#[derive(Debug)]
pub(super) struct Row {
    cfa: Cfa,
    rules: Vec<(u16, Rule)>,
    ra: u16,
    encoding: Encoding,
}

/// Registers and memory, for expressions.
struct Of<'a> {
    registers: &'a Registers,
    memory: &'a dyn Fn(u64) -> Option<u64>,
    bias: u64,
}

impl Inputs for Of<'_> {
    fn register(&self, number: u16) -> Option<u64> {
        self.registers.get(number)
    }

    fn memory(&self, at: u64, size: u8) -> Option<u64> {
        let value = (self.memory)(at)?;
        let unused = 64u32.checked_sub(u32::from(size).checked_mul(8)?)?;
        u64::MAX.checked_shr(unused).map(|mask| value & mask)
    }

    fn bias(&self) -> u64 {
        self.bias
    }
}

/// A frame undone: the caller's registers, and the CFA.
#[derive(Debug)]
pub(crate) struct Undone {
    pub(crate) registers: Registers,
    pub(crate) cfa: u64,
}

impl Row {
    /// Only the CFA.
    pub(super) fn cfa(
        &self,
        of: &Registers,
        memory: &dyn Fn(u64) -> Option<u64>,
        bias: u64,
    ) -> Option<u64> {
        match &self.cfa {
            Cfa::Register(n, offset) => {
                Some(of.get(*n)?.wrapping_add_signed(*offset))
            }
            Cfa::Expression(e) => {
                let inputs = Of { registers: of, memory, bias };
                match evaluate(e.clone(), self.encoding, None, &inputs)? {
                    Outcome::Address(at) | Outcome::Value(at) => Some(at),
                    Outcome::Register(n) => of.get(n),
                }
            }
        }
    }

    /// The caller's registers. `memory` reads eight bytes.
    pub(super) fn undo(
        &self,
        of: &Registers,
        memory: &dyn Fn(u64) -> Option<u64>,
        bias: u64,
    ) -> Option<Undone> {
        let machine = of.machine();
        let cfa = self.cfa(of, memory, bias)?;
        let inputs = Of { registers: of, memory, bias };
        let mut out = Registers::new(machine, 0);
        for &n in registers::preserved(machine) {
            out.set(n, of.get(n));
        }
        out.set(registers::sp(machine), Some(cfa));
        // In a function that calls none, the link register has it.
        let mut pc = (machine == Machine::Arm64).then(|| of.get(self.ra));
        for (n, rule) in &self.rules {
            let evaluated = |e: &Expression<Bytes>| {
                let (e, initial) = (e.clone(), Some(cfa));
                match evaluate(e, self.encoding, initial, &inputs)? {
                    Outcome::Address(at) | Outcome::Value(at) => Some(at),
                    Outcome::Register(n) => of.get(n),
                }
            };
            let value = match rule {
                Rule::Undefined => None,
                Rule::Same => of.get(*n),
                Rule::At(offset) => memory(cfa.wrapping_add_signed(*offset)),
                Rule::Value(offset) => Some(cfa.wrapping_add_signed(*offset)),
                Rule::Register(other) => of.get(*other),
                Rule::Constant(value) => Some(*value),
                Rule::ExpressionAt(e) => evaluated(e).and_then(memory),
                Rule::ExpressionValue(e) => evaluated(e),
            };
            if *n == self.ra {
                pc = Some(value);
            } else {
                out.set(*n, value);
            }
        }
        out.pc = pc??;
        Some(Undone { registers: out, cfa })
    }
}
