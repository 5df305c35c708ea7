// SPDX-License-Identifier: BSD-2-Clause
//! makedumpfile(8), which makes one file of a flattened one.

use super::qemu::{Guest, check};
use super::{open, runs};
use crate::tool::{CrashDir, run};
use livedump_vmcore::image::Format;
use memdev::addr::Paddr;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Command;

#[test]
fn what_makedumpfile_rearranges_is_what_was_flattened() {
    let Some(mut guest) = Guest::amd64() else { return };
    let raw = guest.memory();
    let flat = guest.dump("kdump-zlib");
    let whole = flat.with_extension("whole");
    let run = Command::new("makedumpfile")
        .arg("-R")
        .arg(&whole)
        .stdin(File::open(&flat).unwrap())
        .output();
    let run = match run {
        Ok(run) => run,
        Err(e) => {
            livedump_skip::skipped(format_args!("makedumpfile: {e}"));
            return;
        }
    };
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {text}", run.status);
    assert!(std::fs::read(&whole).unwrap().starts_with(b"KDUMP   "));
    check(&whole, &raw, Format::QemuKdump);
    // What is above the guest's memory, too.
    let (one, other) = (open(&whole), open(&flat));
    let all = runs(one.as_ref());
    assert_eq!(all, runs(other.as_ref()));
    for page in all.into_iter().flat_map(|(a, b)| (a..b).step_by(4096)) {
        let (mut a, mut b) = ([0; 4096], [1; 4096]);
        one.read(Paddr(page), &mut a).unwrap();
        other.read(Paddr(page), &mut b).unwrap();
        assert!(a == b, "{page:#x}");
    }
}

#[test]
fn what_convert_writes_is_restored_and_read_by_others() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["-q", "--keep-kernel"]).expect(0);
    let at = |name: &str| dir.file(name);
    let convert = |codec: &str, to: &str, out: &Path| {
        let args = ["convert", "--codec", codec, "--to", to].map(OsStr::new);
        let dump = at("livecore.0");
        let files = [dump.as_os_str(), out.as_os_str()];
        run(args.into_iter().chain(files)).expect(0)
    };
    convert("zstd", "raw", &at("raw"));
    for codec in ["zstd", "zlib"] {
        let (whole, flat) = (at("whole"), at("flat"));
        convert(codec, "kdump", &whole);
        std::fs::write(&flat, convert(codec, "kdump", Path::new("-")).stdout)
            .unwrap();
        let restored = at(codec);
        let run = Command::new("makedumpfile")
            .arg("-R")
            .arg(&restored)
            .stdin(File::open(&flat).unwrap())
            .output();
        match run {
            Ok(run) => {
                assert!(run.status.success(), "{run:?}");
                let found = std::fs::read(&restored).unwrap();
                assert!(found == std::fs::read(&whole).unwrap());
            }
            Err(e) => livedump_skip::skipped(format_args!("makedumpfile: {e}")),
        }
        // libkdumpfile: every page that it has.
        if let Some(pages) = libkdumpfile(&whole, &at("raw")) {
            let all = runs(open(&whole).as_ref()).into_iter();
            let all: u64 = all.map(|(a, b)| (b - a) / 4096).sum();
            assert_eq!(pages, all);
            assert!(pages > 1000);
        }
    }
}

/// How many pages libkdumpfile has of a KDUMP, each being that of raw memory;
/// `None` where it is not here.
pub fn libkdumpfile(kdump: &Path, raw: &Path) -> Option<u64> {
    let run = Command::new("/usr/bin/python3")
        .args(["-c", READ])
        .args([kdump, raw])
        .output();
    match run {
        Ok(run) if run.status.success() => {
            let text = String::from_utf8_lossy(&run.stdout);
            Some(text.trim().parse().unwrap())
        }
        Ok(run) => {
            let text = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(text.contains("No module named"), "{text}");
            livedump_skip::skipped("python3-libkdumpfile is not installed");
            None
        }
        Err(e) => {
            livedump_skip::skipped(format_args!("python3: {e}"));
            None
        }
    }
}

/// Compares a KDUMP with raw memory; prints how many pages it has.
const READ: &str = "
import sys, kdumpfile
from kdumpfile.exceptions import NoDataException
dump = kdumpfile.kdumpfile(file=sys.argv[1])
raw = open(sys.argv[2], 'rb')
pages = 0
for n in range(dump.attr['max_pfn']):
    try:
        page = dump.read(kdumpfile.KDUMP_MACHPHYSADDR, n * 4096, 4096)
    except NoDataException:
        continue
    raw.seek(n * 4096)
    assert bytes(page) == raw.read(4096), n
    pages += 1
print(pages)
";
