// SPDX-License-Identifier: BSD-2-Clause
//! `capture --machine vmcore:FILE`: the engine over what a real kernel left.

use crate::tool::CrashDir;
use livedump_tests::decoder::Dump;
use livedump_tests::elf::Symbols;
use livedump_tests::vmcores;
use std::path::Path;

/// The original, the kernel's symbols, and what we make of it.
fn again(arch: &str, options: &[&str]) -> Option<(Dump, Symbols, Dump)> {
    let dir = CrashDir::new();
    let real = vmcores::unpack(arch, dir.path())?;
    let machine = format!("vmcore:{}", real.vmcore.display());
    // Both files are cut off.
    let told = dir.capture(&machine, options).expect(1).stderr;
    assert!(told.contains("are after the end, and not dumped"), "{told}");
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    let original = Dump::lenient(bytes(&real.vmcore)).unwrap();
    let symbols = Symbols::parse(&bytes(&real.kernel)).unwrap();
    let core = dir.names().into_iter().find(|n| n.starts_with("livecore.0"));
    let ours = dir.judge(&core.unwrap());
    Some((original, symbols, ours))
}

fn compare(arch: &str, options: &[&str]) {
    let Some((original, symbols, ours)) = again(arch, options) else { return };
    assert_eq!(ours.arch, original.arch);
    assert_eq!(ours.version, original.version);
    assert_eq!(ours.kernbase, original.kernbase);
    assert_eq!(ours.dmap, original.dmap);
    assert_eq!(ours.dmapphys, original.dmapphys);
    assert_eq!(ours.dump_avail, original.dump_avail);
    for (name, len) in
        [("hz", 4), ("dumptid", 4), ("pcb_size", 4), ("allproc", 8)]
    {
        let va = symbols.get(name).unwrap();
        let theirs = original.read(va, len).unwrap();
        assert_eq!(ours.read(va, len).as_ref(), Ok(&theirs), "{name}");
    }
    // The processes that are left in it, as far as they were kept.
    assert_eq!(ours.allproc(&symbols), original.allproc(&symbols));
    assert_eq!(ours.allproc(&symbols).unwrap().len(), 3);

    let mut both = 0;
    for (pa, page) in ours.pages() {
        // The last page of a cut off file is there in part.
        let Some(theirs) = original.page(pa) else { continue };
        assert!(page == theirs, "page {pa:#x} differs");
        both += 1;
    }
    // Every page that is whole in the file is in ours.
    let whole = original.pages().count();
    assert_eq!(both, whole);
    assert!(whole > 15_000);
    assert!(ours.pmap() == original.pmap(), "page tables differ");
}

#[test]
fn a_real_amd64_kernel_is_dumped_once_more() {
    compare("amd64", &[]);
}

#[test]
fn a_real_arm64_kernel_is_dumped_once_more() {
    compare("arm64", &[]);
}

#[test]
fn a_real_kernel_is_dumped_compressed() {
    compare("amd64", &["-Z"]);
    compare("arm64", &["-z"]);
}
