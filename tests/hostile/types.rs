// SPDX-License-Identifier: BSD-2-Clause
//! Type information and symbols that mean harm: structures that are members
//! of themselves, names without an end, tables that each unit repeats, a
//! megabyte that unpacks to a gigabyte. Refused or read, soon.

use livedump_cli::analysis::symbols::Symbols;
use livedump_cli::analysis::types::Types;
use livedump_tests::elf::sections::{Section, with_sections};
use livedump_tests::scenario::model;
use livedump_vmcore::elf::Kernel;
use memdev::addr::Vaddr;
use std::io::Write;
use std::time::{Duration, Instant};

/// What is promised, and here for a machine with other things to do.
const SOON: Duration = Duration::from_secs(20);

/// Loads the types of a kernel with these sections; whether that worked.
#[track_caller]
fn load(sections: &[Section<'_>]) -> Result<Types, String> {
    use livedump_hosted::machine::Running;
    let elf = model("size 16M\ntypes none\n").kernel_elf().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kernel");
    std::fs::write(&path, with_sections(&elf, sections)).unwrap();
    let started = Instant::now();
    let kernel = Kernel::open(&path).map_err(|e| e.to_string())?;
    let types = Types::load(&kernel, None, &[]);
    let _ = Symbols::new(&kernel).find(Vaddr(!0));
    let _ = kernel.find("no such symbol");
    let took = started.elapsed();
    assert!(took < SOON, "{took:?}");
    types.map_err(|e| livedump_vmcore::chain(&e))
}

fn uleb(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Code, tag, children, and attributes with their forms.
type Abbreviation<'a> = (u64, u64, bool, &'a [(u64, u64)]);

fn abbreviations(all: &[Abbreviation<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for &(code, tag, children, attributes) in all {
        uleb(code, &mut out);
        uleb(tag, &mut out);
        out.push(u8::from(children));
        for &(name, form) in attributes {
            uleb(name, &mut out);
            uleb(form, &mut out);
        }
        out.extend([0, 0]);
    }
    out.push(0);
    out
}

/// A unit of DWARF 4 with its abbreviations at an offset.
fn unit(body: &[u8], abbreviations: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend((body.len() as u32 + 7).to_le_bytes());
    out.extend(4u16.to_le_bytes());
    out.extend(abbreviations.to_le_bytes());
    out.push(8);
    out.extend(body);
    out
}

const UNIT: Abbreviation<'_> = (1, 0x11, true, &[(3, 8)]);

fn zeros(bytes: u64) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), level);
    let part = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        packed.write_all(&part).unwrap();
    }
    packed.finish().unwrap()
}

#[test]
fn a_structure_that_is_its_own_member_is_read_once() {
    let table = abbreviations(&[
        UNIT,
        (2, 0x13, true, &[(3, 8), (0x0b, 0x0f)]),
        (3, 0x0d, false, &[(0x49, 0x13), (0x38, 0x0b)]),
    ]);
    let mut body = b"\x01x.c\0".to_vec();
    let structure = 11 + body.len() as u32;
    body.extend(b"\x02proc\0\x40");
    for _ in 0..64 {
        body.push(3);
        body.extend(structure.to_le_bytes());
        body.push(0);
    }
    body.extend([0, 0]);
    let types = load(&[
        Section::new(".debug_info", unit(&body, 0)),
        Section::new(".debug_abbrev", table),
    ]);
    types.unwrap();
}

#[test]
fn structures_that_are_members_of_each_other_in_ctf_end() {
    // Three structures of version 3; each has many nameless members of the
    // next, the last of the first.
    let members = 200u32;
    let mut types = Vec::new();
    for id in 0..3u32 {
        let name: u32 = if id == 0 { 1 } else { 0 };
        types.extend(name.to_le_bytes());
        types.extend((6u32 << 26 | 1 << 25 | members).to_le_bytes());
        types.extend(64u32.to_le_bytes());
        for _ in 0..members {
            types.extend(0u32.to_le_bytes());
            types.extend(((id + 1) % 3 + 1).to_le_bytes());
            types.extend(0u32.to_le_bytes());
        }
    }
    let strings = b"\0thread\0";
    let mut ctf = 0xcff1u16.to_le_bytes().to_vec();
    ctf.extend([3, 0]);
    ctf.extend([0; 20]);
    ctf.extend(0u32.to_le_bytes());
    ctf.extend((types.len() as u32).to_le_bytes());
    ctf.extend((strings.len() as u32).to_le_bytes());
    ctf.extend(&types);
    ctf.extend(strings);
    load(&[Section::new(".SUNW_ctf", ctf)]).unwrap();
}

