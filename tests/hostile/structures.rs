// SPDX-License-Identifier: BSD-2-Clause
//! Anything at all, and good dumps with a little wrong.

use super::{Bench, Sound, cases, serves_the_truth};
use livedump_tests::decoder::judge_raw;
use proptest::prelude::*;

/// The first bytes of what a reader may take an interest in.
fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    let known: [&[u8]; 8] = [
        b"",
        b"minidump FreeBSD/amd64\0\0\x03\0\0\0",
        b"minidump FreeBSD/arm64\0\0\x02\0\0\0",
        b"minidump FreeBSD/riscv\0\0\x02\0\0\0",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        b"\x28\xb5\x2f\xfd",
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        b"\x7fELF\x02\x01\x01\xff",
    ];
    (0..known.len()).prop_map(move |i| known[i].to_vec())
}

#[test]
fn random_bytes_are_no_dump() {
    let bench = Bench::new();
    let bytes = prop::collection::vec(any::<u8>(), 0..20_000);
    proptest!(cases(200), |(mut file in beginnings(), rest in bytes)| {
        file.extend(&rest);
        prop_assert!(!bench.read(&file, &rest));
    });
}

#[test]
fn flipped_bits_anywhere_are_survived() {
    let bench = Bench::new();
    for compression in 0..=2 {
        let sound = Sound::new(super::TINY_ARM64, compression);
        let flips = prop::collection::vec((any::<u32>(), 0..8u32), 1..40);
        proptest!(cases(60), |(flips in flips)| {
            let mut file = sound.raw.clone();
            for (at, bit) in flips {
                let len = file.len();
                file[at as usize % len] ^= 1 << bit;
            }
            bench.read(&file, &sound.kernel);
        });
    }
}

#[test]
fn a_flipped_bit_in_what_structures_the_file_is_survived() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    assert!(bench.read(&sound.raw, &sound.kernel), "sound to begin with");
    let trailer = 8 * (sound.raw.len() - 512);
    // A few bits of each byte; all of them take a minute.
    let heads = (0..80 * 8).step_by(3);
    for bit in heads.chain((trailer..trailer + 512 * 8).step_by(11)) {
        let mut file = sound.raw.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        // Parity: not one bit of the header after the dump goes unnoticed.
        let passed = bench.read(&file, &sound.kernel);
        assert!(!passed || bit < trailer, "bit {bit}");
    }
}

#[test]
fn no_flipped_bit_of_a_zstd_dump_is_served_as_a_page() {
    let bench = Bench::new();
    let sound = Sound::new("size 16M", 2);
    let raw = judge_raw(&sound.raw).unwrap();
    let len = raw.packed.len();
    let path = bench.put("core", &raw.packed);
    let all = serves_the_truth(&path, &raw.dump);
    assert_eq!(all, raw.dump.pas().len());
    let mut served = 0;
    for n in 0..200 {
        let bit = 8 * len / 200 * n + n % 8;
        let mut file = raw.packed.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        served += serves_the_truth(&bench.put("core", &file), &raw.dump);
    }
    // One frame is lost with each, or what leads to all the others.
    assert!(served > 150 * all, "{served} of 200 times {all} pages");
}

#[test]
fn a_file_that_ends_anywhere_is_read_as_far_as_it_goes() {
    let bench = Bench::new();
    let plain = Sound::arm64();
    let raw = judge_raw(&plain.raw).unwrap();
    let whole = raw.dump.plain().len();
    let mut lengths: Vec<usize> = raw
        .dump
        .boundaries()
        .into_iter()
        .flat_map(|at| [at.saturating_sub(1), at, at + 1, at + 4096])
        .filter(|&at| at < whole)
        .collect();
    lengths.extend([1, 23, 24, 27, 28, 32, 64, 80, whole - 1, whole - 4096]);
    for len in lengths {
        let passed = bench.read(&plain.raw[..len], &plain.kernel);
        assert!(!passed, "{len} of {whole} bytes");
    }
    // The header after it is cut; the dump is whole.
    for len in [whole, whole + 1, whole + 511] {
        bench.read(&plain.raw[..len], &plain.kernel);
    }
    for compression in [1, 2] {
        let sound = Sound::new(super::TINY_ARM64, compression);
        // Zeros fill the block before the header: without those, too, every
        // byte of the dump is there.
        let data = judge_raw(&sound.raw).unwrap().packed.len();
        for part in 1..60 {
            let len = sound.raw.len() * part / 60;
            let passed = bench.read(&sound.raw[..len], &sound.kernel);
            assert!(!passed || len >= data, "{compression}: {part}/60");
        }
    }
}
