// SPDX-License-Identifier: BSD-2-Clause
//! A kernel's file, read: header, sections, symbols. Nothing that it claims is
//! allocated before the file is known to be that long.

use super::error::NOT_ELF;
use super::{ElfError, Kernel, Named, Section, Symbol};
use crate::source::Source;
use memdev::addr::Vaddr;
use memdev::arch::Machine;
use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, EM_AARCH64, EM_X86_64, ET_REL, FileHeader64,
    SHN_ABS, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FILE, STT_FUNC, STT_NOTYPE,
    STT_SECTION, SectionHeader64, Sym64,
};
use object::pod;

const MAX_SECTIONS: u64 = 65535;
const MAX_SECTION_NAMES: u64 = 1 << 20;
/// GENERIC has some 80,000.
const MAX_SYMBOLS: u64 = 1 << 20;
const MAX_STRINGS: u64 = 32 << 20;
const SYM_BYTES: usize = size_of::<Sym64<LE>>();
const SYM: u64 = SYM_BYTES as u64;

impl Kernel {
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

    pub(super) fn load(&mut self) -> Result<(), ElfError> {
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
        self.relocatable = h.e_type.get(LE) == ET_REL;
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
                info: s.sh_info.get(LE),
                align: s.sh_addralign.get(LE),
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
                    section: s.st_shndx.get(LE),
                    info: s.st_info,
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
