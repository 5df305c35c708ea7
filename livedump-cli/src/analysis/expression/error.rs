// SPDX-License-Identifier: BSD-2-Clause
//! Why an expression has no value.

use crate::analysis::types::TypesError;
use livedump_vmcore::ReadError;

/// What is wrong with the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// It is too long.
    #[error("an expression has at most {} characters", super::lexer::MAX_TEXT)]
    Long,
    /// Parentheses in parentheses.
    #[error("it is nested too deeply")]
    Deep,
    /// What no expression has.
    #[error("character {0:?} at offset {1}")]
    Character(char, usize),
    /// A number that is none.
    #[error("{0:?} at offset {1} is not a number")]
    Number(String, usize),
    /// Something else is needed.
    #[error("expected {expected} at offset {at}, found {found}")]
    Expected {
        /// What.
        expected: &'static str,
        /// Where.
        at: usize,
        /// What is there.
        found: String,
    },
    /// What C has and this does not.
    #[error("{what} at offset {at} is not supported{}", hint.unwrap_or(""))]
    Unsupported {
        /// What.
        what: String,
        /// Where.
        at: usize,
        /// What is.
        hint: Option<&'static str>,
    },
    /// A type where a value is needed.
    #[error(
        "a type needs an address after it, as in: print FILE 'struct proc' \
         0xfffff80003369380"
    )]
    TypeAlone,
}

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum ExpressionError {
    /// It is no expression.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// Types cannot be read.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// Memory that is not in the dump.
    #[error("reading {what}")]
    Memory {
        /// What was read.
        what: String,
        /// Why not.
        source: ReadError,
    },
    /// A pointer that is followed and is zero.
    #[error("{0} is NULL")]
    Null(String),
    /// A name that nothing has.
    #[error("no symbol or variable {name:?}{near}")]
    NoSymbol {
        /// The name.
        name: String,
        /// Names that are near.
        near: String,
    },
    /// A type that is not there.
    #[error("no type {name:?}{near}")]
    NoType {
        /// It.
        name: String,
        /// Names that are near.
        near: String,
    },
    /// A type whose members are not known.
    #[error("{0} is only declared: no source has its members")]
    Declared(String),
    /// A member that is not there.
    #[error("{of} has no member {name:?}{near}")]
    NoMember {
        /// The structure.
        of: String,
        /// The member.
        name: String,
        /// Names that are near.
        near: String,
    },
    /// A symbol of unknown type.
    #[error(
        "the type of {0} is not known: the kernel and its debug file have \
         none; cast its address, as in *(int *)&{0}"
    )]
    Untyped(String),
    /// There are no types at all.
    #[error(
        "type {0:?} is not known: neither the kernel nor a debug file of it \
         that was found has type information (CTF or DWARF)"
    )]
    NoTypes(String),
    /// An operator that the type does not have.
    #[error("{what} of {of}")]
    Operation {
        /// The operation.
        what: &'static str,
        /// The type.
        of: String,
    },
    /// An index that the array does not have.
    #[error("index {index} is outside {of}")]
    Index {
        /// The index.
        index: i64,
        /// The array.
        of: String,
    },
    /// A type whose size is not known.
    #[error("the size of {0} is not known")]
    NoSize(String),
    /// An object that is too large.
    #[error("{0} has {1} bytes, more than is read at once")]
    Large(String, u64),
    /// No list.
    #[error("{0}")]
    NotAList(String),
}

impl ExpressionError {
    /// Whether it is of what the dump has, and not of what was asked.
    #[must_use]
    pub fn is_of_dump(&self) -> bool {
        matches!(self, Self::Memory { .. } | Self::Null(_))
    }

    /// Whether it is this host that could not read the dump.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Memory { source, .. } if source.is_environment())
    }
}
