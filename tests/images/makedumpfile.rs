// SPDX-License-Identifier: BSD-2-Clause
//! makedumpfile(8), which makes one file of a flattened one.

use super::qemu::{Guest, check};
use super::{open, runs};
use livedump_vmcore::image::Format;
use memdev::addr::Paddr;
use std::fs::File;
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
