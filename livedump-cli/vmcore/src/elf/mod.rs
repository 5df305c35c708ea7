// SPDX-License-Identifier: BSD-2-Clause
//! The symbols of a kernel file, and the bytes of its sections.
//!
//! The structures are `object`'s, the reading is not: its cache allocates
//! what a file claims, and a kernel file is as hostile as a dump. Symbols are
//! read in pieces and kept in 24 bytes each.

mod error;
mod identity;
mod letter;
mod load;
mod place;
mod relocate;

pub use error::ElfError;
pub use identity::{BuildId, DebugLink};

use super::regular;
use super::source::{Plain, Source};
use crate::path::escape_path;
use memdev::addr::Vaddr;
use memdev::arch::Machine;
use object::elf::{SHF_COMPRESSED, SHN_ABS, SHT_NOBITS, STT_OBJECT};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Names may overlap: a search for their end is bounded.
const MAX_NAME: usize = 1024;

/// Where a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its address.
    pub address: Vaddr,
    /// Its size; 0 where the file does not say.
    pub size: u64,
    /// It may be code. C: `STT_FUNC`, and `STT_NOTYPE` for assembler's.
    pub code: bool,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    name: u32,
    /// C: `st_shndx`.
    section: u16,
    /// C: `st_info`.
    info: u8,
    symbol: Symbol,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    name: u32,
    kind: u32,
    link: u32,
    info: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    align: u64,
}

/// Where the file has a section that is not part of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Its contents are behind a compression header. C: `SHF_COMPRESSED`.
    pub compressed: bool,
}

/// Whether a table of names has this one at an offset. Reads no more of the
/// table than that.
pub fn is_name(names: &[u8], at: u32, name: &[u8]) -> bool {
    let rest = names.get(at as usize..).unwrap_or_default();
    match rest.strip_prefix(name) {
        Some(rest) => matches!(rest.first(), Some(0) | None),
        None => false,
    }
}

/// A name in a table of them.
fn text_at(names: &[u8], at: u32) -> &[u8] {
    let from = names.get(at as usize..).unwrap_or_default();
    let from = from.get(..MAX_NAME).unwrap_or(from);
    from.split(|&b| b == 0).next().unwrap_or_default()
}

/// An ELF kernel.
#[derive(Debug)]
pub struct Kernel {
    path: String,
    file: Plain,
    machine: Machine,
    /// C: `e_type` is `ET_REL`.
    relocatable: bool,
    /// Where a module is loaded that is moved as one.
    bias: u64,
    sections: Vec<Section>,
    section_names: Vec<u8>,
    symbols: Vec<Named>,
    names: Arc<[u8]>,
}

/// The functions of a kernel: address, size, and where their names are in
/// [`Functions::name`]'s table, which is the kernel's own.
#[derive(Debug)]
pub struct Functions {
    /// In the order of the file.
    pub all: Vec<(u64, u64, u32)>,
    names: Arc<[u8]>,
}

impl Functions {
    /// A name by its place.
    #[must_use]
    pub fn name(&self, at: u32) -> &[u8] {
        text_at(&self.names, at)
    }
}

