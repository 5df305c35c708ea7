// SPDX-License-Identifier: BSD-2-Clause
//! The ELF file of the model's kernel: ET_EXEC for the machine, as libkvm and
//! kgdb want it, with text, read-only data, a .bss and the symbols at the
//! addresses that the machine uses.

use super::memory::Memory;
use super::symbols::{Image, Section};
use super::types::Extra;
use memdev::addr::PAGE_SIZE;
use memdev::arch::Machine;
use object::Endianness;
use object::elf;
use object::write::StringId;
use object::write::elf::{
    FileHeader, ProgramHeader, SectionHeader, SectionIndex, Sym, Writer,
};

struct Loaded {
    section: Section,
    flags: u32,
    file: Vec<u8>,
    index: SectionIndex,
    offset: u64,
    name_id: StringId,
}

/// Writes the file. `None` if it cannot be laid out, which is a matter of its
/// size alone.
pub(super) fn kernel(
    mem: &Memory,
    image: &Image,
    types: &[Extra],
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut w = Writer::new(Endianness::Little, true, &mut out);
    let mut parts = Vec::new();
    let write = elf::SHF_WRITE;
    let exec = elf::SHF_EXECINSTR;
    for (section, name, flags) in [
        (Section::Text, &b".text"[..], exec),
        (Section::Rodata, b".rodata", 0),
        (Section::Data, b".bss", write),
    ] {
        // Data changes while the machine runs: it is in the dump alone.
        let (start, end) = image.bounds(section);
        let len = if section == Section::Data { 0 } else { end - start };
        let mut file = vec![0; len as usize];
        mem.phys.read(mem.kva.pa(start)?, &mut file).ok()?;
        parts.push(Loaded {
            section,
            flags: flags | elf::SHF_ALLOC,
            file,
            index: SectionIndex(0),
            offset: 0,
            name_id: w.add_section_name(name),
        });
    }

    let mut extras: Vec<_> = types
        .iter()
        .map(|(name, data)| (w.add_section_name(name.as_bytes()), data, 0))
        .collect();

    // Everything gets its place in the file first.
    w.reserve_null_section_index();
    for part in &mut parts {
        part.index = w.reserve_section_index();
    }
    for _ in &extras {
        w.reserve_section_index();
    }
    w.reserve_symtab_section_index();
    w.reserve_strtab_section_index();
    w.reserve_shstrtab_section_index();
    let symbols: Vec<(StringId, &super::symbols::Symbol)> = image
        .symbols()
        .iter()
        .map(|s| (w.add_string(s.name.as_bytes()), s))
        .collect();
    w.reserve_null_symbol_index();
    for _ in &symbols {
        w.reserve_symbol_index(None);
    }
    w.reserve_file_header();
    w.reserve_program_headers(parts.len() as u32);
    for part in &mut parts {
        part.offset = w.reserve(part.file.len(), PAGE_SIZE) as u64;
    }
    for extra in &mut extras {
        extra.2 = w.reserve(extra.1.len(), 1) as u64;
    }
    w.reserve_symtab();
    w.reserve_strtab();
    w.reserve_shstrtab();
    w.reserve_section_headers();

    w.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_FREEBSD,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: match mem.kva.machine {
            Machine::Amd64 => elf::EM_X86_64,
            Machine::Arm64 => elf::EM_AARCH64,
        },
        e_entry: mem.kva.text,
        e_flags: 0,
    })
    .ok()?;
    w.write_align_program_headers();
    for part in &parts {
        let (start, end) = image.bounds(part.section);
        let p_flags = match part.section {
            Section::Text => elf::PF_R | elf::PF_X,
            Section::Data => elf::PF_R | elf::PF_W,
            _ => elf::PF_R,
        };
        w.write_program_header(&ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags,
            p_offset: part.offset,
            p_vaddr: start,
            p_paddr: mem.kva.pa(start)?.0,
            p_filesz: part.file.len() as u64,
            p_memsz: end - start,
            p_align: PAGE_SIZE as u64,
        });
    }
    for part in &parts {
        w.write_align(PAGE_SIZE);
        w.write(&part.file);
    }
    for (_, data, _) in &extras {
        w.write(data);
    }
    w.write_null_symbol();
    for &(name, s) in &symbols {
        let part = parts.iter().find(|p| p.section == s.section);
        let kind = match s.section {
            // btext and etext are places.
            Section::Text if s.size > 0 => elf::STT_FUNC,
            Section::Text | Section::Absolute => elf::STT_NOTYPE,
            _ => elf::STT_OBJECT,
        };
        w.write_symbol(&Sym {
            name: Some(name),
            section: part.map(|p| p.index),
            st_info: elf::STB_GLOBAL << 4 | kind,
            st_other: 0,
            st_shndx: match part {
                Some(_) => elf::SHN_UNDEF,
                None => elf::SHN_ABS,
            },
            st_value: s.value,
            st_size: s.size,
        });
    }
    w.write_strtab();
    w.write_shstrtab();
    w.write_null_section_header();
    for part in &parts {
        let (start, end) = image.bounds(part.section);
        let nobits = part.file.is_empty();
        w.write_section_header(&SectionHeader {
            name: Some(part.name_id),
            sh_type: if nobits { elf::SHT_NOBITS } else { elf::SHT_PROGBITS },
            sh_flags: u64::from(part.flags),
            sh_addr: start,
            sh_offset: part.offset,
            sh_size: end - start,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: PAGE_SIZE as u64,
            sh_entsize: 0,
        });
    }
    for (name, data, offset) in extras {
        w.write_section_header(&SectionHeader {
            name: Some(name),
            sh_type: elf::SHT_PROGBITS,
            sh_flags: 0,
            sh_addr: 0,
            sh_offset: offset,
            sh_size: data.len() as u64,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 1,
            sh_entsize: 0,
        });
    }
    w.write_symtab_section_header(1);
    w.write_strtab_section_header();
    w.write_shstrtab_section_header();
    Some(out)
}
