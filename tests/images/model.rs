// SPDX-License-Identifier: BSD-2-Clause
//! The memory of a model machine, byte for byte: its kernel is found in it,
//! and commands say of it what they say of a dump of that machine.

use crate::tool::run;
use livedump_hosted::machine::{Machine, Running};
use livedump_tests::elf::Symbols;
use livedump_tests::scenario::model;
use memdev::addr::{PAGE_SIZE, Paddr};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A deadlock of two threads.
const TWO: &str = "size 16M\nprocess 200 ab\n\
    lock alpha sx owner 100200\nlock beta sx owner 100201\n\
    thread 100200 one wait beta\nthread 100201 two wait alpha\n";

const KERNBASE: u64 = 0xffff_ffff_8000_0000;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(recipe: &str) -> Self {
        Self::with(recipe, u64::MAX, u64::MAX)
    }

    /// With its memory from `low` to `high` left out.
    fn with(recipe: &str, low: u64, high: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let case = Self { dir };
        std::fs::write(case.path("recipe"), recipe).unwrap();
        let (spec, dumps) = (case.text("recipe"), case.text("dumps"));
        std::fs::create_dir(&dumps).unwrap();
        let spec = format!("model:{spec}");
        run(["capture", "-q", "--machine", &spec, &dumps]);
        let machine = model(recipe);
        std::fs::write(case.path("kernel"), machine.kernel_elf().unwrap())
            .unwrap();
        raw(&machine, &case.path("raw"), low, high);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A command's standard output, without the file's own name.
    fn says(&self, command: &str, file: &str, exit: i32) -> String {
        let (kernel, file) = (self.text("kernel"), self.text(file));
        let run = run([command, "-k", &kernel, &file]).expect(exit);
        run.text().replace(&file, "FILE")
    }
}

/// All memory of a machine below `low` and from `high` on, one after the
/// other, sparse where it is zero or there is none.
fn raw(machine: &dyn Machine, to: &Path, low: u64, high: u64) {
    let file = File::create(to).unwrap();
    let mut page = [0; PAGE_SIZE];
    let last = machine.dump_avail().last().unwrap().1;
    let below = 0..low.min(last);
    for pa in below.chain(high..last).step_by(PAGE_SIZE) {
        let at = if pa < low { pa } else { pa - high + low };
        let read = machine.read_page(Paddr(pa), &mut page);
        if read.is_ok() && page != [0; PAGE_SIZE] {
            file.write_all_at(&page, at).unwrap();
        }
        file.set_len(at + PAGE_SIZE as u64).unwrap();
    }
}

#[test]
fn commands_say_of_memory_what_they_say_of_a_dump_of_it() {
    for release in ["", "osreldate 1302001\n", "kernphys 8M\n"] {
        let case = Case::new(&format!("{TWO}{release}"));
        for (command, exit) in [("ps", 0), ("deadlock", 1), ("dmesg", 0)] {
            assert_eq!(
                case.says(command, "raw", exit),
                case.says(command, "dumps/livecore.0", exit),
                "{command}"
            );
        }
        let verify = case.says("verify", "raw", 0);
        assert!(verify.contains("FILE: sound"), "{verify}");
    }
}

/// A full dump is an image that the kernel itself writes: then, and only
/// then, `dumppcb` is of this moment.
#[test]
fn the_thread_that_takes_a_full_dump_has_its_registers() {
    let case = Case::new(TWO);
    let (kernel, file) = (case.text("kernel"), case.text("raw"));
    let symbols = Symbols::parse(&std::fs::read(&kernel).unwrap()).unwrap();
    let at = |name| symbols.get(name).unwrap() - KERNBASE;
    let file_of = || File::options().read(true).write(true).open(&file);
    let mut tid = [0; 4];
    file_of().unwrap().read_exact_at(&mut tid, at("dumptid")).unwrap();
    let tid = u32::from_le_bytes(tid).to_string();
    let bt = || run(["bt", "--json", "-k", &kernel, &file, &tid]).json();
    assert_ne!(bt()["registers"], "dumppcb");
    file_of().unwrap().write_all_at(&[1], at("dumping")).unwrap();
    assert_eq!(bt()["registers"], "dumppcb");
}

#[test]
fn a_kernel_that_is_not_in_the_memory_is_refused() {
    let case = Case::new(TWO);
    let other = Case::new(&format!("{TWO}release 15.0-RELEASE\n"));
    let (kernel, file) = (other.text("kernel"), case.text("raw"));
    let run = run(["ps", "-k", &kernel, &file]).expect(2);
    assert!(run.stderr.contains("is not in this memory"), "{}", run.stderr);
    let kernel = case.text("recipe");
    let run = self::run(["ps", "-k", &kernel, &file]).expect(2);
    assert!(run.stderr.contains("not a kernel"), "{}", run.stderr);
    // The kernel is above the first 2 MiB.
    let bytes = std::fs::read(case.path("raw")).unwrap();
    let cut = case.path("cut");
    std::fs::write(&cut, &bytes[..2 << 20]).unwrap();
    let (kernel, file) = (case.text("kernel"), case.text("cut"));
    let run = self::run(["ps", "-k", &kernel, &file]).expect(2);
    assert!(run.stderr.contains("is not in this memory"), "{}", run.stderr);
}

