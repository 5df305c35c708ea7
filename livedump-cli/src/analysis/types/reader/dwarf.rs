// SPDX-License-Identifier: BSD-2-Clause
//! Any type of a file with DWARF, when it is asked for. Units are read from
//! the first on until one has what is wanted; of those that cannot have it no
//! entry is read. A number of a type is its offset in .debug_info.

use super::filter::Filter;
use super::kind::{Encoding, Kind, Member, Tag, Type, TypeId, Variable};
use crate::analysis::types::TypesError;
use crate::analysis::types::limits::Steps;
use crate::analysis::types::section::Section;
use crate::analysis::types::unit::{
    Entry, Fault, Reader, Sections, Strings, Tables, byte_location, next_unit,
    open, section_error,
};
use gimli::{
    Abbreviations, AttributeValue, DebugInfo, DebugStrOffsetsBase,
    LittleEndian, Operation, UnitOffset, constants as dw,
};
use livedump_vmcore::elf::Kernel;
use std::cell::RefCell;
use std::rc::Rc;

/// Of a type, a member, an enumerator or a variable.
const MAX_NAME: usize = 256;
const MAX_MEMBERS: usize = 1 << 14;
/// Units that are kept, and their bytes.
const KEPT: usize = 32;
const KEPT_BYTES: usize = 64 << 20;
const MAX_DIMENSIONS: usize = 8;

fn tags(tag: Tag) -> &'static [dw::DwTag] {
    match tag {
        Tag::Struct => &[dw::DW_TAG_structure_type],
        Tag::Union => &[dw::DW_TAG_union_type],
        Tag::Enum => &[dw::DW_TAG_enumeration_type],
        Tag::Name => &[dw::DW_TAG_typedef, dw::DW_TAG_base_type],
    }
}

/// A unit that was needed.
struct Unit {
    start: u64,
    bytes: Vec<u8>,
    table: Rc<Abbreviations>,
    base: Option<DebugStrOffsetsBase>,
}

/// The DWARF of a file.
pub(super) struct Dwarf<'k> {
    file: &'k Kernel,
    info: Section<'k>,
    sections: Sections,
    steps: Steps,
    tables: RefCell<Tables>,
    /// Where units start, as far as they were gone through.
    starts: RefCell<Vec<u64>>,
    kept: RefCell<Vec<Rc<Unit>>>,
    source: u8,
}

impl std::fmt::Debug for Dwarf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dwarf({})", self.file.path())
    }
}

type Result<T> = std::result::Result<T, TypesError>;
type Within<T> = std::result::Result<T, Fault>;

/// A variable that was found, and whether it is the best there can be.
type FoundVariable = (Variable, bool);

impl<'k> Dwarf<'k> {
    /// Opens it; `None` where there is none.
    pub(super) fn open(
        file: &'k Kernel,
        source: u8,
        times: u64,
    ) -> Result<Option<Self>> {
        let Some(info) = open(file, ".debug_info")? else { return Ok(None) };
        Ok(Some(Self {
            file,
            info,
            sections: Sections::load(file)?,
            steps: Steps::times(times),
            tables: RefCell::default(),
            starts: RefCell::default(),
            kept: RefCell::default(),
            source,
        }))
    }

    fn fault(&self, at: u64, fault: Fault) -> TypesError {
        let path = self.file.path().to_string();
        match fault {
            Fault::Dwarf(source) => TypesError::Dwarf { path, at, source },
            Fault::LimitExceeded => TypesError::Long { path },
        }
    }

    /// A whole type by its tag or name.
    pub(super) fn find(&self, tag: Tag, name: &str) -> Result<Option<TypeId>> {
        let mut found = None;
        self.search(name, |unit| {
            let at = self.type_in(unit, tag, name.as_bytes())?;
            found = at;
            Ok(at.is_some())
        })?;
        Ok(found)
    }

