// SPDX-License-Identifier: BSD-2-Clause
//! Any type: as a compiler tells of it in DWARF of each version, in CTF, and
//! where it means harm.

use livedump_cli::analysis::expression::tree::{Builder, Tree};
use livedump_cli::analysis::expression::{Evaluator, parse};
use livedump_cli::analysis::names::Names;
use livedump_cli::analysis::types::reader::{
    CType, Kind, Resolved, Tag, TypeReader,
};
use livedump_tests::elf::sections::{Section, with_sections};
use livedump_tests::scenario::model;
use livedump_vmcore::elf::Kernel;
use memdev::addr::Vaddr;
use std::path::Path;
use std::process::Command;

/// What a variable of the first file points to is in the second one.
const A: &str = "
struct hidden;
enum color { RED, GREEN = 5, BLUE = -1 };
typedef unsigned int u_int;
union both { unsigned long word; unsigned char bytes[8]; };
struct bits { unsigned low : 3, mid : 7; int neg : 4; unsigned long : 5;
    unsigned long high : 33; };
struct all {
    struct hidden *hidden;
    const volatile char *const text;
    int grid[2][3];
    enum color color;
    struct bits bits;
    union { struct { short inner, other; }; long whole; };
    int (*call)(int);
    _Bool yes;
    char name[8];
    unsigned char mac[6];
    u_int many[300];
    struct all *self;
    double number;
    int end[];
};
static int callee(int n) { return n; }
extern struct hidden there;
union both both = { 0x0807060504030201 };
struct all all = { &there, \"hi\", {{1, 2, 3}, {4, 5, -6}}, GREEN,
    { 5, 99, -3, 0x100000001 }, { { 7, 8 } }, callee, 1, \"box\",
    { 1, 2, 3, 4, 5, 255 }, { 9 }, &all, 0.5 };
static struct all *alias = &all;
struct all **keep = &alias;
";
const B: &str = "
struct hidden { int pad; long found; };
struct hidden there = { 1, 42 };
";

fn compile(dir: &Path, options: &[&str]) -> Option<Kernel> {
    let file = dir.join("kernel");
    for (name, text) in [("a.c", A), ("b.c", B)] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let run = Command::new("cc")
        .args(["-nostdlib", "-static", "-no-pie", "-g", "-Wl,-e,0"])
        .args(["-fno-pie", "-fno-asynchronous-unwind-tables"])
        .args(options)
        .args(["-o".as_ref(), file.as_os_str()])
        .args(["a.c", "b.c"].map(|name| dir.join(name)))
        .output();
    match run {
        Ok(out) if out.status.success() => Some(Kernel::open(&file).unwrap()),
        _ => {
            livedump_skip::skipped(format_args!(
                "no cc that takes {options:?}"
            ));
            None
        }
    }
}

