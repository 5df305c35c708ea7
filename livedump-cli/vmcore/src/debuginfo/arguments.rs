// SPDX-License-Identifier: BSD-2-Clause
//! The arguments of a frame's functions, where the debug information says
//! where they are at its address. What is in a register that is not known, or
//! was only there when the function began, is not guessed.

use super::bytes::Bytes;
use super::evaluate::{Inputs, Outcome, evaluate};
use super::units::{Offset, Open, Units};
use gimli::{AttributeValue, Expression, constants as dw};
use std::fmt;

/// Arguments of one function.
const MAX_ARGUMENTS: usize = 64;
/// Types of types.
const MAX_TYPES: usize = 16;
const STEPS: u64 = 1 << 20;

/// An argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its value, where that is known.
    pub value: Option<Value>,
}

/// A number, as its type has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of a signed type.
    Signed(i64),
    /// Of an unsigned one.
    Unsigned(u64),
    /// Of a pointer.
    Pointer(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(n) => write!(f, "{n}"),
            Self::Unsigned(n) => write!(f, "{n}"),
            Self::Pointer(n) => write!(f, "{n:#x}"),
        }
    }
}

/// A type that has a number.
#[derive(Clone, Copy)]
enum Kind {
    Signed,
    Unsigned,
    Pointer,
}

impl Units {
    /// The arguments of the function that a DIE is of.
    pub(super) fn arguments(
        &self,
        open: &Open,
        die: Offset,
        at: u64,
        inputs: &dyn Inputs,
    ) -> Vec<Argument> {
        self.start(STEPS);
        let mut all = Vec::new();
        let _ = self.add_arguments(open, die, at, inputs, &mut all);
        all
    }

    fn add_arguments(
        &self,
        open: &Open,
        die: Offset,
        at: u64,
        inputs: &dyn Inputs,
        all: &mut Vec<Argument>,
    ) -> Option<()> {
        let unit = &open.unit;
        let mut entries = unit.entries_raw(Some(die)).ok()?;
        let top = entries.next_depth();
        let kind = entries.read_abbreviation().ok()??;
        entries.skip_attributes(kind.attributes()).ok()?;
        if !kind.has_children() {
            return Some(());
        }
        let child = top.checked_add(1)?;
        while !entries.is_empty() && all.len() < MAX_ARGUMENTS {
            let (here, depth) = (entries.next_offset(), entries.next_depth());
            if depth <= top {
                break;
            }
            let Some(kind) = entries.read_abbreviation().ok()? else {
                continue;
            };
            let is_one = kind.tag() == dw::DW_TAG_formal_parameter;
            if !is_one || depth != child {
                entries.skip_attributes(kind.attributes()).ok()?;
                continue;
            }
            let mut place = None;
            let mut constant = None;
            for &spec in kind.attributes() {
                let attribute = entries.read_attribute(spec).ok()?;
                match attribute.name() {
                    dw::DW_AT_location => place = Some(attribute.value()),
                    dw::DW_AT_const_value => {
                        constant = Some(attribute.value());
                    }
                    _ => {}
                }
            }
            let name = self.name(unit, here)?;
            let value = || {
                let (kind, size) = self.number(open, here)?;
                let value = match constant {
                    Some(AttributeValue::Sdata(n)) => n.cast_unsigned(),
                    Some(value) => value.udata_value()?,
                    None => {
                        let e = self.expression(open, place?, at)?;
                        self.read(open, e, size, inputs)?
                    }
                };
                Some(shown(kind, size, value))
            };
            let value = value();
            all.push(Argument { name, value });
        }
        Some(())
    }

    /// The expression of a location at an address.
    fn expression(
        &self,
        open: &Open,
        place: AttributeValue<Bytes>,
        at: u64,
    ) -> Option<Expression<Bytes>> {
        if let AttributeValue::Exprloc(e) = place {
            return Some(e);
        }
        let list = self.dwarf.attr_locations(&open.unit, place).ok()??;
        let mut list = list;
        while let Ok(Some(entry)) = list.next() {
            if entry.range.begin <= at && at < entry.range.end {
                return Some(entry.data);
            }
        }
        None
    }

