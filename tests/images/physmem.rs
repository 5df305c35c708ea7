// SPDX-License-Identifier: BSD-2-Clause
//! The memory of another kernel in parts of a larger one, read by address; and
//! a minidump that can only be read in order.

use super::model::{Case, TWO};
use crate::tool::{Run, run};
use livedump_hosted::machine::Machine;
use livedump_vmcore::Vmcore;
use memdev::dump_avail::DumpAvail;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the model's memory is in the machine's.
const AT: u64 = 0x2000_0000;

/// A machine's memory: nothing but that of the model, at [`AT`]. Where it is
/// from `moved` on, behind a gap of one megabyte.
fn memory(case: &Case, moved: u64) -> (String, u64) {
    let raw = std::fs::read(case.path("raw")).unwrap();
    let file = File::create(case.path("memory")).unwrap();
    let (low, high) = raw.split_at((moved as usize).min(raw.len()));
    file.write_all_at(low, AT).unwrap();
    file.write_all_at(high, AT + moved + (1 << 20)).unwrap();
    (format!("physmem:{}", case.text("memory")), raw.len() as u64)
}

/// A command with this memory and the model's kernel.
fn tool(case: &Case, command: &str, machine: &str, rest: &[&str]) -> Run {
    let kernel = case.text("kernel");
    let given = [command, "--machine", machine, "-k", &kernel];
    run(given.iter().chain(rest).map(|arg| (*arg).to_owned()))
}

fn directory(case: &Case, name: &str) -> String {
    let path = case.text(name);
    std::fs::create_dir(&path).unwrap();
    path
}

fn dump(directory: &str) -> Vec<u8> {
    let path = Path::new(directory).join("livecore.0");
    std::fs::read(path).unwrap()
}

#[test]
fn another_kernels_memory_is_dumped_from_ranges() {
    let case = Case::new(TWO);
    let (a, b) = (directory(&case, "a"), directory(&case, "b"));
    let raw = format!("image:{}", case.text("raw"));
    tool(&case, "capture", &raw, &["-q", &a]).expect(0);
    let (memory, bytes) = memory(&case, 4 << 20);
    let gap = AT + (5 << 20);
    let ranges = [
        format!("{gap:#x}-{:#x}@4M", AT + bytes + (1 << 20)),
        format!("{AT:#x}-{:#x}@0", AT + (4 << 20)),
    ];
    let [one, two] = &ranges;
    let given = ["--range", one, "--range", two];
    let with = |rest: &[&'static str], to: &str| {
        let rest = rest.iter().copied().chain([to]);
        let all = given.iter().copied().chain(rest);
        all.map(String::from).collect::<Vec<_>>()
    };
    let go = |command: &str, rest: &[&'static str], to: &str| {
        let all = with(rest, to);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        tool(&case, command, &memory, &all)
    };
    let estimate = go("estimate", &["--json"], &b).expect(0).json();
    let it = go("capture", &["--json"], &b).expect(0).json();
    assert_eq!(it["pages"], estimate["pages"]);
    assert_eq!((&it["verdict"], &it["lists"]), (&"sound".into(), &true.into()));
    assert_eq!(it["machine"], memory.as_str());
    assert!(dump(&a) == dump(&b), "not what an image of it has");
    go("doctor", &[], &b).expect(0);
    let c = directory(&case, "c");
    let once = ["--every", "1h", "--count", "1", "--keep", "9", "-Z"];
    go("watch", &once, &c).expect(0);
    assert!(Path::new(&c).join("livecore.0.zst").exists());
    let kernel = case.text("kernel");
    let words = ["deadlock", "-k", &kernel, "--live", "--machine", &memory];
    let found = run(words.iter().chain(&given)).expect(1);
    assert!(found.text().contains("2 threads in a cycle"), "{}", found.text());
}

#[test]
fn marked_pages_that_are_in_no_range_are_told() {
    let case = Case::new(TWO);
    let to = directory(&case, "to");
    let (memory, bytes) = memory(&case, u64::MAX >> 1);
    // Without one of its pages. Of some no dump can be made at all.
    let marked = marked();
    let step = marked.len().div_ceil(8);
    let dumped = |page: u64, into: &[&str]| {
        let end = AT + page + 4096;
        let ranges = [
            format!("{AT:#x}-{:#x}@0", AT + page),
            format!("{end:#x}-{:#x}@{:#x}", AT + bytes, page + 4096),
        ];
        let [low, high] = &ranges;
        let words = [&["--range", low, "--range", high], into].concat();
        tool(&case, "capture", &memory, &words)
    };
    let without = |page: u64| (page, dumped(page, &["--json", &to]));
    let mut tried = marked.into_iter().skip(3).step_by(step).map(without);
    let (page, it) =
        tried.find(|(_, it)| it.status != Some(2)).expect("no page");
    let it = it.expect(3);
    let reason = it.json()["reason"].as_str().unwrap().to_owned();
    for told in ["1 are not in physmem:", &format!("{page:#x}")] {
        assert!(reason.contains(told), "{reason}");
    }
    let info = std::fs::read_to_string(format!("{to}/info.0")).unwrap();
    assert!(info.contains("Dump Status: unknown"), "{info}");
    // The same where nobody looks into the dump.
    let it = dumped(page, &["-"]).expect(3);
    assert!(it.stderr.contains("1 are not in physmem:"), "{}", it.stderr);
    assert!(it.stdout.starts_with(b"minidump FreeBSD"));
}

