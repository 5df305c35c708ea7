// SPDX-License-Identifier: BSD-2-Clause
//! Structures from DWARF, versions 2 to 5. A kernel's .debug_info has tens of
//! megabytes and every unit repeats <sys/proc.h>: units are read one at a
//! time, those of the likely files first, until nothing is missing.
//!
//! What a unit says is not believed: a structure that is a member of itself, a
//! name without an end, a table of abbreviations without one. Each entry and
//! each attribute costs a step, and steps are limited.

use super::limits::Steps;
use super::section::Section;
use super::unit::{
    Entry, Fault, Reader, Sections, Strings, Tables, byte_location, location,
    next_unit, open, section_error,
};
use super::wanted::{LIKELY_UNITS, Struct, find, find_field};
use super::{Field, FoundStruct, MAX_STRUCT, Structs, TypesError, has_all};
use gimli::{DebugInfo, LittleEndian, UnitOffset, constants as dw};
use livedump_vmcore::elf::Kernel;

/// Anonymous members in anonymous members, and types of types.
const MAX_DEPTH: usize = 16;
/// Of a structure's or a member's name.
const MAX_NAME: usize = 64;
/// Of a unit's.
const MAX_PATH: usize = 1024;

/// What `file` has; nothing where it has no DWARF.
pub(super) fn read(file: &Kernel) -> Result<Structs, TypesError> {
    let Some(info) = open(file, ".debug_info")? else {
        return Ok(Vec::new());
    };
    let sections = Sections::load(file)?;
    let mut scan = Scan {
        file,
        info,
        sections,
        steps: Steps::new(),
        tables: Tables::default(),
        found: Vec::new(),
    };
    for likely in [true, false] {
        scan.units(likely)?;
        if has_all(&scan.found) {
            break;
        }
    }
    Ok(scan.found)
}

struct Scan<'k> {
    file: &'k Kernel,
    info: Section<'k>,
    sections: Sections,
    steps: Steps,
    tables: Tables,
    found: Structs,
}

impl Scan<'_> {
    /// Goes through the units of the likely files, or through the others.
    fn units(&mut self, likely: bool) -> Result<(), TypesError> {
        let file = self.file;
        let fail = || section_error(file, ".debug_info");
        let mut info = self.info.reader().map_err(fail())?;
        let mut unit = Vec::new();
        let mut at = 0;
        while at < self.info.len() && !has_all(&self.found) {
            next_unit(&mut info, &mut unit).map_err(fail())?;
            let path = || file.path().to_string();
            self.unit(&unit, likely).map_err(|fault| match fault {
                Fault::Dwarf(source) => {
                    TypesError::Dwarf { path: path(), at, source }
                }
                Fault::LimitExceeded => TypesError::Long { path: path() },
            })?;
            at = at.saturating_add(unit.len() as u64);
        }
        Ok(())
    }

    /// Looks for what is missing in one unit.
    fn unit(&mut self, bytes: &[u8], likely: bool) -> Result<(), Fault> {
        self.steps.charge(bytes.len() / 4)?;
        let info = DebugInfo::new(bytes, LittleEndian);
        let Some(header) = info.units().next()? else { return Ok(()) };
        let at = header.debug_abbrev_offset().0;
        let abbrev = &self.sections.abbrev;
        let abbreviations = self.tables.get(abbrev, at, &self.steps)?;
        let mut reader = Reader {
            header: &header,
            abbreviations: &abbreviations,
            strings: Strings::new(&self.sections, &header),
            steps: &self.steps,
        };
        let mut entries = header.entries_raw(&abbreviations, None)?;
        let Some(root) = reader.entry(&mut entries)? else { return Ok(()) };
        reader.strings.set_base(&root);
        let name = reader.strings.get(root.name, MAX_PATH).unwrap_or_default();
        let file = name.rsplit(|&b| b == b'/').next().unwrap_or_default();
        if LIKELY_UNITS.iter().any(|u| u.as_bytes() == file) != likely {
            return Ok(());
        }
        while !entries.is_empty() {
            let at = entries.next_offset();
            let tag = [dw::DW_TAG_structure_type];
            let entry = reader.entry_of(&mut entries, &tag)?;
            let Some(entry) = entry else { continue };
            let name = reader.strings.get(entry.name, MAX_NAME);
            let Some(wanted) = name.and_then(find) else { continue };
            let missing = self.found.iter().all(|f| f.name != wanted.name);
            if missing && let Some(s) = structure(&reader, wanted, at, &entry)?
            {
                self.found.push(s);
            }
        }
        Ok(())
    }
}

/// A whole structure; `None` for one that is only declared.
fn structure(
    reader: &Reader<'_>,
    wanted: &'static Struct,
    at: UnitOffset,
    entry: &Entry<'_>,
) -> Result<Option<FoundStruct>, Fault> {
    let size = entry.bytes.filter(|&n| n > 0 && n <= MAX_STRUCT);
    let Some(size) = size else { return Ok(None) };
    let mut found = FoundStruct { name: wanted.name, size, fields: Vec::new() };
    members(reader, wanted, at, 0, &mut Vec::new(), &mut found)?;
    Ok(Some(found))
}

