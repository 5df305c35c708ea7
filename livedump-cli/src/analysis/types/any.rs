// SPDX-License-Identifier: BSD-2-Clause
//! Fields of structures that a kernel may be built without: looked for in any
//! of its types when they are asked for, so that commands that do not need them
//! do not search for them.

use super::reader::{CType, Place, Tag, TypeReader};
use super::{Field, Missing};

/// Looks fields up, and gathers what is missing of them.
#[derive(Debug)]
pub struct AnyFields<'k> {
    types: TypeReader<'k>,
    missing: Vec<String>,
}

/// An integer of some bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The bytes that have it.
    pub field: Field,
    /// Where in them it starts.
    pub shift: u32,
    /// How many it has.
    pub bits: u32,
}

impl Bits {
    /// The integer that is in a value of the field.
    #[must_use]
    pub fn of(self, value: u64) -> u64 {
        let value = value.checked_shr(self.shift).unwrap_or(0);
        let mask = u64::MAX.checked_shr(64u32.saturating_sub(self.bits));
        value & mask.unwrap_or(0)
    }
}

impl<'k> AnyFields<'k> {
    /// Nothing is missing yet.
    #[must_use]
    pub fn new(types: TypeReader<'k>) -> Self {
        Self { types, missing: Vec::new() }
    }

    fn place(&self, of: &str, name: &str) -> Option<Place> {
        let id = self.types.find(Tag::Struct, of).ok()??;
        self.types.member(id, name).ok()?
    }

    /// A field of whole bytes, if it is known.
    #[must_use]
    pub fn find(&self, of: &str, name: &str) -> Option<Field> {
        let place = self.place(of, name)?;
        let whole = place.bits.is_none() && place.at_bits.is_multiple_of(8);
        let size = self.types.size(&place.of).ok().flatten().unwrap_or(0);
        whole.then_some(Field { offset: place.at_bits / 8, size })
    }

    /// A bit field or an integer, if it is known.
    #[must_use]
    pub fn bits(&self, of: &str, name: &str) -> Option<Bits> {
        let place = self.place(of, name)?;
        let bits = match place.bits {
            Some(bits) => bits,
            None => {
                let size = self.types.size(&place.of).ok()??;
                u32::try_from(size.checked_mul(8)?).ok()?
            }
        };
        let shift = (place.at_bits % 8) as u32;
        let size = u64::from(shift.checked_add(bits)?).div_ceil(8);
        let field = Field { offset: place.at_bits / 8, size };
        (1..=8).contains(&size).then_some(Bits { field, shift, bits })
    }

    /// A field that has to be known: of a structure, or of one in it, or of
    /// one in that.
    pub fn need(&mut self, path: &[(&str, &str)]) -> Field {
        let mut whole = Field { offset: 0, size: 0 };
        for &(of, name) in path {
            match self.find(of, name) {
                Some(Field { offset, size }) => {
                    let offset = whole.offset.saturating_add(offset);
                    whole = Field { offset, size };
                }
                None => self.missing.push(format!("{of}.{name}")),
            }
        }
        whole
    }

    /// The size of a structure that has to be known.
    pub fn size(&mut self, of: &str) -> u64 {
        let id = self.types.find(Tag::Struct, of).ok().flatten();
        let size = id.and_then(|id| self.types.size(&CType::Known(id)).ok()?);
        size.unwrap_or_else(|| {
            self.missing.push(format!("the size of {of}"));
            0
        })
    }

    /// Whether anything is missing.
    ///
    /// # Errors
    /// All that is.
    pub fn check(&mut self) -> Result<(), Missing> {
        self.missing.dedup();
        match std::mem::take(&mut self.missing) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(Missing(missing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_cut_out_of_what_has_them() {
        let of = |shift, bits, value| {
            let field = Field { offset: 0, size: 8 };
            Bits { field, shift, bits }.of(value)
        };
        assert_eq!(of(0, 4, 0xa4), 4);
        assert_eq!(of(4, 4, 0xa4), 0xa);
        assert_eq!(of(0, 64, u64::MAX), u64::MAX);
        assert_eq!(of(0, 0, u64::MAX), 0);
        assert_eq!(of(64, 8, u64::MAX), 0);
    }
}