    /// A variable by its name: the one at this address, else the first that
    /// has one, else one that is only declared.
    pub(super) fn variable(
        &self,
        name: &str,
        address: Option<u64>,
    ) -> Result<Option<Variable>> {
        let mut best: Option<Variable> = None;
        self.search(name, |unit| {
            let found = self.variable_in(unit, name.as_bytes(), address)?;
            let Some((found, is_best)) = found else { return Ok(false) };
            let better = match best {
                None => true,
                Some(b) => b.address.is_none() && found.address.is_some(),
            };
            if better || is_best {
                best = Some(found);
            }
            Ok(is_best)
        })?;
        Ok(best)
    }

    /// Calls `look` with each unit that may have a name, until it has found
    /// something.
    fn search(
        &self,
        name: &str,
        mut look: impl FnMut(&Rc<Unit>) -> Within<bool>,
    ) -> Result<()> {
        let fail = || section_error(self.file, ".debug_info");
        let strings = &self.sections.str;
        // What is not in the file costs as much as all that is.
        let charged = self.steps.charge(strings.len() / 16);
        charged.map_err(|e| self.fault(0, e.into()))?;
        let filter = Filter::new(strings, name.as_bytes());
        let mut info = self.info.reader().map_err(fail())?;
        let mut bytes = Vec::new();
        let mut at = 0u64;
        while at < self.info.len() {
            next_unit(&mut info, &mut bytes).map_err(fail())?;
            let start = at;
            let n = bytes.len();
            self.steps
                .charge((n / 64).saturating_add(1))
                .map_err(|e| self.fault(start, e.into()))?;
            at = at.saturating_add(n as u64);
            self.remember(start);
            if !filter.may_have(&bytes, version(&bytes)) {
                continue;
            }
            let unit = std::mem::take(&mut bytes);
            let unit = self.open_unit(start, unit);
            let found = unit.and_then(|unit| match unit {
                Some(unit) => {
                    let found = look(&unit)?;
                    if found {
                        self.keep(&unit);
                    }
                    Ok(found)
                }
                None => Ok(false),
            });
            if found.map_err(|fault| self.fault(start, fault))? {
                break;
            }
        }
        Ok(())
    }

    fn remember(&self, start: u64) {
        if let Ok(mut starts) = self.starts.try_borrow_mut()
            && starts.last().is_none_or(|&last| last < start)
        {
            starts.push(start);
        }
    }

    fn keep(&self, unit: &Rc<Unit>) {
        let Ok(mut kept) = self.kept.try_borrow_mut() else { return };
        if kept.iter().any(|k| k.start == unit.start) {
            return;
        }
        kept.push(Rc::clone(unit));
        let bytes = |kept: &[Rc<Unit>]| -> usize {
            kept.iter().map(|u| u.bytes.len()).sum()
        };
        while kept.len() > KEPT || bytes(&kept) > KEPT_BYTES {
            kept.remove(0);
        }
    }

    /// A unit with its abbreviations; `None` for one of no interest.
    fn open_unit(
        &self,
        start: u64,
        bytes: Vec<u8>,
    ) -> Within<Option<Rc<Unit>>> {
        let info = DebugInfo::new(&bytes, LittleEndian);
        let Some(header) = info.units().next()? else { return Ok(None) };
        let Ok(mut tables) = self.tables.try_borrow_mut() else {
            return Ok(None);
        };
        let at = header.debug_abbrev_offset().0;
        let table = tables.get(&self.sections.abbrev, at, &self.steps)?;
        let reader = Reader {
            header: &header,
            abbreviations: &table,
            strings: Strings::new(&self.sections, &header),
            steps: &self.steps,
        };
        let mut entries = header.entries_raw(&table, None)?;
        let root = reader.entry(&mut entries)?;
        let base = match root.and_then(|root| root.base) {
            Some(AttributeValue::DebugStrOffsetsBase(base)) => Some(base),
            _ => None,
        };
        Ok(Some(Rc::new(Unit { start, bytes, table, base })))
    }

