// SPDX-License-Identifier: BSD-2-Clause
//! The symbols of a kernel file, and the bytes of its sections.
//!
//! The structures are `object`'s, the reading is not: its cache allocates
//! what a file claims, and a kernel file is as hostile as a dump. Symbols are
//! read in pieces and kept in 24 bytes each.

use super::regular;
use super::source::{Plain, Source, SourceError};
use crate::path::escape_path;
use memdev::addr::Vaddr;
use memdev::arch::Machine;
use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, EM_AARCH64, EM_X86_64, FileHeader64, SHF_ALLOC,
    SHF_COMPRESSED, SHF_EXECINSTR, SHF_WRITE, SHN_ABS, SHN_UNDEF, SHT_DYNSYM,
    SHT_NOBITS, SHT_NOTE, SHT_SYMTAB, STT_FILE, STT_FUNC, STT_NOTYPE,
    STT_SECTION, SectionHeader64, Sym64,
};
use object::pod;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

const MAX_SECTIONS: u64 = 65535;
const MAX_SECTION_NAMES: u64 = 1 << 20;
/// GENERIC has some 80,000.
const MAX_SYMBOLS: u64 = 1 << 20;
const MAX_STRINGS: u64 = 32 << 20;
/// Names may overlap: a search for their end is bounded.
const MAX_NAME: usize = 1024;
/// Of a note section.
const MAX_NOTES: u64 = 4096;
/// Of .gnu_debuglink: a file name and four bytes.
const MAX_LINK: u64 = 4096;
/// A file whose checksum takes longer to compute is not checked.
const MAX_CHECKSUM: u64 = 1 << 30;
const NOT_ELF: &str = "not a kernel: it is not an ELF file";
/// C: `NT_GNU_BUILD_ID`.
const NT_GNU_BUILD_ID: u32 = 3;
const SYM_BYTES: usize = size_of::<Sym64<LE>>();
const SYM: u64 = SYM_BYTES as u64;

/// Why a file is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The system said no.
    #[error("opening kernel {path}")]
    Io {
        /// As it was named.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("reading kernel {path}")]
    Source {
        /// As it was named.
        path: String,
        /// Why.
        source: SourceError,
    },
    /// Something is not as it should be.
    #[error("kernel {path}: {what}")]
    Format {
        /// As it was named.
        path: String,
        /// What.
        what: String,
    },
    /// The same of a debug file.
    #[error("debug file {path}: {what}")]
    Debug {
        /// As it was named.
        path: String,
        /// What.
        what: String,
    },
}

impl ElfError {
    /// The same of a debug file.
    #[must_use]
    pub fn of_debug(self) -> Self {
        let (Self::Io { path, .. }
        | Self::Source { path, .. }
        | Self::Format { path, .. }
        | Self::Debug { path, .. }) = &self;
        let path = path.clone();
        let what = crate::chain(&self);
        // As it is named for a kernel.
        let what = what
            .replace(&format!("kernel {path}: "), "")
            .replace(&format!("kernel {path}"), "it")
            .replace(NOT_ELF, "it is not an ELF file");
        Self::Debug { path, what }
    }
}

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
    symbol: Symbol,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    name: u32,
    kind: u32,
    link: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
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

