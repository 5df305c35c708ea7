// SPDX-License-Identifier: BSD-2-Clause
//! One unit of .debug_info: its entries, as far as types are concerned, and
//! the sections that it points into. Each entry and each attribute costs a
//! step.

use super::TypesError;
use super::limits::{LimitExceeded, MemoryLimit, Steps};
use super::section::{Section, SectionError, append_exact};
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugStrOffsets, EndianSlice,
    LittleEndian, UnitOffset, constants as dw,
};
use livedump_vmcore::elf::Kernel;
use std::rc::Rc;

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
pub(super) type Header<'a> = gimli::UnitHeader<Slice<'a>>;
pub(super) type Entries<'u> = gimli::EntriesRaw<'u, 'u, Slice<'u>>;

/// Bytes of a unit.
const MAX_UNIT: u64 = 32 << 20;
/// The shortest there can be, with its length.
const MIN_UNIT: u64 = 11;
/// Bytes of one unit's abbreviations.
const MAX_TABLE: usize = 1 << 20;
/// What a byte of them costs.
const TABLE_STEPS: usize = 8;

pub(super) fn section_error(
    file: &Kernel,
    section: &'static str,
) -> impl FnOnce(SectionError) -> TypesError {
    let path = file.path().to_string();
    move |source| TypesError::Section { path, section, source }
}

pub(super) fn open<'k>(
    file: &'k Kernel,
    name: &'static str,
) -> Result<Option<Section<'k>>, TypesError> {
    Section::open(file, name).map_err(section_error(file, name))
}

