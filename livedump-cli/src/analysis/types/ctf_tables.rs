// SPDX-License-Identifier: BSD-2-Clause
//! CTF, versions 2 (FreeBSD 13 and earlier) and 3 (14 and later), as
//! ctfmerge(1) leaves it in .SUNW_ctf. C: <sys/ctf.h>.
//!
//! A header, then, often deflated, tables of which types, objects and strings
//! matter here. A type is a name, an info word (kind and number of elements)
//! and a size or another type; what follows it depends on its kind.

use super::TypesError;
use super::limits::{MemoryLimit, Steps};
use super::section::{Section, inflater, read_all};
use livedump_vmcore::elf::{Kernel, is_name};
use std::ops::Range;

pub(super) const NAME: &str = ".SUNW_ctf";
const MAGIC: u16 = 0xcff1;
const HEADER: usize = 36;
const COMPRESSED: u8 = 1;
/// All of it unpacked; GENERIC's has 2 MB.
const MAX_BYTES: u64 = 32 << 20;
/// Names of this kind are in the symbol table's strings. C: `CTF_STRTAB_1`.
const EXTERNAL: u32 = 1 << 31;

// C: CTF_K_*.
pub(super) const INTEGER: u32 = 1;
pub(super) const FLOAT: u32 = 2;
pub(super) const POINTER: u32 = 3;
pub(super) const ARRAY: u32 = 4;
pub(super) const FUNCTION: u32 = 5;
pub(super) const STRUCT: u32 = 6;
pub(super) const UNION: u32 = 7;
pub(super) const ENUM: u32 = 8;
pub(super) const TYPEDEF: u32 = 10;
pub(super) const VOLATILE: u32 = 11;
pub(super) const CONST: u32 = 12;
pub(super) const RESTRICT: u32 = 13;

pub(super) fn read_u16(b: &[u8], at: usize) -> Option<u16> {
    let b = b.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*b))
}

pub(super) fn word(b: &[u8], at: usize) -> Option<u32> {
    let b = b.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*b))
}

/// The tables of a file.
pub(super) struct Tables<'k> {
    v3: bool,
    body: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
    /// One type for each object of the symbol table.
    objects: Range<usize>,
    theirs: &'k [u8],
    /// Where each type is; the first one is number 1.
    at: Vec<u32>,
    pub(super) steps: Steps,
}

/// A type, decoded.
pub(super) struct Type {
    pub(super) name: u32,
    pub(super) kind: u32,
    pub(super) elements: u32,
    /// Of what has one.
    pub(super) size: u64,
    /// What it refers to, of what does.
    pub(super) refers: u32,
    /// Where what follows it starts.
    pub(super) vdata: usize,
}

/// A member, decoded.
pub(super) struct Member {
    pub(super) name: u32,
    pub(super) of: u32,
    pub(super) bits: u64,
}

impl<'k> Tables<'k> {
    /// Opens what `file` has; `None` where it has no CTF.
    pub(super) fn open(
        file: &'k Kernel,
        steps: Steps,
    ) -> Result<Option<Self>, TypesError> {
        let path = file.path();
        let bad = |what| TypesError::Ctf { path: path.to_string(), what };
        let section = |source| TypesError::Section {
            path: path.to_string(),
            section: NAME,
            source,
        };
        let Some(raw) = Section::open(file, NAME).map_err(section)? else {
            return Ok(None);
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
        let (objects, functions) = (at(16), at(20));
        let (types, strings, strings_len) = (at(24), at(28), at(32));
        let end = (strings as u64).saturating_add(strings_len as u64);
        if end > MAX_BYTES || types > strings {
            return Err(bad("its tables are not valid"));
        }
        let body = if head.get(3).is_some_and(|f| f & COMPRESSED != 0) {
            read_all(inflater(body), end, &mut room).map_err(section)?
        } else {
            body.to_vec()
        };
        let names_end = strings.saturating_add(strings_len);
        if body.get(types..strings).is_none()
            || body.get(strings..names_end).is_none()
        {
            return Err(bad("it ends inside its tables"));
        }
        let mut ctf = Self {
            v3: version == 3,
            body,
            types: types..strings,
            strings: strings..names_end,
            objects: objects..functions,
            theirs: file.symbol_names(),
            at: Vec::new(),
            steps,
        };
        ctf.index().ok_or_else(|| bad("the length of its types is wrong"))?;
        Ok(Some(ctf))
    }

    fn table(&self) -> &[u8] {
        self.body.get(self.types.clone()).unwrap_or_default()
    }

    /// The table that has the name at `at`.
    fn names(&self, at: u32) -> &[u8] {
        match at & EXTERNAL {
            0 => self.body.get(self.strings.clone()).unwrap_or_default(),
            _ => self.theirs,
        }
    }

    /// The name at `at`, if it is not empty and no longer than `limit`.
    pub(super) fn name(&self, at: u32, limit: usize) -> Option<&[u8]> {
        let from = self.names(at).get((at & !EXTERNAL) as usize..)?;
        let from = from.get(..limit).unwrap_or(from);
        let end = from.iter().position(|&b| b == 0)?;
        from.get(..end).filter(|name| !name.is_empty())
    }

    /// How many types there are; the first is number 1.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.at.len()).unwrap_or(u32::MAX)
    }

