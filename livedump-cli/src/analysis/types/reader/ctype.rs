// SPDX-License-Identifier: BSD-2-Clause
//! Types as C puts them together: one of the kernel's, a pointer to another,
//! an array of it. What is behind their names is found in steps that are
//! counted: a typedef may be of itself.

use super::{Encoding, Kind, Member, Tag, TypeId, TypeReader};
use crate::analysis::types::TypesError;

/// Typedefs of typedefs, anonymous members of anonymous members, declarators
/// of a name.
const MAX_DEPTH: usize = 32;
/// Anonymous members of a structure, and of those.
const MAX_ANONYMOUS: usize = 256;
/// No object is larger.
pub const MAX_SIZE: u64 = 1 << 40;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CType {
    /// `void`
    Void,
    /// An integer that needs no debug information: its bytes, and whether it
    /// is signed.
    Int(u8, bool),
    /// One of the kernel's.
    Known(TypeId),
    /// `*`
    Pointer(Box<CType>),
    /// `[n]`
    Array(Box<CType>, Option<u64>),
    /// Code, by its symbol.
    Function,
    /// A symbol that no source has a type for, and its bytes.
    Untyped(u64),
}

/// A type without the names it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// `void`
    Void,
    /// A number.
    Number(Encoding, u64),
    /// An enumeration, of so many bytes.
    Enum(TypeId, u64),
    /// A pointer to this.
    Pointer(CType),
    /// An array of this.
    Array(CType, Option<u64>),
    /// A structure or union, of so many bytes; its size is `None` if it is
    /// only declared.
    Record(TypeId, Option<u64>),
    /// A function.
    Function,
    /// What cannot be read.
    Unknown,
}

type Result<T> = std::result::Result<T, TypesError>;

impl CType {
    /// A pointer to this.
    #[must_use]
    pub fn pointer(self) -> Self {
        Self::Pointer(Box::new(self))
    }

    fn of(id: Option<TypeId>) -> Self {
        id.map_or(Self::Void, Self::Known)
    }
}

/// A member that was found by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bits from the start of the structure.
    pub at_bits: u64,
    /// Bits of a bit field.
    pub bits: Option<u32>,
    /// Its type.
    pub of: CType,
}