    /// The unit that has a place, which was gone through before.
    fn unit_at(&self, at: u64) -> Result<Option<Rc<Unit>>> {
        let start = {
            let Ok(starts) = self.starts.try_borrow() else {
                return Ok(None);
            };
            let after = starts.partition_point(|&start| start <= at);
            after.checked_sub(1).and_then(|n| starts.get(n).copied())
        };
        let Some(start) = start else { return Ok(None) };
        if let Ok(kept) = self.kept.try_borrow()
            && let Some(unit) = kept.iter().find(|unit| unit.start == start)
        {
            return Ok(Some(Rc::clone(unit)));
        }
        let fail = || section_error(self.file, ".debug_info");
        let mut info = self.info.reader_at(start).map_err(fail())?;
        let mut bytes = Vec::new();
        next_unit(&mut info, &mut bytes).map_err(fail())?;
        let charged = self.steps.charge(bytes.len() / 4);
        charged.map_err(|e| self.fault(start, e.into()))?;
        let unit = self.open_unit(start, bytes);
        let unit = unit.map_err(|fault| self.fault(start, fault))?;
        if let Some(unit) = &unit {
            self.keep(unit);
        }
        Ok(unit)
    }

    /// Calls `f` with what reads a unit's entries.
    fn with<T>(
        &self,
        unit: &Unit,
        f: impl for<'u> FnOnce(&Reader<'u>) -> Within<T>,
    ) -> Within<T> {
        let info = DebugInfo::new(&unit.bytes, LittleEndian);
        let Some(header) = info.units().next()? else {
            return Err(Fault::Dwarf(gimli::Error::NoEntryAtGivenOffset));
        };
        let mut strings = Strings::new(&self.sections, &header);
        if let Some(base) = unit.base {
            strings.set(base);
        }
        let steps = &self.steps;
        let abbreviations = &unit.table;
        f(&Reader { header: &header, abbreviations, strings, steps })
    }

    fn id(&self, unit: &Unit, at: UnitOffset) -> Option<TypeId> {
        let at = unit.start.checked_add(at.0 as u64)?;
        Some(TypeId { source: self.source, at: u32::try_from(at).ok()? })
    }

    /// The type that an entry refers to.
    fn of(&self, unit: &Unit, entry: &Entry<'_>) -> Option<TypeId> {
        if let Some(at) = entry.of {
            return self.id(unit, at);
        }
        let at = u32::try_from(entry.of_info?).ok()?;
        Some(TypeId { source: self.source, at })
    }

    fn type_in(
        &self,
        unit: &Unit,
        tag: Tag,
        name: &[u8],
    ) -> Within<Option<TypeId>> {
        self.with(unit, |reader| {
            let mut found = None;
            top(reader, tags(tag), |at, entry| {
                let is = reader.strings.get(entry.name, MAX_NAME) == Some(name);
                if is && !entry.declared {
                    found = self.id(unit, at);
                }
                Ok(found.is_some())
            })?;
            Ok(found)
        })
    }

    fn variable_in(
        &self,
        unit: &Unit,
        name: &[u8],
        address: Option<u64>,
    ) -> Within<Option<FoundVariable>> {
        self.with(unit, |reader| {
            let mut found: Option<FoundVariable> = None;
            top(reader, &[dw::DW_TAG_variable], |_, entry| {
                let declaration = match entry.specification {
                    Some(at) => reader.entry_at(at)?,
                    None => None,
                };
                let named = declaration.as_ref().unwrap_or(entry);
                if reader.strings.get(named.name, MAX_NAME) != Some(name) {
                    return Ok(false);
                }
                let of = self.of(unit, named).or_else(|| self.of(unit, entry));
                let at = address_of(reader, entry);
                let same = at.is_some() && (address.is_none() || at == address);
                if same || found.is_none_or(|f| f.0.address.is_none()) {
                    found = Some((Variable { of, address: at }, same));
                }
                Ok(same)
            })?;
            Ok(found)
        })
    }

    /// The type of a number that this reader gave out.
    pub(super) fn get(&self, id: TypeId) -> Result<Type> {
        let at = u64::from(id.at);
        let Some(unit) = self.unit_at(at)? else {
            return Err(self.missing(at));
        };
        let within = at.saturating_sub(unit.start);
        let offset = UnitOffset(within as usize);
        let found = self.with(&unit, |reader| {
            // Not into its header, and not after its end.
            let Some(entry) = reader.entry_at(offset)? else {
                return Ok(None);
            };
            self.decode(&unit, reader, offset, &entry).map(Some)
        });
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(self.missing(at)),
            Err(fault) => Err(self.fault(unit.start, fault)),
        }
    }

    fn missing(&self, at: u64) -> TypesError {
        self.fault(at, Fault::Dwarf(gimli::Error::NoEntryAtGivenOffset))
    }

    fn decode(
        &self,
        unit: &Unit,
        reader: &Reader<'_>,
        at: UnitOffset,
        entry: &Entry<'_>,
    ) -> Within<Type> {
        let name = text(reader, entry);
        let of = self.of(unit, entry);
        let mut size = entry.bytes;
        let kind = match entry.tag {
            Some(dw::DW_TAG_base_type) => {
                Kind::Base(encoding(entry, name.as_deref()))
            }
            Some(
                dw::DW_TAG_pointer_type
                | dw::DW_TAG_reference_type
                | dw::DW_TAG_rvalue_reference_type,
            ) => {
                let bytes = reader.header.encoding().address_size;
                size = size.or(Some(bytes.into()));
                Kind::Pointer(of)
            }
            Some(dw::DW_TAG_array_type) => {
                Kind::Array(of, dimensions(reader, at)?)
            }
            Some(tag @ (dw::DW_TAG_structure_type | dw::DW_TAG_union_type)) => {
                let declared = entry.declared || entry.bytes.is_none();
                let members = match declared {
                    true => None,
                    false => Some(self.members(unit, reader, at)?),
                };
                let is_union = tag == dw::DW_TAG_union_type;
                Kind::Record { is_union, members }
            }
            Some(dw::DW_TAG_enumeration_type) => match entry.declared {
                true => Kind::Enum(None),
                false => Kind::Enum(Some(enumerators(reader, at)?)),
            },
            Some(dw::DW_TAG_typedef) => Kind::Typedef(of),
            Some(dw::DW_TAG_const_type) => Kind::Qualified("const", of),
            Some(dw::DW_TAG_volatile_type) => Kind::Qualified("volatile", of),
            Some(dw::DW_TAG_restrict_type) => Kind::Qualified("restrict", of),
            Some(dw::DW_TAG_atomic_type) => Kind::Qualified("_Atomic", of),
            Some(dw::DW_TAG_subroutine_type | dw::DW_TAG_subprogram) => {
                Kind::Function(of)
            }
            Some(dw::DW_TAG_unspecified_type) => Kind::Typedef(None),
            _ => Kind::Unknown,
        };
        Ok(Type { name, size, kind })
    }

    fn members(
        &self,
        unit: &Unit,
        reader: &Reader<'_>,
        of: UnitOffset,
    ) -> Within<Vec<Member>> {
        let mut members = Vec::new();
        reader.children(of, &[dw::DW_TAG_member], |entry| {
            if let Some(at_bits) = bits_at(reader, entry)? {
                let bits = entry.bits.map(|n| n.min(u32::MAX.into()) as u32);
                members.push(Member {
                    name: text(reader, entry),
                    of: self.of(unit, entry),
                    at_bits,
                    bits,
                });
            }
            Ok(members.len() >= MAX_MEMBERS)
        })?;
        Ok(members)
    }
}

