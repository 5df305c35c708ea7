// SPDX-License-Identifier: BSD-2-Clause
//! One section at a time: counts beyond reason, ranges that overlap, tables
//! that lead to themselves, lists without an end.

use super::{Bench, Sound, cases};
use livedump_tests::decoder::{Dump, judge_raw};
use livedump_tests::elf::Symbols;
use proptest::prelude::*;

fn dump(sound: &Sound) -> Dump {
    judge_raw(&sound.raw).unwrap().dump
}

/// Numbers that somebody is tempted to add to, multiply, or allocate.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(0xfff),
        Just(0x1000),
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        Just(0xffff_f000),
        Just(0xffff_ffff),
        Just(1 << 52),
        Just(u64::MAX),
        Just(u64::MAX - 0xfff),
        any::<u64>(),
        (0..1u64 << 20).prop_map(|n| n * 4096),
    ]
}

#[test]
fn any_number_in_the_header_is_survived() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    // Offset and size of each field of the arm64 header, version 3.
    let fields = [
        (24, 4),
        (28, 4),
        (32, 4),
        (36, 4),
        (40, 8),
        (48, 8),
        (56, 8),
        (64, 8),
        (72, 4),
        (76, 4),
    ];
    let some = prop::collection::vec((0..fields.len(), numbers()), 1..4);
    proptest!(cases(200), |(changes in some)| {
        let mut file = sound.raw.clone();
        for (field, n) in changes {
            let (at, size) = fields[field];
            file[at..at + size].copy_from_slice(&n.to_le_bytes()[..size]);
        }
        bench.read(&file, &sound.kernel);
        // And with the header after it gone.
        file.truncate(file.len() - 512);
        bench.read(&file, &sound.kernel);
    });
}

#[test]
fn any_number_in_the_header_behind_it_is_survived() {
    let bench = Bench::new();
    for compression in 0..=2 {
        let sound = Sound::new(super::TINY_ARM64, compression);
        let at = sound.raw.len() - 512;
        let fields = [32, 36, 40, 44, 56, 60, 492, 496, 500];
        let some = prop::collection::vec((0..fields.len(), numbers()), 1..3);
        proptest!(cases(40), |(changes in some)| {
            let mut file = sound.raw.clone();
            for (field, n) in changes {
                let at = at + fields[field];
                file[at..at + 4].copy_from_slice(&n.to_be_bytes()[4..]);
            }
            repair_parity(&mut file[at..]);
            bench.read(&file, &sound.kernel);
        });
    }
}

fn repair_parity(header: &mut [u8]) {
    for column in 0..4 {
        let rest = header.iter().skip(column).step_by(4);
        let sum = rest.fold(0, |a, x| a ^ x);
        header[508 + column] ^= sum;
    }
}

#[test]
fn any_ranges_of_memory_are_survived() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    let at = dump(&sound).boundaries()[2];
    let pairs = prop::collection::vec((numbers(), numbers()), 0..256);
    proptest!(cases(100), |(pairs in pairs, ends in any::<bool>())| {
        let mut file = sound.raw.clone();
        // Without a terminating pair they run to the section's end.
        file[at..at + 4096].fill(if ends { 0 } else { 0xff });
        for (i, (start, end)) in pairs.into_iter().enumerate() {
            let at = at + 16 * i;
            file[at..at + 8].copy_from_slice(&start.to_le_bytes());
            file[at + 8..at + 16].copy_from_slice(&end.to_le_bytes());
        }
        bench.read(&file, &sound.kernel);
    });
}

#[test]
fn any_bitmap_and_any_page_tables_are_survived() {
    let bench = Bench::new();
    for recipe in [super::TINY_ARM64, livedump_tests::scenario::TINY] {
        let sound = Sound::new(recipe, 0);
        let sections = dump(&sound).boundaries();
        let words = prop::collection::vec(numbers(), 512);
        proptest!(cases(20), |(words in words, which in 3..5usize)| {
            let mut file = sound.raw.clone();
            let section = sections[which]..sections[which + 1];
            let bytes: Vec<u8> =
                words.iter().flat_map(|w| w.to_le_bytes()).collect();
            for chunk in file[section].chunks_mut(4096) {
                chunk.copy_from_slice(&bytes);
            }
            bench.read(&file, &sound.kernel);
        });
    }
}

/// Puts a word where a kernel address leads.
fn poke(file: &mut [u8], dump: &Dump, va: u64, bytes: &[u8]) {
    let at = dump.offset_of(dump.translate(va).unwrap()).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn a_list_may_lead_anywhere() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    let d = dump(&sound);
    let kernel = Symbols::parse(&sound.kernel).unwrap();
    let offset =
        |name: &str| u64::from(d.read32(kernel.get(name).unwrap()).unwrap());
    let allproc = kernel.get("allproc").unwrap();
    let first = d.read64(allproc).unwrap();
    let next = first + offset("proc_off_p_list");
    let threads = first + offset("proc_off_p_threads");
    let thread = d.read64(threads).unwrap();
    let plist = thread + offset("thread_off_td_plist");
    let (dmapbase, dmapend) = (d.dmap.start, d.dmap.end);
    let targets = [
        first,
        first + 1,
        first + 8,
        allproc,
        thread,
        threads,
        d.kernbase,
        dmapbase,
        dmapend - 8,
        1,
        u64::MAX,
        u64::MAX - 7,
        0xffff_ffff_8000_0000,
    ];
    for place in [allproc, next, threads, plist] {
        for target in targets {
            if d.read64(place).unwrap() == target {
                continue;
            }
            let mut file = sound.raw.clone();
            poke(&mut file, &d, place, &target.to_le_bytes());
            let sound = bench.read(&file, &sound.kernel);
            assert!(!sound, "{place:#x} -> {target:#x} is called sound");
        }
    }
}

#[test]
fn an_offset_or_a_pointer_may_be_anything() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    let d = dump(&sound);
    let kernel = Symbols::parse(&sound.kernel).unwrap();
    let names = [
        "proc_off_p_list",
        "proc_off_p_pid",
        "proc_off_p_comm",
        "proc_off_p_threads",
        "thread_off_td_tid",
        "thread_off_td_plist",
        "thread_off_td_name",
        "thread_off_td_pcb",
        "thread_off_td_oncpu",
        "pcb_size",
        "dumptid",
        "msgbufp",
    ];
    proptest!(cases(150), |(name in 0..names.len(), n in numbers())| {
        let va = kernel.get(names[name]).unwrap();
        let mut file = sound.raw.clone();
        let size = if names[name] == "msgbufp" { 8 } else { 4 };
        poke(&mut file, &d, va, &n.to_le_bytes()[..size]);
        bench.read(&file, &sound.kernel);
    });
}

#[test]
fn a_message_buffer_may_claim_any_size() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    let d = dump(&sound);
    let kernel = Symbols::parse(&sound.kernel).unwrap();
    let at = d.read64(kernel.get("msgbufp").unwrap()).unwrap();
    // msg_ptr, msg_size, msg_wseq, msg_rseq.
    let fields = [(0, 8), (12, 4), (16, 4), (20, 4)];
    proptest!(cases(100), |(field in 0..fields.len(), n in numbers())| {
        let (off, size) = fields[field];
        let mut file = sound.raw.clone();
        poke(&mut file, &d, at + off, &n.to_le_bytes()[..size]);
        bench.read(&file, &sound.kernel);
    });
}