/// A build-id, and where the running kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildId {
    /// Of the note's first byte; 0 where it is not loaded.
    pub address: Vaddr,
    /// The whole note section, with the note's header.
    pub note: Vec<u8>,
    /// The id.
    pub id: Vec<u8>,
}

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.iter().take(32).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What .gnu_debuglink says: the name of the debug file, and its CRC-32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// A file name without a directory.
    pub name: Vec<u8>,
    /// Of the whole file.
    pub crc: u32,
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

    /// The build-id, where the linker put one in.
    #[must_use]
    pub fn build_id(&self) -> Option<BuildId> {
        let mut notes = self
            .sections
            .iter()
            .filter(|s| s.kind == SHT_NOTE && s.size <= MAX_NOTES)
            .take(16);
        notes.find_map(|s| {
            let mut note = vec![0; s.size as usize];
            let got = self.file.read_at(s.offset, &mut note).ok()?;
            note.truncate(got);
            let id = build_id_in(&note)?.to_vec();
            let loaded = s.flags & u64::from(SHF_ALLOC) != 0;
            let address = Vaddr(if loaded { s.address } else { 0 });
            Some(BuildId { address, note, id })
        })
    }

    /// The debug file that it names, if it names one.
    #[must_use]
    pub fn debug_link(&self) -> Option<DebugLink> {
        let at = self.section(".gnu_debuglink")?;
        let mut raw = vec![0; at.size.min(MAX_LINK) as usize];
        let got = self.file.read_at(at.offset, &mut raw).ok()?;
        let raw = raw.get(..got)?;
        let name = raw.split(|&b| b == 0).next()?.to_vec();
        // The checksum is at the next multiple of four after the NUL.
        let crc = name.len().checked_add(1)?.checked_next_multiple_of(4)?;
        let crc = u32::from_le_bytes(*raw.get(crc..)?.first_chunk::<4>()?);
        (!name.is_empty()).then_some(DebugLink { name, crc })
    }

    /// The CRC-32 of the whole file, as .gnu_debuglink has it; `None` where
    /// it cannot be read or is too large.
    #[must_use]
    pub fn crc32(&self) -> Option<u32> {
        let len = self.file.known_len().filter(|&len| len <= MAX_CHECKSUM)?;
        let mut crc = flate2::Crc::new();
        let mut buf = vec![0; 256 << 10];
        let mut at = 0;
        while at < len {
            let got = self.file.read_at(at, &mut buf).ok()?;
            let part = buf.get(..got).filter(|part| !part.is_empty())?;
            crc.update(part);
            at = at.saturating_add(got as u64);
        }
        Some(crc.sum())
    }

    /// Addresses and sizes of sections that the running kernel never writes
    /// to and that nothing patches when it boots: .rodata, not code.
    pub fn read_only(&self) -> impl Iterator<Item = (Vaddr, u64)> {
        let excluded = u64::from(SHF_WRITE | SHF_EXECINSTR | SHF_COMPRESSED);
        self.sections
            .iter()
            .filter(move |s| {
                s.kind != SHT_NOBITS
                    && s.flags & u64::from(SHF_ALLOC) != 0
                    && s.flags & excluded == 0
                    && s.address != 0
                    && text_at(&self.section_names, s.name)
                        .starts_with(b".rodata")
            })
            .map(|s| (Vaddr(s.address), s.size))
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

    fn bad(&self, what: impl Into<String>) -> ElfError {
        ElfError::Format { path: self.path.clone(), what: what.into() }
    }

    fn bytes(&self, at: u64, n: u64, what: &str) -> Result<Vec<u8>, ElfError> {
        let len = self.file.known_len().unwrap_or(0);
        let end = at.checked_add(n).filter(|&end| end <= len);
        if end.is_none() {
            return Err(self.bad(format!(
                "{what} of {n} bytes at offset {at:#x} ends after the file"
            )));
        }
        let mut buf = vec![0; n as usize];
        let got = self.file.read_at(at, &mut buf).map_err(|source| {
            ElfError::Source { path: self.path.clone(), source }
        })?;
        buf.truncate(got);
        Ok(buf)
    }

    fn load(&mut self) -> Result<(), ElfError> {
        let size = size_of::<FileHeader64<LE>>() as u64;
        if self.file_len() < size {
            return Err(self.bad(NOT_ELF));
        }
        let head = self.bytes(0, size, "the ELF header")?;
        let (h, _) = pod::from_bytes::<FileHeader64<LE>>(&head)
            .map_err(|()| self.bad("no ELF header"))?;
        let id = &h.e_ident;
        if id.magic != object::elf::ELFMAG {
            let dump = [&b"minidump"[..], &[0x1f, 0x8b], b"\x28\xb5\x2f\xfd"];
            let is_dump = dump.iter().any(|magic| head.starts_with(magic));
            return Err(self.bad(match is_dump {
                true => {
                    "not a kernel, but a dump: FILE is the dump, -k its kernel"
                }
                false => NOT_ELF,
            }));
        }
        if id.class != ELFCLASS64 || id.data != ELFDATA2LSB {
            return Err(self.bad("not a little-endian 64-bit ELF file"));
        }
        self.machine = match h.e_machine.get(LE) {
            EM_X86_64 => Machine::Amd64,
            EM_AARCH64 => Machine::Arm64,
            other => {
                return Err(self.bad(format!(
                    "of machine {other}, neither amd64 nor arm64"
                )));
            }
        };
        let entry = size_of::<SectionHeader64<LE>>();
        if usize::from(h.e_shentsize.get(LE)) != entry {
            return Err(self.bad("it has no section headers"));
        }
        let n = u64::from(h.e_shnum.get(LE)).min(MAX_SECTIONS);
        let table = self.bytes(
            h.e_shoff.get(LE),
            n.saturating_mul(entry as u64),
            "the section headers",
        )?;
        self.sections = table
            .chunks_exact(entry)
            .filter_map(|b| pod::from_bytes::<SectionHeader64<LE>>(b).ok())
            .map(|(s, _)| Section {
                name: s.sh_name.get(LE),
                flags: s.sh_flags.get(LE),
                kind: s.sh_type.get(LE),
                link: s.sh_link.get(LE),
                address: s.sh_addr.get(LE),
                offset: s.sh_offset.get(LE),
                size: s.sh_size.get(LE),
            })
            .collect();
        let names = self.sections.get(usize::from(h.e_shstrndx.get(LE)));
        if let Some(&Section { offset, size, .. }) = names {
            let size = size.min(MAX_SECTION_NAMES);
            self.section_names = self.bytes(offset, size, "section names")?;
        }
        let symtab = [SHT_SYMTAB, SHT_DYNSYM]
            .iter()
            .find_map(|k| self.sections.iter().find(|s| s.kind == *k));
        let Some(&symtab) = symtab else {
            return Err(self.bad("it has no symbol table"));
        };
        self.load_symbols(symtab)
    }

    fn load_symbols(&mut self, symtab: Section) -> Result<(), ElfError> {
        let Some(strtab) = self.sections.get(symtab.link as usize) else {
            return Err(self.bad("its symbol table has no names"));
        };
        let count = symtab.size / SYM;
        if strtab.size > MAX_STRINGS || count > MAX_SYMBOLS {
            return Err(self.bad(format!(
                "{count} symbols with {} bytes of names are too many",
                strtab.size
            )));
        }
        let names = self.bytes(strtab.offset, strtab.size, "symbol names")?;
        self.names = names.into();
        let mut left = count;
        let mut at = symtab.offset;
        while left > 0 {
            let n = left.min(4096).saturating_mul(SYM);
            let part = self.bytes(at, n, "a part of the symbol table")?;
            let symbols = part
                .chunks_exact(SYM_BYTES)
                .filter_map(|b| pod::from_bytes::<Sym64<LE>>(b).ok())
                .filter(|(s, _)| {
                    s.st_name.get(LE) != 0
                        && s.st_shndx.get(LE) != SHN_UNDEF
                        && !matches!(s.st_type(), STT_FILE | STT_SECTION)
                })
                .map(|(s, _)| Named {
                    name: s.st_name.get(LE),
                    symbol: Symbol {
                        code: matches!(s.st_type(), STT_FUNC | STT_NOTYPE)
                            && s.st_shndx.get(LE) != SHN_ABS,
                        address: Vaddr(s.st_value.get(LE)),
                        size: s.st_size.get(LE),
                    },
                });
            self.symbols.extend(symbols);
            at = at.saturating_add(n);
            left = left.saturating_sub(4096);
        }
        Ok(())
    }
}

