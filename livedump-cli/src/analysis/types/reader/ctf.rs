// SPDX-License-Identifier: BSD-2-Clause
//! Any type of a file with CTF. A number of a type is CTF's own; 0 is void.

use super::kind::{Encoding, Kind, Member, Tag, Type, TypeId, Variable};
use crate::analysis::types::TypesError;
use crate::analysis::types::ctf_tables::{
    ARRAY, CONST, ENUM, FLOAT, FUNCTION, INTEGER, POINTER, RESTRICT, STRUCT,
    TYPEDEF, Tables, Type as Raw, UNION, VOLATILE,
};
use crate::analysis::types::limits::{LimitExceeded, Steps};
use livedump_vmcore::elf::Kernel;

const MAX_NAME: usize = 256;
const MAX_MEMBERS: u32 = 1 << 14;

// C: CTF_INT_*, in the high byte of what follows an integer.
const SIGNED: u32 = 1;
const CHAR: u32 = 2;
const BOOL: u32 = 4;

/// The CTF of a file.
pub(super) struct Ctf<'k> {
    file: &'k Kernel,
    tables: Tables<'k>,
    source: u8,
}

impl std::fmt::Debug for Ctf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ctf({})", self.file.path())
    }
}

type Result<T> = std::result::Result<T, TypesError>;

impl<'k> Ctf<'k> {
    /// Opens it; `None` where there is none.
    pub(super) fn open(
        file: &'k Kernel,
        source: u8,
        times: u64,
    ) -> Result<Option<Self>> {
        let tables = Tables::open(file, Steps::times(times))?;
        Ok(tables.map(|tables| Self { file, tables, source }))
    }

    fn charge(&self, n: usize) -> Result<()> {
        let path = || self.file.path().to_string();
        let charged = self.tables.steps.charge(n);
        charged.map_err(|LimitExceeded| TypesError::Long { path: path() })
    }

    fn id(&self, at: u32) -> Option<TypeId> {
        (at != 0).then_some(TypeId { source: self.source, at })
    }

    /// A whole type by its tag or name.
    pub(super) fn find(&self, tag: Tag, name: &str) -> Result<Option<TypeId>> {
        let count = self.tables.count();
        self.charge(count as usize)?;
        for id in 1..=count {
            let Some(t) = self.tables.find(id) else { continue };
            let is = match tag {
                Tag::Struct => t.kind == STRUCT,
                Tag::Union => t.kind == UNION,
                Tag::Enum => t.kind == ENUM,
                Tag::Name => matches!(t.kind, TYPEDEF | INTEGER | FLOAT),
            };
            if is
                && self.tables.is_name(t.name, name)
                && !is_bit_field(self, &t)
            {
                return Ok(self.id(id));
            }
        }
        Ok(None)
    }

    /// A variable by its name.
    pub(super) fn variable(&self, name: &str) -> Result<Option<Variable>> {
        let objects = self.file.objects();
        for (n, (object, address)) in objects.enumerate() {
            self.charge(1)?;
            if object != name.as_bytes() {
                continue;
            }
            let Some(of) = self.tables.object(n) else { return Ok(None) };
            let address = Some(address.0);
            // 0: ctfconvert(1) did not know.
            let of = self.id(of);
            return Ok(of.map(|of| Variable { of: Some(of), address }));
        }
        Ok(None)
    }

    /// The type of a number that this reader gave out.
    pub(super) fn get(&self, id: TypeId) -> Result<Type> {
        let Some(t) = self.tables.find(id.at) else {
            return Err(TypesError::Ctf {
                path: self.file.path().to_string(),
                what: "a type that it refers to is missing",
            });
        };
        self.charge((t.elements as usize).saturating_add(1))?;
        let name = self.text(t.name);
        let of = || self.id(t.refers);
        let mut size = Some(t.size);
        let kind = match t.kind {
            INTEGER => Kind::Base(self.encoding(&t)),
            FLOAT => Kind::Base(Encoding::Float),
            STRUCT | UNION => Kind::Record {
                is_union: t.kind == UNION,
                members: (t.size > 0).then(|| self.members(&t)),
            },
            ENUM => Kind::Enum(Some(self.enumerators(&t))),
            POINTER => {
                size = Some(8);
                Kind::Pointer(of())
            }
            ARRAY => {
                size = None;
                let (of, n) = self.tables.array(&t).unwrap_or_default();
                // One that ends a structure has none.
                let n = (n > 0).then_some(n.into());
                Kind::Array(self.id(of), vec![n])
            }
            other => {
                size = None;
                match other {
                    TYPEDEF => Kind::Typedef(of()),
                    CONST => Kind::Qualified("const", of()),
                    VOLATILE => Kind::Qualified("volatile", of()),
                    RESTRICT => Kind::Qualified("restrict", of()),
                    FUNCTION => Kind::Function(of()),
                    // CTF_K_FORWARD among them.
                    9 => Kind::Record { is_union: t.size == 7, members: None },
                    _ => Kind::Unknown,
                }
            }
        };
        Ok(Type { name, size, kind })
    }

    fn text(&self, at: u32) -> Option<String> {
        let name = self.tables.name(at, MAX_NAME)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    fn encoding(&self, t: &Raw) -> Encoding {
        match self.tables.after(t).unwrap_or(0) >> 24 {
            e if e & BOOL != 0 => Encoding::Bool,
            e if e & CHAR != 0 => {
                let plain = self.tables.is_name(t.name, "char");
                match plain || e & SIGNED != 0 {
                    true => Encoding::Char,
                    false => Encoding::Byte,
                }
            }
            e if e & SIGNED != 0 => Encoding::Signed,
            _ => Encoding::Unsigned,
        }
    }

    fn members(&self, t: &Raw) -> Vec<Member> {
        let all = (0..t.elements.min(MAX_MEMBERS)).map_while(|i| {
            let m = self.tables.member(t, i)?;
            let (bits, shift) = self.bits_of(m.of);
            Some(Member {
                name: self.text(m.name),
                of: self.id(m.of),
                at_bits: m.bits.saturating_add(shift),
                bits,
            })
        });
        all.collect()
    }

    /// How many bits of a bit field, and where they are in it: its type is an
    /// integer with fewer bits than its bytes have.
    fn bits_of(&self, of: u32) -> (Option<u32>, u64) {
        let mut of = of;
        for _ in 0..16 {
            let Some(t) = self.tables.find(of) else { break };
            match t.kind {
                TYPEDEF | CONST | VOLATILE | RESTRICT => of = t.refers,
                INTEGER => {
                    let word = self.tables.after(&t).unwrap_or(0);
                    let (bits, at) = (word & 0xffff, word >> 16 & 0xff);
                    return match is_bit_field(self, &t) {
                        true => (Some(bits), at.into()),
                        false => (None, 0),
                    };
                }
                _ => break,
            }
        }
        (None, 0)
    }

    fn enumerators(&self, t: &Raw) -> Vec<(String, i64)> {
        let all = (0..t.elements.min(MAX_MEMBERS)).map_while(|i| {
            let (name, value) = self.tables.enumerator(t, i)?;
            Some((self.text(name).unwrap_or_default(), value.into()))
        });
        all.collect()
    }
}

fn is_bit_field(ctf: &Ctf<'_>, t: &Raw) -> bool {
    let bits = u64::from(ctf.tables.after(t).unwrap_or(0) & 0xffff);
    t.kind == INTEGER && bits > 0 && bits < t.size.saturating_mul(8)
}