/// The members of a structure that starts at `base`, and of what in it
/// has no name. `within`: the structures it is a part of.
fn members(
    reader: &Reader<'_>,
    wanted: &'static Struct,
    of: UnitOffset,
    base: u64,
    within: &mut Vec<UnitOffset>,
    found: &mut FoundStruct,
) -> Result<(), Fault> {
    // Nothing is a part of itself.
    if within.len() >= MAX_DEPTH || within.contains(&of) {
        return Ok(());
    }
    within.push(of);
    reader.children(of, &[dw::DW_TAG_member], |entry| {
        let encoding = reader.header.encoding();
        let is_bits = entry.bits.is_some() || entry.data_bit_offset.is_some();
        let bits = is_bits.then(|| bit_field(entry, encoding));
        let at = match &bits {
            Some(field) => field.map(|field| field.offset),
            None => location(entry, encoding),
        };
        let Some(offset) = at.and_then(|at| at.checked_add(base)) else {
            return Ok(false);
        };
        if entry.name.is_none() {
            if let Some(of) = entry.of {
                members(reader, wanted, of, offset, within, found)?;
            }
            return Ok(false);
        }
        let name = reader.strings.get(entry.name, MAX_NAME);
        let Some(name) = name.and_then(|n| find_field(wanted, n)) else {
            return Ok(false);
        };
        let size = match (bits.flatten(), entry.of) {
            (Some(field), _) => field.size,
            (None, Some(of)) => size(reader, of, 0)?,
            (None, None) => 0,
        };
        let known = found.fields.iter().any(|f| f.0 == name);
        if !known && offset.saturating_add(size) <= found.size {
            found.fields.push((name, Field { offset, size }));
        }
        Ok(false)
    })?;
    within.pop();
    Ok(())
}

/// Bytes of a type; 0 where it is not told.
fn size(
    reader: &Reader<'_>,
    of: UnitOffset,
    depth: usize,
) -> Result<u64, Fault> {
    let Some(entry) = reader.entry_at(of)? else { return Ok(0) };
    if let Some(size) = entry.bytes {
        return Ok(size);
    }
    let inner = || match entry.of {
        Some(of) if depth < MAX_DEPTH => {
            size(reader, of, depth.saturating_add(1))
        }
        _ => Ok(0),
    };
    Ok(match entry.tag {
        Some(dw::DW_TAG_pointer_type) => {
            u64::from(reader.header.encoding().address_size)
        }
        Some(dw::DW_TAG_array_type) => {
            inner()?.saturating_mul(count(reader, of)?.unwrap_or(0))
        }
        _ => inner()?,
    })
}

/// Elements of an array of one dimension.
fn count(reader: &Reader<'_>, of: UnitOffset) -> Result<Option<u64>, Fault> {
    let mut count = None;
    reader.children(of, &[dw::DW_TAG_subrange_type], |entry| {
        let bound = || entry.upper_bound?.checked_add(1);
        count = entry.count.or_else(bound);
        Ok(true)
    })?;
    Ok(count)
}

/// A bit field that is whole bytes, such as `v_type` of 13; others stand
/// nowhere. Machines that are read here have the lowest byte first.
fn bit_field(entry: &Entry<'_>, encoding: gimli::Encoding) -> Option<Field> {
    let bits = entry.bits?;
    let start = match entry.data_bit_offset {
        Some(start) => start,
        // From the highest bit of what it is stored in.
        None => {
            let stored = entry.bytes?.checked_mul(8)?;
            let end = entry.bit_offset?.checked_add(bits)?;
            let first = byte_location(entry, encoding)?.checked_mul(8)?;
            first.checked_add(stored.checked_sub(end)?)?
        }
    };
    let is_whole = bits != 0 && bits.is_multiple_of(8);
    let field = Field { offset: start / 8, size: bits / 8 };
    (is_whole && start.is_multiple_of(8)).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gimli::AttributeValue;

    #[test]
    fn bit_fields_of_whole_bytes_stand_somewhere() {
        let encoding = gimli::Encoding {
            address_size: 8,
            format: gimli::Format::Dwarf32,
            version: 4,
        };
        let mut entry = Entry {
            bytes: Some(4),
            bit_offset: Some(24),
            at: Some(AttributeValue::Udata(16)),
            ..Entry::default()
        };
        let mut of = |bits, data: Option<u64>, high: Option<u64>| {
            entry.bits = Some(bits);
            entry.data_bit_offset = data;
            entry.bit_offset = high;
            bit_field(&entry, encoding)
        };
        let high = Some(24);
        assert_eq!(of(8, None, high), Some(Field { offset: 16, size: 1 }));
        assert_eq!(of(4, None, high), None);
        assert_eq!(of(16, None, high), None, "it does not fit");
        assert_eq!(of(8, None, Some(8)), Some(Field { offset: 18, size: 1 }));
        assert_eq!(of(8, Some(136), None), Some(Field { offset: 17, size: 1 }));
        assert_eq!(of(8, Some(137), None), None);
    }
}
