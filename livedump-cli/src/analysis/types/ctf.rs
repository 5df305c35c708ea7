// SPDX-License-Identifier: BSD-2-Clause
//! Structures from CTF, versions 2 (FreeBSD 13 and earlier) and 3 (14 and
//! later), as ctfmerge(1) leaves them in .SUNW_ctf. C: <sys/ctf.h>.
//!
//! A header, then, often deflated, tables of which types and strings matter
//! here. A type is a name, an info word (kind and number of elements) and a
//! size or another type; what follows it depends on its kind.

use super::limits::{LimitExceeded, MemoryLimit, Steps};
use super::section::{Section, inflater, read_all};
use super::wanted::{self, Struct};
use super::{Field, FoundStruct, MAX_STRUCT, Structs, TypesError};
use livedump_vmcore::elf::{Kernel, is_name};

pub(super) const NAME: &str = ".SUNW_ctf";
const MAGIC: u16 = 0xcff1;
const HEADER: usize = 36;
const COMPRESSED: u8 = 1;
/// All of it unpacked; GENERIC's has 2 MB.
const MAX_BYTES: u64 = 32 << 20;
/// Anonymous members in anonymous members, and types of types.
const MAX_DEPTH: usize = 16;
/// Names of this kind are in the symbol table's strings. C: `CTF_STRTAB_1`.
const EXTERNAL: u32 = 1 << 31;

// C: CTF_K_*.
const INTEGER: u32 = 1;
const FLOAT: u32 = 2;
const POINTER: u32 = 3;
const ARRAY: u32 = 4;
const FUNCTION: u32 = 5;
const STRUCT: u32 = 6;
const UNION: u32 = 7;
const ENUM: u32 = 8;
const TYPEDEF: u32 = 10;
const VOLATILE: u32 = 11;
const CONST: u32 = 12;
const RESTRICT: u32 = 13;

/// What `file` has; nothing where it has no CTF.
pub(super) fn read(file: &Kernel) -> Result<Structs, TypesError> {
    let path = file.path();
    let bad = |what| TypesError::Ctf { path: path.to_string(), what };
    let section = |source| TypesError::Section {
        path: path.to_string(),
        section: NAME,
        source,
    };
    let Some(raw) = Section::open(file, NAME).map_err(section)? else {
        return Ok(Vec::new());
    };
    let mut room = MemoryLimit::new();
    let raw = raw.load(&mut room).map_err(section)?;
    let head = raw.get(..HEADER).ok_or_else(|| bad("no header"))?;
    let body = raw.get(HEADER..).unwrap_or_default();
    let (magic, version) = (read_u16(head, 0), head.get(2).copied());
    if magic != Some(MAGIC) {
        return Err(bad("wrong magic number"));
    }
    let Some(version @ 2..=3) = version else {
        return Err(bad("unknown version, expected 2 or 3"));
    };
    let at = |i| word(head, i).unwrap_or(0) as usize;
    let (types, strings, strings_len) = (at(24), at(28), at(32));
    let end = (strings as u64).saturating_add(strings_len as u64);
    if end > MAX_BYTES || types > strings {
        return Err(bad("its tables are not valid"));
    }
    let unpacked;
    let body = if head.get(3).is_some_and(|f| f & COMPRESSED != 0) {
        unpacked = read_all(inflater(body), end, &mut room).map_err(section)?;
        &unpacked
    } else {
        body
    };
    let strings = body.get(strings..).and_then(|s| s.get(..strings_len));
    let table = body.get(types..at(28));
    let (Some(table), Some(strings)) = (table, strings) else {
        return Err(bad("it ends inside its tables"));
    };
    let (ours, theirs) = (strings, file.symbol_names());
    let mut ctf = Ctf {
        v3: version == 3,
        table,
        ours,
        theirs,
        at: Vec::new(),
        steps: Steps::new(),
    };
    ctf.index().ok_or_else(|| bad("the length of its types is wrong"))?;
    let found = ctf.structures();
    found.map_err(|LimitExceeded| TypesError::Long { path: path.to_string() })
}