    /// The type of the nth object of the symbol table.
    pub(super) fn object(&self, n: usize) -> Option<u32> {
        let all = self.body.get(self.objects.clone())?;
        match self.v3 {
            true => word(all, n.checked_mul(4)?),
            false => read_u16(all, n.checked_mul(2)?).map(u32::from),
        }
    }

    /// The type of an array's elements, and how many there are.
    pub(super) fn array(&self, t: &Type) -> Option<(u32, u32)> {
        let table = self.table();
        let (of, at) = match self.v3 {
            true => (word(table, t.vdata), t.vdata.checked_add(8)),
            false => (
                read_u16(table, t.vdata).map(u32::from),
                t.vdata.checked_add(4),
            ),
        };
        Some((of?, word(table, at?)?))
    }

    /// What follows a type: an integer's encoding.
    pub(super) fn after(&self, t: &Type) -> Option<u32> {
        word(self.table(), t.vdata)
    }

    /// The name and the value of an enumerator.
    pub(super) fn enumerator(&self, t: &Type, i: u32) -> Option<(u32, i32)> {
        let at = t.vdata.checked_add((i as usize).checked_mul(8)?)?;
        let table = self.table();
        let value = word(table, at.checked_add(4)?)?;
        Some((word(table, at)?, value as i32))
    }

    pub(super) fn decode(&self, at: usize) -> Option<Type> {
        let name = word(self.table(), at)?;
        let (info, size, mut vdata) = if self.v3 {
            let at = at.checked_add(4)?;
            let size = word(self.table(), at.checked_add(4)?)?;
            (word(self.table(), at)?, size, at.checked_add(8)?)
        } else {
            let at = at.checked_add(4)?;
            let size = read_u16(self.table(), at.checked_add(2)?)?;
            let info = u32::from(read_u16(self.table(), at)?);
            (info, u32::from(size), at.checked_add(4)?)
        };
        let (kind, elements, sentinel) = match self.v3 {
            true => (info >> 26, info & 0x1ff_ffff, u32::MAX),
            false => (info >> 11, info & 0x3ff, 0xffff),
        };
        let refers = size;
        let mut size = u64::from(size);
        if refers == sentinel {
            let high = word(self.table(), vdata)?;
            let low = word(self.table(), vdata.checked_add(4)?)?;
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
        while at < self.types.len() {
            let t = self.decode(at)?;
            self.at.push(u32::try_from(at).ok()?);
            at = t.vdata.checked_add(self.tail(&t)?)?;
        }
        (at == self.types.len()).then_some(())
    }

    pub(super) fn find(&self, id: u32) -> Option<Type> {
        // Bit 15 of version 2 says that it is in a parent, which no kernel
        // has.
        let at = self.at.get((id as usize).checked_sub(1)?)?;
        self.decode(*at as usize)
    }

    /// Whether the name at `at` is this one.
    pub(super) fn is_name(&self, at: u32, name: &str) -> bool {
        let from = self.names(at);
        is_name(from, at & !EXTERNAL, name.as_bytes())
    }

    pub(super) fn member(&self, t: &Type, i: u32) -> Option<Member> {
        let step = self.member_bytes(t.size);
        let at = t.vdata.checked_add((i as usize).checked_mul(step)?)?;
        let name = word(self.table(), at)?;
        let at = at.checked_add(4)?;
        let of = match self.v3 {
            true => word(self.table(), at)?,
            false => u32::from(read_u16(self.table(), at)?),
        };
        let bits = match step {
            8 => u64::from(read_u16(self.table(), at.checked_add(2)?)?),
            12 => u64::from(word(self.table(), at.checked_add(4)?)?),
            _ => {
                let high = word(self.table(), at.checked_add(4)?)?;
                let low = word(self.table(), at.checked_add(8)?)?;
                u64::from(high) << 32 | u64::from(low)
            }
        };
        Some(Member { name, of, bits })
    }
}
