// SPDX-License-Identifier: BSD-2-Clause
//! What a type is, one level of it: its members and elements have types of
//! their own, by number.

/// A type, by its number in one of a kernel's sources of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId {
    pub(super) source: u8,
    pub(super) at: u32,
}

/// What a tag or a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// `struct x`
    Struct,
    /// `union x`
    Union,
    /// `enum x`
    Enum,
    /// A typedef, or a type that the compiler has.
    Name,
}

impl Tag {
    /// As C writes it, with the blank after it.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Struct => "struct ",
            Self::Union => "union ",
            Self::Enum => "enum ",
            Self::Name => "",
        }
    }
}

/// How the bytes of a base type are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Two's complement.
    Signed,
    /// Unsigned.
    Unsigned,
    /// `char`
    Char,
    /// `unsigned char`, more often a number than a character.
    Byte,
    /// `_Bool`
    Bool,
    /// IEEE 754.
    Float,
}

/// A member of a structure or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// None of one that is anonymous.
    pub name: Option<String>,
    /// Its type; none if nothing is known of it.
    pub of: Option<TypeId>,
    /// Bits from the start of the structure.
    pub at_bits: u64,
    /// Bits of a bit field.
    pub bits: Option<u32>,
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Its name or tag.
    pub name: Option<String>,
    /// Its bytes, where it has any and they are known.
    pub size: Option<u64>,
    /// What it is.
    pub kind: Kind,
}

/// What it is. A type that is `None` is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Base(Encoding),
    /// A pointer.
    Pointer(Option<TypeId>),
    /// An array, and the elements of each of its dimensions, where known.
    Array(Option<TypeId>, Vec<Option<u64>>),
    /// A structure, or a union.
    Record {
        /// Whether it is a union.
        is_union: bool,
        /// Its members; none if it is only declared.
        members: Option<Vec<Member>>,
    },
    /// An enumeration: its values, if it is not only declared.
    Enum(Option<Vec<(String, i64)>>),
    /// Another name.
    Typedef(Option<TypeId>),
    /// With `const`, `volatile` and the like.
    Qualified(&'static str, Option<TypeId>),
    /// A function, and what it returns.
    Function(Option<TypeId>),
    /// What C does not have.
    Unknown,
}

/// A variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its type.
    pub of: Option<TypeId>,
    /// Its address, where the source has one.
    pub address: Option<u64>,
}
