// SPDX-License-Identifier: BSD-2-Clause
//! The kernels that come with the real vmcores, as LLVM's yaml2obj describes
//! them: sections without contents and some twenty symbols. Enough of that
//! language to make an ELF file of them where yaml2obj is not installed.

use crate::decoder::Wrong;
use std::collections::BTreeMap;

const EHSIZE: usize = 64;
const SHENTSIZE: u16 = 64;
const SHN_ABS: u16 = 0xfff1;

type Fields = BTreeMap<String, String>;

#[derive(Default)]
struct Described {
    header: Fields,
    sections: Vec<Fields>,
    symbols: Vec<Fields>,
}

/// An ELF file out of its description.
///
/// # Errors
/// What is not understood.
pub fn to_elf(yaml: &str) -> Result<Vec<u8>, Wrong> {
    let described = parse(yaml)?;
    let machine: u16 = match text(&described.header, "Machine") {
        "EM_X86_64" => 62,
        "EM_AARCH64" => 183,
        other => return Err(format!("machine {other:?}")),
    };
    let entry = number(&described.header, "Entry")?;
    let mut strtab = vec![0];
    let mut symtab = vec![0; 24];
    for symbol in &described.symbols {
        symbol_into(symbol, &described.sections, &mut symtab, &mut strtab)?;
    }
    let mut elf = vec![0; EHSIZE];
    let mut shstrtab = vec![0];
    let mut headers = vec![[0u64; 10]];
    for section in &described.sections {
        // Contents are in the dump: here they only take up addresses.
        let name = append(&mut shstrtab, text(section, "Name"));
        let (address, size) =
            (number(section, "Address")?, number(section, "Size")?);
        headers.push([name, 8, 2, address, 0, size, 0, 0, 1, 0]);
    }
    let strings = headers.len() as u64 + 1;
    for (name, kind, data, link, entsize) in
        [(".symtab", 2, &symtab, strings, 24), (".strtab", 3, &strtab, 0, 0)]
    {
        let name = append(&mut shstrtab, name);
        let at = elf.len() as u64;
        elf.extend_from_slice(data);
        let size = data.len() as u64;
        let first_global = u64::from(kind == 2);
        headers.push([
            name,
            kind,
            0,
            0,
            at,
            size,
            link,
            first_global,
            8,
            entsize,
        ]);
    }
    let name = append(&mut shstrtab, ".shstrtab");
    let at = elf.len() as u64;
    elf.extend_from_slice(&shstrtab);
    headers.push([name, 3, 0, 0, at, shstrtab.len() as u64, 0, 0, 1, 0]);
    elf.resize(elf.len().next_multiple_of(8), 0);
    let shoff = elf.len() as u64;
    for header in &headers {
        section_into(header, &mut elf);
    }
    elf[..EHSIZE].copy_from_slice(&file_header(
        machine,
        entry,
        shoff,
        headers.len() as u16,
    ));
    Ok(elf)
}

fn parse(yaml: &str) -> Result<Described, Wrong> {
    let mut out = Described::default();
    let mut part = "";
    for line in yaml.lines() {
        let indented = line.starts_with(' ');
        let (key, value) = match line.trim().split_once(':') {
            Some((key, value)) => (key.trim(), value.trim()),
            None => continue,
        };
        if !indented {
            part = key;
            continue;
        }
        let list = match part {
            "FileHeader" => {
                out.header.insert(key.into(), value.into());
                continue;
            }
            "Sections" => &mut out.sections,
            "Symbols" => &mut out.symbols,
            other => return Err(format!("{other:?} in the description")),
        };
        let key = match key.strip_prefix("- ") {
            Some(key) => {
                list.push(Fields::new());
                key.trim()
            }
            None => key,
        };
        let last = list.last_mut().ok_or("a field of nothing")?;
        last.insert(key.into(), value.into());
    }
    Ok(out)
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

/// A number; 0 where the field is not there.
fn number(fields: &Fields, name: &str) -> Result<u64, Wrong> {
    let Some(value) = fields.get(name) else { return Ok(0) };
    let parsed = match value.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => value.parse(),
    };
    parsed.map_err(|e| format!("{name} {value:?}: {e}"))
}

fn append(strings: &mut Vec<u8>, name: &str) -> u64 {
    let at = strings.len() as u64;
    strings.extend_from_slice(name.as_bytes());
    strings.push(0);
    at
}

fn symbol_into(
    symbol: &Fields,
    sections: &[Fields],
    symtab: &mut Vec<u8>,
    strtab: &mut Vec<u8>,
) -> Result<(), Wrong> {
    let section = text(symbol, "Section");
    let index = sections.iter().position(|s| text(s, "Name") == section);
    let index = index.map_or(SHN_ABS, |i| i as u16 + 1);
    let object = u8::from(text(symbol, "Type") == "STT_OBJECT");
    let name = append(strtab, text(symbol, "Name")) as u32;
    symtab.extend_from_slice(&name.to_le_bytes());
    symtab.extend_from_slice(&[1 << 4 | object, 0]);
    symtab.extend_from_slice(&index.to_le_bytes());
    symtab.extend_from_slice(&number(symbol, "Value")?.to_le_bytes());
    symtab.extend_from_slice(&number(symbol, "Size")?.to_le_bytes());
    Ok(())
}

/// Name, type, flags, address, offset, size, link, info, alignment, entry
/// size: 32 or 64 bits each.
fn section_into(header: &[u64; 10], elf: &mut Vec<u8>) {
    for (i, &value) in header.iter().enumerate() {
        match i {
            0 | 1 | 6 | 7 => {
                elf.extend_from_slice(&(value as u32).to_le_bytes());
            }
            _ => elf.extend_from_slice(&value.to_le_bytes()),
        }
    }
}

fn file_header(
    machine: u16,
    entry: u64,
    shoff: u64,
    sections: u16,
) -> [u8; EHSIZE] {
    let mut b = [0; EHSIZE];
    let mut put = |at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
    // 64 bits, little-endian, version 1, FreeBSD; an executable.
    put(0, b"\x7fELF\x02\x01\x01\x09");
    put(16, &2u16.to_le_bytes());
    put(18, &machine.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(40, &shoff.to_le_bytes());
    put(52, &(EHSIZE as u16).to_le_bytes());
    put(58, &SHENTSIZE.to_le_bytes());
    put(60, &sections.to_le_bytes());
    put(62, &(sections - 1).to_le_bytes());
    b
}
