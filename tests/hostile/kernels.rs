// SPDX-License-Identifier: BSD-2-Clause
//! A kernel file is as foreign as a dump.

use super::{Bench, Sound, cases};
use proptest::prelude::*;

#[test]
fn a_kernel_with_flipped_bits_is_survived() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    let len = sound.kernel.len();
    // Headers of the file and of its sections, where a bit does most.
    let shoff = u64::from_le_bytes(sound.kernel[40..48].try_into().unwrap());
    let place = prop_oneof![0..64usize, shoff as usize..len, 0..len,];
    let flips = prop::collection::vec((place, 0..8u32), 1..20);
    proptest!(cases(150), |(flips in flips)| {
        let mut kernel = sound.kernel.clone();
        for (at, bit) in flips {
            kernel[at] ^= 1 << bit;
        }
        bench.read(&sound.raw, &kernel);
    });
}

#[test]
fn a_kernel_that_ends_anywhere_is_survived() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    let len = sound.kernel.len();
    for part in 0..40 {
        bench.read(&sound.raw, &sound.kernel[..len * part / 40]);
    }
    for len in 0..70 {
        bench.read(&sound.raw, &sound.kernel[..len]);
    }
}

#[test]
fn numbers_of_the_elf_header_may_be_anything() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    // e_phoff, e_shoff, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    let fields =
        [(32, 8), (40, 8), (54, 2), (56, 2), (58, 2), (60, 2), (62, 2)];
    for (at, size) in fields {
        for n in [0, 1, 0xff, 0xffff, 1 << 31, u64::MAX, u64::MAX - 63] {
            let mut kernel = sound.kernel.clone();
            let n = n.to_le_bytes();
            kernel[at..at + size].copy_from_slice(&n[..size]);
            bench.read(&sound.raw, &kernel);
        }
    }
}
