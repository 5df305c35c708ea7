// SPDX-License-Identifier: BSD-2-Clause
//! Which compilation unit has an address. All units' first entries are read
//! once; of a unit nothing is kept but where it is. Those that are asked for
//! are kept, the last ones.

use super::bytes::{Bytes, Steps};
use gimli::{
    AttributeValue, DebugAddrIndex, DebugInfoOffset, Dwarf, Encoding,
    RangeListsOffset, Reader as _, Unit, UnitHeader, UnitOffset,
    constants as dw,
};
use std::cell::RefCell;
use std::rc::Rc;

/// Units of a file. GENERIC has some 3,000.
const MAX_UNITS: usize = 1 << 17;
/// Ranges of all of them.
const MAX_RANGES: usize = 1 << 20;
/// Functions of one.
const MAX_FUNCTIONS: usize = 1 << 17;
/// Units that are kept.
const KEPT: usize = 24;
/// Steps for one unit's first entry, for its functions.
const UNIT_STEPS: u64 = 2 << 20;
const FUNCTIONS_STEPS: u64 = 8 << 20;

pub(super) type Offset = UnitOffset<usize>;

/// A function of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Its DIE.
    pub(super) at: Offset,
}

/// A unit that was asked for.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) unit: Unit<Bytes>,
    /// In the order of their addresses.
    pub(super) functions: Vec<Function>,
}

impl Open {
    pub(super) fn function(&self, address: u64) -> Option<Function> {
        let after = self.functions.partition_point(|f| f.start <= address);
        let near = self.functions.get(..after)?.iter().rev().take(4);
        near.copied().find(|f| address < f.end)
    }
}

#[derive(Debug)]
pub(super) struct Units {
    pub(super) dwarf: Dwarf<Bytes>,
    steps: Rc<Steps>,
    /// Where units are in .debug_info.
    offsets: Vec<usize>,
    /// First address, that behind the last, unit.
    ranges: Vec<(u64, u64, u32)>,
    kept: RefCell<Vec<(u32, Rc<Open>)>>,
}

/// Attributes that give addresses.
#[derive(Default)]
pub(super) struct Places {
    low: Option<u64>,
    high: Option<u64>,
    size: Option<u64>,
    ranges: Option<RangeListsOffset<usize>>,
}

/// What is needed to follow indexed forms.
pub(super) struct Bases<'d> {
    pub(super) dwarf: &'d Dwarf<Bytes>,
    pub(super) encoding: Encoding,
    /// None of them is known before the unit is read.
    pub(super) unit: Option<&'d Unit<Bytes>>,
}

impl Bases<'_> {
    fn address(&self, index: DebugAddrIndex<usize>) -> Option<u64> {
        self.dwarf.address(self.unit?, index).ok()
    }

    pub(super) fn value(&self, value: &AttributeValue<Bytes>) -> Option<u64> {
        match value {
            AttributeValue::Addr(at) => Some(*at),
            AttributeValue::DebugAddrIndex(index) => self.address(*index),
            _ => None,
        }
    }
}

impl Places {
    /// Takes what an attribute says of places; true where a unit is needed
    /// to know it.
    pub(super) fn add(
        &mut self,
        name: dw::DwAt,
        value: &AttributeValue<Bytes>,
        bases: &Bases<'_>,
    ) -> bool {
        let is_index = matches!(
            value,
            AttributeValue::DebugAddrIndex(_)
                | AttributeValue::DebugRngListsIndex(_)
        );
        match name {
            dw::DW_AT_low_pc => self.low = bases.value(value),
            dw::DW_AT_high_pc => match value {
                AttributeValue::Udata(n) => self.size = Some(*n),
                value => {
                    self.high = bases.value(value);
                    self.size = match self.high {
                        None => value.udata_value(),
                        Some(_) => None,
                    };
                }
            },
            dw::DW_AT_ranges => {
                self.ranges = match (value, bases.unit) {
                    (AttributeValue::RangeListsRef(at), None) => {
                        Some(RangeListsOffset(at.0))
                    }
                    (AttributeValue::SecOffset(at), None) => {
                        Some(RangeListsOffset(*at))
                    }
                    (value, Some(unit)) => bases
                        .dwarf
                        .attr_ranges_offset(unit, value.clone())
                        .ok()
                        .flatten(),
                    _ => None,
                };
            }
            _ => return false,
        }
        is_index && bases.unit.is_none()
    }

    /// The first address there is, of a function its entry.
    pub(super) fn entry(&self) -> Option<u64> {
        self.low
    }

    /// Whether there are any.
    pub(super) fn is_some(&self) -> bool {
        self.ranges.is_some() || self.low.is_some()
    }

    /// Calls `f` with each range; false once it does not want more.
    pub(super) fn each(
        &self,
        bases: &Bases<'_>,
        base: u64,
        mut f: impl FnMut(u64, u64) -> bool,
    ) -> bool {
        let Some(at) = self.ranges else {
            let low = self.low.unwrap_or(0);
            let high = self.high.or(self.size.map(|n| low.saturating_add(n)));
            return match high {
                Some(high) if low < high => f(low, high),
                _ => true,
            };
        };
        let ranges = match bases.unit {
            Some(unit) => bases.dwarf.ranges(unit, at),
            None => bases.dwarf.ranges.ranges(
                at,
                bases.encoding,
                base,
                &bases.dwarf.debug_addr,
                gimli::DebugAddrBase(0),
            ),
        };
        let Ok(mut ranges) = ranges else { return true };
        while let Ok(Some(range)) = ranges.next() {
            if range.begin < range.end && !f(range.begin, range.end) {
                return false;
            }
        }
        true
    }