    fn read(
        &self,
        open: &Open,
        e: Expression<Bytes>,
        size: u8,
        inputs: &dyn Inputs,
    ) -> Option<u64> {
        match evaluate(e, open.unit.encoding(), None, inputs)? {
            Outcome::Address(at) => inputs.memory(at, size),
            Outcome::Register(n) => inputs.register(n),
            Outcome::Value(value) => Some(value),
        }
    }

    /// The type of a parameter, if it is a number, and its bytes.
    fn number(&self, open: &Open, of: Offset) -> Option<(Kind, u8)> {
        let unit = &open.unit;
        let mut at = of;
        for _ in 0..MAX_TYPES {
            let mut entries = unit.entries_raw(Some(at)).ok()?;
            let kind = entries.read_abbreviation().ok()??;
            let (mut next, mut size, mut encoding) = (None, None, None);
            for &spec in kind.attributes() {
                let attribute = entries.read_attribute(spec).ok()?;
                let value = attribute.value();
                match (attribute.name(), value) {
                    (
                        dw::DW_AT_type | dw::DW_AT_abstract_origin,
                        AttributeValue::UnitRef(at),
                    ) => next = Some(at),
                    (dw::DW_AT_byte_size, value) => size = value.udata_value(),
                    (dw::DW_AT_encoding, AttributeValue::Encoding(value)) => {
                        encoding = Some(value)
                    }
                    _ => {}
                }
            }
            let size = size.and_then(|n| u8::try_from(n).ok());
            let size = size.filter(|n| (1..=8).contains(n));
            return match kind.tag() {
                dw::DW_TAG_pointer_type => Some((Kind::Pointer, 8)),
                dw::DW_TAG_enumeration_type => Some((Kind::Unsigned, size?)),
                dw::DW_TAG_base_type => match encoding? {
                    dw::DW_ATE_signed | dw::DW_ATE_signed_char => {
                        Some((Kind::Signed, size?))
                    }
                    dw::DW_ATE_unsigned
                    | dw::DW_ATE_unsigned_char
                    | dw::DW_ATE_boolean => Some((Kind::Unsigned, size?)),
                    _ => None,
                },
                dw::DW_TAG_formal_parameter
                | dw::DW_TAG_typedef
                | dw::DW_TAG_const_type
                | dw::DW_TAG_volatile_type
                | dw::DW_TAG_restrict_type => {
                    at = next?;
                    continue;
                }
                _ => None,
            };
        }
        None
    }

    /// What DW_OP_fbreg is relative to in a function.
    pub(super) fn frame_base(
        &self,
        open: &Open,
        function: Offset,
        inputs: &dyn Inputs,
    ) -> Option<u64> {
        let unit = &open.unit;
        let mut entries = unit.entries_raw(Some(function)).ok()?;
        let kind = entries.read_abbreviation().ok()??;
        for &spec in kind.attributes() {
            let attribute = entries.read_attribute(spec).ok()?;
            if attribute.name() != dw::DW_AT_frame_base {
                continue;
            }
            let AttributeValue::Exprloc(e) = attribute.value() else {
                return None;
            };
            return match evaluate(e, unit.encoding(), None, inputs)? {
                Outcome::Register(n) => inputs.register(n),
                Outcome::Address(at) | Outcome::Value(at) => Some(at),
            };
        }
        None
    }
}

fn shown(kind: Kind, size: u8, value: u64) -> Value {
    let unused = 64u32.saturating_sub(u32::from(size).saturating_mul(8));
    let unsigned = value.wrapping_shl(unused).wrapping_shr(unused);
    let signed = value.wrapping_shl(unused).cast_signed();
    match kind {
        Kind::Signed => Value::Signed(signed.wrapping_shr(unused)),
        Kind::Unsigned => Value::Unsigned(unsigned),
        Kind::Pointer => Value::Pointer(unsigned),
    }
}
