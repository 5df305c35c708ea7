// SPDX-License-Identifier: BSD-2-Clause
//! Where fields stand in the kernel's structures. No offset is known here:
//! each is taken from what the kernel exports for debuggers (`proc_off_*`,
//! `thread_off_*`), else from its DWARF, else from its CTF. What none of them
//! tells is missing, and is named when somebody needs it.
//!
//! ```text
//! wanted    the structures and fields that are asked for
//! dwarf     .debug_info of kernel.debug, one unit at a time
//! ctf       .SUNW_ctf of the kernel, versions 2 and 3
//! section   the bytes of such a section, unpacked if need be
//! ```

mod ctf;
mod dwarf;
mod section;
mod wanted;

pub use wanted::{FieldId, STRUCTS};

use crate::vmcore::elf::{ElfError, Kernel};
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
    /// Two sources tell different offsets.
    #[error(
        "{path} is of another kernel: it has {field} at {found}, the kernel \
         exports {exported}"
    )]
    Other {
        /// The file.
        path: String,
        /// `thread.td_tid`.
        field: String,
        /// What the file says.
        found: u64,
        /// What the kernel says.
        exported: u64,
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
    "neither the kernel nor a debug file tells {}: name kernel.debug with \
     --debug",
    grouped(.0)
)]
pub struct Missing(pub Vec<String>);

/// `thread.{td_state, td_wchan}, the size of turnstile_chain`.
fn grouped(missing: &[String]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in missing {
        let (of, field) = name.split_once('.').unwrap_or((name, ""));
        let fields = match groups.iter_mut().find(|g| g.0 == of) {
            Some(group) => &mut group.1,
            None => {
                groups.push((of, Vec::new()));
                match groups.last_mut() {
                    Some(group) => &mut group.1,
                    None => continue,
                }
            }
        };
        if !field.is_empty() && !fields.contains(&field) {
            fields.push(field);
        }
    }
    let each = groups.iter().map(|(of, fields)| match fields.as_slice() {
        [] => (*of).to_string(),
        [field] => format!("{of}.{field}"),
        all => format!("{of}.{{{}}}", all.join(", ")),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// What is known about the kernel's structures.
#[derive(Clone, Debug, Default)]
pub struct Types {
    fields: HashMap<FieldId, Field>,
    sizes: HashMap<&'static str, u64>,
    sources: Vec<&'static str>,
}

impl Types {
    /// What `kernel` and its debug file tell, over what it exports.
    ///
    /// # Errors
    /// Something that is there cannot be read, or is another kernel's.
    pub fn load(
        kernel: &Kernel,
        debug: Option<&Kernel>,
        exported: &[(FieldId, u64)],
    ) -> Result<Self, TypesError> {
        let mut types = Self::default();
        for file in debug.into_iter().chain([kernel]) {
            if types.is_complete() {
                break;
            }
            let found = dwarf::read(file)?;
            types.add("DWARF", file, found, exported)?;
            let found = ctf::read(file)?;
            types.add("CTF", file, found, exported)?;
        }
        for &(id, offset) in exported {
            let size = types.fields.get(&id).map_or(0, |f| f.size);
            types.fields.insert(id, Field { offset, size });
        }
        if !exported.is_empty() {
            types.sources.insert(0, "exported symbols");
        }
        Ok(types)
    }

    /// Takes over what is new in `found`.
    fn add(
        &mut self,
        source: &'static str,
        file: &Kernel,
        found: Structs,
        exported: &[(FieldId, u64)],
    ) -> Result<(), TypesError> {
        if found.is_empty() {
            return Ok(());
        }
        for s in found {
            if self.sizes.contains_key(s.name) {
                continue;
            }
            for (field, f) in s.fields {
                let id = (s.name, field);
                let other = exported.iter().find(|e| e.0 == id);
                if let Some(&(_, exported)) = other
                    && exported != f.offset
                {
                    return Err(TypesError::Other {
                        path: file.path().to_string(),
                        field: format!("{}.{field}", s.name),
                        found: f.offset,
                        exported,
                    });
                }
                self.fields.insert(id, f);
            }
            self.sizes.insert(s.name, s.size);
        }
        self.sources.push(source);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        STRUCTS.iter().all(|s| self.sizes.contains_key(s.name))
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
pub struct Needs<'a> {
    types: &'a Types,
    missing: Vec<String>,
}

impl<'a> Needs<'a> {
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
    STRUCTS.iter().all(|s| found.iter().any(|f| f.name == s.name))
}
