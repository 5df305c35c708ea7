// SPDX-License-Identifier: BSD-2-Clause
//! The functions of an address, and its line: that which has the address, and
//! those that the compiler inlined there.
//!
//! addr2line(1)'s crate does this as well, but goes as deep as functions are
//! inlined, by recursion, and keeps what it has read; a file may nest them a
//! million times.

use super::bytes::Bytes;
use super::units::{Bases, Function, Offset, Open, Places, Units};
use gimli::{
    AttributeValue, ColumnType, LineProgramHeader, Reader as _, Unit,
    constants as dw,
};
use std::rc::Rc;

/// Functions inlined in each other.
const MAX_INLINED: usize = 128;
/// DIEs that refer to each other for a name.
const MAX_ORIGINS: usize = 16;
/// Of a path of a source file.
const MAX_PATH: usize = 4096;
/// Steps for the entries of a function; for a unit's lines.
const FUNCTION_STEPS: u64 = 4 << 20;
const LINE_STEPS: u64 = 4 << 20;
const NAME_STEPS: u64 = 1 << 12;

/// A function of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub function: Option<String>,
    /// The source file, as the compiler names it.
    pub file: Option<String>,
    /// The line in it; `None` also for what the compiler made up.
    pub line: Option<u64>,
    /// The column.
    pub column: Option<u64>,
    /// It was inlined in the next.
    pub inlined: bool,
}

/// A function that has an address, in its unit.
#[derive(Clone, Debug)]
pub(super) struct Within {
    pub(super) open: Rc<Open>,
    pub(super) function: Function,
    /// Its DIE and those of the functions inlined in it, the innermost last.
    pub(super) dies: Vec<Offset>,
}

/// An inlined function, from its DIE.
struct Inlined {
    depth: isize,
    at: Offset,
    name: Option<String>,
    file: Option<u64>,
    line: Option<u64>,
    column: Option<u64>,
}

impl Units {
    /// The functions of an address, innermost first, and which they are.
    pub(super) fn locate(
        &self,
        address: u64,
    ) -> Option<(Vec<Call>, Option<Within>)> {
        let open = self.find(address)?;
        let function = open.function(address);
        self.start(FUNCTION_STEPS);
        let found = function
            .and_then(|f| Some((f, self.inlined(&open.unit, f, address)?)));
        self.start(LINE_STEPS);
        let lines = Lines::new(self, &open.unit);
        let (file, line, column) = match &lines {
            Some(lines) => lines.find(address).unwrap_or_default(),
            None => Place::default(),
        };
        let mut place = (file, line, column);
        let Some((function, (name, inlined))) = found else {
            let (file, line, column) = place;
            let call =
                Call { file, line, column, function: None, inlined: false };
            return Some((vec![call], None));
        };
        let mut calls = Vec::new();
        let mut dies = vec![function.at];
        dies.extend(inlined.iter().map(|i| i.at));
        for i in inlined.into_iter().rev() {
            let (file, line, column) = place;
            let inlined = true;
            calls.push(Call { function: i.name, file, line, column, inlined });
            let file = lines.as_ref().and_then(|l| l.file(i.file?));
            let line = i.line.filter(|&n| n != 0);
            place = (file, line, i.column.filter(|&n| n != 0));
        }
        let (file, line, column) = place;
        let function_name = name;
        calls.push(Call {
            function: function_name,
            file,
            line,
            column,
            inlined: false,
        });
        Some((calls, Some(Within { open, function, dies })))
    }

    /// A function's name, and what is inlined at an address of it, outermost
    /// first.
    fn inlined(
        &self,
        unit: &Unit<Bytes>,
        function: Function,
        address: u64,
    ) -> Option<(Option<String>, Vec<Inlined>)> {
        let bases = Bases {
            dwarf: &self.dwarf,
            encoding: unit.encoding(),
            unit: Some(unit),
        };
        let mut entries = unit.entries_raw(Some(function.at)).ok()?;
        let top = entries.next_depth();
        let kind = entries.read_abbreviation().ok()??;
        let name = self.name(unit, function.at);
        entries.skip_attributes(kind.attributes()).ok()?;
        let mut all: Vec<Inlined> = Vec::new();
        if !kind.has_children() {
            return Some((name, all));
        }
        // What is deeper than this has not the address.
        let mut skipped: Option<isize> = None;
        while !entries.is_empty() {
            let (at, depth) = (entries.next_offset(), entries.next_depth());
            if depth <= top {
                break;
            }
            // A function that was inlined here has ended.
            if all.last().is_some_and(|i| depth <= i.depth) {
                break;
            }
            let kind = entries.read_abbreviation().ok()?;
            let Some(kind) = kind else { continue };
            let is_skipped = skipped.is_some_and(|s| depth > s);
            let tag = kind.tag();
            let has_places = matches!(
                tag,
                dw::DW_TAG_inlined_subroutine | dw::DW_TAG_lexical_block
            );
            if is_skipped || !has_places {
                entries.skip_attributes(kind.attributes()).ok()?;
                if !is_skipped {
                    skipped = Some(depth);
                }
                continue;
            }
            skipped = None;
            let mut places = Places::default();
            let mut i = Inlined {
                depth,
                at,
                name: None,
                file: None,
                line: None,
                column: None,
            };
            for &spec in kind.attributes() {
                let attribute = entries.read_attribute(spec).ok()?;
                let value = attribute.value();
                places.add(attribute.name(), &value, &bases);
                match attribute.name() {
                    dw::DW_AT_call_file => {
                        i.file = match value {
                            AttributeValue::FileIndex(n) => Some(n),
                            value => value.udata_value(),
                        };
                    }
                    dw::DW_AT_call_line => i.line = value.udata_value(),
                    dw::DW_AT_call_column => i.column = value.udata_value(),
                    _ => {}
                }
            }
            if !places.is_some()
                || !places.contain(&bases, unit.low_pc, address)
            {
                skipped = Some(depth);
            } else if tag == dw::DW_TAG_inlined_subroutine {
                i.name = self.name(unit, at);
                all.push(i);
                if all.len() >= MAX_INLINED {
                    break;
                }
            }
        }
        Some((name, all))
    }