/// The addresses of the pages that the model's kernel has marked.
fn marked() -> Vec<u64> {
    let machine = livedump_tests::scenario::model(TWO);
    let bits = machine.target().bitset_bits;
    let mut words = vec![0; bits.div_ceil(64) as usize];
    machine.copy_bitset(0, &mut words);
    let avail = DumpAvail::new(machine.dump_avail()).unwrap();
    (0..bits)
        .filter(|bit| words[(bit / 64) as usize] >> (bit % 64) & 1 != 0)
        .map(|bit| avail.pa_of(bit).unwrap().0)
        .collect()
}

#[test]
fn memory_that_is_not_named_rightly_is_an_error_and_leaves_nothing() {
    let case = Case::new(TWO);
    let to = directory(&case, "to");
    let (memory, bytes) = memory(&case, u64::MAX >> 1);
    let end = AT + bytes;
    for (range, want) in [
        (format!("{end:#x}-{AT:#x}"), "ends before it starts"),
        (format!("{AT:#x}-{AT:#x}"), "is empty"),
        (format!("{AT:#x}-{:#x}", end + 1), "is not a multiple of 4096"),
        (format!("{AT:#x}-{:#x}", end + 4096), "there is nothing at"),
        (format!("0-{AT:#x}"), "is not in this memory"),
    ] {
        let words = ["--range", &range, &to];
        let e = tool(&case, "capture", &memory, &words).expect(2).stderr;
        assert!(e.contains(want) && e.contains(&memory), "{range}: {e}");
    }
    let e = tool(&case, "capture", &memory, &[&to]).expect(2).stderr;
    assert!(e.contains("--range START-END") && e.contains("smap"), "{e}");
    let all = format!("{AT:#x}-{end:#x}@0");
    let words = ["capture", "--machine", &memory, "--range", &all, &to];
    let e = run(words).expect(2).stderr;
    assert!(e.contains("name its kernel with -k: "), "{e}");
    let words = ["--range", &all, "--freeze", &to];
    tool(&case, "capture", &memory, &words).expect(2);
    let words = ["--range", &all, &to];
    let e = tool(&case, "capture", "model", &words).expect(2).stderr;
    assert!(e.contains("physmem:DEVICE"), "{e}");
    let words = ["--range", "1M", &to];
    let e = tool(&case, "capture", &memory, &words).expect(2).stderr;
    assert!(e.contains("START-END"), "{e}");
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 0);
}

/// The tool, which reads a minidump from a pipe that ends after `bytes`.
fn piped(case: &Case, bytes: &[u8], to: &str) -> Run {
    let fifo = case.path("fifo");
    let _ = std::fs::remove_file(&fifo);
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let machine = format!("vmcore:{}", fifo.display());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut to = File::options().write(true).open(&fifo).unwrap();
            // The reader may have seen enough.
            let _ = to.write_all(bytes);
        });
        run(["capture", "-Z", "--json", "--machine", &machine, to])
    })
}

#[test]
fn a_minidump_that_can_only_be_read_once_is_dumped() {
    let case = Case::new(TWO);
    let (dumps, to) = (case.text("dumps"), directory(&case, "to"));
    let whole = dump(&dumps);
    let it = piped(&case, &whole, &to).expect(0).json();
    let core = Vmcore::open(&Path::new(&dumps).join("livecore.0")).unwrap();
    assert_eq!(it["pages"], core.pages().unwrap().count_set());
    let kernel = case.text("kernel");
    let ps = |file: &str| run(["ps", "-k", &kernel, file]).expect(0).stdout;
    let dumped = format!("{to}/livecore.0.zst");
    assert!(ps(&dumped) == ps(&format!("{dumps}/livecore.0")));
    run(["verify", "-k", &kernel, &dumped]).expect(0);
}

#[test]
fn a_stream_that_ends_early_is_told() {
    let case = Case::new(TWO);
    let (dumps, to) = (case.text("dumps"), directory(&case, "to"));
    let whole = dump(&dumps);
    let short = &whole[..whole.len() - 3 * 4096];
    let it = piped(&case, short, &to).expect(1).json();
    let reason = it["reason"].as_str().unwrap();
    assert!(reason.contains("ends early: 3 of its"), "{reason}");
    // Of less nothing can be made.
    let before = std::fs::read_dir(&to).unwrap().count();
    for len in [0, 100, 4096, 8192] {
        let e = piped(&case, &whole[..len], &to).expect(2).stderr;
        assert!(e.contains("vmcore:"), "{e}");
    }
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), before);
    let e = run(["capture", "--machine", "vmcore:/dev/zero", &to]).expect(2);
    assert!(e.stderr.contains("header of a minidump"), "{}", e.stderr);
}
