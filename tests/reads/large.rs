// SPDX-License-Identifier: BSD-2-Clause
//! A dump of 64 GB.

use super::{Counted, PROCESSES, THREADS, capture};
use crate::tool::CrashDir;
use livedump_cli::analysis::Target;
use livedump_cli::analysis::stack::Stacks;
use livedump_cli::analysis::stack_groups::{Filter, StackGroups};
use livedump_cli::analysis::threads::Threads;
use livedump_tests::filled::fill;
use livedump_vmcore::elf::Kernel;

const PAGE: u64 = 4096;
/// A bit for each page.
const BITSET: u64 = (64 << 30) / PAGE / 8;

/// All of the memory of a machine with 64 GB.
fn filled() -> CrashDir {
    let dir = capture("size 64G\numa 8", &[]);
    let len = fill(&dir.file("livecore.0"), &dir.file("livecore.1"));
    assert!(len > 63 << 30);
    std::fs::rename(dir.file("kernel.0"), dir.file("kernel.1")).unwrap();
    dir
}

/// Pages for [`Threads::walk`]: less than one each process and thread, what
/// leads to them included.
const WALK: u64 = PROCESSES + THREADS;
/// Each stack is in one page.
const STACKS: u64 = THREADS + 32;

#[cfg(target_os = "linux")]
#[test]
fn of_64_gb_commands_read_the_bitset_and_the_pages_of_their_answer() {
    let dir = filled();
    let path = dir.file("livecore.1");
    // The kernel's file, libraries, and what finds the kernel.
    let fixed = BITSET + (256 << 10);
    // A page, and once more the page of the bitset that has its bit.
    let walk = fixed + 2 * WALK * PAGE;
    for (command, status, most) in [
        ("info", 0, fixed),
        ("dmesg", 0, fixed),
        ("ps", 0, walk),
        ("deadlock", 0, walk),
        ("explain", 1, walk),
        ("stacks", 0, walk + 2 * STACKS * PAGE),
    ] {
        let read = super::program::read_by(&path, command, status);
        let Some(read) = read else {
            livedump_skip::skipped("no /proc/PID/io");
            return;
        };
        println!("{command}: {read} bytes, at most {most}");
        assert!(read > BITSET, "{command}: {read} bytes");
        assert!(read <= most, "{command}: {read} bytes, at most {most}");
    }
}

#[test]
fn no_page_of_a_plain_dump_is_read_twice() {
    let dir = filled();
    let kernel = Kernel::open(&dir.file("kernel.1")).unwrap();
    let (file, core) = Counted::open(&dir.file("livecore.1"));
    let layout = *core.layout();
    let opened = file.take().into_iter();
    let opened: u64 = opened.map(|((_, len), n)| len as u64 * n).sum();
    let few = 16 * PAGE;
    assert!((BITSET..=BITSET + few).contains(&opened), "{opened} to open it");
    let target = Target::new(&core, &kernel, None).unwrap();
    let threads = Threads::walk(&target).unwrap();
    assert!(threads.list.len() as u64 > THREADS);
    let stacks = Stacks::new(&target);
    let all = StackGroups::new(&threads, &stacks, None, Filter::default());
    assert_eq!(all.incomplete, 0);
    let reads = file.take();
    let (mut pages, mut blocks) = (0, 0);
    for (&(at, len), &n) in &reads {
        assert_eq!(n, 1, "{len} bytes at {at:#x} were read {n} times");
        match at {
            _ if at >= layout.pages => pages += 1,
            _ if (layout.bitmap..layout.pmap).contains(&at) => blocks += 1,
            _ => {}
        }
    }
    println!("{pages} pages, {blocks} of the bitset");
    assert!(blocks <= BITSET / PAGE);
    assert!(pages <= WALK + STACKS, "{pages} pages");
}