    /// The name of what a DIE is, or is an instance of.
    pub(super) fn name(
        &self,
        unit: &Unit<Bytes>,
        at: Offset,
    ) -> Option<String> {
        let mut other: Option<Rc<Open>> = None;
        let mut at = at;
        for _ in 0..MAX_ORIGINS {
            let unit = other.as_ref().map_or(unit, |open| &open.unit);
            let mut entries = unit.entries_raw(Some(at)).ok()?;
            let kind = entries.read_abbreviation().ok()??;
            let mut name = None;
            let mut linkage = None;
            let mut origin = None;
            for &spec in kind.attributes() {
                let attribute = entries.read_attribute(spec).ok()?;
                match attribute.name() {
                    dw::DW_AT_name => name = Some(attribute.value()),
                    dw::DW_AT_linkage_name => {
                        linkage = Some(attribute.value());
                    }
                    dw::DW_AT_abstract_origin | dw::DW_AT_specification => {
                        origin = Some(attribute.value());
                    }
                    _ => {}
                }
            }
            // In C there is no other; that of Rust is longer and mangled.
            if let Some(name) = name.or(linkage) {
                return self.text(unit, name);
            }
            at = match origin? {
                AttributeValue::UnitRef(at) => at,
                AttributeValue::DebugInfoRef(far) => {
                    let (open, at) = self.at(far)?;
                    other = Some(open);
                    at
                }
                _ => return None,
            };
        }
        None
    }
}

/// File, line, column.
type Place = (Option<String>, Option<u64>, Option<u64>);

/// The lines of a unit.
struct Lines<'u> {
    units: &'u Units,
    unit: &'u Unit<Bytes>,
    header: &'u LineProgramHeader<Bytes>,
}

impl<'u> Lines<'u> {
    fn new(units: &'u Units, unit: &'u Unit<Bytes>) -> Option<Self> {
        let header = unit.line_program.as_ref()?.header();
        Some(Self { units, unit, header })
    }

    /// The place of an address: that of the last row at or before it, in the
    /// sequence that has it.
    fn find(&self, address: u64) -> Option<Place> {
        let mut rows = self.unit.line_program.clone()?.rows();
        let mut last: Option<(u64, u64, u64, u64)> = None;
        while let Ok(Some((_, row))) = rows.next_row() {
            let at = row.address();
            if let Some((from, file, line, column)) = last
                && from <= address
                && address < at
            {
                let known = |n: u64| (n != 0).then_some(n);
                return Some((self.file(file), known(line), known(column)));
            }
            last = (!row.end_sequence()).then(|| {
                let line = row.line().map_or(0, |n| n.get());
                let column = match row.column() {
                    ColumnType::LeftEdge => 0,
                    ColumnType::Column(n) => n.get(),
                };
                (at, row.file_index(), line, column)
            });
        }
        None
    }

    /// The path of a file by its number.
    fn file(&self, number: u64) -> Option<String> {
        self.units.start(NAME_STEPS);
        let file = self.header.file(number)?;
        let text = |value| self.units.text(self.unit, value);
        let mut path = text(file.path_name())?;
        let mut directory = |before: String| {
            if !path.starts_with('/') && !before.is_empty() {
                path = format!("{}/{path}", before.trim_end_matches('/'));
            }
        };
        let has_directory =
            file.directory_index() != 0 || self.header.version() >= 5;
        if has_directory && let Some(name) = file.directory(self.header) {
            directory(text(name)?);
        }
        if let Some(name) = &self.unit.comp_dir {
            directory(name.to_string_lossy().ok()?.into_owned());
        }
        (path.len() <= MAX_PATH).then_some(path)
    }
}
