// SPDX-License-Identifier: BSD-2-Clause
//! Structures from DWARF, versions 2 to 5. A kernel's .debug_info has tens of
//! megabytes and every unit repeats <sys/proc.h>: units are read one at a
//! time, those of the likely files first, until nothing is missing.

use super::section::{Section, SectionError};
use super::wanted::{LIKELY_UNITS, Struct, find, find_field};
use super::{Field, FoundStruct, MAX_STRUCT, Structs, TypesError, has_all};
use crate::vmcore::elf::Kernel;
use gimli::{
    AttributeValue, DebugAbbrev, DebugInfo, DebugLineStr, DebugStr,
    DebugStrOffsets, EndianSlice, LittleEndian, UnitOffset, constants as dw,
};

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Header<'a> = gimli::UnitHeader<Slice<'a>>;
type Entry<'u, 'a> = gimli::DebuggingInformationEntry<'u, 'u, Slice<'a>>;

/// Anonymous members in anonymous members, and types of types.
const MAX_DEPTH: u32 = 16;
/// Members of one structure.
const MAX_MEMBERS: usize = 4096;

/// What `file` has; nothing where it has no DWARF.
pub(super) fn read(file: &Kernel) -> Result<Structs, TypesError> {
    let Some(info) = open(file, ".debug_info")? else {
        return Ok(Vec::new());
    };
    let sections = Sections::load(file)?;
    let mut scan = Scan { file, info, sections, found: Vec::new() };
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

/// The sections that units point into.
struct Sections {
    abbrev: Vec<u8>,
    str: Vec<u8>,
    line_str: Vec<u8>,
    str_offsets: Vec<u8>,
}

impl Sections {
    fn load(file: &Kernel) -> Result<Self, TypesError> {
        let get = |name| match open(file, name)? {
            Some(section) => section.whole().map_err(section_error(file, name)),
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
    found: Structs,
}

impl Scan<'_> {
    /// Goes through the units of the likely files, or through the others.
    fn units(&mut self, likely: bool) -> Result<(), TypesError> {
        let mut at = 0;
        while at < self.info.len() {
            let unit = self
                .unit_bytes(at)
                .map_err(section_error(self.file, ".debug_info"))?;
            let path = || self.file.path().to_string();
            let mut found = core::mem::take(&mut self.found);
            let read = self.unit(&unit, likely, &mut found);
            self.found = found;
            read.map_err(|source| TypesError::Dwarf {
                path: path(),
                at,
                source,
            })?;
            if has_all(&self.found) {
                break;
            }
            at = at.saturating_add(unit.len() as u64);
        }
        Ok(())
    }

    /// One unit with its length in front.
    fn unit_bytes(&self, at: u64) -> Result<Vec<u8>, SectionError> {
        let word = |b: Vec<u8>| {
            let mut raw = [0; 8];
            raw.iter_mut().zip(b).for_each(|(to, from)| *to = from);
            u64::from_le_bytes(raw)
        };
        let (head, length) = match word(self.info.bytes(at, 4)?) {
            // 64-bit DWARF.
            0xffff_ffff => {
                let at = at.saturating_add(4);
                (12u64, word(self.info.bytes(at, 8)?))
            }
            length => (4, length),
        };
        self.info.bytes(at, head.saturating_add(length))
    }

    /// Looks for what is missing in one unit.
    fn unit(
        &self,
        bytes: &[u8],
        likely: bool,
        found: &mut Structs,
    ) -> gimli::Result<()> {
        let s = &self.sections;
        let info = DebugInfo::new(bytes, LittleEndian);
        let Some(header) = info.units().next()? else { return Ok(()) };
        let abbrev = DebugAbbrev::new(&s.abbrev, LittleEndian);
        // A whole `gimli::Unit` would want the line numbers, too.
        let abbreviations = header.abbreviations(&abbrev)?;
        let mut reader = Reader {
            header: &header,
            abbreviations: &abbreviations,
            strings: Strings::new(s, &header),
        };
        let mut entries = header.entries(&abbreviations);
        let Some((_, root)) = entries.next_dfs()? else { return Ok(()) };
        reader.strings.find_base(root);
        let name = reader.name(root).unwrap_or_default();
        let file = name.rsplit(|&b| b == b'/').next().unwrap_or_default();
        if LIKELY_UNITS.iter().any(|u| u.as_bytes() == file) != likely {
            return Ok(());
        }
        while let Some((_, entry)) = entries.next_dfs()? {
            if entry.tag() != dw::DW_TAG_structure_type {
                continue;
            }
            let Some(wanted) = reader.name(entry).and_then(find) else {
                continue;
            };
            let missing = found.iter().all(|f| f.name != wanted.name);
            if missing && let Some(s) = reader.structure(wanted, entry)? {
                found.push(s);
            }
        }
        Ok(())
    }
}

/// The strings that a unit's entries name.
struct Strings<'a> {
    str: DebugStr<Slice<'a>>,
    line_str: DebugLineStr<Slice<'a>>,
    offsets: DebugStrOffsets<Slice<'a>>,
    format: gimli::Format,
    base: gimli::DebugStrOffsetsBase,
}

impl<'a> Strings<'a> {
    fn new(s: &'a Sections, header: &Header<'a>) -> Self {
        let offsets = EndianSlice::new(&s.str_offsets, LittleEndian);
        let (encoding, file) = (header.encoding(), gimli::DwarfFileType::Main);
        Self {
            str: DebugStr::new(&s.str, LittleEndian),
            line_str: DebugLineStr::new(&s.line_str, LittleEndian),
            offsets: DebugStrOffsets::from(offsets),
            format: encoding.format,
            base: gimli::DebugStrOffsetsBase::default_for_encoding_and_file(
                encoding, file,
            ),
        }
    }

    fn find_base(&mut self, root: &Entry<'_, 'a>) {
        let base = root.attr_value(dw::DW_AT_str_offsets_base);
        if let Ok(Some(AttributeValue::DebugStrOffsetsBase(base))) = base {
            self.base = base;
        }
    }

    fn get(&self, value: AttributeValue<Slice<'a>>) -> Option<&'a [u8]> {
        let at = match value {
            AttributeValue::String(text) => return Some(text.slice()),
            AttributeValue::DebugLineStrRef(at) => {
                return self.line_str.get_str(at).ok().map(|s| s.slice());
            }
            AttributeValue::DebugStrRef(at) => at,
            AttributeValue::DebugStrOffsetsIndex(i) => {
                let (format, base) = (self.format, self.base);
                self.offsets.get_str_offset(format, base, i).ok()?
            }
            _ => return None,
        };
        self.str.get_str(at).ok().map(|s| s.slice())
    }
}

/// One unit's entries.
struct Reader<'u, 'a> {
    header: &'u Header<'a>,
    abbreviations: &'u gimli::Abbreviations,
    strings: Strings<'a>,
}

impl<'a> Reader<'_, 'a> {
    fn name(&self, entry: &Entry<'_, 'a>) -> Option<&'a [u8]> {
        let value = entry.attr_value(dw::DW_AT_name).ok()??;
        self.strings.get(value)
    }

    /// A whole structure; `None` for one that is only declared.
    fn structure(
        &self,
        wanted: &'static Struct,
        entry: &Entry<'_, 'a>,
    ) -> gimli::Result<Option<FoundStruct>> {
        let size = number(entry, dw::DW_AT_byte_size);
        let Some(size) = size.filter(|&n| n > 0 && n <= MAX_STRUCT) else {
            return Ok(None);
        };
        let mut found =
            FoundStruct { name: wanted.name, size, fields: Vec::new() };
        self.members(wanted, entry.offset(), 0, 0, &mut found)?;
        Ok(Some(found))
    }

    /// The members of a structure that starts at `base`, and of what in it
    /// has no name.
    fn members(
        &self,
        wanted: &'static Struct,
        of: UnitOffset,
        base: u64,
        depth: u32,
        found: &mut FoundStruct,
    ) -> gimli::Result<()> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        let mut tree =
            self.header.entries_tree(self.abbreviations, Some(of))?;
        let mut children = tree.root()?.children();
        let mut seen = 0usize;
        while let Some(child) = children.next()? {
            let entry = child.entry();
            seen = seen.saturating_add(1);
            if entry.tag() != dw::DW_TAG_member || seen > MAX_MEMBERS {
                continue;
            }
            let at = location(entry, self.header.encoding());
            let Some(offset) = at.and_then(|at| at.checked_add(base)) else {
                continue;
            };
            let of = type_of(entry);
            let Some(name) = self.name(entry) else {
                if let Some(of) = of {
                    let next = depth.saturating_add(1);
                    self.members(wanted, of, offset, next, found)?;
                }
                continue;
            };
            let size = of.map_or(0, |of| self.size(of, 0));
            if offset.saturating_add(size) <= found.size
                && let Some(name) = find_field(wanted, name)
            {
                found.fields.push((name, Field { offset, size }));
            }
        }
        Ok(())
    }

    /// Bytes of a type; 0 where it is not told.
    fn size(&self, of: UnitOffset, depth: u32) -> u64 {
        let Ok(entry) = self.header.entry(self.abbreviations, of) else {
            return 0;
        };
        if let Some(size) = number(&entry, dw::DW_AT_byte_size) {
            return size;
        }
        let behind = |depth: u32| match type_of(&entry) {
            Some(of) if depth < MAX_DEPTH => {
                self.size(of, depth.saturating_add(1))
            }
            _ => 0,
        };
        match entry.tag() {
            dw::DW_TAG_pointer_type => {
                u64::from(self.header.encoding().address_size)
            }
            dw::DW_TAG_array_type => {
                behind(depth).saturating_mul(self.count(of).unwrap_or(0))
            }
            _ => behind(depth),
        }
    }

    /// Elements of an array of one dimension.
    fn count(&self, of: UnitOffset) -> Option<u64> {
        let mut tree =
            self.header.entries_tree(self.abbreviations, Some(of)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Some(child) = children.next().ok()? {
            let entry = child.entry();
            if entry.tag() == dw::DW_TAG_subrange_type {
                let bound = || number(entry, dw::DW_AT_upper_bound);
                return number(entry, dw::DW_AT_count)
                    .or_else(|| bound()?.checked_add(1));
            }
        }
        None
    }
}

fn number(entry: &Entry<'_, '_>, attr: gimli::DwAt) -> Option<u64> {
    entry.attr_value(attr).ok()??.udata_value()
}

fn type_of(entry: &Entry<'_, '_>) -> Option<UnitOffset> {
    match entry.attr_value(dw::DW_AT_type).ok()?? {
        AttributeValue::UnitRef(at) => Some(at),
        _ => None,
    }
}

/// Where a member stands. Up to DWARF 3 that may be an expression; bit fields
/// stand nowhere.
fn location(entry: &Entry<'_, '_>, encoding: gimli::Encoding) -> Option<u64> {
    let bits = [dw::DW_AT_data_bit_offset, dw::DW_AT_bit_size];
    if bits.iter().any(|&b| matches!(entry.attr_value(b), Ok(Some(_)))) {
        return None;
    }
    match entry.attr_value(dw::DW_AT_data_member_location).ok()? {
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