fn read_u16(b: &[u8], at: usize) -> Option<u16> {
    let b = b.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*b))
}

fn word(b: &[u8], at: usize) -> Option<u32> {
    let b = b.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*b))
}

struct Ctf<'a> {
    v3: bool,
    table: &'a [u8],
    ours: &'a [u8],
    theirs: &'a [u8],
    /// Where each type is; the first one is number 1.
    at: Vec<u32>,
    steps: Steps,
}

/// A type, decoded.
struct Type {
    name: u32,
    kind: u32,
    elements: u32,
    /// Of what has one.
    size: u64,
    /// What it refers to, of what does.
    refers: u32,
    /// Where what follows it starts.
    vdata: usize,
}

/// A member, decoded.
struct Member {
    name: u32,
    of: u32,
    bits: u64,
}

impl<'a> Ctf<'a> {
    fn decode(&self, at: usize) -> Option<Type> {
        let name = word(self.table, at)?;
        let (info, size, mut vdata) = if self.v3 {
            let at = at.checked_add(4)?;
            let size = word(self.table, at.checked_add(4)?)?;
            (word(self.table, at)?, size, at.checked_add(8)?)
        } else {
            let at = at.checked_add(4)?;
            let size = read_u16(self.table, at.checked_add(2)?)?;
            let info = u32::from(read_u16(self.table, at)?);
            (info, u32::from(size), at.checked_add(4)?)
        };
        let (kind, elements, sentinel) = match self.v3 {
            true => (info >> 26, info & 0x1ff_ffff, u32::MAX),
            false => (info >> 11, info & 0x3ff, 0xffff),
        };
        let refers = size;
        let mut size = u64::from(size);
        if refers == sentinel {
            let high = word(self.table, vdata)?;
            let low = word(self.table, vdata.checked_add(4)?)?;
            size = u64::from(high) << 32 | u64::from(low);
            vdata = vdata.checked_add(8)?;
        }
        Some(Type { name, kind, elements, size, refers, vdata })
    }

    /// Bytes of one member of a structure of so many bytes.
    fn member_bytes(&self, size: u64) -> usize {
        match (self.v3, size) {
            (false, 0..8192) => 8,
            (true, 0..0x2000_0000) => 12,
            _ => 16,
        }
    }

    /// Bytes that follow a type.
    fn tail(&self, t: &Type) -> Option<usize> {
        let n = t.elements as usize;
        match t.kind {
            INTEGER | FLOAT => Some(4),
            ARRAY if self.v3 => Some(12),
            ARRAY => Some(8),
            FUNCTION if self.v3 => n.checked_mul(4),
            FUNCTION => n.checked_next_multiple_of(2)?.checked_mul(2),
            STRUCT | UNION => n.checked_mul(self.member_bytes(t.size)),
            ENUM => n.checked_mul(8),
            _ => Some(0),
        }
    }

    /// Finds out where each type is.
    fn index(&mut self) -> Option<()> {
        let mut at = 0usize;
        while at < self.table.len() {
            let t = self.decode(at)?;
            self.at.push(u32::try_from(at).ok()?);
            at = t.vdata.checked_add(self.tail(&t)?)?;
        }
        (at == self.table.len()).then_some(())
    }

    fn find(&self, id: u32) -> Option<Type> {
        // Bit 15 of version 2 says that it is in a parent, which no kernel
        // has.
        let at = self.at.get((id as usize).checked_sub(1)?)?;
        self.decode(*at as usize)
    }

    /// Whether the name at `at` is this one.
    fn is_name(&self, at: u32, name: &str) -> bool {
        let from = match at & EXTERNAL {
            0 => self.ours,
            _ => self.theirs,
        };
        is_name(from, at & !EXTERNAL, name.as_bytes())
    }

