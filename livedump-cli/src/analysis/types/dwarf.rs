// SPDX-License-Identifier: BSD-2-Clause
//! Structures from DWARF, versions 2 to 5. A kernel's .debug_info has tens of
//! megabytes and every unit repeats <sys/proc.h>: units are read one at a
//! time, those of the likely files first, until nothing is missing.
//!
//! What a unit says is not believed: a structure that is a member of itself, a
//! name without an end, a table of abbreviations without one. Each entry and
//! each attribute costs a step, and steps are limited.

use super::limits::{LimitExceeded, MemoryLimit, Steps};
use super::section::{Section, SectionError, read_exact};
use super::wanted::{LIKELY_UNITS, Struct, find, find_field};
use super::{Field, FoundStruct, MAX_STRUCT, Structs, TypesError, has_all};
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugInfo, DebugStrOffsets,
    EndianSlice, LittleEndian, UnitOffset, constants as dw,
};
use livedump_vmcore::elf::Kernel;
use std::rc::Rc;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Header<'a> = gimli::UnitHeader<Slice<'a>>;
type Entries<'u, 'a> = gimli::EntriesRaw<'u, 'u, Slice<'a>>;

/// Anonymous members in anonymous members, and types of types.
const MAX_DEPTH: usize = 16;
/// Bytes of a unit.
const MAX_UNIT: u64 = 32 << 20;
/// The shortest there can be, with its length.
const MIN_UNIT: u64 = 11;
/// Bytes of one unit's abbreviations.
const MAX_TABLE: usize = 1 << 20;
/// What a byte of them costs.
const TABLE_STEPS: usize = 8;
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
        table: None,
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

fn section_error(
    file: &Kernel,
    section: &'static str,
) -> impl FnOnce(SectionError) -> TypesError {
    let path = file.path().to_string();
    move |source| TypesError::Section { path, section, source }
}

fn open<'k>(
    file: &'k Kernel,
    name: &'static str,
) -> Result<Option<Section<'k>>, TypesError> {
    Section::open(file, name).map_err(section_error(file, name))
}

/// Why a unit is not read.
enum Fault {
    Dwarf(gimli::Error),
    LimitExceeded,
}

impl From<gimli::Error> for Fault {
    fn from(e: gimli::Error) -> Self {
        Self::Dwarf(e)
    }
}

impl From<LimitExceeded> for Fault {
    fn from(_: LimitExceeded) -> Self {
        Self::LimitExceeded
    }
}

/// The sections that units point into.
struct Sections {
    abbrev: Vec<u8>,
    str: Vec<u8>,
    line_str: Vec<u8>,
    str_offsets: Vec<u8>,
}

impl Sections {
    fn load(file: &Kernel) -> Result<Self, TypesError> {
        let mut room = MemoryLimit::new();
        let mut get = |name| match open(file, name)? {
            Some(section) => {
                section.load(&mut room).map_err(section_error(file, name))
            }
            None => Ok(Vec::new()),
        };
        Ok(Self {
            abbrev: get(".debug_abbrev")?,
            str: get(".debug_str")?,
            line_str: get(".debug_line_str")?,
            str_offsets: get(".debug_str_offsets")?,
        })
    }
}

struct Scan<'k> {
    file: &'k Kernel,
    info: Section<'k>,
    sections: Sections,
    steps: Steps,
    /// The last table of abbreviations, by its offset.
    table: Option<(usize, Rc<Abbreviations>)>,
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
        let abbreviations = self.table(header.debug_abbrev_offset().0)?;
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
            if missing && let Some(s) = reader.structure(wanted, at, &entry)? {
                self.found.push(s);
            }
        }
        Ok(())
    }

    /// The abbreviations at an offset.
    fn table(&mut self, at: usize) -> Result<Rc<Abbreviations>, Fault> {
        if let Some((known, table)) = &self.table
            && *known == at
        {
            return Ok(Rc::clone(table));
        }
        let all = self.sections.abbrev.get(at..).unwrap_or_default();
        let all = all.get(..MAX_TABLE).unwrap_or(all);
        let bytes = table_bytes(all).ok_or(gimli::Error::UnexpectedEof(
            gimli::ReaderOffsetId(at as u64),
        ))?;
        self.steps.charge(bytes.saturating_mul(TABLE_STEPS))?;
        let table = all.get(..bytes).unwrap_or_default();
        let table = DebugAbbrev::new(table, LittleEndian)
            .abbreviations(gimli::DebugAbbrevOffset(0))?;
        let table = Rc::new(table);
        self.table = Some((at, Rc::clone(&table)));
        Ok(table)
    }
}

