// SPDX-License-Identifier: BSD-2-Clause
//! A dump in zstd frames: of those, few are kept unpacked, and which order
//! pages are read in decides how often a frame is unpacked.

use super::{Counted, PROCESSES, THREADS, capture};
use livedump_cli::analysis::Target;
use livedump_cli::analysis::stack::Stacks;
use livedump_cli::analysis::stack_groups::{Filter, StackGroups};
use livedump_cli::analysis::threads::Threads;
use livedump_vmcore::elf::Kernel;
use memdev::seekable::decode_footer;
use memdev::seekable::{ENTRY_SIZE, FOOTER_SIZE, HEADER_SIZE, SeekEntry};
use std::collections::BTreeMap;

/// Where each frame starts, by the seek table.
fn frames(file: &[u8]) -> Vec<u64> {
    let (_, footer) = file.split_last_chunk::<FOOTER_SIZE>().unwrap();
    let footer = decode_footer(footer).unwrap();
    let table = file.len() - footer.table_size() as usize + HEADER_SIZE;
    let entries = file[table..file.len() - FOOTER_SIZE].chunks(ENTRY_SIZE);
    let mut at = 0;
    entries
        .map(|entry| {
            let start = at;
            at += u64::from(SeekEntry::decode(entry).compressed);
            start
        })
        .collect()
}

#[test]
fn stacks_are_read_in_the_order_of_the_file() {
    // More than the frames that are kept: 16 MB.
    let dir = capture("size 512M\numa 20000", &["-Z"]);
    let kernel = Kernel::open(&dir.file("kernel.0")).unwrap();
    let path = dir.file("livecore.0.zst");
    let frames = frames(&std::fs::read(&path).unwrap());
    assert!(frames.len() > 256, "{} frames", frames.len());
    let (file, core) = Counted::open(&path);
    let unpacked = || {
        let mut all = BTreeMap::new();
        for ((at, _), n) in file.take() {
            if frames.binary_search(&at).is_ok() {
                *all.entry(at).or_insert(0) += n;
            }
        }
        all
    };
    let target = Target::new(&core, &kernel, None).unwrap();
    // A frame for each page, as long as nothing brings them into order.
    let threads = Threads::walk(&target).unwrap();
    let walk: u64 = unpacked().values().sum();
    let most = PROCESSES + THREADS;
    println!("walk: {walk} times, at most {most}");
    assert!(walk <= most, "frames were unpacked {walk} times");
    let stacks = Stacks::new(&target);
    unpacked();
    let all = StackGroups::new(&threads, &stacks, None, Filter::default());
    assert_eq!(all.incomplete, 0);
    let again = unpacked();
    let sum: u64 = again.values().sum();
    println!("stacks: {sum} times, {} frames", again.len());
    // The tables of the kernel map are among the pages.
    assert!(sum <= again.len() as u64 + 8, "{again:?}");
}
