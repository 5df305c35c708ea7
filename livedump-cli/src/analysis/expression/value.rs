// SPDX-License-Identifier: BSD-2-Clause
//! What an expression comes to.

use crate::analysis::types::reader::CType;

/// A value and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its type.
    pub of: CType,
    /// Where it is.
    pub at: At,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In the dump's memory.
    Memory(u64),
    /// A bit field: so many bits, from this bit of this byte on.
    Bits {
        /// The byte.
        address: u64,
        /// Its bit.
        shift: u32,
        /// How many.
        bits: u32,
    },
    /// Nowhere: a number.
    Number(u64),
}

impl Value {
    /// A number of C's.
    #[must_use]
    pub fn number(n: u64) -> Self {
        let signed = i64::try_from(n).is_ok();
        Self { of: CType::Int(8, signed), at: At::Number(n) }
    }

    /// A signed number.
    #[must_use]
    pub fn signed(n: i64) -> Self {
        Self { of: CType::Int(8, true), at: At::Number(n as u64) }
    }

    /// What is in memory.
    #[must_use]
    pub fn memory(of: CType, address: u64) -> Self {
        Self { of, at: At::Memory(address) }
    }

    /// Its address, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<u64> {
        match self.at {
            At::Memory(at) | At::Bits { address: at, .. } => Some(at),
            At::Number(_) => None,
        }
    }
}

/// The low `bits` of a number, with its sign.
pub(super) fn extend(n: u64, bits: u32, signed: bool) -> u64 {
    let unused = 64u32.saturating_sub(bits);
    let up = n.checked_shl(unused).unwrap_or(0);
    match signed {
        true => (up as i64).checked_shr(unused).unwrap_or(0) as u64,
        false => up.checked_shr(unused).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_extended_by_their_sign() {
        assert_eq!(extend(0xff, 8, true), u64::MAX);
        assert_eq!(extend(0xff, 8, false), 0xff);
        assert_eq!(extend(0x1_7f, 8, true), 0x7f);
        assert_eq!(extend(5, 3, true), (-3i64) as u64);
        assert_eq!(extend(7, 64, true), 7);
        assert_eq!(extend(7, 0, false), 0);
    }
}