#[test]
fn a_hole_below_4g_that_the_file_has_not_is_put_back() {
    let recipe = TWO.replace(
        "size 16M\n",
        "ram 0x1000 0x9f000\nram 1M 2G\nram 4G 0x104000000\n",
    );
    let case = Case::with(&recipe, 2 << 30, 4 << 30);
    assert_eq!(
        case.path("raw").metadata().unwrap().len(),
        (2 << 30) + (64 << 20)
    );
    for (command, exit) in [("ps", 0), ("deadlock", 1)] {
        assert_eq!(
            case.says(command, "raw", exit),
            case.says(command, "dumps/livecore.0", exit)
        );
    }
}

/// As QEMU's pmemsave writes it of an arm64 machine: nothing in the file says
/// where its first byte is.
#[test]
fn memory_that_does_not_start_at_0_is_put_where_the_kernel_has_it() {
    for release in ["13.2", "15.1"] {
        let recipe = format!("machine arm64\nrelease {release}-RELEASE\n{TWO}");
        let start = model(&recipe).dump_avail()[0].0 & !((2 << 20) - 1);
        assert!(start != 0);
        let case = Case::with(&recipe, 0, start);
        for (command, exit) in [("ps", 0), ("deadlock", 1), ("dmesg", 0)] {
            assert_eq!(
                case.says(command, "raw", exit),
                case.says(command, "dumps/livecore.0", exit),
                "{release} {command}"
            );
        }
        let verify = case.says("verify", "raw", 0);
        assert!(verify.contains("FILE: sound"), "{verify}");
    }
}

#[test]
fn the_engine_makes_a_minidump_of_memory() {
    let case = Case::new(TWO);
    let (kernel, file) = (case.text("kernel"), case.text("raw"));
    let out = case.text("mini");
    let to = ["--to", "minidump", &out];
    let args = [&["convert", "-k", &kernel, &file], &to[..]].concat();
    run(&args).expect(0);
    let of = |name: &str| std::fs::read(case.path(name)).unwrap();
    for (command, exit) in [("ps", 0), ("deadlock", 1), ("dmesg", 0)] {
        assert_eq!(
            case.says(command, "mini", exit),
            case.says(command, "dumps/livecore.0", exit)
        );
    }
    // Besides its own pages it has those that the machine marks as not to be
    // dumped: where vm_page says so is known to that kernel alone.
    let (mini, dump) = (of("mini"), of("dumps/livecore.0"));
    assert!(mini.len() >= dump.len() && mini.len() < dump.len() + (1 << 20));
    // Again, from that minidump and without a kernel.
    run(["convert", &out, "--to", "minidump", &case.text("again")]).expect(0);
    assert!(of("again") == of("mini"), "the dumps differ");
    // Without one, memory is nothing that is known.
    let none = case.text("none");
    run(["convert", &file, "--to", "minidump", &none]).expect(2);
    assert!(!case.path("none").exists());
}

#[test]
fn an_image_without_its_page_bitset_becomes_no_minidump() {
    let case = Case::new(TWO);
    let kernel = case.text("kernel");
    let symbols = Symbols::parse(&std::fs::read(&kernel).unwrap()).unwrap();
    let raw = std::fs::read(case.path("raw")).unwrap();
    // The kernel is loaded at its addresses less KERNBASE, the bitset is in
    // the direct map.
    let at = (symbols.get("vm_page_dump").unwrap() - KERNBASE) as usize;
    let bitset = u64::from_le_bytes(raw[at..at + 8].try_into().unwrap());
    let page = (bitset & 0xfff_ffff) & !0xfff;
    let lime = lime_without(&raw, page);
    std::fs::write(case.path("lime"), lime).unwrap();
    let (file, out) = (case.text("lime"), case.text("mini"));
    run(["ps", "-k", &kernel, &file]).expect(0);
    let to = ["convert", "-k", &kernel, &file, "--to", "minidump", &out];
    let failed = run(to).expect(2);
    assert!(failed.stderr.contains("vm_page_dump: "), "{}", failed.stderr);
    assert!(!case.path("mini").exists());
}

/// LiME ranges of all memory but one page.
fn lime_without(raw: &[u8], page: u64) -> Vec<u8> {
    let (len, mut out) = (raw.len() as u64, Vec::new());
    for (start, end) in [(0, page), (page + PAGE_SIZE as u64, len)] {
        out.extend(*b"EMiL\x01\0\0\0");
        out.extend(start.to_le_bytes());
        out.extend((end - 1).to_le_bytes());
        out.extend([0; 8]);
        out.extend(&raw[start as usize..end as usize]);
    }
    out
}
