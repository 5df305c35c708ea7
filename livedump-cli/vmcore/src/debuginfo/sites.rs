// SPDX-License-Identifier: BSD-2-Clause
//! Frames that are not on the stack: a function that ends by calling another
//! lets that one return in its place. Where the compiler has described all
//! calls of the functions in question, and there is one way only from a
//! caller to the function that returns to it, those on the way are known.

use super::bytes::Bytes;
use super::evaluate::{Inputs, Outcome, evaluate};
use super::functions::Within;
use super::units::{Bases, Offset, Open, Units};
use gimli::{AttributeValue, Expression, constants as dw};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Calls of one function.
const MAX_SITES: usize = 4096;
/// Calls of all functions that are kept.
const MAX_KEPT_SITES: usize = 1 << 18;
/// Functions that end by a call, on the way from one to the other.
const MAX_DEPTH: usize = 32;
/// Functions that are looked at.
const MAX_VISITED: usize = 256;
const SITES_STEPS: u64 = 2 << 20;

/// Whom it calls.
#[derive(Clone, Debug)]
enum Callee {
    /// A function of this unit, by its entry.
    Entry(u64),
    /// One of another file or unit.
    Name(String),
    /// By a pointer.
    Computed(Expression<Bytes>),
}

/// A call.
#[derive(Clone, Debug)]
struct Site {
    /// The address behind it.
    after: u64,
    is_tail: bool,
    callee: Option<Callee>,
}

/// The calls of functions that were read, by where these are in .debug_info:
/// many stacks have the same ones.
#[derive(Debug, Default)]
pub(super) struct Kept(RefCell<KeptSites>);

#[derive(Debug, Default)]
struct KeptSites {
    by_function: HashMap<usize, Rc<Vec<Site>>>,
    count: usize,
}

impl Kept {
    fn get(&self, function: usize) -> Option<Rc<Vec<Site>>> {
        self.0.try_borrow().ok()?.by_function.get(&function).cloned()
    }

    fn keep(&self, function: usize, sites: &Rc<Vec<Site>>) {
        let Ok(mut kept) = self.0.try_borrow_mut() else { return };
        // One for the function itself, which may have none.
        let more = sites.len().saturating_add(1);
        let count = kept.count.saturating_add(more);
        if count <= MAX_KEPT_SITES {
            kept.count = count;
            kept.by_function.insert(function, Rc::clone(sites));
        }
    }
}

/// What tail calls are looked up with.
pub(super) struct Lookup<'a> {
    pub(super) units: &'a Units,
    pub(super) kept: &'a Kept,
    /// The entry of a function by its name.
    pub(super) entry: &'a dyn Fn(&str) -> Option<u64>,
    /// Registers of the caller.
    pub(super) inputs: &'a dyn Inputs,
}

