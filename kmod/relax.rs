// SPDX-License-Identifier: BSD-2-Clause
//! Puts an object into a form that FreeBSD's in-kernel linker loads: the
//! engine's, out of the static library that cargo makes, or any other.
//!
//! * R_X86_64_PLT32 becomes R_X86_64_PC32, which is what it means where there
//!   is no PLT;
//! * loads through a global offset table (the `core` that rustup ships is
//!   position independent) become direct, as the x86-64 psABI, section B.2,
//!   says a linker may.
//!
//! ```text
//! relax LIBRARY.a PREFIX OUT     the one member that begins with PREFIX
//! relax OBJECT PREFIX OUT        that object, whatever PREFIX is
//! ```
//! std alone, and no crate: it runs in the middle of a build of the module.

use std::process::ExitCode;
use std::{env, fs};

const R_PC32: u32 = 2;
const R_PLT32: u32 = 4;
const R_GOTPCREL: u32 = 9;
const R_32S: u32 = 11;
const R_GOTPCRELX: u32 = 41;
const R_REX_GOTPCRELX: u32 = 42;
const SHT_RELA: u32 = 4;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let (library, prefix, out) = match args.as_slice() {
        [_, library, prefix, out] => (library, prefix, out),
        _ => {
            eprintln!("usage: relax LIBRARY.a PREFIX OUT");
            return ExitCode::from(2);
        }
    };
    match run(library, prefix, out) {
        Ok(n) => {
            println!("relax: {out}: {n} relocations rewritten");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("relax: {library}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(library: &str, prefix: &str, out: &str) -> Result<usize, String> {
    let mut object = fs::read(library).map_err(|e| e.to_string())?;
    if !object.starts_with(b"\x7fELF") {
        object = member(&object, prefix)?;
    }
    let n = relax(&mut object)?;
    fs::write(out, &object).map_err(|e| format!("{out}: {e}"))?;
    Ok(n)
}

/// The one member whose name begins with `prefix`; ar(5), System V and BSD
/// long names.
fn member(archive: &[u8], prefix: &str) -> Result<Vec<u8>, String> {
    if !archive.starts_with(b"!<arch>\n") {
        return Err("not an archive".into());
    }
    let mut long_names: &[u8] = &[];
    let mut found = None;
    let mut at = 8;
    while let Some(head) = archive.get(at..at + 60) {
        let text = |r: std::ops::Range<usize>| {
            String::from_utf8_lossy(&head[r]).trim_end().to_string()
        };
        let size: usize =
            text(48..58).parse().map_err(|_| "bad member size")?;
        let mut data =
            archive.get(at + 60..at + 60 + size).ok_or("truncated")?;
        let mut name = text(0..16);
        if name == "//" {
            long_names = data;
        } else if let Some(len) = name.strip_prefix("#1/") {
            let len: usize = len.parse().map_err(|_| "bad name length")?;
            let (first, rest) =
                data.get(..len).zip(data.get(len..)).ok_or("truncated")?;
            name = String::from_utf8_lossy(first)
                .trim_end_matches('\0')
                .to_string();
            data = rest;
        } else if let Ok(from) = name.trim_start_matches('/').parse::<usize>() {
            let tail = long_names.get(from..).ok_or("bad name offset")?;
            let end = tail.iter().position(|&b| b == b'/' || b == b'\n');
            name =
                String::from_utf8_lossy(&tail[..end.unwrap_or(0)]).to_string();
        }
        if name.starts_with(prefix) && found.replace(data.to_vec()).is_some() {
            return Err(format!("several members begin with {prefix}"));
        }
        at += 60 + size + size % 2;
    }
    found.ok_or_else(|| format!("no member begins with {prefix}"))
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N], String> {
    file.get(at..at + N)
        .and_then(|b| b.try_into().ok())
        .ok_or_else(|| format!("truncated at {at:#x}"))
}

fn u16_at(file: &[u8], at: usize) -> Result<usize, String> {
    Ok(u16::from_le_bytes(bytes(file, at)?).into())
}

fn u32_at(file: &[u8], at: usize) -> Result<u32, String> {
    Ok(u32::from_le_bytes(bytes(file, at)?))
}

fn u64_at(file: &[u8], at: usize) -> Result<usize, String> {
    usize::try_from(u64::from_le_bytes(bytes(file, at)?))
        .map_err(|e| e.to_string())
}

/// Rewrites every relocation of an ELF object that needs it; how many did.
fn relax(file: &mut [u8]) -> Result<usize, String> {
    // 64-bit, little endian, ET_REL, EM_X86_64.
    if bytes::<6>(file, 0)? != *b"\x7fELF\x02\x01"
        || u16_at(file, 16)? != 1
        || u16_at(file, 18)? != 62
    {
        return Err("not an x86-64 object".into());
    }
    let headers = u64_at(file, 40)?;
    let count = u16_at(file, 60)?;
    let section = |i: usize| headers + 64 * i;
    let mut rewritten = 0;
    for i in 0..count {
        let at = section(i);
        if u32_at(file, at + 4)? != SHT_RELA {
            continue;
        }
        let (first, len) = (u64_at(file, at + 24)?, u64_at(file, at + 32)?);
        let target = section(u32_at(file, at + 44)? as usize);
        let code = u64_at(file, target + 24)?;
        for entry in (first..first + len).step_by(24) {
            rewritten += usize::from(rewrite(file, code, entry)?);
        }
    }
    Ok(rewritten)
}

/// One relocation, whose section's contents begin at `code` in the file.
fn rewrite(file: &mut [u8], code: usize, entry: usize) -> Result<bool, String> {
    let kind = u32_at(file, entry + 8)?;
    let (kind, shift, add) = match kind {
        R_PLT32 => (R_PC32, 0, 0),
        R_GOTPCREL | R_GOTPCRELX | R_REX_GOTPCRELX => {
            let at = code + u64_at(file, entry)?;
            direct(file, at, kind).map_err(|op| {
                format!("instruction {op:02x?} at {at:#x} in the object")
            })?
        }
        _ => return Ok(false),
    };
    let offset = u64_at(file, entry)? - shift;
    let addend = i64::from_le_bytes(bytes(file, entry + 16)?) + add;
    file[entry..entry + 8].copy_from_slice(&(offset as u64).to_le_bytes());
    file[entry + 8..entry + 12].copy_from_slice(&kind.to_le_bytes());
    file[entry + 16..entry + 24].copy_from_slice(&addend.to_le_bytes());
    Ok(true)
}

/// Makes the instruction whose displacement is at `at` do without the table.
/// Returns the relocation's new type, how far its place moves down, and what
/// its addend gains.
fn direct(
    file: &mut [u8],
    at: usize,
    kind: u32,
) -> Result<(u32, usize, i64), [u8; 3]> {
    let op: [u8; 3] = at
        .checked_sub(3)
        .and_then(|from| file.get(from..at)?.try_into().ok())
        .ok_or([0; 3])?;
    // The register of a `reg, symbol(%rip)` operand.
    let reg = op[2] >> 3 & 7;
    match op {
        // call *f(%rip): addr32 call f
        [_, 0xff, 0x15] => {
            file[at - 2..at].copy_from_slice(&[0x67, 0xe8]);
            Ok((R_PC32, 0, 0))
        }
        // jmp *f(%rip): jmp f; nop
        [_, 0xff, 0x25] => {
            let end = at + 4;
            file[at - 2] = 0xe9;
            file[end - 1] = 0x90;
            Ok((R_PC32, 1, 0))
        }
        // mov s(%rip), reg: lea s(%rip), reg
        [_, 0x8b, modrm] if modrm & 0xc7 == 0x05 => {
            file[at - 2] = 0x8d;
            Ok((R_PC32, 0, 0))
        }
        // test reg, s(%rip): test $s, reg
        [rex, 0x85, modrm]
            if modrm & 0xc7 == 0x05 && kind == R_REX_GOTPCRELX =>
        {
            file[at - 3..at].copy_from_slice(&[b_for(rex), 0xf7, 0xc0 | reg]);
            Ok((R_32S, 0, 4))
        }
        // add, or, adc, sbb, and, sub, xor, cmp s(%rip), reg: the same, $s
        [rex, binop, modrm]
            if modrm & 0xc7 == 0x05
                && binop & 0xc7 == 0x03
                && kind == R_REX_GOTPCRELX =>
        {
            let digit = 0xc0 | (binop & 0x38) | reg;
            file[at - 3..at].copy_from_slice(&[b_for(rex), 0x81, digit]);
            Ok((R_32S, 0, 4))
        }
        _ => Err(op),
    }
}

/// The register moves from modrm's reg field to its r/m field: REX.R to REX.B.
fn b_for(rex: u8) -> u8 {
    rex & !0x04 | rex >> 2 & 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(op: &[u8], kind: u32) -> (Vec<u8>, Option<(u32, usize, i64)>) {
        let mut code = op.to_vec();
        let at = code.len();
        code.extend([0; 4]);
        let to = direct(&mut code, at, kind).ok();
        (code, to)
    }

    #[test]
    fn calls_jumps_and_loads_become_direct() {
        assert_eq!(
            one(&[0x90, 0xff, 0x15], R_GOTPCRELX),
            (vec![0x90, 0x67, 0xe8, 0, 0, 0, 0], Some((R_PC32, 0, 0)))
        );
        assert_eq!(
            one(&[0x90, 0xff, 0x25], R_GOTPCRELX),
            (vec![0x90, 0xe9, 0x25, 0, 0, 0, 0x90], Some((R_PC32, 1, 0)))
        );
        // mov s(%rip), %r9
        assert_eq!(
            one(&[0x4c, 0x8b, 0x0d], R_REX_GOTPCRELX),
            (vec![0x4c, 0x8d, 0x0d, 0, 0, 0, 0], Some((R_PC32, 0, 0)))
        );
    }

    #[test]
    fn comparisons_get_the_address_as_an_immediate() {
        // cmp s(%rip), %r8: cmp $s, %r8
        assert_eq!(
            one(&[0x4c, 0x3b, 0x05], R_REX_GOTPCRELX),
            (vec![0x49, 0x81, 0xf8, 0, 0, 0, 0], Some((R_32S, 0, 4)))
        );
        // test %rax, s(%rip): test $s, %rax
        assert_eq!(
            one(&[0x48, 0x85, 0x05], R_REX_GOTPCRELX),
            (vec![0x48, 0xf7, 0xc0, 0, 0, 0, 0], Some((R_32S, 0, 4)))
        );
    }

    #[test]
    fn what_cannot_be_made_direct_is_refused() {
        // push s(%rip); a load at the very beginning of the file
        assert_eq!(one(&[0x90, 0xff, 0x35], R_GOTPCREL).1, None);
        assert_eq!(one(&[0xff, 0x15], R_GOTPCRELX).1, None);
        // cmp without REX has no room for the immediate form
        assert_eq!(one(&[0x90, 0x3b, 0x05], R_GOTPCRELX).1, None);
    }

    #[test]
    fn members_are_found_under_long_and_short_names() {
        let mut ar = b"!<arch>\n".to_vec();
        let mut add = |name: &str, data: &[u8]| {
            let head = format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                644,
                data.len()
            );
            ar.extend(head.bytes());
            ar.extend(data);
            ar.resize(ar.len().next_multiple_of_two(), b'\n');
        };
        add("//", b"core-0123456789abcdef.o/\nengine.0123456789.o/\n");
        add("/0", b"core");
        add("/25", b"engine");
        add("short.o/", b"sh");
        add("#1/8", b"bsd.name!");
        assert_eq!(member(&ar, "engine").unwrap(), b"engine");
        assert_eq!(member(&ar, "short").unwrap(), b"sh");
        assert_eq!(member(&ar, "bsd").unwrap(), b"!");
        assert!(member(&ar, "none").is_err());
        assert!(member(b"no archive", "x").is_err());
    }

    trait Even {
        fn next_multiple_of_two(self) -> usize;
    }
    impl Even for usize {
        fn next_multiple_of_two(self) -> usize {
            self + self % 2
        }
    }
}