/// Reads one unit with its length in front.
fn next_unit(
    info: &mut dyn std::io::Read,
    unit: &mut Vec<u8>,
) -> Result<(), SectionError> {
    let mut head = Vec::new();
    let word = |b: &[u8]| {
        let mut raw = [0; 8];
        raw.iter_mut().zip(b).for_each(|(to, &from)| *to = from);
        u64::from_le_bytes(raw)
    };
    read_exact(&mut *info, 4, &mut head)?;
    let mut length = word(&head);
    if length == 0xffff_ffff {
        // 64-bit DWARF.
        let mut more = Vec::new();
        read_exact(&mut *info, 8, &mut more)?;
        length = word(&more);
        head.append(&mut more);
    }
    let total = length.saturating_add(head.len() as u64);
    if total > MAX_UNIT {
        return Err(SectionError::Large(total));
    }
    if total < MIN_UNIT {
        return Err(SectionError::Ends(total));
    }
    read_exact(info, length, unit)?;
    unit.splice(0..0, head);
    Ok(())
}

/// Bytes of the table of abbreviations that `from` starts with; `None` where
/// it does not end.
fn table_bytes(from: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    let mut number = || {
        let mut n = 0u64;
        let mut shift = 0u32;
        loop {
            let byte = *from.get(at)?;
            at = at.checked_add(1)?;
            n |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift = shift.saturating_add(7);
            if byte & 0x80 == 0 {
                return Some((n, at));
            }
        }
    };
    loop {
        let (code, end) = number()?;
        if code == 0 {
            return Some(end);
        }
        // The tag; and whether it has children, one byte, 0 or 1.
        number()?;
        number()?;
        loop {
            let ((name, _), (form, _)) = (number()?, number()?);
            if form == u64::from(dw::DW_FORM_implicit_const.0) {
                number()?;
            }
            if (name, form) == (0, 0) {
                break;
            }
        }
    }
}

/// The strings that a unit's entries name.
struct Strings<'a> {
    str: &'a [u8],
    line_str: &'a [u8],
    offsets: DebugStrOffsets<Slice<'a>>,
    format: gimli::Format,
    base: gimli::DebugStrOffsetsBase,
}

impl<'a> Strings<'a> {
    fn new(s: &'a Sections, header: &Header<'_>) -> Self {
        let offsets = EndianSlice::new(&s.str_offsets, LittleEndian);
        let (encoding, file) = (header.encoding(), gimli::DwarfFileType::Main);
        Self {
            str: &s.str,
            line_str: &s.line_str,
            offsets: DebugStrOffsets::from(offsets),
            format: encoding.format,
            base: gimli::DebugStrOffsetsBase::default_for_encoding_and_file(
                encoding, file,
            ),
        }
    }

    fn set_base(&mut self, root: &Entry<'_>) {
        if let Some(AttributeValue::DebugStrOffsetsBase(base)) = root.base {
            self.base = base;
        }
    }

    /// A name of less than `limit` bytes.
    fn get<'u>(
        &self,
        value: Option<Value<'u>>,
        limit: usize,
    ) -> Option<&'u [u8]>
    where
        'a: 'u,
    {
        let (from, at) = match value? {
            AttributeValue::String(text) => return Some(text.slice()),
            AttributeValue::DebugLineStrRef(at) => (self.line_str, at.0),
            AttributeValue::DebugStrRef(at) => (self.str, at.0),
            AttributeValue::DebugStrOffsetsIndex(i) => {
                let (format, base) = (self.format, self.base);
                let at = self.offsets.get_str_offset(format, base, i).ok()?;
                (self.str, at.0)
            }
            _ => return None,
        };
        let from = from.get(at..)?;
        let from = from.get(..limit).unwrap_or(from);
        let end = from.iter().position(|&b| b == 0)?;
        from.get(..end)
    }
}

type Value<'a> = AttributeValue<Slice<'a>>;

/// What counts of an entry.
#[derive(Default)]
struct Entry<'a> {
    tag: Option<dw::DwTag>,
    has_children: bool,
    name: Option<Value<'a>>,
    bytes: Option<u64>,
    of: Option<UnitOffset>,
    at: Option<Value<'a>>,
    /// It is a bit field, of so many.
    bits: Option<u64>,
    /// Where that is: up to DWARF 3, and since.
    bit_offset: Option<u64>,
    data_bit_offset: Option<u64>,
    count: Option<u64>,
    upper_bound: Option<u64>,
    base: Option<Value<'a>>,
}

