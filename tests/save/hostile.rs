// SPDX-License-Identifier: BSD-2-Clause
//! Devices without a dump, and headers that lie.

use super::{Bench, noise};
use livedump_tests::dumpdisk::{Disk, Version, key, seal};

/// What is reported about an image, with nothing left and the device as
/// it was.
#[track_caller]
fn refusal(image: &[u8], options: &[&str], status: i32) -> String {
    let bench = Bench::new(image);
    let run = bench.save(options).expect(status);
    assert!(run.stdout.is_empty());
    assert!(bench.dir.names().is_empty(), "{:?}", bench.dir.names());
    assert!(bench.image() == image, "written to");
    run.stderr
}

fn disk() -> Disk {
    Disk::new(noise(10 * 4096))
}

/// Both headers with a change, their parity right.
fn with(disk: &Disk, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut image = disk.image();
    let last = image.len() - disk.block;
    for at in [disk.before, last] {
        let header = &mut image[at..at + 512];
        change(header);
        seal(header);
    }
    image
}

fn put(at: usize, bytes: &[u8]) -> impl Fn(&mut [u8]) {
    let bytes = bytes.to_vec();
    move |header| header[at..at + bytes.len()].copy_from_slice(&bytes)
}

#[test]
fn what_has_no_dump_is_said_to_have_none() {
    for len in [0, 1, 511, 512, 100_000] {
        let message = refusal(&noise(len), &[], 1);
        assert!(message.contains("no dump at the end"), "{message}");
        let message = refusal(&noise(len), &["-f"], 1);
        assert!(message.contains("no dump at the end"), "{message}");
    }
    let mut image = disk().image();
    image.truncate(image.len() - 1);
    refusal(&image, &[], 1);
    let bench = Bench::new(&[]);
    let dir = bench.dir.path().to_str().unwrap();
    let run = crate::tool::run(["save", "-k", dir, dir]).expect(2);
    assert!(run.stderr.contains("not a device"), "{}", run.stderr);
    let run = crate::tool::run(["save", "/nonexistent", dir]).expect(2);
    assert!(run.stderr.contains("/nonexistent"), "{}", run.stderr);
}

#[test]
fn lengths_that_do_not_fit_are_named() {
    let max = u64::MAX.to_be_bytes();
    let big = (1u64 << 62).to_be_bytes();
    let zero = 0u64.to_be_bytes();
    let odd = 40_961u64.to_be_bytes();
    for (at, bytes, word) in [
        (496, &max, "dumpextent 18446744073709551615"),
        (496, &big, "dumpextent 4611686018427387904"),
        (496, &zero, "dumplength 40960 with a dumpextent of 0"),
        (496, &odd, "dumpextent 40961 is not a multiple"),
        (40, &max, "dumplength 18446744073709551615"),
        (40, &zero, "dumplength 0"),
        (40, &odd, "dumplength 40961"),
    ] {
        let image = with(&disk(), put(at, bytes));
        for options in [&[][..], &["-f"]] {
            let message = refusal(&image, options, 2);
            assert!(message.contains(word), "{message}");
        }
    }
    for (size, word) in [
        (u32::MAX, "dumpkeysize 4294967295"),
        (1 << 31, "dumpkeysize 2147483648"),
        (512, "the first and the last header differ"),
    ] {
        let message =
            refusal(&with(&disk(), put(56, &size.to_be_bytes())), &[], 2);
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn damage_is_refused_unless_forced() {
    let sound = disk().image();
    let last = sound.len() - 512;
    for (at, word) in [
        (last + 130, "parity error in the last header"),
        (disk().before + 130, "the first and the last header differ"),
    ] {
        let mut image = sound.clone();
        image[at] ^= 4;
        let message = refusal(&image, &[], 2);
        assert!(message.contains(word) && message.contains("-f"), "{message}");
        assert!(refusal(&image, &["-C"], 2).contains(word));
        let bench = Bench::new(&image);
        let run = bench.save(&["-f"]).expect(1);
        assert!(run.stderr.contains(word), "{}", run.stderr);
        assert!(bench.dir.read("vmcore.0") == disk().data);
        assert!(bench.dir.text("info.0").contains("Dump Status: bad"));
    }
}

#[test]
fn headers_of_another_kind_are_named() {
    for (at, bytes, word) in [
        (32, &3u32.to_be_bytes()[..], "version 3"),
        (32, &9u32.to_be_bytes(), "version 9"),
        (495, &[7], "unknown compression 7"),
        (60, &1024u32.to_be_bytes(), "block size is 1024"),
        (60, &0u32.to_be_bytes(), "block size is 0"),
    ] {
        let message = refusal(&with(&disk(), put(at, bytes)), &["-f"], 2);
        assert!(message.contains(word), "{word}: {message}");
    }
    let text = Disk { text: true, ..disk() };
    for change in [put(495, &[1]), put(56, &512u32.to_be_bytes())] {
        let message = refusal(&with(&text, change), &["-f"], 2);
        assert!(message.contains("a textdump that is"), "{message}");
    }
}

#[test]
fn key_blocks_that_are_none_are_named() {
    for (block, word) in [
        (key(0, 256), "unknown cipher 0"),
        (key(9, 256), "unknown cipher 9"),
        (key(1, 0), "a key of 0 bytes"),
    ] {
        let disk = Disk { key: block, ..disk() };
        let message = refusal(&disk.image(), &[], 2);
        assert!(message.contains("key block"), "{message}");
        assert!(message.contains(word), "{message}");
    }
    let mut long = key(1, 256);
    long[33..37].copy_from_slice(&u32::MAX.to_be_bytes());
    let disk = Disk { key: long, ..disk() };
    let message = refusal(&disk.image(), &[], 2);
    assert!(message.contains("a key of 4294967295 bytes"), "{message}");
}

#[test]
fn any_flipped_bit_in_a_header_is_found() {
    for version in [Version::V1, Version::V4] {
        let disk = Disk { version, before: 0, ..Disk::new(noise(512)) };
        let image = disk.image();
        let bench = Bench::new(&image);
        for at in (0..512).step_by(23) {
            for header in [0, image.len() - 512] {
                let mut image = image.clone();
                image[header + at] ^= 1 << (at % 8);
                bench.put(&image);
                let run = bench.save(&[]);
                assert_ne!(run.status, Some(0), "byte {at} of {header}");
                assert!(bench.image() == image);
            }
        }
        assert!(bench.dir.names().is_empty());
    }
}