impl TypeReader<'_> {
    /// What a type is, without typedefs and qualifiers. What is only declared
    /// is looked for in other units.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn resolve(&self, of: &CType) -> Result<Resolved> {
        let mut id = match of {
            CType::Void => return Ok(Resolved::Void),
            CType::Int(bytes, signed) => {
                let encoding = match signed {
                    true => Encoding::Signed,
                    false => Encoding::Unsigned,
                };
                return Ok(Resolved::Number(encoding, u64::from(*bytes)));
            }
            CType::Pointer(to) => return Ok(Resolved::Pointer((**to).clone())),
            CType::Array(of, n) => {
                return Ok(Resolved::Array((**of).clone(), *n));
            }
            CType::Function => return Ok(Resolved::Function),
            CType::Untyped(_) => return Ok(Resolved::Unknown),
            CType::Known(id) => *id,
        };
        for _ in 0..MAX_DEPTH {
            let t = self.get(id)?;
            let next = match &t.kind {
                Kind::Typedef(of) | Kind::Qualified(_, of) => *of,
                Kind::Base(encoding) => {
                    let size = t.size.unwrap_or(0);
                    return Ok(Resolved::Number(*encoding, size));
                }
                Kind::Pointer(to) => {
                    return Ok(Resolved::Pointer(CType::of(*to)));
                }
                Kind::Array(of, counts) => {
                    return Ok(array(CType::of(*of), counts));
                }
                Kind::Record { members: Some(_), .. } => {
                    return Ok(Resolved::Record(id, t.size));
                }
                Kind::Record { members: None, is_union } => {
                    let tag = match is_union {
                        true => Tag::Union,
                        false => Tag::Struct,
                    };
                    let whole = self.whole(tag, t.name.as_deref())?;
                    let size = match whole {
                        Some(whole) => self.get(whole)?.size,
                        None => None,
                    };
                    return Ok(Resolved::Record(whole.unwrap_or(id), size));
                }
                Kind::Enum(Some(_)) => {
                    return Ok(Resolved::Enum(id, t.size.unwrap_or(4)));
                }
                Kind::Enum(None) => {
                    let whole = self.whole(Tag::Enum, t.name.as_deref())?;
                    return Ok(Resolved::Enum(whole.unwrap_or(id), 4));
                }
                Kind::Function(_) => return Ok(Resolved::Function),
                Kind::Unknown => return Ok(Resolved::Unknown),
            };
            match next {
                Some(next) => id = next,
                None => return Ok(Resolved::Void),
            }
        }
        Ok(Resolved::Unknown)
    }

    /// Whether it is `char`. What is only declared is not looked for.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn is_char(&self, of: &CType) -> Result<bool> {
        let CType::Known(mut id) = *of else { return Ok(false) };
        for _ in 0..MAX_DEPTH {
            let t = self.get(id)?;
            id = match t.kind {
                Kind::Typedef(Some(of)) | Kind::Qualified(_, Some(of)) => of,
                Kind::Base(Encoding::Char) => return Ok(t.size == Some(1)),
                _ => return Ok(false),
            };
        }
        Ok(false)
    }

    fn whole(&self, tag: Tag, name: Option<&str>) -> Result<Option<TypeId>> {
        match name {
            Some(name) => self.find(tag, name),
            None => Ok(None),
        }
    }

    /// Bytes of a type, where it has any and they are known.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn size(&self, of: &CType) -> Result<Option<u64>> {
        if let CType::Untyped(bytes) = of {
            return Ok(Some(*bytes));
        }
        let mut of = of.clone();
        let mut times = 1u64;
        for _ in 0..MAX_DEPTH {
            let size = match self.resolve(&of)? {
                Resolved::Array(inner, Some(n)) => {
                    of = inner;
                    times = times.saturating_mul(n);
                    continue;
                }
                Resolved::Number(_, size) | Resolved::Enum(_, size) => {
                    Some(size)
                }
                Resolved::Pointer(_) => Some(8),
                Resolved::Record(_, size) => size,
                _ => None,
            };
            let size = size.and_then(|size| size.checked_mul(times));
            return Ok(size.filter(|&size| size <= MAX_SIZE));
        }
        Ok(None)
    }

    /// The members of a structure or union; none if it is only declared.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn members(&self, id: TypeId) -> Result<Vec<Member>> {
        Ok(match &self.get(id)?.kind {
            Kind::Record { members: Some(members), .. } => members.clone(),
            _ => Vec::new(),
        })
    }

    /// A member by its name, those of anonymous members too.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn member(&self, of: TypeId, name: &str) -> Result<Option<Place>> {
        let mut left = MAX_ANONYMOUS;
        self.member_within(of, name, 0, &mut left)
    }

    fn member_within(
        &self,
        of: TypeId,
        name: &str,
        base: u64,
        left: &mut usize,
    ) -> Result<Option<Place>> {
        let t = self.get(of)?;
        let Kind::Record { members: Some(members), .. } = &t.kind else {
            return Ok(None);
        };
        for m in members {
            let at_bits = base.saturating_add(m.at_bits);
            let of = CType::of(m.of);
            match &m.name {
                Some(found) if found == name => {
                    return Ok(Some(Place { at_bits, bits: m.bits, of }));
                }
                Some(_) => {}
                // Each counts, so that nothing that is a part of itself is
                // gone into again and again.
                None => {
                    let Some(fewer) = left.checked_sub(1) else {
                        return Ok(None);
                    };
                    *left = fewer;
                    if let Resolved::Record(id, _) = self.resolve(&of)?
                        && let Some(found) =
                            self.member_within(id, name, at_bits, left)?
                    {
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The names of all members, for one that is not found.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn member_names(&self, of: TypeId) -> Result<Vec<String>> {
        let (mut names, mut within) = (Vec::new(), vec![of]);
        let mut left = MAX_ANONYMOUS;
        while let (Some(id), Some(fewer)) = (within.pop(), left.checked_sub(1))
        {
            left = fewer;
            for m in self.members(id)? {
                match m.name {
                    Some(name) => names.push(name),
                    None => {
                        let of = CType::of(m.of);
                        if let Resolved::Record(id, _) = self.resolve(&of)? {
                            within.push(id);
                        }
                    }
                }
            }
        }
        Ok(names)
    }

    /// The name of a value of an enumeration.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn enumerator(&self, id: TypeId, value: i64) -> Result<Option<String>> {
        let t = self.get(id)?;
        let Kind::Enum(Some(all)) = &t.kind else { return Ok(None) };
        let low = |n: i64| n as u32;
        let same = |n: i64| match t.size {
            Some(size) if size <= 4 => low(n) == low(value),
            _ => n == value,
        };
        let found = all.iter().find(|(_, n)| same(*n));
        Ok(found.map(|(name, _)| name.clone()))
    }

    /// As C writes it.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn text(&self, of: &CType) -> Result<String> {
        // What is after the name: `*`, `[n]`.
        let mut tail = String::new();
        let mut of = of.clone();
        for _ in 0..MAX_DEPTH {
            let id = match of {
                CType::Void => return Ok(joined("void", &tail)),
                CType::Int(bytes, signed) => {
                    return Ok(joined(int_name(bytes, signed), &tail));
                }
                CType::Function => return Ok(joined("function", &tail)),
                CType::Untyped(_) => return Ok(joined("unknown type", &tail)),
                CType::Pointer(to) => {
                    tail.insert(0, '*');
                    of = *to;
                    continue;
                }
                CType::Array(inner, n) => {
                    dimension(&mut tail, n);
                    of = *inner;
                    continue;
                }
                CType::Known(id) => id,
            };
            let t = self.get(id)?;
            let name = t.name.as_deref();
            of = match &t.kind {
                Kind::Pointer(to) => {
                    tail.insert(0, '*');
                    CType::of(*to)
                }
                Kind::Array(inner, counts) => {
                    for n in counts {
                        dimension(&mut tail, *n);
                    }
                    CType::of(*inner)
                }
                Kind::Qualified(word, inner) => {
                    // That of a pointer is after it, and never of interest.
                    if !matches!(tail.as_bytes().first(), Some(b'*')) {
                        let inner = CType::of(*inner);
                        if !self.is_pointer(&inner)? {
                            let rest = self.plain(&inner)?;
                            let text = format!("{word} {rest}");
                            return Ok(joined(&text, &tail));
                        }
                    }
                    CType::of(*inner)
                }
                Kind::Function(returns) => {
                    let returns = CType::of(*returns);
                    let text = self.plain(&returns)?;
                    return Ok(match tail.as_str() {
                        "" => format!("{text} ()"),
                        _ => format!("{text} ({tail})()"),
                    });
                }
                Kind::Record { is_union, .. } => {
                    let tag = if *is_union { "union" } else { "struct" };
                    let name = name.unwrap_or("{...}");
                    return Ok(joined(&format!("{tag} {name}"), &tail));
                }
                Kind::Enum(_) => {
                    let name = name.unwrap_or("{...}");
                    return Ok(joined(&format!("enum {name}"), &tail));
                }
                _ => return Ok(joined(name.unwrap_or("?"), &tail)),
            };
        }
        Ok(joined("...", &tail))
    }

    fn is_pointer(&self, of: &CType) -> Result<bool> {
        Ok(match of {
            CType::Known(id) => {
                matches!(self.get(*id)?.kind, Kind::Pointer(_))
            }
            _ => false,
        })
    }

    /// A type's name, or what it is a pointer to and stars.
    fn plain(&self, of: &CType) -> Result<String> {
        let mut tail = String::new();
        let mut of = of.clone();
        for _ in 0..MAX_DEPTH {
            let CType::Known(id) = of else { break };
            let t = self.get(id)?;
            let name = t.name.as_deref();
            of = match &t.kind {
                Kind::Pointer(to) => {
                    tail.push('*');
                    CType::of(*to)
                }
                Kind::Qualified(_, inner) => CType::of(*inner),
                Kind::Record { is_union, .. } => {
                    let tag = if *is_union { "union" } else { "struct" };
                    let name = name.unwrap_or("{...}");
                    return Ok(joined(&format!("{tag} {name}"), &tail));
                }
                Kind::Enum(_) => {
                    let name = name.unwrap_or("{...}");
                    return Ok(joined(&format!("enum {name}"), &tail));
                }
                _ => return Ok(joined(name.unwrap_or("?"), &tail)),
            };
        }
        Ok(joined("void", &tail))
    }
}

/// An array of this, the other dimensions of it in its elements.
fn array(of: CType, counts: &[Option<u64>]) -> Resolved {
    let Some((first, others)) = counts.split_first() else {
        return Resolved::Array(of, None);
    };
    let inner = |of, n: &Option<u64>| CType::Array(Box::new(of), *n);
    Resolved::Array(others.iter().rev().fold(of, inner), *first)
}

/// Adds a dimension. One of an array comes before those of its elements, and
/// what is of a pointer is in parentheses.
fn dimension(tail: &mut String, n: Option<u64>) {
    if tail.starts_with('*') {
        *tail = format!("({tail})");
    }
    let n = n.map(|n| n.to_string()).unwrap_or_default();
    tail.push_str(&format!("[{n}]"));
}

fn joined(name: &str, tail: &str) -> String {
    match tail {
        "" => name.into(),
        tail => format!("{name} {tail}"),
    }
}

/// C: the names of <sys/types.h>.
fn int_name(bytes: u8, signed: bool) -> &'static str {
    match (bytes, signed) {
        (1, true) => "int8_t",
        (1, false) => "uint8_t",
        (2, true) => "int16_t",
        (2, false) => "uint16_t",
        (4, true) => "int",
        (4, false) => "unsigned int",
        (_, true) => "long",
        (_, false) => "unsigned long",
    }
}
