// SPDX-License-Identifier: BSD-2-Clause
//! What the targets share: bytes as a file, and sections as a kernel.

use object::write::elf::{FileHeader, SectionHeader, Writer};
use object::{Endianness, elf};
use std::io::Write;
use tempfile::NamedTempFile;

/// A file with these bytes.
///
/// # Panics
/// Without room for it.
#[must_use]
pub fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("room for a file");
    file.write_all(bytes).expect("room for its bytes");
    file
}

/// Up to 65,535 bytes, after their number.
pub fn piece<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let (n, rest) = match data.split_first_chunk::<2>() {
        Some((n, rest)) => (usize::from(u16::from_le_bytes(*n)), rest),
        None => (0, *data),
    };
    let (piece, rest) = rest.split_at(n.min(rest.len()));
    *data = rest;
    piece
}

/// A section: its name, its type, its bytes.
pub type Section<'a> = (&'a str, u32, &'a [u8]);

/// The symbol `allproc`, and its name; the first sections of a kernel, which
/// is none without.
pub const SYMBOLS: [Section<'static>; 2] = [
    (
        ".symtab",
        elf::SHT_SYMTAB,
        b"\x01\0\0\0\x11\0\x01\0\0\0\x20\x80\xff\xff\xff\xff\x08\0\0\0\0\0\0\0",
    ),
    (".strtab", elf::SHT_STRTAB, b"\0allproc\0"),
];

/// An amd64 kernel of these sections and nothing else.
///
/// # Panics
/// When the writer refuses it.
#[must_use]
pub fn kernel(sections: &[Section<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(Endianness::Little, true, &mut out);
    w.reserve_file_header();
    let mut parts = Vec::new();
    w.reserve_null_section_index();
    for (name, kind, bytes) in sections {
        let id = w.add_section_name(name.as_bytes());
        w.reserve_section_index();
        parts.push((id, *kind, *bytes, w.reserve(bytes.len(), 1)));
    }
    w.reserve_shstrtab_section_index();
    w.reserve_shstrtab();
    w.reserve_section_headers();
    w.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_FREEBSD,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_X86_64,
        e_entry: 0,
        e_flags: 0,
    })
    .expect("an ELF header");
    for (_, _, bytes, at) in &parts {
        w.pad_until(*at);
        w.write(bytes);
    }
    w.write_shstrtab();
    w.write_null_section_header();
    // Strings are the section after the symbols.
    let link = |kind| u32::from(kind == elf::SHT_SYMTAB) * 2;
    for (id, kind, bytes, at) in &parts {
        w.write_section_header(&SectionHeader {
            name: Some(*id),
            sh_type: *kind,
            sh_flags: 0,
            sh_addr: 0,
            sh_offset: *at as u64,
            sh_size: bytes.len() as u64,
            sh_link: link(*kind),
            sh_info: 0,
            sh_addralign: 1,
            sh_entsize: if *kind == elf::SHT_SYMTAB { 24 } else { 0 },
        });
    }
    w.write_shstrtab_section_header();
    out
}