/// Evaluates over the bytes of the file itself.
fn with<T>(kernel: &Kernel, f: impl FnOnce(&Evaluator<'_>) -> T) -> T {
    let names = Names::new(kernel, std::iter::empty());
    let types = TypeReader::new(kernel, None);
    let memory = |at: u64, buf: &mut [u8]| {
        // What is in no section is .bss.
        if !kernel.read(Vaddr(at), buf) {
            let mut byte = [0];
            for (at, to) in (at..).zip(buf.iter_mut()) {
                let has = kernel.read(Vaddr(at), &mut byte);
                *to = if has { byte[0] } else { 0 };
            }
        }
        Ok(())
    };
    f(&Evaluator::new(&memory, &names, &types))
}

fn number(e: &Evaluator<'_>, text: &str) -> i64 {
    let value = e.eval(&parse(text).unwrap());
    let value = value.unwrap_or_else(|e| panic!("{text}: {e}"));
    e.scalar(&value).unwrap() as i64
}

#[test]
fn a_compilers_types_are_read_from_dwarf_of_each_version() {
    let dir = tempfile::tempdir().unwrap();
    for options in [
        &["-gdwarf-2", "-gstrict-dwarf"][..],
        &["-gdwarf-4"],
        &["-gdwarf-5"],
        &["-gdwarf-5", "-gz=zlib"],
        &["-gdwarf-4", "-gz=zlib"],
    ] {
        let Some(kernel) = compile(dir.path(), options) else { continue };
        with(&kernel, |e| check(e, options));
    }
}

fn check(e: &Evaluator<'_>, options: &[&str]) {
    for (text, want) in [
        // Declared in one file, defined in the other.
        ("all.hidden->found", 42),
        ("sizeof(struct hidden)", 16),
        ("all.grid[1][2]", -6),
        ("sizeof all.grid", 24),
        ("sizeof all.grid[0]", 12),
        ("*(all.grid[1] + 1)", 5),
        ("all.color", 5),
        ("all.bits.low", 5),
        ("all.bits.mid", 99),
        ("all.bits.neg", -3),
        ("all.bits.high", 0x1_0000_0001),
        ("all.inner", 7),
        ("all.other", 8),
        ("all.whole", 0x8_0007),
        ("all.yes", 1),
        ("all.name[1]", i64::from(b'o')),
        ("all.mac[5]", 255),
        ("all.self->self->inner", 7),
        ("both.bytes[7]", 8),
        ("both.word - 0x0807060504030201", 0),
        ("(*keep)->many[0]", 9),
        ("alias->many[0]", 9),
        ("&all.inner - &((struct all *)&all)->other", -1),
        ("(unsigned char)all.bits.neg", 0xfd),
        ("(int)0xffffffff", -1),
        ("(u_int)0xffffffff + 0", 0xffff_ffff),
        ("((union both *)&both)->bytes[0]", 1),
    ] {
        assert_eq!(number(e, text), want, "{text} {options:?}");
    }
    let eval = |text: &str| e.eval(&parse(text).unwrap());
    let said = |text: &str| eval(text).unwrap_err().to_string();
    assert!(said("all.grid[2]").contains("outside int [2][3]"));
    assert!(said("all.grid[1][3]").contains("outside int [3]"));
    assert!(said("all.nosuch").contains("struct all has no member"));
    assert!(said("&all.bits.low").contains("bit field"));
    // One that ends a structure has no bound.
    eval("all.end[3]").unwrap();
    let of = |text: &str| {
        let value = eval(text).unwrap();
        e.types().text(&value.of).unwrap()
    };
    assert_eq!(of("all.hidden"), "struct hidden *");
    assert_eq!(of("all.grid"), "int [2][3]");
    assert_eq!(of("all.call"), "int (*)()");
    assert_eq!(of("all.many"), "u_int [300]");
    assert_eq!(of("keep"), "struct all **");
    assert_eq!(of("all.color"), "enum color");
    assert_eq!(of("&all.name"), "char (*)[8]");
    let value = eval("all").unwrap();
    let tree = Builder::new(e, 10).tree(&value).unwrap();
    let Tree::Record { is_union: false, members } = tree else { panic!() };
    let member = |name: &str| {
        let found = members.iter().find(|m| m.0.as_deref() == Some(name));
        &found.unwrap().1
    };
    assert_eq!(*member("color"), Tree::Enum(5, Some("GREEN".into())));
    assert_eq!(*member("yes"), Tree::Bool(1));
    assert_eq!(*member("name"), Tree::Text(b"box".to_vec(), false));
    assert_eq!(*member("number"), Tree::Float(0.5));
    let Tree::Array(many, Some(290)) = member("many") else { panic!() };
    assert_eq!(many.len(), 10);
    let Tree::Array(mac, None) = member("mac") else { panic!() };
    assert_eq!(mac[5], Tree::Unsigned(255, 1));
    let Tree::Pointer(_, Some(symbol), _) = member("call") else {
        // The address of code is in the lower half, where no kernel is.
        return;
    };
    assert_eq!(symbol, "callee");
}

#[test]
fn damaged_types_end_in_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    for options in [&["-gdwarf-4"][..], &["-gdwarf-5", "-gz=zlib"]] {
        let Some(kernel) = compile(dir.path(), options) else { return };
        let path = dir.path().join("kernel");
        let whole = std::fs::read(&path).unwrap();
        let sections: Vec<_> = [".debug_info", ".debug_abbrev", ".debug_str"]
            .iter()
            .filter_map(|name| kernel.section(name))
            .collect();
        let mut seed = 11u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005) + 1;
            (seed >> 33) % n
        };
        for _ in 0..200 {
            let mut file = whole.clone();
            for _ in 0..=random(6) {
                let s = sections[random(sections.len() as u64) as usize];
                let at = s.offset + random(s.size);
                file[at as usize] = random(256) as u8;
            }
            std::fs::write(&path, file).unwrap();
            let kernel = Kernel::open(&path).unwrap();
            with(&kernel, |e| {
                for text in ["all", "all.self->bits", "*keep", "both"] {
                    if let Ok(value) = e.eval(&parse(text).unwrap()) {
                        let _ = Builder::new(e, 10).tree(&value);
                        let _ = e.types().text(&value.of);
                    }
                }
            });
        }
    }
}

/// A kernel's file with a section of CTF.
fn with_ctf(ctf: Vec<u8>) -> (tempfile::TempDir, Kernel) {
    use livedump_hosted::machine::Running;
    let elf = model("size 16M\ntypes none\n").kernel_elf().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kernel");
    let sections = [Section::new(".SUNW_ctf", ctf)];
    std::fs::write(&path, with_sections(&elf, &sections)).unwrap();
    let kernel = Kernel::open(&path).unwrap();
    (dir, kernel)
}

