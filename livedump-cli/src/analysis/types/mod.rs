// SPDX-License-Identifier: BSD-2-Clause
//! Offsets of fields in the kernel's structures. No offset is built in: each
//! is taken from what the kernel exports for debuggers (`proc_off_*`,
//! `thread_off_*`), else from its own CTF, else from the DWARF of its debug
//! file. A source that contradicts one before it is of another build. What
//! none of them has is missing, and is named when it is needed.
//!
//! ```text
//! wanted    the structures and fields that are asked for
//! dwarf     these from .debug_info of kernel.debug, one unit at a time
//! ctf       these from .SUNW_ctf of the kernel
//! reader    any type, when it is asked for, from either
//! any       fields of structures that a kernel may be built without
//! unit      the entries of a unit of DWARF
//! ctf_tables  the tables of CTF
//! section   the bytes of such a section, unpacked if need be
//! limits    what all this may cost
//! ```

mod any;
mod ctf;
mod ctf_tables;
mod dwarf;
mod limits;
pub mod reader;
mod section;
mod unit;
mod wanted;

pub use any::{AnyFields, Bits};
pub use wanted::{FieldId, structs};

use livedump_vmcore::elf::{ElfError, Kernel};
use section::SectionError;
use std::collections::HashMap;

/// No structure asked for is larger.
const MAX_STRUCT: u64 = 64 << 10;

/// Why type information cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ElfError),
    /// A section is not as it should be.
    #[error("{path}: section {section}")]
    Section {
        /// The file.
        path: String,
        /// The section.
        section: &'static str,
        /// What is wrong with it.
        source: SectionError,
    },
    /// It is DWARF that nobody could follow.
    #[error("{path}: DWARF at offset {at:#x} of .debug_info")]
    Dwarf {
        /// The file.
        path: String,
        /// Where.
        at: u64,
        /// What is wrong with it.
        source: gimli::Error,
    },
    /// It is CTF that nobody could follow.
    #[error("{path}: CTF: {what}")]
    Ctf {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Reading it would take too long.
    #[error("{path}: its type information is too large or recursive")]
    Long {
        /// The file.
        path: String,
    },
    /// Two sources contradict each other.
    #[error(
        "{path} is from another kernel: its {source_name} has {field} at \
         {found}, {other} {expected}"
    )]
    Other {
        /// The file.
        path: String,
        /// DWARF or CTF.
        source_name: &'static str,
        /// `thread.td_tid`, or `the end of thread`.
        field: String,
        /// What the file says.
        found: u64,
        /// Who says something else: "the kernel exports", "its CTF says".
        other: &'static str,
        /// What that says.
        expected: u64,
    },
}

/// A field: where it stands, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the start of the structure.
    pub offset: u64,
    /// Bytes; 0 where nobody says.
    pub size: u64,
}

/// Fields that nobody tells: `thread.td_state`, or a structure's size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "type information is missing ({}): name kernel.debug with --debug",
    shortened(.0)
)]
pub struct Missing(pub Vec<String>);

/// `thread.td_state, thread.td_wchan, lock_object.lo_name and 27 more`.
fn shortened(missing: &[String]) -> String {
    let first: Vec<_> = missing.iter().take(3).map(String::as_str).collect();
    let more = missing.len().saturating_sub(first.len());
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Whether a file has type information at all.
#[must_use]
pub fn has_types(file: &Kernel) -> bool {
    [".debug_info", ctf_tables::NAME]
        .iter()
        .any(|name| file.section(name).is_some())
}

/// What is known about the kernel's structures.
#[derive(Clone, Debug, Default)]
pub struct Types {
    fields: HashMap<FieldId, Field>,
    sizes: HashMap<&'static str, u64>,
    sources: Vec<&'static str>,
    debug: Debug,
}

/// What the debug file did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Debug {
    /// It was held against the kernel's own CTF, and agreed.
    agreed: bool,
    /// Offsets are from it.
    used: bool,
}

/// What came of adding a source.
struct Added {
    /// Structures were known already, and agree.
    agreed: bool,
    /// Something is new.
    new: bool,
}

impl Types {
    /// What `kernel` and its debug file have, under what it exports.
    ///
    /// # Errors
    /// Something that is there cannot be read, or is another kernel's.
    pub fn load(
        kernel: &Kernel,
        debug: Option<&Kernel>,
        exported: &[(FieldId, u64)],
    ) -> Result<Self, TypesError> {
        let mut types = Self::default();
        types.add("CTF", kernel, ctf::read(kernel)?, exported)?;
        if let Some(debug) = debug {
            let found = dwarf::read(debug)?;
            let (source, found) = match found.is_empty() {
                true => ("CTF", ctf::read(debug)?),
                false => ("DWARF", found),
            };
            let added = types.add(source, debug, found, exported)?;
            types.debug = Debug { agreed: added.agreed, used: added.new };
        }
        if !types.is_complete() {
            let found = dwarf::read(kernel)?;
            types.add("DWARF", kernel, found, exported)?;
        }
        types.export(exported);
        Ok(types)
    }

