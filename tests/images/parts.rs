// SPDX-License-Identifier: BSD-2-Clause
//! A kdump in several files, as `makedumpfile --split` makes it: put together
//! by convert; and what is said of one part alone, in which pages are missing
//! and nothing is damaged.

use super::flips::{Memory, kdump_part, memory_of};
use super::model::{Case, TWO};
use crate::tool::{Run, run};
use livedump_vmcore::sample::kdump::SNAPPY;

/// The parts, and the whole.
struct Split {
    case: Case,
    end: u64,
}

fn part(pages: &Memory, from: u64, to: u64) -> Vec<u8> {
    kdump_part(pages, SNAPPY, Some(from..to))
}

impl Split {
    /// Parts that end at pages `cuts`, and the last.
    fn new(cuts: &[u64]) -> Self {
        let case = Case::new(TWO);
        let pages = memory_of(&case);
        let end = pages.keys().next_back().unwrap() / 4096 + 1;
        let starts = [0].iter().chain(cuts);
        let ends = cuts.iter().chain([&end]);
        for (n, (&from, &to)) in starts.zip(ends).enumerate() {
            let bytes = part(&pages, from, to);
            std::fs::write(case.path(&format!("part{n}")), bytes).unwrap();
        }
        let whole = kdump_part(&pages, SNAPPY, None);
        std::fs::write(case.path("whole"), whole).unwrap();
        Self { case, end }
    }

    /// Converts these to `out`.
    fn convert(&self, files: &[&str], to: &str) -> Run {
        let text = |name: &str| self.case.text(name);
        let mut words = vec!["convert".into(), "--no-seal".into()];
        if self.case.path("kernel").exists() {
            words.extend(["-k".into(), text("kernel")]);
        }
        words.extend(["--to".into(), to.into()]);
        for more in &files[1..] {
            words.extend(["--part".into(), text(more)]);
        }
        words.extend([text(files[0]), text("out")]);
        run(words)
    }

    /// Why these are refused; nothing is left of it.
    #[track_caller]
    fn refused(&self, files: &[&str]) -> String {
        for to in ["raw", "elf"] {
            let _ = std::fs::remove_file(self.case.path("out"));
            self.convert(files, to).expect(2);
            assert!(!self.case.path("out").exists());
        }
        self.convert(files, "raw").stderr
    }

    fn out(&self) -> Vec<u8> {
        std::fs::read(self.case.path("out")).unwrap()
    }
}

#[test]
fn parts_in_any_order_have_the_memory_of_the_whole() {
    let split = Split::new(&[0x500, 0xb00]);
    for to in ["raw", "lime", "kdump", "elf", "minidump"] {
        let run = split.convert(&["whole"], to).expect(0);
        assert!(!run.stderr.contains("part"), "{}", run.stderr);
        let whole = split.out();
        for order in [["part0", "part1", "part2"], ["part2", "part0", "part1"]]
        {
            let run = split.convert(&order, to).expect(0);
            assert!(!run.stderr.contains("part"), "{}", run.stderr);
            assert!(split.out() == whole, "{to} {order:?}");
        }
    }
}

#[test]
fn parts_that_are_no_parts_of_the_dump_are_refused_by_name() {
    let split = Split::new(&[0x500, 0xb00]);
    let all = ["part0", "part1", "part2", "part1"];
    let why = split.refused(&all);
    let want = "part1: it has pages of another part: 0x500000 is in both";
    assert!(why.contains(want), "{why}");
    let why = split.refused(&["part0", "part0"]);
    assert!(why.contains("part0: it has pages of another"), "{why}");
    let why = split.refused(&["part0", "whole"]);
    assert!(why.contains("whole: it is no part of a split dump"), "{why}");
    let why = split.refused(&["whole", "part0"]);
    assert!(why.contains("whole: it is no part of a split dump"), "{why}");
    let why = split.refused(&["part0", "kernel"]);
    assert!(why.contains("kernel"), "{why}");
    // One of a dump that was made at another time.
    let mut other = std::fs::read(split.case.path("part1")).unwrap();
    other[408] ^= 1;
    std::fs::write(split.case.path("other"), other).unwrap();
    let why = split.refused(&["part0", "other", "part2"]);
    assert!(why.contains("other: it is a part of another dump"), "{why}");
}

#[test]
fn a_part_that_is_not_there_is_reported_and_the_others_are_converted() {
    let split = Split::new(&[0x800, 0xc00]);
    split.convert(&["whole"], "raw").expect(0);
    let whole = split.out();
    let run = split.convert(&["part2", "part0"], "raw").expect(3);
    let want = "a part of the dump is missing: 0x800000 to 0xc00000";
    assert!(run.stderr.contains(want), "{}", run.stderr);
    let out = split.out();
    assert_eq!(out.len(), whole.len());
    for (n, (a, b)) in out.chunks(4096).zip(whole.chunks(4096)).enumerate() {
        match n {
            0x800..0xc00 => assert!(a.iter().all(|&b| b == 0), "{n:#x}"),
            _ => assert!(a == b, "{n:#x}"),
        }
    }
    // Its page tables are in the last part; without it no kernel is found.
    let run = split.convert(&["part0", "part1"], "minidump").expect(2);
    assert!(run.stderr.contains("a part of the dump is missing"));
    std::fs::remove_file(split.case.path("kernel")).unwrap();
    let run = split.convert(&["part0", "part1"], "kdump").expect(3);
    let want = format!("missing: 0xc00000 to {:#x}", split.end << 12);
    assert!(run.stderr.contains(&want), "{}", run.stderr);
    let run = split.convert(&["part0"], "raw").expect(3);
    assert!(run.stderr.contains(PART), "{}", run.stderr);
    assert!(split.out() == whole[..0x80_0000]);
}

/// What is said of a part.
const PART: &str = "it is one part of a split dump: it has pages ";

/// Commands on one part: with what they are said to be, and the exit status.
#[test]
fn of_one_part_pages_are_missing_and_nothing_is_damaged() {
    // With the kernel and its lists but for the end of memory; with the half
    // of it; without the kernel.
    for (cuts, name) in [
        (&[0xfff][..], "part0"),
        (&[0x800], "part0"),
        (&[0x300], "part0"),
        (&[0x800], "part1"),
    ] {
        let split = Split::new(cuts);
        let (file, kernel) = (split.case.text(name), split.case.text("kernel"));
        let which = format!("{name} {cuts:x?}");
        let info = run(["info", &file]).expect(0);
        assert!(info.stderr.contains(PART), "{which}: {}", info.stderr);
        for command in ["ps", "verify", "dmesg", "bt", "deadlock"] {
            let mut words = vec![command, &file];
            words.extend((command == "bt").then_some("-a"));
            let run = run(&words);
            let want = if command == "verify" { 3 } else { 2 };
            assert_eq!(run.status, Some(want), "{words:?}: {}", run.stderr);
            let text = format!("{}{}", run.text(), run.stderr);
            assert!(text.contains(PART), "{which} {words:?}: {text}");
            words.extend(["-k", &kernel]);
            let run = self::run(&words);
            let text = format!("{}{}", run.text(), run.stderr);
            assert!(text.contains(PART), "{which} {words:?}: {text}");
            assert!(!text.contains("damaged"), "{which} {words:?}: {text}");
            // The deadlock that this machine is in may be seen.
            let found = command == "deadlock" && run.status == Some(1);
            let ended = match command {
                "verify" => [Some(2), Some(3)].contains(&run.status),
                _ => [Some(0), Some(2), Some(3)].contains(&run.status),
            };
            assert!(found || ended, "{which} {words:?}: {:?}", run.status);
        }
    }
}