    fn structures(&self) -> Result<Structs, LimitExceeded> {
        let mut found: Structs = Vec::new();
        let wanted = wanted::count();
        for (id, &at) in (1u32..).zip(&self.at) {
            self.steps.charge(1)?;
            let Some(t) = self.decode(at as usize) else { continue };
            let plausible =
                t.elements > 0 && (1..=MAX_STRUCT).contains(&t.size);
            if t.kind != STRUCT || !plausible {
                continue;
            }
            self.steps.charge(wanted)?;
            let mut all = wanted::structs();
            let wanted = all.find(|s| self.is_name(t.name, s.name));
            let Some(wanted) = wanted else { continue };
            if found.iter().any(|f| f.name == wanted.name) {
                continue;
            }
            let (name, size) = (wanted.name, t.size);
            let mut s = FoundStruct { name, size, fields: Vec::new() };
            self.members(wanted, (id, &t), 0, &mut Vec::new(), &mut s)?;
            found.push(s);
        }
        Ok(found)
    }

    /// The members of a structure that starts at `base`, and of what in it
    /// has no name. `within`: the structures it is a part of.
    fn members(
        &self,
        wanted: &'static Struct,
        (id, t): (u32, &Type),
        base: u64,
        within: &mut Vec<u32>,
        found: &mut FoundStruct,
    ) -> Result<(), LimitExceeded> {
        // Nothing is a part of itself.
        if within.len() >= MAX_DEPTH || within.contains(&id) {
            return Ok(());
        }
        within.push(id);
        for i in 0..t.elements {
            self.steps.charge(wanted.fields.len())?;
            let Some(m) = self.member(t, i) else { break };
            if !m.bits.is_multiple_of(8) {
                continue;
            }
            let offset = base.saturating_add(m.bits / 8);
            if self.is_name(m.name, "") {
                let inner = self.find(m.of);
                if let Some(t) =
                    inner.filter(|t| matches!(t.kind, STRUCT | UNION))
                {
                    let inner = (m.of, &t);
                    self.members(wanted, inner, offset, within, found)?;
                }
                continue;
            }
            let mut fields = wanted.fields.iter().copied();
            let Some(name) = fields.find(|f| self.is_name(m.name, f)) else {
                continue;
            };
            let size = self.size(m.of, 0);
            let known = found.fields.iter().any(|f| f.0 == name);
            if !known && offset.saturating_add(size) <= found.size {
                found.fields.push((name, Field { offset, size }));
            }
        }
        within.pop();
        Ok(())
    }

    fn member(&self, t: &Type, i: u32) -> Option<Member> {
        let step = self.member_bytes(t.size);
        let at = t.vdata.checked_add((i as usize).checked_mul(step)?)?;
        let name = word(self.table, at)?;
        let at = at.checked_add(4)?;
        let of = match self.v3 {
            true => word(self.table, at)?,
            false => u32::from(read_u16(self.table, at)?),
        };
        let bits = match step {
            8 => u64::from(read_u16(self.table, at.checked_add(2)?)?),
            12 => u64::from(word(self.table, at.checked_add(4)?)?),
            _ => {
                let high = word(self.table, at.checked_add(4)?)?;
                let low = word(self.table, at.checked_add(8)?)?;
                u64::from(high) << 32 | u64::from(low)
            }
        };
        Some(Member { name, of, bits })
    }

    /// Bytes of a type; 0 where it is not told.
    fn size(&self, of: u32, depth: usize) -> u64 {
        let Some(t) = self.find(of) else { return 0 };
        let next = depth.saturating_add(1);
        match t.kind {
            _ if depth > MAX_DEPTH => 0,
            INTEGER | FLOAT | STRUCT | UNION | ENUM => t.size,
            // Kernels that are read here have 64 bits.
            POINTER => 8,
            TYPEDEF | VOLATILE | CONST | RESTRICT => self.size(t.refers, next),
            ARRAY => {
                let (of, n) = match self.v3 {
                    true => (word(self.table, t.vdata), t.vdata.checked_add(8)),
                    false => (
                        read_u16(self.table, t.vdata).map(u32::from),
                        t.vdata.checked_add(4),
                    ),
                };
                let n = n.and_then(|at| word(self.table, at)).unwrap_or(0);
                self.size(of.unwrap_or(0), next).saturating_mul(n.into())
            }
            _ => 0,
        }
    }
}