#[test]
fn names_without_an_end_are_no_names() {
    let table = abbreviations(&[UNIT, (2, 0x13, false, &[(3, 0x0e)])]);
    let mut body = b"\x01x.c\0".to_vec();
    for _ in 0..100_000 {
        body.extend([2, 0, 0, 0, 0]);
    }
    body.push(0);
    load(&[
        Section::new(".debug_info", unit(&body, 0)),
        Section::new(".debug_abbrev", table),
        Section::new(".debug_str", vec![b'a'; 32 << 20]),
    ])
    .unwrap();
}

#[test]
fn tables_of_abbreviations_are_limited() {
    let one: &[(u64, u64)] = &[(3, 8)];
    let all: Vec<_> = (1..150_001).map(|n| (n, 0x13, false, one)).collect();
    let table = abbreviations(&all);
    assert!(table.len() > 1 << 20);
    let many = |n: u32, at: fn(u32) -> u32| -> Vec<u8> {
        let body = |at: u32| [1 + (at / 7) as u8, b'x', 0];
        (0..n).map(at).flat_map(|at| unit(&body(at), at)).collect()
    };
    // One that does not end soon, and many that each unit has its own of.
    let said = load(&[
        Section::new(".debug_info", many(5000, |_| 0)),
        Section::new(".debug_abbrev", table.clone()),
    ]);
    assert!(said.is_err());
    let short = abbreviations(&all[..100_000]);
    assert!(short.len() < 1 << 20);
    let said = load(&[
        Section::new(".debug_info", many(5000, |i| i % 2 * 7)),
        Section::new(".debug_abbrev", short),
    ]);
    let said = said.unwrap_err();
    assert!(said.contains("too large or recursive"), "{said}");
}

#[test]
fn entries_of_many_attributes_are_limited() {
    // DW_FORM_flag_present takes no byte.
    let flags = vec![(0x3f, 0x19); 60_000];
    let table = abbreviations(&[UNIT, (2, 0x34, false, &flags)]);
    let mut body = b"\x01x.c\0".to_vec();
    body.resize(4 << 20, 2);
    let said = load(&[
        Section::new(".debug_info", unit(&body, 0)),
        Section::new(".debug_abbrev", table),
    ]);
    let said = said.unwrap_err();
    assert!(said.contains("too large or recursive"), "{said}");
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    for (claims, is) in [(1 << 30, 1 << 20), (256 << 20, 256 << 20)] {
        for name in [".debug_info", ".debug_str", ".debug_abbrev"] {
            let mut sections = vec![Section::zlib(name, claims, &zeros(is))];
            if name != ".debug_info" {
                let body = unit(b"\x01x\0", 0);
                sections.push(Section::new(".debug_info", body));
            }
            let said = load(&sections).unwrap_err();
            assert!(said.contains(name), "{said}");
        }
    }
}

#[test]
fn many_symbols_of_one_long_name_are_refused() {
    let mut symbol = [0; 24];
    symbol[..4].copy_from_slice(&1u32.to_le_bytes());
    symbol[4..8].copy_from_slice(&[0x12, 0, 1, 0]);
    let names = [b"\0".as_slice(), &[b'q'; 2048], b"\0"].concat();
    for (n, refused) in [(4 << 20, true), (1 << 20, false)] {
        let table = symbol.repeat(n);
        let said = with_symbols(table, names.clone());
        assert_eq!(said.is_err(), refused, "{said:?}");
    }
}

fn with_symbols(table: Vec<u8>, names: Vec<u8>) -> Result<Types, String> {
    let symbols = Section { kind: 2, ..Section::new(".symtab", table) };
    let strings = Section { kind: 3, ..Section::new(".strtab", names) };
    load(&[symbols, strings])
}