    /// What the kernel exports, and nothing else.
    #[must_use]
    pub fn exported_only(exported: &[(FieldId, u64)]) -> Self {
        let mut types = Self::default();
        types.export(exported);
        types
    }

    fn export(&mut self, exported: &[(FieldId, u64)]) {
        for &(id, offset) in exported {
            let size = self.fields.get(&id).map_or(0, |f| f.size);
            self.fields.insert(id, Field { offset, size });
        }
        if !exported.is_empty() {
            self.sources.insert(0, "exported symbols");
        }
    }

    /// Adds what is new in `found`, which has to agree with what is known.
    fn add(
        &mut self,
        source: &'static str,
        file: &Kernel,
        found: Structs,
        exported: &[(FieldId, u64)],
    ) -> Result<Added, TypesError> {
        let mut added = Added { agreed: false, new: false };
        let differ = |field, found, other, expected| TypesError::Other {
            path: file.path().to_string(),
            source_name: source,
            field,
            found,
            other,
            expected,
        };
        for s in found {
            let known = self.sizes.get(s.name).copied();
            let ctf = "the kernel's own CTF";
            if let Some(size) = known.filter(|&size| size != s.size) {
                let field = format!("the end of {}", s.name);
                return Err(differ(field, s.size, ctf, size));
            }
            for (field, f) in s.fields {
                let id = (s.name, field);
                let name = || format!("{}.{field}", s.name);
                let other = exported.iter().find(|e| e.0 == id);
                if let Some(&(_, offset)) = other.filter(|e| e.1 != f.offset) {
                    let exports = "the kernel exports";
                    return Err(differ(name(), f.offset, exports, offset));
                }
                match self.fields.get(&id).filter(|_| known.is_some()) {
                    Some(other) if other.offset != f.offset => {
                        let (found, at) = (f.offset, other.offset);
                        return Err(differ(name(), found, ctf, at));
                    }
                    Some(_) => {}
                    None => {
                        self.fields.insert(id, f);
                    }
                }
            }
            match known {
                Some(_) => added.agreed = true,
                None => added.new = true,
            }
            self.sizes.insert(s.name, s.size);
        }
        if added.new {
            self.sources.push(source);
        }
        Ok(added)
    }

    /// Whether offsets are from a debug file that nothing here could be
    /// held against.
    #[must_use]
    pub fn are_unproven(&self) -> bool {
        self.debug.used && !self.debug.agreed
    }

    fn is_complete(&self) -> bool {
        structs().all(|s| self.sizes.contains_key(s.name))
    }

    /// Where the knowledge is from.
    #[must_use]
    pub fn sources(&self) -> &[&'static str] {
        &self.sources
    }

    /// One field, if it is known.
    #[must_use]
    pub fn field(&self, of: &'static str, name: &'static str) -> Option<Field> {
        self.fields.get(&(of, name)).copied()
    }

    /// The bytes of a structure, if known.
    #[must_use]
    pub fn size(&self, of: &'static str) -> Option<u64> {
        self.sizes.get(of).copied()
    }
}

/// Gathers fields and what is missing of them.
#[derive(Debug)]
pub struct RequiredFields<'a> {
    types: &'a Types,
    missing: Vec<String>,
}

impl<'a> RequiredFields<'a> {
    /// Nothing is missing yet.
    #[must_use]
    pub fn new(types: &'a Types) -> Self {
        Self { types, missing: Vec::new() }
    }

    /// A field that has to be known.
    pub fn field(&mut self, of: &'static str, name: &'static str) -> Field {
        self.types.field(of, name).unwrap_or_else(|| {
            self.missing.push(format!("{of}.{name}"));
            Field { offset: 0, size: 0 }
        })
    }

    /// The size of a structure that has to be known.
    pub fn size(&mut self, of: &'static str) -> u64 {
        self.types.size(of).unwrap_or_else(|| {
            self.missing.push(format!("the size of {of}"));
            0
        })
    }

    /// Whether anything is missing.
    ///
    /// # Errors
    /// All that is.
    pub fn check(self) -> Result<(), Missing> {
        match self.missing.is_empty() {
            true => Ok(()),
            false => Err(Missing(self.missing)),
        }
    }
}

/// One structure that a source has.
#[derive(Debug)]
struct FoundStruct {
    name: &'static str,
    size: u64,
    fields: Vec<(&'static str, Field)>,
}

/// All that one source has.
type Structs = Vec<FoundStruct>;

/// Whether a source has all that is asked for.
fn has_all(found: &[FoundStruct]) -> bool {
    structs().all(|s| found.iter().any(|f| f.name == s.name))
}