/// Where a member is, in bits.
fn bits_at(reader: &Reader<'_>, entry: &Entry<'_>) -> Within<Option<u64>> {
    let at = byte_location(entry, reader.header.encoding());
    let Some(at) = at.and_then(|at| at.checked_mul(8)) else {
        return Ok(None);
    };
    if let Some(bit) = entry.data_bit_offset {
        return Ok(at.checked_add(bit));
    }
    let (Some(high), Some(bits)) = (entry.bit_offset, entry.bits) else {
        return Ok(Some(at));
    };
    // Counted from the high end of the storage: on a little-endian
    // machine its last byte is the high one.
    let storage = match (entry.bytes, entry.of) {
        (Some(bytes), _) => Some(bytes),
        (None, Some(of)) => bytes_of(reader, of)?,
        (None, None) => None,
    };
    let end = storage.and_then(|n| n.checked_mul(8));
    let end = end.and_then(|n| at.checked_add(n));
    let used = high.checked_add(bits);
    Ok(end.zip(used).and_then(|(end, used)| end.checked_sub(used)))
}

/// Bytes of the type of a bit field.
fn bytes_of(reader: &Reader<'_>, of: UnitOffset) -> Within<Option<u64>> {
    let mut at = of;
    for _ in 0..16 {
        let Some(entry) = reader.entry_at(at)? else { return Ok(None) };
        match (entry.bytes, entry.of) {
            (Some(bytes), _) => return Ok(Some(bytes)),
            (None, Some(of)) => at = of,
            (None, None) => return Ok(None),
        }
    }
    Ok(None)
}

