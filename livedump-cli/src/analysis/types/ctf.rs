// SPDX-License-Identifier: BSD-2-Clause
//! The wanted structures from CTF.

use super::ctf_tables::{
    ARRAY, CONST, ENUM, FLOAT, INTEGER, POINTER, RESTRICT, STRUCT, TYPEDEF,
    Tables, Type, UNION, VOLATILE,
};
use super::limits::{LimitExceeded, Steps};
use super::wanted::{self, Struct};
use super::{Field, FoundStruct, MAX_STRUCT, Structs, TypesError};
use livedump_vmcore::elf::Kernel;

/// Anonymous members in anonymous members, and types of types.
const MAX_DEPTH: usize = 16;

/// What `file` has; nothing where it has no CTF.
pub(super) fn read(file: &Kernel) -> Result<Structs, TypesError> {
    let Some(ctf) = Tables::open(file, Steps::new())? else {
        return Ok(Vec::new());
    };
    let found = ctf.structures();
    let path = || file.path().to_string();
    found.map_err(|LimitExceeded| TypesError::Long { path: path() })
}

impl Tables<'_> {
    fn structures(&self) -> Result<Structs, LimitExceeded> {
        let mut found: Structs = Vec::new();
        let wanted = wanted::count();
        for id in 1..=self.count() {
            self.steps.charge(1)?;
            let Some(t) = self.find(id) else { continue };
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
                let (of, n) = self.array(&t).unwrap_or_default();
                self.size(of, next).saturating_mul(n.into())
            }
            _ => 0,
        }
    }
}