/// CTF of version 3: types, then strings; all objects have type `object`.
fn ctf(types: &[u32], strings: &[u8], objects: &[u32]) -> Vec<u8> {
    let bytes = |words: &[u32]| -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    };
    let (objects, types) = (bytes(objects), bytes(types));
    let mut out = vec![0xf1, 0xcf, 3, 0];
    let typeoff = objects.len() as u32;
    let stroff = typeoff + types.len() as u32;
    let header = [0, 0, 0, 0, typeoff, typeoff, stroff, strings.len() as u32];
    out.extend(bytes(&header));
    [&out[..], &objects, &types, strings].concat()
}

fn info(kind: u32, n: u32) -> u32 {
    kind << 26 | 1 << 25 | n
}

#[test]
fn ctf_has_bit_fields_enumerations_and_the_types_of_variables() {
    let strings = b"\0int\0color\0RED\0BLUE\0s\0low\0next\0c\0";
    let types = [
        // 1: int, signed, 32 bits.
        [1, info(1, 0), 4, 1 << 24 | 32].as_slice(),
        // 2: three bits of one.
        &[1, info(1, 0), 4, 1 << 24 | 3],
        // 3: enum color { RED, BLUE = -2 }
        &[5, info(8, 2), 4, 11, 0, 15, (-2i32) as u32],
        // 4: struct s { int low : 3 at bit 4; struct s *next; color c; }
        &[20, info(6, 3), 24, 22, 2, 4, 26, 5, 64, 31, 6, 128],
        // 5: struct s *; 6: const enum color; 7: struct s [2]
        &[0, info(3, 0), 4],
        &[0, info(12, 0), 3],
        &[0, info(4, 0), 0, 4, 1, 2],
    ]
    .concat();
    let objects = |kernel: &Kernel| {
        let all: Vec<_> = kernel.objects().map(|o| o.0.to_vec()).collect();
        let at = all.iter().position(|name| name == b"hz").unwrap();
        let mut of = vec![0; all.len()];
        of[at] = 7;
        of
    };
    let (_dir, plain) = with_ctf(ctf(&types, strings, &[]));
    let (_dir, kernel) = with_ctf(ctf(&types, strings, &objects(&plain)));
    let reader = TypeReader::new(&kernel, None);
    assert_eq!(reader.variable("allproc", None).unwrap(), None);
    let hz = reader.variable("hz", None).unwrap().unwrap();
    let hz = CType::Known(hz.of.unwrap());
    assert_eq!(reader.text(&hz).unwrap(), "struct s [2]");
    assert_eq!(reader.size(&hz).unwrap(), Some(48));
    let s = reader.find(Tag::Struct, "s").unwrap().unwrap();
    let low = reader.member(s, "low").unwrap().unwrap();
    assert_eq!((low.at_bits, low.bits), (4, Some(3)));
    let next = reader.member(s, "next").unwrap().unwrap();
    assert_eq!(reader.text(&next.of).unwrap(), "struct s *");
    let c = reader.member(s, "c").unwrap().unwrap();
    let Resolved::Enum(id, 4) = reader.resolve(&c.of).unwrap() else {
        panic!()
    };
    assert_eq!(reader.enumerator(id, -2).unwrap().unwrap(), "BLUE");
    assert_eq!(reader.enumerator(id, 1).unwrap(), None);
    assert_eq!(reader.find(Tag::Union, "s").unwrap(), None);
    // The integer, and not the bits of one.
    let int = reader.find(Tag::Name, "int").unwrap().unwrap();
    let Kind::Base(_) = reader.get(int).unwrap().kind else { panic!() };
    assert_eq!(reader.size(&CType::Known(int)).unwrap(), Some(4));
}

#[test]
fn types_of_themselves_end() {
    // 1: a typedef of itself; 2: an array of itself; 3: a structure whose
    // nameless member is itself; 4: a qualifier of 1; 5: a pointer to itself.
    let types = [
        [1, info(10, 0), 1].as_slice(),
        &[1, info(4, 0), 0, 2, 1, u32::MAX],
        &[3, info(6, 1), 64, 0, 3, 0],
        &[0, info(12, 0), 1],
        &[0, info(3, 0), 5],
    ]
    .concat();
    let (_dir, kernel) = with_ctf(ctf(&types, b"\0t\0s\0", &[]));
    let reader = TypeReader::new(&kernel, None);
    let t = reader.find(Tag::Name, "t").unwrap().unwrap();
    let of = CType::Known(t);
    assert_eq!(reader.resolve(&of).unwrap(), Resolved::Unknown);
    assert_eq!(reader.size(&of).unwrap(), None);
    let s = reader.find(Tag::Struct, "s").unwrap().unwrap();
    assert_eq!(reader.member(s, "x").unwrap(), None);
    assert!(reader.member_names(s).unwrap().is_empty());
    with(&kernel, |e| {
        for text in
            ["*(struct s *)0xffffffff80200000", "*(t *)0xffffffff80200000"]
        {
            if let Ok(value) = e.eval(&parse(text).unwrap()) {
                let _ = Builder::new(e, 10).tree(&value);
                let _ = e.types().text(&value.of);
            }
        }
    });
}