/// One unit's entries.
struct Reader<'u, 'a> {
    header: &'u Header<'a>,
    abbreviations: &'u Abbreviations,
    strings: Strings<'u>,
    steps: &'u Steps,
}

impl<'u, 'a: 'u> Reader<'u, 'a> {
    /// The next entry; `None` for one that ends a list of children.
    fn entry(
        &self,
        entries: &mut Entries<'u, 'a>,
    ) -> Result<Option<Entry<'u>>, Fault> {
        self.entry_of(entries, &[])
    }

    /// The next entry, if it has one of these tags; any if there are none.
    fn entry_of(
        &self,
        entries: &mut Entries<'u, 'a>,
        tags: &[dw::DwTag],
    ) -> Result<Option<Entry<'u>>, Fault> {
        let Some(kind) = entries.read_abbreviation()? else {
            self.steps.charge(1)?;
            return Ok(None);
        };
        let attributes = kind.attributes();
        self.steps.charge(attributes.len().saturating_add(4))?;
        if !tags.is_empty() && !tags.contains(&kind.tag()) {
            entries.skip_attributes(attributes)?;
            return Ok(None);
        }
        let mut entry = Entry {
            tag: Some(kind.tag()),
            has_children: kind.has_children(),
            ..Entry::default()
        };
        for &attribute in attributes {
            let attribute = entries.read_attribute(attribute)?;
            let value = attribute.value();
            match attribute.name() {
                dw::DW_AT_name => entry.name = Some(value),
                dw::DW_AT_byte_size => entry.bytes = value.udata_value(),
                dw::DW_AT_type => {
                    if let AttributeValue::UnitRef(at) = value {
                        entry.of = Some(at);
                    }
                }
                dw::DW_AT_data_member_location => entry.at = Some(value),
                dw::DW_AT_bit_size => entry.bits = value.udata_value(),
                dw::DW_AT_bit_offset => {
                    entry.bit_offset = value.udata_value();
                }
                dw::DW_AT_data_bit_offset => {
                    entry.data_bit_offset = value.udata_value();
                }
                dw::DW_AT_count => entry.count = value.udata_value(),
                dw::DW_AT_upper_bound => {
                    entry.upper_bound = value.udata_value();
                }
                dw::DW_AT_str_offsets_base => entry.base = Some(value),
                _ => {}
            }
        }
        Ok(Some(entry))
    }

    /// The entry at a place.
    fn entry_at(&self, at: UnitOffset) -> Result<Option<Entry<'u>>, Fault> {
        let entries = self.header.entries_raw(self.abbreviations, Some(at));
        self.entry(&mut entries?)
    }

    /// Calls `f` with each child of the entry at a place that has this tag,
    /// until it says that it is enough.
    fn children(
        &self,
        of: UnitOffset,
        tag: dw::DwTag,
        mut f: impl FnMut(&Entry<'u>) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let mut entries =
            self.header.entries_raw(self.abbreviations, Some(of))?;
        let parent = self.entry(&mut entries)?;
        if !parent.is_some_and(|parent| parent.has_children) {
            return Ok(());
        }
        while !entries.is_empty() && entries.next_depth() >= 1 {
            let depth = entries.next_depth();
            let entry = self.entry_of(&mut entries, &[tag])?;
            if let Some(entry) = entry.filter(|_| depth == 1)
                && f(&entry)?
            {
                break;
            }
        }
        Ok(())
    }

    /// A whole structure; `None` for one that is only declared.
    fn structure(
        &self,
        wanted: &'static Struct,
        at: UnitOffset,
        entry: &Entry<'u>,
    ) -> Result<Option<FoundStruct>, Fault> {
        let size = entry.bytes.filter(|&n| n > 0 && n <= MAX_STRUCT);
        let Some(size) = size else { return Ok(None) };
        let mut found =
            FoundStruct { name: wanted.name, size, fields: Vec::new() };
        self.members(wanted, at, 0, &mut Vec::new(), &mut found)?;
        Ok(Some(found))
    }

    /// The members of a structure that starts at `base`, and of what in it
    /// has no name. `within`: the structures it is a part of.
    fn members(
        &self,
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
        self.children(of, dw::DW_TAG_member, |entry| {
            let encoding = self.header.encoding();
            let bits = entry.bits.map(|bits| bit_field(entry, encoding, bits));
            let at = match &bits {
                Some(field) => field.map(|field| field.offset),
                None => location(entry, encoding),
            };
            let Some(offset) = at.and_then(|at| at.checked_add(base)) else {
                return Ok(false);
            };
            if entry.name.is_none() {
                if let Some(of) = entry.of {
                    self.members(wanted, of, offset, within, found)?;
                }
                return Ok(false);
            }
            let name = self.strings.get(entry.name, MAX_NAME);
            let Some(name) = name.and_then(|n| find_field(wanted, n)) else {
                return Ok(false);
            };
            let size = match (bits.flatten(), entry.of) {
                (Some(field), _) => field.size,
                (None, Some(of)) => self.size(of, 0)?,
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
    fn size(&self, of: UnitOffset, depth: usize) -> Result<u64, Fault> {
        let Some(entry) = self.entry_at(of)? else { return Ok(0) };
        if let Some(size) = entry.bytes {
            return Ok(size);
        }
        let inner = || match entry.of {
            Some(of) if depth < MAX_DEPTH => {
                self.size(of, depth.saturating_add(1))
            }
            _ => Ok(0),
        };
        Ok(match entry.tag {
            Some(dw::DW_TAG_pointer_type) => {
                u64::from(self.header.encoding().address_size)
            }
            Some(dw::DW_TAG_array_type) => {
                inner()?.saturating_mul(self.count(of)?.unwrap_or(0))
            }
            _ => inner()?,
        })
    }

    /// Elements of an array of one dimension.
    fn count(&self, of: UnitOffset) -> Result<Option<u64>, Fault> {
        let mut count = None;
        self.children(of, dw::DW_TAG_subrange_type, |entry| {
            let bound = || entry.upper_bound?.checked_add(1);
            count = entry.count.or_else(bound);
            Ok(true)
        })?;
        Ok(count)
    }
}

/// A bit field that is whole bytes, such as `v_type` of 13; others stand
/// nowhere. Machines that are read here have the lowest byte first.
fn bit_field(
    entry: &Entry<'_>,
    encoding: gimli::Encoding,
    bits: u64,
) -> Option<Field> {
    let start = match entry.data_bit_offset {
        Some(start) => start,
        // From the highest bit of what it is stored in.
        None => {
            let stored = entry.bytes?.checked_mul(8)?;
            let end = entry.bit_offset?.checked_add(bits)?;
            let first = location(entry, encoding)?.checked_mul(8)?;
            first.checked_add(stored.checked_sub(end)?)?
        }
    };
    let is_whole = bits != 0 && bits.is_multiple_of(8);
    let field = Field { offset: start / 8, size: bits / 8 };
    (is_whole && start.is_multiple_of(8)).then_some(field)
}

/// Where a member stands. Up to DWARF 3 that may be an expression.
fn location(entry: &Entry<'_>, encoding: gimli::Encoding) -> Option<u64> {
    match entry.at {
        None => Some(0),
        Some(AttributeValue::Exprloc(e)) => {
            let mut ops = e.operations(encoding);
            match (ops.next().ok()??, ops.next().ok()?) {
                (gimli::Operation::PlusConstant { value }, None) => Some(value),
                _ => None,
            }
        }
        Some(value) => value.udata_value(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let of = |entry: &Entry<'_>, bits| bit_field(entry, encoding, bits);
        assert_eq!(of(&entry, 8), Some(Field { offset: 16, size: 1 }));
        assert_eq!(of(&entry, 4), None);
        assert_eq!(of(&entry, 16), None, "it does not fit");
        entry.bit_offset = Some(8);
        assert_eq!(of(&entry, 8), Some(Field { offset: 18, size: 1 }));
        entry.data_bit_offset = Some(136);
        assert_eq!(of(&entry, 8), Some(Field { offset: 17, size: 1 }));
        entry.data_bit_offset = Some(137);
        assert_eq!(of(&entry, 8), None);
    }

    #[test]
    fn a_table_of_abbreviations_ends_at_its_zero() {
        // Code 1, DW_TAG_base_type with children, DW_AT_name of
        // DW_FORM_implicit_const 5, and the two ends.
        let table = [1, 0x24, 1, 3, 0x21, 5, 0, 0, 0];
        assert_eq!(table_bytes(&table), Some(9));
        assert_eq!(table_bytes(&[0, 1, 2]), Some(1));
        assert_eq!(table_bytes(&table[..8]), None);
        assert_eq!(table_bytes(&[0x80; 100]), None);
        assert_eq!(table_bytes(&[]), None);
    }
}
