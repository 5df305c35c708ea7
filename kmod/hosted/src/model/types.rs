// SPDX-License-Identifier: BSD-2-Clause
//! What the kernel's file tells of its structures: nothing, or the members
//! that readers look for, as CTF (/boot/kernel/kernel has that) or as DWARF
//! (kernel.debug does). C: <sys/ctf.h>; DWARF 4.

use super::objects::OBJECTS;
use super::offsets::{Offsets, SLOT};
use super::recipe::{Recipe, TypeInfo};
use super::stacks::pcb_size;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use memdev::arch::Machine;
use std::collections::BTreeSet;
use std::io::Write as _;

/// A member's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pointer,
    Char,
    Int(u32),
    /// Anything else, of so many bytes.
    Bytes(u32),
    /// An array of characters.
    Text(u32),
    /// A pointer to a structure.
    To(&'static str),
    /// A structure.
    Part(&'static str),
}
use Kind::{Bytes, Char, Int, Part, Pointer, Text, To};

pub(super) struct Member(
    pub(super) &'static str,
    pub(super) u32,
    pub(super) Kind,
);

pub(super) struct Struct {
    pub(super) name: &'static str,
    pub(super) size: u32,
    pub(super) members: Vec<Member>,
}

/// A section of the kernel's file.
pub(super) type Extra = (&'static str, Vec<u8>);

/// The sections with what the recipe wants told.
pub(super) fn sections(recipe: &Recipe, offsets: &Offsets) -> Vec<Extra> {
    let mut structs = structs(recipe, offsets);
    if recipe.system {
        structs.extend(super::system::structs(&recipe.release));
    }
    add_objects(&mut structs);
    match recipe.types {
        TypeInfo::None => Vec::new(),
        TypeInfo::Dwarf => dwarf(&structs),
        TypeInfo::Ctf => {
            let v3 = recipe.release.osreldate >= 1_400_000;
            vec![(".SUNW_ctf", ctf(&structs, v3))]
        }
    }
}

fn structs(recipe: &Recipe, offsets: &Offsets) -> Vec<Struct> {
    let of = |prefix: &str| {
        let all = offsets.all().filter(|f| f.0.starts_with(prefix));
        all.map(|(name, at, bytes)| {
            let kind = match (name, bytes) {
                ("p_list" | "p_sibling", _) => Part("proc_entry"),
                ("p_children", _) => Part("proclist"),
                ("p_threads", _) => Part("threadqueue"),
                ("td_plist", _) => Part("thread_entry"),
                ("p_pptr" | "td_proc", _) => To("proc"),
                ("p_ucred", _) => To("ucred"),
                ("p_comm" | "td_name", n) => Text(n),
                (_, n @ (1 | 2 | 4)) => Int(n),
                ("td_kstack", _) => Int(8),
                (_, 8) => Pointer,
                (_, n) => Bytes(n),
            };
            Member(name, at, kind)
        })
        .collect()
    };
    let new = |name, size, members| Struct { name, size, members };
    let lock = |name, word| {
        new(
            name,
            32,
            vec![Member("lock_object", 0, Bytes(24)), Member(word, 24, Int(8))],
        )
    };
    let pcb = match recipe.machine {
        Machine::Amd64 => vec![
            Member("pcb_rbp", 32, Int(8)),
            Member("pcb_rsp", 40, Int(8)),
            Member("pcb_rip", 56, Int(8)),
        ],
        Machine::Arm64 if recipe.release.has_short_arm64_pcb() => {
            vec![Member("pcb_x", 0, Bytes(96)), Member("pcb_sp", 96, Int(8))]
        }
        Machine::Arm64 => vec![
            Member("pcb_x", 0, Bytes(240)),
            Member("pcb_lr", 240, Int(8)),
            Member("pcb_sp", 256, Int(8)),
        ],
    };
    vec![
        new("proclist", 8, vec![Member("lh_first", 0, To("proc"))]),
        new(
            "proc_entry",
            16,
            vec![
                Member("le_next", 0, To("proc")),
                Member("le_prev", 8, Pointer),
            ],
        ),
        new(
            "threadqueue",
            16,
            vec![
                Member("tqh_first", 0, To("thread")),
                Member("tqh_last", 8, Pointer),
            ],
        ),
        new(
            "thread_entry",
            16,
            vec![
                Member("tqe_next", 0, To("thread")),
                Member("tqe_prev", 8, Pointer),
            ],
        ),
        new("proc", SLOT as u32, of("p_")),
        new("thread", SLOT as u32, of("td_")),
        new(
            "ucred",
            256,
            vec![Member("cr_uid", recipe.release.cr_uid(), Int(4))],
        ),
        new(
            "lock_object",
            24,
            vec![
                Member("lo_name", 0, Pointer),
                Member("lo_flags", 8, Int(4)),
                Member("lo_data", 12, Int(4)),
                Member("lo_witness", 16, Pointer),
            ],
        ),
        lock("mtx", "mtx_lock"),
        lock("sx", "sx_lock"),
        lock("rwlock", "rw_lock"),
        lock("lock", "lk_lock"),
        new(
            "turnstile",
            136,
            vec![
                Member("ts_lock", 0, Bytes(32)),
                Member("ts_blocked", 32, Bytes(32)),
                Member("ts_pending", 64, Bytes(16)),
                Member("ts_hash", 80, Bytes(16)),
                Member("ts_lockobj", 120, Pointer),
                Member("ts_owner", 128, Pointer),
            ],
        ),
        new("turnstile_chain", 40, vec![Member("tc_turnstiles", 0, Bytes(8))]),
        new(
            "sleepqueue",
            80,
            vec![
                Member("sq_blocked", 0, Bytes(32)),
                Member("sq_hash", 40, Bytes(16)),
                Member("sq_wchan", 64, Pointer),
                Member("sq_type", 72, Int(4)),
            ],
        ),
        new("sleepqueue_chain", 64, vec![Member("sc_queues", 0, Bytes(8))]),
        new("pcb", pcb_size(recipe.machine) as u32, pcb),
        new(
            "linker_file",
            176,
            vec![
                Member("link", 24, Bytes(16)),
                Member("filename", 40, Pointer),
                Member("address", 64, Pointer),
                Member("size", 72, Int(8)),
            ],
        ),
    ]
}

/// Adds those of which the model has no instance. Where it has one, members
/// that it lacks are after its end.
fn add_objects(structs: &mut Vec<Struct>) {
    for &(name, size, spans) in OBJECTS {
        let known = structs.iter().position(|s| s.name == name);
        let known = known.unwrap_or_else(|| {
            structs.push(Struct { name, size: 0, members: Vec::new() });
            structs.len() - 1
        });
        let Some(s) = structs.get_mut(known) else { continue };
        let is_new = s.members.is_empty();
        for &(name, at, bytes) in spans {
            if s.members.iter().any(|m| m.0 == name) {
                continue;
            }
            // An array without a length has one element here.
            let bytes = bytes.max(1);
            let kind = match bytes {
                n @ (1 | 2 | 4) => Int(n),
                8 => Pointer,
                n => Bytes(n),
            };
            let at = if is_new { at } else { s.size.next_multiple_of(8) };
            s.members.push(Member(name, at, kind));
            s.size = s.size.max(at + bytes);
        }
        s.size = s.size.max(if is_new { size } else { 0 });
    }
}

/// Every type that is not a structure, in the order of its number.
fn kinds(structs: &[Struct]) -> Vec<Kind> {
    let members = structs.iter().flat_map(|s| &s.members);
    let mut all: BTreeSet<Kind> = members.map(|m| m.2).collect();
    all.extend([Char, Int(1), Int(4), Int(8)]);
    all.into_iter().filter(|kind| !matches!(kind, Part(_))).collect()
}

/// Variables with their types.
const VARIABLES: [(&str, Kind); 2] =
    [("allproc", Part("proclist")), ("hz", Int(4))];

fn structure(structs: &[Struct], name: &str) -> u32 {
    structs.iter().position(|s| s.name == name).unwrap_or(0) as u32
}

fn number(kinds: &[Kind], kind: Kind) -> u32 {
    kinds.iter().position(|k| *k == kind).unwrap_or(0) as u32
}

const NAMES: [(u32, &str); 4] =
    [(1, "u_char"), (2, "u_short"), (4, "u_int"), (8, "u_long")];

fn name_of(bytes: u32) -> &'static str {
    NAMES.iter().find(|n| n.0 == bytes).map_or("", |n| n.1)
}

fn ctf(structs: &[Struct], v3: bool) -> Vec<u8> {
    let mut strings = vec![0u8];
    let mut types = Vec::new();
    let mut string = |text: &str| {
        let at = strings.len() as u32;
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        at
    };
    let head = |out: &mut Vec<u8>, name: u32, kind: u32, n: u32, size: u32| {
        out.extend(name.to_le_bytes());
        if v3 {
            out.extend((kind << 26 | 1 << 25 | n).to_le_bytes());
            out.extend(size.to_le_bytes());
        } else {
            out.extend(((kind << 11 | 1 << 10 | n) as u16).to_le_bytes());
            out.extend((size as u16).to_le_bytes());
        }
    };
    let kinds = kinds(structs);
    let struct_id = |name| kinds.len() as u32 + 1 + structure(structs, name);
    let id = |kind| match kind {
        Part(name) => struct_id(name),
        kind => number(&kinds, kind) + 1,
    };
    for &kind in &kinds {
        match kind {
            Char => {
                let name = string("char");
                head(&mut types, name, 1, 0, 1);
                types.extend((3u32 << 24 | 8).to_le_bytes());
            }
            To(name) => head(&mut types, 0, 3, 0, struct_id(name)),
            // It has no type of its own.
            Part(_) => {}
            Int(bytes) => {
                let name = string(name_of(bytes));
                head(&mut types, name, 1, 0, bytes);
                types.extend((bytes * 8).to_le_bytes());
            }
            Pointer => head(&mut types, 0, 3, 0, 0),
            Bytes(n) | Text(n) => {
                head(&mut types, 0, 4, 0, 0);
                let of = if matches!(kind, Text(_)) { Char } else { Int(1) };
                for of in [id(of), id(Int(8))] {
                    match v3 {
                        true => types.extend(of.to_le_bytes()),
                        false => types.extend((of as u16).to_le_bytes()),
                    }
                }
                types.extend(n.to_le_bytes());
            }
        }
    }
    for s in structs {
        let name = string(s.name);
        head(&mut types, name, 6, s.members.len() as u32, s.size);
        for &Member(name, at, kind) in &s.members {
            types.extend(string(name).to_le_bytes());
            let (of, bits) = (id(kind), at * 8);
            if v3 {
                types.extend(of.to_le_bytes());
                types.extend(bits.to_le_bytes());
            } else {
                types.extend((of as u16).to_le_bytes());
                types.extend((bits as u16).to_le_bytes());
            }
        }
    }
    let mut out = vec![0xf1, 0xcf, if v3 { 3 } else { 2 }, 1];
    let (behind, len) = (types.len() as u32, strings.len() as u32);
    for word in [0, 0, 0, 0, 0, 0, behind, len] {
        out.extend(word.to_le_bytes());
    }
    let mut packed = ZlibEncoder::new(out, Compression::default());
    // Into memory: it cannot fail.
    let _ = packed.write_all(&types);
    let _ = packed.write_all(&strings);
    packed.finish().unwrap_or_default()
}

// DW_TAG_*, DW_AT_*, DW_FORM_*, DW_ATE_*.
const UNIT: u8 = 0x11;
const BASE_TYPE: u8 = 0x24;
const POINTER_TYPE: u8 = 0x0f;
const ARRAY_TYPE: u8 = 1;
const SUBRANGE: u8 = 0x21;
const STRUCT_TYPE: u8 = 0x13;
const MEMBER: u8 = 0x0d;
const NAME: u8 = 3;
const BYTE_SIZE: u8 = 0x0b;
const ENCODING: u8 = 0x3e;
const TYPE: u8 = 0x49;
const UPPER_BOUND: u8 = 0x2f;
const LOCATION: u8 = 0x38;
const STRING: u8 = 8;
const DATA1: u8 = 0x0b;
const DATA4: u8 = 6;
const REF4: u8 = 0x13;
const VARIABLE: u8 = 0x34;
const SIGNED_CHAR: u8 = 6;
const UNSIGNED: u8 = 7;

/// A tag, whether it has children, its attributes.
type Abbreviation = (u8, bool, &'static [(u8, u8)]);

const ABBREVIATIONS: [Abbreviation; 9] = [
    (UNIT, true, &[(NAME, STRING)]),
    (
        BASE_TYPE,
        false,
        &[(NAME, STRING), (BYTE_SIZE, DATA1), (ENCODING, DATA1)],
    ),
    (POINTER_TYPE, false, &[]),
    (ARRAY_TYPE, true, &[(TYPE, REF4)]),
    (SUBRANGE, false, &[(TYPE, REF4), (UPPER_BOUND, DATA4)]),
    (STRUCT_TYPE, true, &[(NAME, STRING), (BYTE_SIZE, DATA4)]),
    (MEMBER, false, &[(NAME, STRING), (TYPE, REF4), (LOCATION, DATA4)]),
    // Where it is, its symbol says.
    (VARIABLE, false, &[(NAME, STRING), (TYPE, REF4)]),
    (POINTER_TYPE, false, &[(TYPE, REF4)]),
];
/// The code of a pointer to something.
const POINTER_TO: u8 = 9;

fn dwarf(structs: &[Struct]) -> Vec<Extra> {
    let mut abbrev = Vec::new();
    for (code, (tag, children, attributes)) in (1..).zip(ABBREVIATIONS) {
        abbrev.extend([code, tag, u8::from(children)]);
        abbrev.extend(attributes.iter().flat_map(|&(a, f)| [a, f]));
        abbrev.extend([0, 0]);
    }
    abbrev.push(0);
    // Version, abbreviations, address size; the length comes last.
    let mut info = vec![0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8];
    let code = |tag: u8| {
        let all = ABBREVIATIONS.iter();
        (1..).zip(all).find(|a| a.1.0 == tag).map_or(0, |a| a.0)
    };
    let string = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(text.as_bytes());
        out.push(0);
    };
    info.push(code(UNIT));
    string(&mut info, "sys/kern/subr_turnstile.c");
    let kinds = kinds(structs);
    // What refers to a structure, which comes later, and to which.
    let mut later: Vec<(usize, &str)> = Vec::new();
    // Integers first: arrays point back to them.
    let mut at = vec![0u32; kinds.len()];
    let order = |arrays: bool| {
        let all = kinds.iter().enumerate();
        all.filter(move |(_, k)| matches!(k, Bytes(_) | Text(_)) == arrays)
    };
    for (i, kind) in order(false).chain(order(true)) {
        let here = info.len() as u32;
        match *kind {
            Int(bytes) => {
                info.push(code(BASE_TYPE));
                string(&mut info, name_of(bytes));
                info.extend([bytes as u8, UNSIGNED]);
            }
            Pointer => info.push(code(POINTER_TYPE)),
            Char => {
                info.push(code(BASE_TYPE));
                string(&mut info, "char");
                info.extend([1, SIGNED_CHAR]);
            }
            To(name) => {
                info.push(POINTER_TO);
                later.push((info.len(), name));
                info.extend([0; 4]);
            }
            // It has no type of its own.
            Part(_) => {}
            Bytes(n) | Text(n) => {
                let of = |kind| {
                    let at = at.get(number(&kinds, kind) as usize);
                    at.copied().unwrap_or(0).to_le_bytes()
                };
                let element = match kind {
                    Text(_) => Char,
                    _ => Int(1),
                };
                info.push(code(ARRAY_TYPE));
                info.extend(of(element));
                info.push(code(SUBRANGE));
                info.extend(of(Int(8)));
                info.extend((n - 1).to_le_bytes());
                info.push(0);
            }
        }
        if let Some(at) = at.get_mut(i) {
            *at = here;
        }
    }
    let reference =
        |info: &mut Vec<u8>, later: &mut Vec<(usize, &str)>, kind| {
            let of = at.get(number(&kinds, kind) as usize);
            if let Part(name) = kind {
                later.push((info.len(), name));
            }
            info.extend(of.copied().unwrap_or(0).to_le_bytes());
        };
    let mut starts = Vec::new();
    for s in structs {
        starts.push(info.len() as u32);
        info.push(code(STRUCT_TYPE));
        string(&mut info, s.name);
        info.extend(s.size.to_le_bytes());
        for &Member(name, offset, kind) in &s.members {
            info.push(code(MEMBER));
            string(&mut info, name);
            reference(&mut info, &mut later, kind);
            info.extend(offset.to_le_bytes());
        }
        info.push(0);
    }
    for (name, kind) in VARIABLES {
        info.push(code(VARIABLE));
        string(&mut info, name);
        reference(&mut info, &mut later, kind);
    }
    info.push(0);
    for (place, name) in later {
        let to = starts.get(structure(structs, name) as usize);
        let to = to.copied().unwrap_or(0).to_le_bytes();
        for (slot, byte) in info.iter_mut().skip(place).zip(to) {
            *slot = byte;
        }
    }
    let length = (info.len() as u32 - 4).to_le_bytes();
    for (to, from) in info.iter_mut().zip(length) {
        *to = from;
    }
    vec![(".debug_info", info), (".debug_abbrev", abbrev)]
}
