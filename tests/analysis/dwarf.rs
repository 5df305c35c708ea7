// SPDX-License-Identifier: BSD-2-Clause
//! DWARF as a compiler writes it, of structures like the kernel's.

use livedump_cli::analysis::types::{Field, Types};
use livedump_vmcore::elf::Kernel;
use std::path::Path;
use std::process::Command;

/// Anonymous members, typedefs, arrays, enumerations, bit fields, and other
/// structures of the same names' beginnings.
const C: &str = "
struct thread;
typedef struct { struct thread *next, **prev; } entry;
typedef const char *volatile text;
typedef unsigned char u_char;
typedef u_char flag;
enum states { A, B, C };
struct mtx { struct { const char *n; unsigned f, d; void *w; } lock_object;
    volatile unsigned long mtx_lock; };
struct thread_other { int td_tid; };
struct thread {
    struct mtx *volatile td_lock;
    union { entry td_slpq; struct thread *td_zombie; };
    struct { int pad[3]; union { int td_tid; long other; }; };
    char td_name[20];
    flag td_tsqueue;
    unsigned td_bits : 3;
    enum states td_state;
    text td_wmesg;
    short td_sx_slocks;
};
struct turnstile { struct mtx ts_lock; entry ts_blocked[2]; };
struct vnode { void *v_data; enum states v_type : 8; short v_irflag; };
struct thread keep; struct thread_other other; struct turnstile ts;
struct vnode vnode;
const int size = sizeof(struct thread);
const int slpq = __builtin_offsetof(struct thread, td_slpq);
const int tid = __builtin_offsetof(struct thread, td_tid);
const int state = __builtin_offsetof(struct thread, td_state);
const int wmesg = __builtin_offsetof(struct thread, td_wmesg);
";

fn compile(dir: &Path, options: &[&str]) -> Option<Kernel> {
    let (source, file) = (dir.join("kern.c"), dir.join("kernel"));
    std::fs::write(&source, C).unwrap();
    let run = Command::new("cc")
        .args(["-shared", "-nostdlib", "-fPIC", "-g"])
        .args(options)
        .args(["-o".as_ref(), file.as_os_str(), source.as_os_str()])
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

fn constant(kernel: &Kernel, name: &str) -> u64 {
    let mut raw = [0; 4];
    assert!(kernel.read(kernel.find(name).unwrap().address, &mut raw));
    u32::from_le_bytes(raw).into()
}

#[test]
fn a_compilers_dwarf_tells_what_the_compiler_did() {
    let dir = tempfile::tempdir().unwrap();
    for options in [
        &["-gdwarf-2", "-gstrict-dwarf"][..],
        &["-gdwarf-4"],
        &["-gdwarf-5"],
        &["-gdwarf-5", "-gz=zlib"],
        &["-gdwarf-4", "-fdebug-types-section"],
    ] {
        let Some(kernel) = compile(dir.path(), options) else { continue };
        let types = Types::load(&kernel, None, &[]).unwrap();
        if options.contains(&"-fdebug-types-section") {
            // Types elsewhere than in .debug_info are not looked for.
            continue;
        }
        let field = |name| types.field("thread", name);
        let at = |name: &str, size| {
            Some(Field { offset: constant(&kernel, name), size })
        };
        assert_eq!(types.size("thread"), Some(constant(&kernel, "size")));
        assert_eq!(field("td_slpq"), at("slpq", 16), "{options:?}");
        assert_eq!(field("td_tid"), at("tid", 4), "{options:?}");
        assert_eq!(field("td_state"), at("state", 4), "{options:?}");
        assert_eq!(field("td_wmesg"), at("wmesg", 8), "{options:?}");
        assert_eq!(field("td_name").unwrap().size, 20);
        assert_eq!(field("td_tsqueue").unwrap().size, 1);
        assert_eq!(field("td_sx_slocks").unwrap().size, 2);
        assert_eq!(field("td_wchan"), None);
        let mtx = types.field("mtx", "mtx_lock");
        assert_eq!(mtx, Some(Field { offset: 24, size: 8 }));
        let blocked = types.field("turnstile", "ts_blocked");
        assert_eq!(blocked, Some(Field { offset: 32, size: 32 }));
        let v_type = types.field("vnode", "v_type");
        assert_eq!(v_type, Some(Field { offset: 8, size: 1 }), "{options:?}");
    }
}

#[test]
fn damaged_debug_information_ends_in_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    for options in [&["-gdwarf-4"][..], &["-gdwarf-5", "-gz=zlib"]] {
        let Some(kernel) = compile(dir.path(), options) else { return };
        let path = dir.path().join("kernel");
        let whole = std::fs::read(&path).unwrap();
        let sections: Vec<_> = [".debug_info", ".debug_abbrev", ".debug_str"]
            .iter()
            .filter_map(|name| kernel.section(name))
            .collect();
        let mut seed = 7u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005) + 1;
            (seed >> 33) % n
        };
        for _ in 0..300 {
            let mut file = whole.clone();
            for _ in 0..=random(6) {
                let s = sections[random(sections.len() as u64) as usize];
                let at = s.offset + random(s.size);
                file[at as usize] = random(256) as u8;
            }
            std::fs::write(&path, file).unwrap();
            let kernel = Kernel::open(&path).unwrap();
            let _ = Types::load(&kernel, None, &[]);
        }
    }
}
