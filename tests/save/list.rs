// SPDX-License-Identifier: BSD-2-Clause
//! Every dump that is left on a device is listed, and can be saved.

use super::{Bench, noise};
use livedump_tests::dumpdisk::{Disk, key};
use serde_json::Value;

fn disk(pages: usize, panic: &str) -> Disk {
    Disk { panic: panic.into(), before: 0, ..Disk::new(noise(pages * 4096)) }
}

fn listed(bench: &Bench, status: i32) -> Vec<Value> {
    let run = bench.save_alone(&["--list", "--json"]).expect(status);
    run.json()["dumps"].as_array().unwrap().clone()
}

fn states(dumps: &[Value]) -> Vec<(u64, &str)> {
    let state = |d: &Value| (d["offset"].as_u64().unwrap(), d["state"].clone());
    let all = dumps.iter().map(state);
    all.map(|(at, s)| {
        (
            at,
            match s.as_str().unwrap() {
                "unsaved" => "unsaved",
                "saved" => "saved",
                "no-trailer" => "no-trailer",
                "overwritten" => "overwritten",
                other => panic!("{other}"),
            },
        )
    })
    .collect()
}

/// At its end an unsaved dump, before it one that was saved, before that one
/// of when the device was smaller, and a leading header without its end.
fn full() -> (Vec<u8>, [usize; 4]) {
    let mut image = vec![0x5a; 128 << 10];
    let mut at = [0; 4];
    let cut = disk(8, "cut off");
    at[0] = image.len();
    let mut bytes = cut.image();
    let last = bytes.len() - 512;
    bytes[last..].fill(0);
    image.extend(&bytes);
    image.extend(vec![0x5a; 3 * 512]);
    at[1] = image.len();
    let old = Disk { key: key(2, 256), ..disk(6, "old one") };
    image.extend(old.image());
    at[2] = image.len();
    let mut saved = disk(5, "saved").image();
    let last = saved.len() - 512;
    saved[last..last + 20].copy_from_slice(b"Cleared Kernel Dump\0");
    image.extend(&saved);
    at[3] = image.len();
    image.extend(disk(4, "new one").image());
    (image, at)
}

#[test]
fn every_dump_is_listed_with_what_became_of_it() {
    let (image, at) = full();
    let bench = Bench::new(&image);
    let dumps = listed(&bench, 0);
    let at = at.map(|at| at as u64);
    assert_eq!(
        states(&dumps),
        [
            (at[0], "no-trailer"),
            (at[1], "unsaved"),
            (at[2], "saved"),
            (at[3], "unsaved"),
        ]
    );
    assert_eq!(dumps[1]["encrypted"], true);
    assert_eq!(dumps[3]["panic"], "new one");
    assert_eq!(dumps[3]["end"], image.len());
    let run = bench.save_alone(&["--list"]).expect(0);
    let text = String::from_utf8(run.stdout).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains("no trailer"), "{text}");
    assert!(bench.image() == image && bench.dir.names().is_empty());
}

#[test]
fn each_of_them_is_saved_by_its_offset_and_the_device_stays() {
    let (image, at) = full();
    let bench = Bench::new(&image);
    for (nth, (at, pages)) in at.iter().zip([8, 6, 5, 4]).enumerate() {
        // What is odd about it is a finding.
        let status = [1, 0, 1, 0][nth];
        let run = bench.save(&["--offset", &at.to_string()]).expect(status);
        let name = match nth {
            1 => format!("vmcore_encrypted.{nth}"),
            _ => format!("vmcore.{nth}"),
        };
        assert!(bench.dir.read(&name) == noise(pages * 4096), "{name}");
        let odd = ["trailing header is missing", "", "been saved before", ""];
        assert!(run.stderr.contains(odd[nth]), "{}", run.stderr);
        assert!(run.stderr.contains("stays"), "{}", run.stderr);
    }
    assert!(bench.image() == image);
}

#[test]
fn one_that_another_has_overwritten_is_no_whole_one() {
    let mut image = vec![0x5a; 64 << 10];
    image.extend(disk(40, "long").image());
    let new = disk(8, "short").image();
    let at = image.len() - new.len();
    image[at..].copy_from_slice(&new);
    let bench = Bench::new(&image);
    let dumps = listed(&bench, 0);
    assert_eq!(
        states(&dumps),
        [(64 << 10, "overwritten"), (at as u64, "unsaved")]
    );
    let run = bench.save(&["--offset", "65536", "--json"]).expect(1);
    let reason = run.json()["reason"].clone();
    assert!(reason.as_str().unwrap().contains("of another dump"), "{reason}");
    assert!(bench.dir.text("info.0").contains("  Dump Status: bad\n"));
}

/// Cut off within its trailing header, as by a smaller device.
#[test]
fn one_whose_end_is_cut_off_is_listed_and_saved() {
    for block in [512, 4096] {
        let mut disk = disk(8, "cut");
        disk.block = block;
        let mut image = disk.image();
        image.truncate(image.len() - block / 2);
        let bench = Bench::new(&image);
        assert_eq!(states(&listed(&bench, 0)), [(0, "no-trailer")]);
        let run = bench.save(&["--offset", "0"]).expect(1);
        let odd = "trailing header is missing";
        assert!(run.stderr.contains(odd), "{}", run.stderr);
        assert!(bench.dir.read("vmcore.0") == noise(8 * 4096));
    }
}

#[test]
fn copies_of_headers_within_a_dump_are_no_dumps() {
    let inner = disk(2, "inner").image();
    let mut data = noise(40 * 4096);
    data[8192..8192 + inner.len()].copy_from_slice(&inner);
    let mut outer = Disk::new(data);
    outer.before = 4096;
    for block in [512, 4096] {
        outer.block = block;
        let bench = Bench::new(&outer.image());
        assert_eq!(states(&listed(&bench, 0)), [(4096, "unsaved")]);
    }
}

#[test]
fn where_there_is_none_nothing_is_listed_and_nothing_saved() {
    for len in [0, 100, 512, 3 << 20] {
        let bench = Bench::new(&noise(len));
        assert!(listed(&bench, 1).is_empty());
        let run = bench.save_alone(&["--list"]).expect(1);
        assert!(run.stderr.contains("no dump on"), "{}", run.stderr);
        for at in ["0", "512", "18446744073709551615"] {
            let run = bench.save(&["--offset", at]).expect(1);
            assert!(run.stderr.contains("no dump at offset"), "{}", run.stderr);
        }
        assert!(bench.dir.names().is_empty());
    }
    let bench = Bench::new(&full().0);
    for at in ["1", "512", "131073"] {
        bench.save(&["--offset", at]).expect(1);
    }
    let run = bench.save(&["--list", "--offset", "5"]).expect(2);
    assert!(run.stderr.contains("cannot be used with"), "{}", run.stderr);
}
