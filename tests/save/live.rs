// SPDX-License-Identifier: BSD-2-Clause
//! A live dump onto a device, and back from it: by the tool, and by a plain
//! reading of the image's bytes. What is in the way is refused.

use super::Bench;
use crate::tool::{Run, run};
use livedump_tests::dumpdisk::{Disk, extract};
use std::ffi::OsStr;

fn capture(bench: &Bench, options: &[&str]) -> Run {
    let mut args = vec!["capture", "--machine", "model:16M"];
    args.extend(options);
    let device = bench.device();
    let mut args: Vec<_> = args.into_iter().map(OsStr::new).collect();
    args.extend([OsStr::new("--to-device"), device.as_os_str()]);
    run(args)
}

fn empty(bytes: usize) -> Bench {
    Bench::new(&vec![0; bytes])
}

#[test]
fn a_live_dump_comes_back_from_the_device() {
    for (sector, options) in [
        (512, &[][..]),
        (4096, &["--sector-size", "4096"][..]),
        (512, &["-z"][..]),
        (512, &["-Z"][..]),
        (4096, &["-Z", "--sector-size", "4096"][..]),
    ] {
        let bench = empty(64 << 20);
        let run = capture(&bench, options).expect(0);
        assert!(run.stderr.contains("not checked"), "{}", run.stderr);
        let image = bench.image();
        assert!(image[..64 << 10].iter().all(|&b| b == 0), "{options:?}");
        let (data, _) = extract(&image, sector);
        bench.save(&["-C"]).expect(0);
        bench.save(&[]).expect(0);
        let name = match options.first() {
            Some(&"-z") => "vmcore.0.gz",
            Some(&"-Z") => "vmcore.0.zst",
            _ => "vmcore.0",
        };
        assert!(bench.dir.read(name) == data, "{options:?}");
        let _ = bench.dir.judge(name);
        // It was saved: the next one overwrites it.
        capture(&bench, options).expect(0);
        bench.save(&["-C"]).expect(0);
    }
}

#[test]
fn what_is_in_the_way_is_refused_and_stays() {
    let refused = |image: &[u8], why: &str| {
        let bench = Bench::new(image);
        let run = capture(&bench, &[]).expect(2);
        assert!(run.stderr.contains(why), "{}", run.stderr);
        assert!(bench.image() == image, "{why}");
    };
    let blank = vec![0; 64 << 20];
    refused(&Disk::new(super::noise(40 * 4096)).image(), "not saved");
    let mut image = blank.clone();
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    refused(&image, "a partition table");
    let mut image = blank.clone();
    image[65536 + 1372..][..4].copy_from_slice(&0x1954_0119u32.to_le_bytes());
    refused(&image, "UFS");
    let mut image = blank.clone();
    let last = image.len() - 512;
    image[last..last + 11].copy_from_slice(b"GEOM::LABEL");
    refused(&image, "geom(4)");
    refused(&blank[..1 << 20], "was not written to");
    refused(&blank[..(1 << 20) + 100], "whole sectors");
    refused(&[], "holds 0 bytes");
    let bench = empty(64 << 20);
    let run = capture(&bench, &["--sector-size", "1000"]).expect(2);
    assert!(run.stderr.contains("1000 bytes"), "{}", run.stderr);
    for options in [&["--json"][..], &["-m", "3"], &["--keep-kernel"]] {
        let run = capture(&bench, options).expect(2);
        assert!(run.stderr.contains("cannot be used with"), "{}", run.stderr);
    }
    assert!(bench.image().iter().all(|&b| b == 0));
}

#[test]
fn by_force_an_unsaved_dump_is_overwritten() {
    let mut image = vec![0; 64 << 20];
    image.extend(Disk::new(super::noise(40 * 4096)).image());
    let bench = Bench::new(&image);
    capture(&bench, &["-Z"]).expect(2);
    capture(&bench, &["-Z", "-f"]).expect(0);
    bench.save(&[]).expect(0);
    let _ = bench.dir.judge("vmcore.0.zst");
}

/// The compressed size is not known before: there is no dump then, and that is
/// said.
#[test]
fn a_device_that_turns_out_too_small_has_no_dump() {
    let bench = empty(256 << 10);
    let run = capture(&bench, &["-Z"]).expect(2);
    assert!(run.stderr.contains("has no dump now"), "{}", run.stderr);
    bench.save(&["-C"]).expect(1);
}
