// SPDX-License-Identifier: BSD-2-Clause
//! Lines and CFI that mean harm: functions inlined a million times in each
//! other, and bytes that were changed anywhere. Read or not, soon.

use super::cases;
use livedump_tests::elf::dwarf::{BY_RBP, Debug};
use livedump_tests::elf::sections::{Section, with_sections};
use livedump_tests::scenario::model;
use livedump_vmcore::debuginfo::DebugInfo;
use livedump_vmcore::elf::Kernel;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
const AT: (u64, u32) = (0xffff_ffff_8020_0000, 0x1000);

/// Reads what a kernel with these sections has for some addresses.
fn read(elf: &[u8], sections: &[Section<'_>]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kernel");
    std::fs::write(&path, with_sections(elf, sections)).unwrap();
    let started = Instant::now();
    let kernel = Kernel::open(&path).unwrap();
    let debug = DebugInfo::new(&kernel, None);
    let _ = debug.has_cfi();
    let mut most = 0;
    for n in 0..16 {
        let calls = debug.calls(AT.0.wrapping_add(n * 0x101));
        most = most.max(calls.len());
    }
    let took = started.elapsed();
    assert!(took < SOON, "{took:?}");
    most
}

fn kernel() -> Vec<u8> {
    use livedump_hosted::machine::Running;
    model("size 16M\ntypes none\n").kernel_elf().unwrap()
}

fn debug(inlined: usize) -> Debug {
    Debug { at: AT, inlined, line: 7, cfi: BY_RBP.to_vec() }
}

#[test]
fn functions_inlined_in_each_other_without_end_are_cut_off() {
    let elf = kernel();
    assert_eq!(read(&elf, &debug(3).sections()), 4);
    let most = read(&elf, &debug(500_000).sections());
    assert!((1..1000).contains(&most), "{most}");
}

#[test]
fn debug_sections_of_any_bytes_are_read_soon() {
    let elf = kernel();
    let sound = debug(3).sections();
    let change = (0..4usize, any::<u32>(), any::<u8>());
    let changes = prop::collection::vec(change, 1..12);
    let mut runner = proptest::test_runner::TestRunner::new(cases(200));
    let test = |changes: Vec<(usize, u32, u8)>| {
        let mut sections = sound.clone();
        for (section, at, byte) in changes {
            let bytes = &mut sections[section].bytes;
            let at = at as usize % bytes.len();
            bytes[at] = byte;
        }
        read(&elf, &sections);
        Ok(())
    };
    runner.run(&changes, test).unwrap();
}
