// SPDX-License-Identifier: BSD-2-Clause
//! Expressions of DWARF: an address or a value, from registers and memory.
//! What it asks for and cannot have makes it fail; it ends after a number of
//! operations.

use super::bytes::Bytes;
use gimli::{
    Encoding, EvaluationResult, Expression, Location, UnitOffset, Value,
};

const MAX_OPERATIONS: u32 = 1000;
/// Questions that it may ask.
const MAX_QUESTIONS: usize = 256;

/// Where what it asks for is.
pub(super) trait Inputs {
    /// A register's value.
    fn register(&self, number: u16) -> Option<u64>;
    /// Memory, of 1 to 8 bytes.
    fn memory(&self, at: u64, size: u8) -> Option<u64>;
    /// What DW_OP_fbreg is relative to.
    fn frame_base(&self) -> Option<u64> {
        None
    }
    /// The CFA.
    fn cfa(&self) -> Option<u64> {
        None
    }
    /// What an expression was when the function began.
    fn at_entry(&self, expression: Expression<Bytes>) -> Option<u64> {
        let _ = expression;
        None
    }
    /// Added to addresses of the file.
    fn bias(&self) -> u64;
}

/// What an expression comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in memory.
    Address(u64),
    /// It is in a register.
    Register(u16),
    /// It is this.
    Value(u64),
}

/// Evaluates it; `initial` is on the stack before it.
pub(super) fn evaluate(
    expression: Expression<Bytes>,
    encoding: Encoding,
    initial: Option<u64>,
    inputs: &dyn Inputs,
) -> Option<Outcome> {
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(MAX_OPERATIONS);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let generic = |of: UnitOffset<usize>| (of.0 == 0).then_some(());
    let mut state = evaluation.evaluate().ok()?;
    for _ in 0..MAX_QUESTIONS {
        state = match state {
            EvaluationResult::Complete => {
                return outcome(evaluation.as_result());
            }
            EvaluationResult::RequiresMemory {
                address,
                size,
                space: None,
                base_type,
            } => {
                generic(base_type)?;
                let value = inputs.memory(address, size)?;
                evaluation.resume_with_memory(Value::Generic(value))
            }
            EvaluationResult::RequiresRegister { register, base_type } => {
                generic(base_type)?;
                let value = inputs.register(register.0)?;
                evaluation.resume_with_register(Value::Generic(value))
            }
            EvaluationResult::RequiresFrameBase => {
                evaluation.resume_with_frame_base(inputs.frame_base()?)
            }
            EvaluationResult::RequiresCallFrameCfa => {
                evaluation.resume_with_call_frame_cfa(inputs.cfa()?)
            }
            EvaluationResult::RequiresEntryValue(expression) => {
                let value = inputs.at_entry(expression)?;
                evaluation.resume_with_entry_value(Value::Generic(value))
            }
            EvaluationResult::RequiresRelocatedAddress(address) => {
                let address = address.wrapping_add(inputs.bias());
                evaluation.resume_with_relocated_address(address)
            }
            _ => return None,
        }
        .ok()?;
    }
    None
}

fn outcome(pieces: &[gimli::Piece<Bytes>]) -> Option<Outcome> {
    let [piece] = pieces else { return None };
    if piece.size_in_bits.is_some() || piece.bit_offset.is_some() {
        return None;
    }
    match &piece.location {
        Location::Address { address } => Some(Outcome::Address(*address)),
        Location::Register { register } => Some(Outcome::Register(register.0)),
        Location::Value { value } => {
            value.to_u64(u64::MAX).ok().map(Outcome::Value)
        }
        _ => None,
    }
}