impl Kernel {
    /// Opens a kernel file.
    ///
    /// # Errors
    /// It is not a little-endian 64-bit ELF file of a machine known here, or
    /// has no symbols.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        Self::from_file(Self::open_file(path)?, path)
    }

    /// Opens the file of a kernel and does not look into it yet.
    ///
    /// # Errors
    /// It cannot be opened, or is no plain file.
    pub fn open_file(path: &Path) -> Result<File, ElfError> {
        let path_text = escape_path(path);
        let io = |source| ElfError::Io { path: path_text.clone(), source };
        regular::open(path).map_err(io)?.ok_or_else(|| ElfError::Format {
            path: path_text.clone(),
            what: "not a regular file".into(),
        })
    }

    /// The same for a file that is open already; `path` is what to call it.
    ///
    /// # Errors
    /// It is no kernel that is read here.
    pub fn from_file(file: File, path: &Path) -> Result<Self, ElfError> {
        let path = escape_path(path);
        let io = |source| ElfError::Io { path: path.clone(), source };
        let len = file.metadata().map_err(io)?.len();
        let file = Plain::new(Arc::new(file), len);
        let mut kernel = Self {
            path,
            file,
            machine: Machine::Amd64,
            relocatable: false,
            bias: 0,
            sections: Vec::new(),
            section_names: Vec::new(),
            symbols: Vec::new(),
            names: Arc::default(),
        };
        kernel.load()?;
        Ok(kernel)
    }

    /// The machine it runs on.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// As it was named.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many symbols it has.
    #[must_use]
    pub fn symbol_count(&self) -> usize {
        self.symbols.len()
    }

    /// All symbols with their names, in the order of the file.
    pub fn symbols(&self) -> impl Iterator<Item = (&[u8], Symbol)> {
        self.symbols.iter().map(|n| (self.name(n.name), n.symbol))
    }

    /// Variables with their addresses, in the order in which CTF has their
    /// types. C: `STT_OBJECT`.
    pub fn objects(&self) -> impl Iterator<Item = (&[u8], Vaddr)> {
        let all = self.symbols.iter().filter(|n| {
            let constant = n.section == SHN_ABS && n.symbol.address.0 == 0;
            n.info & 0xf == STT_OBJECT && !constant
        });
        all.map(|n| (self.name(n.name), n.symbol.address))
    }

    /// A section by its name, where the file has bytes for it.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Extent> {
        let named = |s: &&Section| {
            s.kind != SHT_NOBITS
                && is_name(&self.section_names, s.name, name.as_bytes())
        };
        self.sections.iter().find(named).map(|s| Extent {
            offset: s.offset,
            size: s.size,
            compressed: s.flags & u64::from(SHF_COMPRESSED) != 0,
        })
    }

    /// The address of a section that is loaded; 0 of any other.
    pub(crate) fn section_address(&self, name: &str) -> u64 {
        let named = |s: &&Section| {
            is_name(&self.section_names, s.name, name.as_bytes())
        };
        self.sections.iter().find(named).map_or(0, |s| s.address)
    }

    /// Bytes of the file, at an offset; as many as it has.
    ///
    /// # Errors
    /// The system said no.
    pub fn read_file(
        &self,
        at: u64,
        buf: &mut [u8],
    ) -> Result<usize, ElfError> {
        self.file.read_at(at, buf).map_err(|source| ElfError::Source {
            path: self.path.clone(),
            source,
        })
    }

    /// The file itself.
    pub(crate) fn stored(&self) -> &Plain {
        &self.file
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file.known_len().unwrap_or(0)
    }

    /// The names that symbols, and CTF's external strings, point into.
    #[must_use]
    pub fn symbol_names(&self) -> &[u8] {
        &self.names
    }

    /// A symbol by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Symbol> {
        let named = |n: &&Named| is_name(&self.names, n.name, name.as_bytes());
        self.symbols.iter().find(named).map(|n| n.symbol)
    }

    /// Its functions, and places in assembler code.
    #[must_use]
    pub fn functions(&self) -> Functions {
        let code = self.symbols.iter().filter(|n| n.symbol.code);
        let all = code.map(|n| (n.symbol.address.0, n.symbol.size, n.name));
        Functions { all: all.collect(), names: Arc::clone(&self.names) }
    }

    /// Whether some section of the running kernel has the address.
    #[must_use]
    pub fn is_loaded(&self, va: Vaddr) -> bool {
        let within = |s: &Section| {
            va.0.checked_sub(s.address).is_some_and(|at| at < s.size)
        };
        self.sections.iter().any(|s| s.address != 0 && within(s))
    }

    /// Bytes that the file itself has for an address; false where it has
    /// none, as in .bss.
    #[must_use]
    pub fn read(&self, va: Vaddr, buf: &mut [u8]) -> bool {
        let n = buf.len() as u64;
        let section = self.sections.iter().find(|s| {
            s.kind != SHT_NOBITS
                && s.address != 0
                && va.0.checked_sub(s.address).is_some_and(|at| {
                    at.checked_add(n).is_some_and(|end| end <= s.size)
                })
        });
        let Some(s) = section else { return false };
        let at = s.offset.saturating_add(va.0.saturating_sub(s.address));
        self.file.read_at(at, buf).is_ok_and(|got| got == buf.len())
    }

    fn name(&self, at: u32) -> &[u8] {
        text_at(&self.names, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_compared_without_looking_for_the_end_of_the_other() {
        let names = b"\0hz\0hzz\0end";
        assert!(is_name(names, 1, b"hz"));
        assert!(!is_name(names, 4, b"hz"));
        assert!(is_name(names, 8, b"end"));
        assert!(!is_name(names, 99, b"hz"));
        assert!(is_name(names, 0, b""));
    }
}