/// Why a unit is not read.
#[derive(Debug)]
pub(super) enum Fault {
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
pub(super) struct Sections {
    pub(super) abbrev: Vec<u8>,
    pub(super) str: Vec<u8>,
    line_str: Vec<u8>,
    str_offsets: Vec<u8>,
}

impl Sections {
    pub(super) fn load(file: &Kernel) -> Result<Self, TypesError> {
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

/// Tables of abbreviations; the last one is kept.
#[derive(Default)]
pub(super) struct Tables {
    /// By its offset.
    last: Option<(usize, Rc<Abbreviations>)>,
}

impl Tables {
    /// The table at an offset.
    pub(super) fn get(
        &mut self,
        abbrev: &[u8],
        at: usize,
        steps: &Steps,
    ) -> Result<Rc<Abbreviations>, Fault> {
        if let Some((known, table)) = &self.last
            && *known == at
        {
            return Ok(Rc::clone(table));
        }
        let all = abbrev.get(at..).unwrap_or_default();
        let all = all.get(..MAX_TABLE).unwrap_or(all);
        let bytes = table_bytes(all).ok_or(gimli::Error::UnexpectedEof(
            gimli::ReaderOffsetId(at as u64),
        ))?;
        steps.charge(bytes.saturating_mul(TABLE_STEPS))?;
        let table = all.get(..bytes).unwrap_or_default();
        let table = DebugAbbrev::new(table, LittleEndian)
            .abbreviations(gimli::DebugAbbrevOffset(0))?;
        let table = Rc::new(table);
        self.last = Some((at, Rc::clone(&table)));
        Ok(table)
    }
}

/// Reads the next unit with its length in front, in place of what was there.
pub(super) fn next_unit(
    info: &mut dyn std::io::Read,
    unit: &mut Vec<u8>,
) -> Result<(), SectionError> {
    let word = |b: Option<&[u8]>| {
        let mut raw = [0; 8];
        let b = b.unwrap_or_default();
        raw.iter_mut().zip(b).for_each(|(to, &from)| *to = from);
        u64::from_le_bytes(raw)
    };
    unit.clear();
    append_exact(&mut *info, 4, unit)?;
    let mut length = word(unit.get(..4));
    if length == 0xffff_ffff {
        // 64-bit DWARF.
        append_exact(&mut *info, 8, unit)?;
        length = word(unit.get(4..12));
    }
    let total = length.saturating_add(unit.len() as u64);
    if total > MAX_UNIT {
        return Err(SectionError::Large(total));
    }
    if total < MIN_UNIT {
        return Err(SectionError::Ends(total));
    }
    append_exact(info, length, unit)
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
pub(super) struct Strings<'a> {
    str: &'a [u8],
    line_str: &'a [u8],
    offsets: DebugStrOffsets<Slice<'a>>,
    format: gimli::Format,
    base: gimli::DebugStrOffsetsBase,
}

impl<'a> Strings<'a> {
    pub(super) fn new(s: &'a Sections, header: &Header<'_>) -> Self {
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

    pub(super) fn set(&mut self, base: gimli::DebugStrOffsetsBase) {
        self.base = base;
    }

    pub(super) fn set_base(&mut self, root: &Entry<'_>) {
        if let Some(AttributeValue::DebugStrOffsetsBase(base)) = root.base {
            self.base = base;
        }
    }

    /// A name of less than `limit` bytes.
    pub(super) fn get<'u>(
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

pub(super) type Value<'a> = AttributeValue<Slice<'a>>;

/// What counts of an entry.
#[derive(Default)]
pub(super) struct Entry<'a> {
    pub(super) tag: Option<dw::DwTag>,
    pub(super) has_children: bool,
    pub(super) name: Option<Value<'a>>,
    pub(super) bytes: Option<u64>,
    /// Its type, in the unit.
    pub(super) of: Option<UnitOffset>,
    /// Its type, in .debug_info.
    pub(super) of_info: Option<usize>,
    /// Where a member is in its structure, or a variable in memory.
    pub(super) at: Option<Value<'a>>,
    /// Bits of a bit field.
    pub(super) bits: Option<u64>,
    /// Where a bit field is: from the start of the structure.
    pub(super) data_bit_offset: Option<u64>,
    /// Where a bit field is, up to DWARF 3: from the high end of its storage.
    pub(super) bit_offset: Option<u64>,
    pub(super) count: Option<u64>,
    pub(super) upper_bound: Option<u64>,
    pub(super) base: Option<Value<'a>>,
    pub(super) encoding: Option<dw::DwAte>,
    /// Of an enumerator.
    pub(super) value: Option<Value<'a>>,
    /// It is only declared.
    pub(super) declared: bool,
    /// The declaration of what is defined here.
    pub(super) specification: Option<UnitOffset>,
}

/// One unit's entries.
pub(super) struct Reader<'u> {
    pub(super) header: &'u Header<'u>,
    pub(super) abbreviations: &'u Abbreviations,
    pub(super) strings: Strings<'u>,
    pub(super) steps: &'u Steps,
}

impl<'u> Reader<'u> {
    /// The next entry; `None` for one that ends a list of children.
    pub(super) fn entry(
        &self,
        entries: &mut Entries<'u>,
    ) -> Result<Option<Entry<'u>>, Fault> {
        self.entry_of(entries, &[])
    }

    /// The next entry, if it has one of these tags; any if there are none.
    pub(super) fn entry_of(
        &self,
        entries: &mut Entries<'u>,
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
                dw::DW_AT_type => match value {
                    AttributeValue::UnitRef(at) => entry.of = Some(at),
                    AttributeValue::DebugInfoRef(at) => {
                        entry.of_info = Some(at.0);
                    }
                    _ => {}
                },
                dw::DW_AT_data_member_location | dw::DW_AT_location => {
                    entry.at = Some(value);
                }
                dw::DW_AT_data_bit_offset => {
                    entry.data_bit_offset = value.udata_value();
                }
                dw::DW_AT_bit_size => entry.bits = value.udata_value(),
                dw::DW_AT_bit_offset => {
                    entry.bit_offset = value.udata_value();
                }
                dw::DW_AT_encoding => {
                    if let AttributeValue::Encoding(encoding) = value {
                        entry.encoding = Some(encoding);
                    }
                }
                dw::DW_AT_const_value => entry.value = Some(value),
                dw::DW_AT_declaration => {
                    entry.declared = value == AttributeValue::Flag(true);
                }
                dw::DW_AT_specification => {
                    if let AttributeValue::UnitRef(at) = value {
                        entry.specification = Some(at);
                    }
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
    pub(super) fn entry_at(
        &self,
        at: UnitOffset,
    ) -> Result<Option<Entry<'u>>, Fault> {
        let entries = self.header.entries_raw(self.abbreviations, Some(at));
        self.entry(&mut entries?)
    }

    /// Calls `f` with each child of the entry at a place that has one of these
    /// tags, until it says that it is enough.
    pub(super) fn children(
        &self,
        of: UnitOffset,
        tags: &[dw::DwTag],
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
            let entry = self.entry_of(&mut entries, tags)?;
            if let Some(entry) = entry.filter(|_| depth == 1)
                && f(&entry)?
            {
                break;
            }
        }
        Ok(())
    }
}

/// Where a member is that is no bit field.
pub(super) fn location(
    entry: &Entry<'_>,
    encoding: gimli::Encoding,
) -> Option<u64> {
    if entry.bits.is_some() || entry.data_bit_offset.is_some() {
        return None;
    }
    byte_location(entry, encoding)
}

/// Where a member, or the storage of a bit field, is. Up to DWARF 3 that may
/// be an expression.
pub(super) fn byte_location(
    entry: &Entry<'_>,
    encoding: gimli::Encoding,
) -> Option<u64> {
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
