// SPDX-License-Identifier: BSD-2-Clause
//! The judge itself, held against what is known of the real vmcores: what it
//! says of our dumps is worth something only if it reads FreeBSD's.

use livedump_tests::decoder::{Arch, Dump, trailer};
use livedump_tests::elf::{Symbols, yaml};
use livedump_tests::vmcores;

fn real(arch: &str) -> Option<(Dump, Symbols)> {
    let core = vmcores::file(&format!("vmcore-{arch}-minidump.bz2"))?;
    let yaml = vmcores::file(&format!("kernel-{arch}.yaml"))?;
    let elf = yaml::to_elf(&std::fs::read_to_string(yaml).unwrap()).unwrap();
    let dump = Dump::lenient(vmcores::bunzip2(&core)).unwrap();
    Some((dump, Symbols::parse(&elf).unwrap()))
}

fn offset(dump: &Dump, symbols: &Symbols, name: &str) -> usize {
    let pa = dump.translate(symbols.get(name).unwrap()).unwrap();
    dump.offset_of(pa).unwrap()
}

#[test]
fn the_decoder_reads_the_real_amd64_vmcore() {
    let Some((dump, symbols)) = real("amd64") else { return };
    assert_eq!((dump.arch, dump.version), (Arch::Amd64, 3));
    assert_eq!(
        dump.boundaries()[..6],
        [0, 0x1000, 0x19000, 0x1a000, 0x1b000, 0x81_a000]
    );
    assert_eq!(dump.dump_avail, [(0, 0x9f000), (0x10_4000, 0x7fd_f000)]);
    assert_eq!(dump.pas().len(), 24144);
    assert!(dump.excess_bits.is_empty());
    for (name, at) in [
        ("hz", 0x243_3c0c),
        ("dumptid", 0x240_59a8),
        ("pcb_size", 0x1d2_9590),
        ("allproc", 0x23f_92f0),
    ] {
        assert_eq!(offset(&dump, &symbols, name), at, "{name}");
    }
    let procs = dump.allproc(&symbols).unwrap();
    let seen: Vec<_> = procs.iter().map(|p| (p.pid, &*p.comm)).collect();
    assert_eq!(seen, [(800, "sysctl"), (28, "pagedaemon"), (11, "idle")]);
    assert_eq!(procs[0].tids, [100_670]);
    assert_eq!(procs[1].tids, [100_210, 100_214, 100_215]);
}

#[test]
fn the_decoder_reads_the_real_arm64_vmcore() {
    let Some((dump, symbols)) = real("arm64") else { return };
    assert_eq!((dump.arch, dump.version), (Arch::Arm64, 2));
    assert_eq!(dump.boundaries()[5], 0x6c_a000);
    assert_eq!(dump.dump_avail.len(), 7);
    assert_eq!(dump.pas().len(), 19296);
    for (name, at) in [
        ("hz", 0x289_551c),
        ("dumptid", 0x286_2cf0),
        ("pcb_size", 0x23d_ac0c),
        ("allproc", 0x285_6230),
    ] {
        assert_eq!(offset(&dump, &symbols, name), at, "{name}");
    }
    let procs = dump.allproc(&symbols).unwrap();
    let seen: Vec<_> = procs.iter().map(|p| (p.pid, &*p.comm)).collect();
    assert_eq!(seen, [(939, "sysctl"), (21, "syncer"), (11, "idle")]);
}

#[test]
fn the_decoder_reads_the_known_header() {
    let Some(path) = vmcores::file("kerneldumpheader-v4.bin") else { return };
    let mut bytes = std::fs::read(path).unwrap();
    let t = trailer::decode(&bytes).unwrap();
    assert_eq!((&*t.architecture, t.architecture_version), ("amd64", 2));
    assert_eq!(t.hostname, "testhost.example.org");
    assert_eq!((t.dumplength, t.dumpextent), (107_388_928, 107_388_928));
    assert_eq!(t.blocksize, 4096);
    bytes[300] ^= 1;
    assert!(trailer::decode(&bytes).unwrap_err().contains("parity"));
}

#[test]
fn our_kernels_have_the_symbols_that_yaml2objs_have() {
    let dir = tempfile::tempdir().unwrap();
    for arch in ["amd64", "arm64"] {
        let Some(text) = vmcores::file(&format!("kernel-{arch}.yaml")) else {
            return;
        };
        let theirs = dir.path().join(arch);
        if !vmcores::yaml2obj(&text, &theirs) {
            livedump_skip::skipped("no yaml2obj");
            return;
        }
        let theirs = Symbols::parse(&std::fs::read(theirs).unwrap());
        let text = std::fs::read_to_string(text).unwrap();
        let ours = Symbols::parse(&yaml::to_elf(&text).unwrap());
        assert_eq!(ours, theirs);
    }
}
