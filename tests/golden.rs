// SPDX-License-Identifier: BSD-2-Clause
//! Files that were written once and stay as they are (`golden/README.md`):
//! today's readers read them as they were.

use crate::tool::{CrashDir, run};
use livedump_tests::decoder::{judge_stripped, trailer};
use memdev::kerneldump::{Compression, KernelDumpHeader, Magic};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// The dump and its kernel, in a crash directory.
fn unpacked() -> CrashDir {
    let dir = CrashDir::new();
    for (from, to) in [("livecore", "livecore.0"), ("kernel", "kernel.0")] {
        let packed = std::fs::read(golden(&format!("{from}.zst"))).unwrap();
        let bytes = zstd::decode_all(&packed[..]).unwrap();
        std::fs::write(dir.file(to), bytes).unwrap();
    }
    dir
}

#[test]
fn a_header_is_written_and_read_as_another_program_writes_it() {
    let golden = std::fs::read(golden("kerneldumpheader-v4.bin")).unwrap();
    let golden: [u8; 512] = golden.try_into().unwrap();
    let header = KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: b"amd64",
        version: 4,
        architecture_version: 2,
        dumplength: 0x0123_4567_89ab,
        dumptime: 0x6553_f100,
        dumpkeysize: 0,
        blocksize: 4096,
        hostname: b"host.example.org",
        versionstring: b"FreeBSD 15.1-RELEASE-p1 releng/15.1 GENERIC\n",
        panicstring: b"",
        compression: Compression::Zstd,
        dumpextent: 0x0fed_cba9_8765,
    };
    let mut ours = [0xff; 512];
    header.encode(&mut ours);
    assert_eq!(ours, golden);
    assert_eq!(KernelDumpHeader::decode(&golden), Ok(header));
    let decoded = trailer::decode(&golden).unwrap();
    assert_eq!(decoded.dumpextent, 0x0fed_cba9_8765);
}

#[test]
fn an_old_dump_is_still_sound_and_its_deadlock_is_still_found() {
    let dir = unpacked();
    let dump = judge_stripped(&dir.read("livecore.0")).unwrap();
    assert_eq!(dump.pages().count(), 1691);
    let path = |name| dir.file(name).to_str().unwrap().to_string();
    let (file, kernel) = (path("livecore.0"), path("kernel.0"));
    run(["verify", "-k", &kernel, &file]).expect(0);
    let packed = golden("livecore.zst");
    run(["verify", "-k", &kernel, packed.to_str().unwrap()]).expect(0);
    let ps = run(["ps", "--json", "-k", &kernel, &file]).expect(0).json();
    let pids = ps["processes"].as_array().unwrap().iter();
    let pids: Vec<_> = pids.map(|p| p["pid"].as_i64().unwrap()).collect();
    assert_eq!(pids, [202, 201, 200, 843, 1, 0]);
    let found = run(["deadlock", "--json", "-k", &kernel, &file]);
    let found = found.expect(1).json();
    let cycle = &found["cycles"][0];
    let waits = cycle["waits"].as_array().unwrap();
    let tids: Vec<_> = waits.iter().map(|w| w["tid"].as_i64()).collect();
    assert_eq!(tids, [Some(100_201), Some(100_200)]);
    assert_eq!(waits[0]["holder"]["tid"], 100_200);
    let names: Vec<_> = waits.iter().map(|w| &w["lock"]["name"]).collect();
    assert_eq!(names, ["ufs", "proctree"]);
}
