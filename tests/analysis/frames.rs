// SPDX-License-Identifier: BSD-2-Clause
//! `bt` with debug information: lines, inlined functions, frames by CFI, and
//! what of it is not believed.

use super::{Case, TWO};
use livedump_tests::elf::dwarf::{BY_RBP, Debug};
use livedump_tests::elf::sections::with_sections;
use livedump_vmcore::debuginfo::DebugInfo;
use livedump_vmcore::elf::Kernel;
use serde_json::Value;
use std::process::Command;

/// A case whose kernel has debug information for `mi_switch`, with this CFI.
fn case(inlined: usize, cfi: &[u8]) -> Case {
    let case = Case::new(TWO);
    let at = (case.machine.symbol("mi_switch").unwrap().0, 0x100);
    let debug = Debug { at, inlined, line: 42, cfi: cfi.to_vec() };
    let path = case.path("kernel.0");
    let elf = std::fs::read(&path).unwrap();
    std::fs::write(&path, with_sections(&elf, &debug.sections())).unwrap();
    case
}

fn frames(case: &Case, tid: &str) -> Vec<Value> {
    let bt = case.run("bt", &["--json", tid]).expect(0).json();
    assert_eq!(bt["broken"], Value::Null);
    bt["frames"].as_array().unwrap().clone()
}

fn words<'v>(frames: &'v [Value], key: &str) -> Vec<&'v str> {
    frames.iter().map(|f| f[key].as_str().unwrap_or("-")).collect()
}

#[test]
fn frames_have_lines_and_the_functions_inlined_in_them() {
    let case = case(2, &BY_RBP);
    let all = frames(&case, "100200");
    let names = words(&all, "function");
    assert_eq!(
        names[..5],
        ["sched_switch", "inner", "inner", "outer", "sleepq_switch"]
    );
    let lines: Vec<_> = all[1..4].iter().map(|f| f["line"].as_u64()).collect();
    assert_eq!(lines, [Some(42), Some(101), Some(100)]);
    assert_eq!(
        words(&all, "file")[1..5],
        ["/src/a.c"; 3].map(|f| f).into_iter().chain(["-"]).collect::<Vec<_>>()
    );
    let inlined: Vec<_> = all.iter().map(|f| f["inlined"] == true).collect();
    assert_eq!(inlined[..5], [false, true, true, false, false]);
    assert_eq!(all[1]["offset"], Value::Null);
    assert!(all[3]["offset"].is_u64());
    let text = case.run("bt", &["100200"]).expect(0).text().to_string();
    assert!(text.contains(" inner at a.c:42, inlined\n"), "{text}");
    assert!(text.contains(" at a.c:100\n"), "{text}");
}

#[test]
fn a_frame_is_found_by_cfi_where_there_is_any() {
    let plain = frames(&Case::new(TWO), "100200");
    let all = frames(&case(0, &BY_RBP), "100200");
    assert_eq!(
        words(&all, "how")[..4],
        ["registers", "frame pointer", "cfi", "frame pointer"]
    );
    assert_eq!(words(&all, "pc"), words(&plain, "pc"));
}

#[test]
fn cfi_that_leads_nowhere_is_not_used() {
    let plain = frames(&Case::new(TWO), "100200");
    for cfi in [
        // The CFA is rsp: not above it.
        &[0x0c, 7, 0][..],
        // Far above the stack.
        &[0x0c, 6, 0xff, 0xff, 0xff, 0x7f, 0x90, 1],
        // An expression without an end: DW_OP_skip -3.
        &[0x0f, 3, 0x2f, 0xfd, 0xff],
        // One that reads where nothing is; one that divides by zero.
        &[0x0f, 3, 0x31, 0x06, 0x06],
        &[0x0f, 3, 0x31, 0x30, 0x1b],
        // A register that is not known, or that there is not.
        &[0x0c, 0, 16],
        &[0x0c, 0xff, 0x7f, 16],
        // No such instruction; states without an end.
        &[0x3f],
        &[0x0b, 0x0b],
        &[0x0a; 64],
    ] {
        let all = frames(&case(0, cfi), "100200");
        assert_eq!(words(&all, "pc"), words(&plain, "pc"), "{cfi:x?}");
        assert!(!words(&all, "how").contains(&"cfi"), "{cfi:x?}");
    }
}

#[test]
fn arguments_are_shown_where_they_are_known() {
    let case = case(1, &BY_RBP);
    let bt = case.run("bt", &["--args", "100200"]).expect(0);
    let text = bt.text();
    assert!(text.contains("(known=-7, lost=unavailable) at a.c:100"), "{text}");
    let bt = case.run("bt", &["--args", "--json", "100200"]).expect(0).json();
    let outer = &bt["frames"][2]["args"];
    assert_eq!(outer[0]["name"], "known");
    assert_eq!(outer[0]["value"], "-7");
    assert_eq!(outer[1]["value"], Value::Null);
    // Not asked for.
    assert!(frames(&case, "100200")[2].get("args").is_none());
}

const MODULE: &str = "static int inner(volatile int *p) { return *p + 1; }\n\
    int before(int n) { return n; }\n\
    int outer(volatile int *p) {\n\
    int a = inner(p);\n\
    return a * *p; }\n";

#[test]
fn a_modules_debug_sections_are_relocated_to_where_it_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let (source, file) = (dir.path().join("m.c"), dir.path().join("m.ko"));
    std::fs::write(&source, MODULE).unwrap();
    let run = Command::new("cc")
        .args(["-c", "-g", "-O2", "-fno-omit-frame-pointer"])
        .args(["-ffunction-sections", "-gdwarf-4", "-o"])
        .args([&file, &source])
        .output();
    if !run.is_ok_and(|out| out.status.success()) {
        return livedump_skip::skipped(format_args!("no cc"));
    }
    let start = 0xffff_ffff_8240_0000;
    let mut module = Kernel::open(&file).unwrap();
    let size = module.place(start).unwrap();
    let outer = module.find("outer").unwrap();
    let before = module.find("before").unwrap();
    let all = start..start + size;
    assert!(all.contains(&outer.address.0) && all.contains(&before.address.0));
    assert_ne!(outer.address, before.address);
    let debug = DebugInfo::new(&module, None);
    assert!(debug.has_cfi() && debug.has_functions());
    let name = |at: u64| {
        let calls = debug.calls(at);
        calls.last().and_then(|c| c.function.clone())
    };
    assert_eq!(name(outer.address.0).as_deref(), Some("outer"));
    assert_eq!(name(before.address.0).as_deref(), Some("before"));
    assert_eq!(name(start + size + 64), None);
    // Somewhere in it inner is inlined, at line 1, called from line 4.
    let inlined = (0..outer.size).find_map(|n| {
        let calls = debug.calls(outer.address.0 + n);
        (calls.len() == 2).then_some(calls)
    });
    let calls = inlined.expect("nothing is inlined");
    assert_eq!(calls[0].function.as_deref(), Some("inner"));
    assert_eq!((calls[0].line, calls[1].line), (Some(1), Some(4)));
    assert!(calls[0].file.as_ref().unwrap().ends_with("/m.c"));
}

#[test]
fn the_stack_pointer_is_the_cfa_whatever_cfi_says() {
    // DW_CFA_val_offset: rsp is far below the CFA.
    let mut cfi = BY_RBP.to_vec();
    cfi.extend([0x14, 7, 0x40]);
    let plain = frames(&case(0, &BY_RBP), "100200");
    let all = frames(&case(0, &cfi), "100200");
    for key in ["pc", "how"] {
        assert_eq!(words(&all, key), words(&plain, key));
    }
}