/// The version of a unit's DWARF.
fn version(unit: &[u8]) -> u16 {
    let at = match unit.first_chunk::<4>() {
        Some([0xff, 0xff, 0xff, 0xff]) => 12,
        _ => 4,
    };
    let version = unit.get(at..).and_then(|rest| rest.first_chunk::<2>());
    version.map_or(u16::MAX, |v| u16::from_le_bytes(*v))
}

/// Calls `f` with each entry of these tags that is directly in the unit.
fn top<'u>(
    reader: &Reader<'u>,
    tags: &[dw::DwTag],
    mut f: impl FnMut(UnitOffset, &Entry<'u>) -> Within<bool>,
) -> Within<()> {
    let mut entries = reader.header.entries_raw(reader.abbreviations, None)?;
    // Of the unit itself.
    reader.entry(&mut entries)?;
    while !entries.is_empty() {
        let (at, depth) = (entries.next_offset(), entries.next_depth());
        if let Some(entry) = reader.entry_of(&mut entries, tags)?
            && depth == 1
            && f(at, &entry)?
        {
            break;
        }
    }
    Ok(())
}

fn text(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<String> {
    let name = reader.strings.get(entry.name, MAX_NAME)?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn encoding(entry: &Entry<'_>, name: Option<&str>) -> Encoding {
    match entry.encoding {
        Some(dw::DW_ATE_signed) => Encoding::Signed,
        Some(dw::DW_ATE_boolean) => Encoding::Bool,
        Some(dw::DW_ATE_float | dw::DW_ATE_complex_float) => Encoding::Float,
        Some(dw::DW_ATE_signed_char) => Encoding::Char,
        // Of arm64.
        Some(dw::DW_ATE_unsigned_char) if name == Some("char") => {
            Encoding::Char
        }
        Some(dw::DW_ATE_unsigned_char) => Encoding::Byte,
        _ => Encoding::Unsigned,
    }
}

fn dimensions(reader: &Reader<'_>, of: UnitOffset) -> Within<Vec<Option<u64>>> {
    let mut all = Vec::new();
    reader.children(of, &[dw::DW_TAG_subrange_type], |entry| {
        let bound = || entry.upper_bound?.checked_add(1);
        all.push(entry.count.or_else(bound));
        Ok(all.len() >= MAX_DIMENSIONS)
    })?;
    Ok(all)
}

fn enumerators(
    reader: &Reader<'_>,
    of: UnitOffset,
) -> Within<Vec<(String, i64)>> {
    let mut all = Vec::new();
    reader.children(of, &[dw::DW_TAG_enumerator], |entry| {
        let value = match &entry.value {
            Some(AttributeValue::Sdata(value)) => Some(*value),
            Some(value) => value.udata_value().map(|value| value as i64),
            None => None,
        };
        if let (Some(name), Some(value)) = (text(reader, entry), value) {
            all.push((name, value));
        }
        Ok(all.len() >= MAX_MEMBERS)
    })?;
    Ok(all)
}

/// Where a variable is in memory.
fn address_of(reader: &Reader<'_>, entry: &Entry<'_>) -> Option<u64> {
    let Some(AttributeValue::Exprloc(e)) = entry.at else { return None };
    let mut ops = e.operations(reader.header.encoding());
    match (ops.next().ok()??, ops.next().ok()?) {
        (Operation::Address { address }, None) => Some(address),
        _ => None,
    }
}
