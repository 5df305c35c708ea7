// SPDX-License-Identifier: BSD-2-Clause
//! Any type of a kernel and its variables, when they are asked for, from its
//! CTF and from the DWARF of its debug file or of its own. A source is opened
//! when those before it do not have what is wanted.
//!
//! ```text
//! kind    what a type is, one level of it
//! ctf     types from CTF
//! dwarf   types from DWARF
//! filter  units of DWARF that cannot have a name
//! ctype   types as C puts them together, and what is behind their names
//! ```

pub mod ctype;

mod ctf;
mod dwarf;
mod filter;
mod kind;

pub use ctype::{CType, Place, Resolved};
pub use kind::{Encoding, Kind, Member, Tag, Type, TypeId, Variable};

use super::TypesError;
use super::ctf_tables;
use ctf::Ctf;
use dwarf::Dwarf;
use livedump_vmcore::elf::Kernel;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

const INFO: &str = ".debug_info";
/// Members and enumerators that are kept.
const MAX_KEPT: usize = 1 << 20;
/// What may be asked of one source, in what reading all of a kernel's costs.
const TIMES: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Format {
    Ctf,
    Dwarf,
}

#[derive(Debug)]
enum Open<'k> {
    Ctf(Ctf<'k>),
    Dwarf(Dwarf<'k>),
    /// There is nothing in it.
    Empty,
}

#[derive(Debug)]
struct Source<'k> {
    format: Format,
    file: &'k Kernel,
    open: OnceCell<Open<'k>>,
}

/// Reads types.
#[derive(Debug)]
pub struct TypeReader<'k> {
    sources: Vec<Source<'k>>,
    times: u64,
    kept: RefCell<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    types: HashMap<TypeId, Rc<Type>>,
    names: HashMap<(Tag, String), Option<TypeId>>,
    /// Members and enumerators of the types.
    parts: usize,
}

type Result<T> = std::result::Result<T, TypesError>;

impl<'k> TypeReader<'k> {
    /// Of a kernel and its debug file. Nothing is read yet.
    #[must_use]
    pub fn new(kernel: &'k Kernel, debug: Option<&'k Kernel>) -> Self {
        Self::with_limit(kernel, debug, TIMES)
    }

    fn with_limit(
        kernel: &'k Kernel,
        debug: Option<&'k Kernel>,
        times: u64,
    ) -> Self {
        let has = |format, name| {
            move |file: &&'k Kernel| {
                let found = file.section(name).is_some();
                found.then_some(Source { format, file, open: OnceCell::new() })
            }
        };
        let files = [Some(kernel), debug];
        let files = || files.iter().flatten();
        let ctf = has(Format::Ctf, ctf_tables::NAME);
        let dwarf = has(Format::Dwarf, INFO);
        let mut sources: Vec<_> = files().filter_map(ctf).collect();
        sources.extend(files().rev().filter_map(dwarf));
        Self { sources, times, kept: RefCell::default() }
    }

    /// Whether there is anything to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn open(&self, number: usize) -> Result<&Open<'k>> {
        let Some(source) = self.sources.get(number) else {
            return Ok(&Open::Empty);
        };
        if let Some(open) = source.open.get() {
            return Ok(open);
        }
        let (file, at) = (source.file, number as u8);
        let open = match source.format {
            Format::Ctf => Ctf::open(file, at, self.times)?.map(Open::Ctf),
            Format::Dwarf => {
                Dwarf::open(file, at, self.times)?.map(Open::Dwarf)
            }
        };
        Ok(source.open.get_or_init(|| open.unwrap_or(Open::Empty)))
    }

    /// A whole type by its tag or name.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn find(&self, tag: Tag, name: &str) -> Result<Option<TypeId>> {
        let key = (tag, name.to_string());
        if let Ok(kept) = self.kept.try_borrow()
            && let Some(found) = kept.names.get(&key)
        {
            return Ok(*found);
        }
        let mut found = None;
        for number in 0..self.sources.len() {
            found = match self.open(number)? {
                Open::Ctf(ctf) => ctf.find(tag, name)?,
                Open::Dwarf(dwarf) => dwarf.find(tag, name)?,
                Open::Empty => None,
            };
            if found.is_some() {
                break;
            }
        }
        if let Ok(mut kept) = self.kept.try_borrow_mut() {
            kept.names.insert(key, found);
        }
        Ok(found)
    }

    /// A variable by its name; `address` is where its symbol is.
    ///
    /// # Errors
    /// A source cannot be read.
    pub fn variable(
        &self,
        name: &str,
        address: Option<u64>,
    ) -> Result<Option<Variable>> {
        for number in 0..self.sources.len() {
            let found = match self.open(number)? {
                Open::Ctf(ctf) => ctf.variable(name)?,
                Open::Dwarf(dwarf) => dwarf.variable(name, address)?,
                Open::Empty => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// A type by its number.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn get(&self, id: TypeId) -> Result<Rc<Type>> {
        if let Ok(kept) = self.kept.try_borrow()
            && let Some(found) = kept.types.get(&id)
        {
            return Ok(Rc::clone(found));
        }
        let found = match self.open(usize::from(id.source))? {
            Open::Ctf(ctf) => ctf.get(id)?,
            Open::Dwarf(dwarf) => dwarf.get(id)?,
            // No number is of it.
            Open::Empty => Type { name: None, size: None, kind: Kind::Unknown },
        };
        let found = Rc::new(found);
        if let Ok(mut kept) = self.kept.try_borrow_mut() {
            let parts = match &found.kind {
                Kind::Record { members: Some(members), .. } => members.len(),
                Kind::Enum(Some(values)) => values.len(),
                _ => 0,
            };
            kept.parts = kept.parts.saturating_add(parts).saturating_add(1);
            if kept.parts > MAX_KEPT {
                kept.types.clear();
                kept.parts = 0;
            }
            kept.types.insert(id, Rc::clone(&found));
        }
        Ok(found)
    }
}