impl Lookup<'_> {
    /// Addresses in the functions between `caller`, which goes on at
    /// `after`, and the one that starts at `end`; the outermost first. None
    /// where there are none, or more than one way.
    pub(super) fn between(
        &self,
        caller: &Within,
        after: u64,
        end: u64,
    ) -> Vec<u64> {
        let sites = self.sites(&caller.open, caller.function.at);
        let site = sites.iter().find(|s| s.after == after && !s.is_tail);
        let callee = site.and_then(|s| self.callee(&caller.open, s));
        let Some(first) = callee.filter(|&callee| callee != end) else {
            return Vec::new();
        };
        let mut search = Search {
            lookup: self,
            end,
            path: Vec::new(),
            found: None,
            visited: HashSet::new(),
            ambiguous: false,
        };
        search.from(first);
        let found = search.found.filter(|_| !search.ambiguous);
        found.unwrap_or_default()
    }

    /// The entry of a call's function.
    fn callee(&self, open: &Open, site: &Site) -> Option<u64> {
        match site.callee.as_ref()? {
            Callee::Entry(at) => Some(*at),
            Callee::Name(name) => (self.entry)(name),
            Callee::Computed(e) => {
                let encoding = open.unit.encoding();
                match evaluate(e.clone(), encoding, None, self.inputs)? {
                    Outcome::Address(at) | Outcome::Value(at) => Some(at),
                    Outcome::Register(n) => self.inputs.register(n),
                }
            }
        }
    }

    /// The calls of a function, if all of them are described.
    fn sites(&self, open: &Rc<Open>, at: Offset) -> Rc<Vec<Site>> {
        let unit = open.unit.header.offset().as_debug_info_offset();
        let key = unit.and_then(|unit| unit.0.checked_add(at.0));
        if let Some(sites) = key.and_then(|key| self.kept.get(key)) {
            return sites;
        }
        self.units.start(SITES_STEPS);
        let sites = Rc::new(self.read(open, at).unwrap_or_default());
        if let Some(key) = key {
            self.kept.keep(key, &sites);
        }
        sites
    }

    fn read(&self, open: &Rc<Open>, at: Offset) -> Option<Vec<Site>> {
        let unit = &open.unit;
        let bases = Bases {
            dwarf: &self.units.dwarf,
            encoding: unit.encoding(),
            unit: Some(unit),
        };
        let mut entries = unit.entries_raw(Some(at)).ok()?;
        let top = entries.next_depth();
        let kind = entries.read_abbreviation().ok()??;
        let mut described = false;
        for &spec in kind.attributes() {
            let attribute = entries.read_attribute(spec).ok()?;
            described |= matches!(
                attribute.name(),
                dw::DW_AT_call_all_calls
                    | dw::DW_AT_GNU_all_call_sites
                    | dw::DW_AT_call_all_source_calls
            );
        }
        if !described || !kind.has_children() {
            return None;
        }
        let child = top.checked_add(1)?;
        let mut all = Vec::new();
        while !entries.is_empty() && all.len() < MAX_SITES {
            let depth = entries.next_depth();
            if depth <= top {
                break;
            }
            let Some(kind) = entries.read_abbreviation().ok()? else {
                continue;
            };
            let is_site = matches!(
                kind.tag(),
                dw::DW_TAG_call_site | dw::DW_TAG_GNU_call_site
            );
            if !is_site || depth != child {
                entries.skip_attributes(kind.attributes()).ok()?;
                continue;
            }
            let mut site = Site { after: 0, is_tail: false, callee: None };
            for &spec in kind.attributes() {
                let attribute = entries.read_attribute(spec).ok()?;
                let value = attribute.value();
                match attribute.name() {
                    dw::DW_AT_low_pc | dw::DW_AT_call_return_pc => {
                        site.after = bases.value(&value).unwrap_or(0);
                    }
                    // Of a tail call there may be no address behind it.
                    dw::DW_AT_call_pc if site.after == 0 => {
                        let at = bases.value(&value).unwrap_or(0);
                        site.after = at.saturating_add(1);
                    }
                    dw::DW_AT_call_tail_call | dw::DW_AT_GNU_tail_call => {
                        site.is_tail = match value {
                            AttributeValue::Flag(is) => is,
                            _ => true,
                        };
                    }
                    dw::DW_AT_abstract_origin | dw::DW_AT_call_origin => {
                        site.callee = self.origin(open, value);
                    }
                    dw::DW_AT_call_target | dw::DW_AT_GNU_call_site_target => {
                        site.callee =
                            value.exprloc_value().map(Callee::Computed);
                    }
                    _ => {}
                }
            }
            all.push(site);
        }
        Some(all)
    }

    fn origin(
        &self,
        open: &Rc<Open>,
        value: AttributeValue<Bytes>,
    ) -> Option<Callee> {
        let (other, at) = match value {
            AttributeValue::UnitRef(at) => (Rc::clone(open), at),
            AttributeValue::DebugInfoRef(far) => self.units.at(far)?,
            _ => return None,
        };
        let function = other.functions.iter().find(|f| f.at == at);
        if let Some(function) = function {
            return Some(Callee::Entry(function.start));
        }
        self.units.name(&other.unit, at).map(Callee::Name)
    }
}

/// All ways from one function to another.
struct Search<'s, 'a> {
    lookup: &'s Lookup<'a>,
    end: u64,
    path: Vec<u64>,
    found: Option<Vec<u64>>,
    visited: HashSet<u64>,
    ambiguous: bool,
}

impl Search<'_, '_> {
    fn from(&mut self, function: u64) {
        if function == self.end {
            if self.found.is_none() {
                self.found = Some(self.path.clone());
            } else {
                self.ambiguous = true;
            }
            return;
        }
        let is_long =
            self.path.len() >= MAX_DEPTH || self.visited.len() >= MAX_VISITED;
        if is_long || !self.visited.insert(function) {
            self.ambiguous = true;
            return;
        }
        let Some(open) = self.lookup.units.find(function) else { return };
        let Some(found) = open.function(function) else { return };
        if found.start != function {
            return;
        }
        for site in self.lookup.sites(&open, found.at).iter() {
            if !site.is_tail {
                continue;
            }
            let Some(next) = self.lookup.callee(&open, site) else { continue };
            self.path.push(site.after);
            self.from(next);
            self.path.pop();
            if self.ambiguous {
                return;
            }
        }
    }
}