/// The id in a note section. C: `Elf_Note`.
fn build_id_in(notes: &[u8]) -> Option<&[u8]> {
    let word = |b: &[u8]| b.first_chunk::<4>().map(|b| u32::from_le_bytes(*b));
    let mut rest = notes;
    loop {
        let name_len = word(rest)? as usize;
        let id_len = word(rest.get(4..)?)? as usize;
        let kind = word(rest.get(8..)?)?;
        let name = rest.get(12..)?.get(..name_len)?;
        let after = name_len.checked_next_multiple_of(4)?.checked_add(12)?;
        let id = rest.get(after..)?.get(..id_len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && !id.is_empty() {
            return Some(id);
        }
        let next = id_len.checked_next_multiple_of(4)?.checked_add(after)?;
        rest = rest.get(next..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, id: &[u8]| {
            let mut n = Vec::new();
            n.extend((name.len() as u32).to_le_bytes());
            n.extend((id.len() as u32).to_le_bytes());
            n.extend(kind.to_le_bytes());
            n.extend(name);
            n.resize(n.len().next_multiple_of(4), 0);
            n.extend(id);
            n.resize(n.len().next_multiple_of(4), 0);
            n
        };
        let other = note(b"FreeBSD\0", 1, &[1, 2, 3]);
        let matching = note(b"GNU\0", 3, &[0xab; 20]);
        let all = [&other[..], &matching].concat();
        assert_eq!(build_id_in(&all), Some(&[0xab; 20][..]));
        assert_eq!(build_id_in(&other), None);
        assert_eq!(build_id_in(&all[..all.len() - 1]), None);
        assert_eq!(build_id_in(&[0xff; 64]), None);
        assert_eq!(build_id_in(&[]), None);
    }

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