    /// Whether one of them has an address.
    pub(super) fn contain(
        &self,
        bases: &Bases<'_>,
        base: u64,
        address: u64,
    ) -> bool {
        !self.each(bases, base, |start, end| !(start..end).contains(&address))
    }
}

impl Units {
    pub(super) fn new(dwarf: Dwarf<Bytes>, steps: &Rc<Steps>) -> Self {
        let mut units = Self {
            dwarf,
            steps: Rc::clone(steps),
            offsets: Vec::new(),
            ranges: Vec::new(),
            kept: RefCell::new(Vec::new()),
        };
        units.index();
        units
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn index(&mut self) {
        self.steps.start(UNIT_STEPS);
        let mut headers = self.dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            if self.offsets.len() >= MAX_UNITS {
                break;
            }
            let number = self.offsets.len() as u32;
            let offset = header.offset().as_debug_info_offset();
            self.offsets.push(offset.map_or(usize::MAX, |at| at.0));
            if offset.is_some() {
                let _ = self.root(&header, number);
            }
            self.steps.start(UNIT_STEPS);
        }
        self.ranges.sort_unstable();
    }

    /// The ranges of a unit.
    fn root(&mut self, header: &UnitHeader<Bytes>, number: u32) -> Option<()> {
        let table = header.abbreviations(&self.dwarf.debug_abbrev).ok()?;
        let mut entries = header.entries_raw(&table, None).ok()?;
        let abbreviation = entries.read_abbreviation().ok()??;
        if !matches!(
            abbreviation.tag(),
            dw::DW_TAG_compile_unit | dw::DW_TAG_skeleton_unit
        ) {
            return None;
        }
        let mut places = Places::default();
        let mut needs_unit = false;
        let bases = Bases {
            dwarf: &self.dwarf,
            encoding: header.encoding(),
            unit: None,
        };
        for &spec in abbreviation.attributes() {
            let attribute = entries.read_attribute(spec).ok()?;
            let value = attribute.value();
            needs_unit |= places.add(attribute.name(), &value, &bases);
        }
        let base = places.entry().unwrap_or(0);
        let mut found = Vec::new();
        let room = MAX_RANGES.saturating_sub(self.ranges.len());
        let mut add = |start, end| {
            found.push((start, end, number));
            found.len() < room
        };
        if needs_unit {
            let unit = self.dwarf.unit(header.clone()).ok()?;
            let mut ranges = self.dwarf.unit_ranges(&unit).ok()?;
            while let Ok(Some(range)) = ranges.next() {
                if range.begin < range.end && !add(range.begin, range.end) {
                    break;
                }
            }
        } else if places.is_some() {
            places.each(&bases, base, add);
        }
        self.ranges.append(&mut found);
        Some(())
    }

    /// The unit that has an address.
    pub(super) fn find(&self, address: u64) -> Option<Rc<Open>> {
        let after = self.ranges.partition_point(|r| r.0 <= address);
        let near = self.ranges.get(..after)?.iter().rev().take(4);
        let found = near.copied().find(|r| address < r.1)?;
        self.open(found.2)
    }

    /// The unit that has a place in .debug_info, and where in it that is.
    pub(super) fn at(
        &self,
        at: DebugInfoOffset<usize>,
    ) -> Option<(Rc<Open>, Offset)> {
        let after = self.offsets.partition_point(|&o| o <= at.0);
        let number = after.checked_sub(1)?;
        let open = self.open(number as u32)?;
        let offset = at.to_unit_offset(&open.unit.header)?;
        Some((open, offset))
    }

    fn open(&self, number: u32) -> Option<Rc<Open>> {
        let mut kept = self.kept.try_borrow_mut().ok()?;
        if let Some(at) = kept.iter().position(|(n, _)| *n == number) {
            let found = kept.remove(at);
            kept.push(found);
            return kept.last().map(|(_, open)| Rc::clone(open));
        }
        self.steps.start(UNIT_STEPS);
        let offset = *self.offsets.get(number as usize)?;
        let header =
            self.dwarf.debug_info.header_from_offset(DebugInfoOffset(offset));
        let unit = self.dwarf.unit(header.ok()?).ok()?;
        self.steps.start(FUNCTIONS_STEPS);
        let functions = self.functions(&unit).unwrap_or_default();
        let open = Rc::new(Open { unit, functions });
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((number, Rc::clone(&open)));
        Some(open)
    }

    fn functions(&self, unit: &Unit<Bytes>) -> Option<Vec<Function>> {
        let bases = Bases {
            dwarf: &self.dwarf,
            encoding: unit.encoding(),
            unit: Some(unit),
        };
        let mut all = Vec::new();
        let mut entries = unit.entries_raw(None).ok()?;
        while !entries.is_empty() {
            let at = entries.next_offset();
            let Some(kind) = entries.read_abbreviation().ok()? else {
                continue;
            };
            let attributes = kind.attributes();
            if kind.tag() != dw::DW_TAG_subprogram {
                entries.skip_attributes(attributes).ok()?;
                continue;
            }
            let mut places = Places::default();
            for &spec in attributes {
                let attribute = entries.read_attribute(spec).ok()?;
                places.add(attribute.name(), &attribute.value(), &bases);
            }
            if !places.is_some() {
                continue;
            }
            places.each(&bases, unit.low_pc, |start, end| {
                all.push(Function { start, end, at });
                all.len() < MAX_FUNCTIONS
            });
        }
        all.sort_unstable_by_key(|f| (f.start, f.end));
        Some(all)
    }

    /// Starts something that may cost no more than this.
    pub(super) fn start(&self, steps: u64) {
        self.steps.start(steps);
    }

    /// A string that an attribute has.
    pub(super) fn text(
        &self,
        unit: &Unit<Bytes>,
        value: AttributeValue<Bytes>,
    ) -> Option<String> {
        let text = self.dwarf.attr_string(unit, value).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }
}
