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
pub const TWO: &str = "size 16M\nprocess 200 ab\n\
    lock alpha sx owner 100200\nlock beta sx owner 100201\n\
    thread 100200 one wait beta\nthread 100201 two wait alpha\n";

const KERNBASE: u64 = 0xffff_ffff_8000_0000;

pub struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    pub fn new(recipe: &str) -> Self {
        Self::with(recipe, u64::MAX, u64::MAX)
    }

    /// With its memory from `low` to `high` left out.
    pub fn with(recipe: &str, low: u64, high: u64) -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A command's standard output, without the file's own name.
    pub fn says(&self, command: &str, file: &str, exit: i32) -> String {
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

/// LiME with everything of a flat file but one page.
fn without(raw: &[u8], page: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (start, end) in [(0, page), (page + 4096, raw.len() as u64)] {
        out.extend(b"EMiL\x01\0\0\0");
        out.extend(start.to_le_bytes());
        out.extend((end - 1).to_le_bytes());
        out.extend([0; 8]);
        out.extend(&raw[start as usize..end as usize]);
    }
    out
}

/// The tables of the kernel map of an image, but for its root.
fn tables(case: &Case) -> Vec<u64> {
    use livedump_vmcore::Opened;
    use livedump_vmcore::elf::Kernel;
    use memdev::addr::Vaddr;
    use memdev::arch::Entry;
    let kernel = Kernel::open(&case.path("kernel")).unwrap();
    let raw = case.path("raw");
    let opened = Opened::new(File::open(&raw).unwrap(), &raw).unwrap();
    let Opened::Image(image) = opened else { panic!("no image") };
    let core = image.with_kernel(&kernel).unwrap();
    let walker = core.image().unwrap().walker();
    let version = kernel.find("version").unwrap().address;
    let mut all = Vec::new();
    for va in [version, core.header().kernbase] {
        for level in [3, 2] {
            let (at, entry) = walker.entry_for(Vaddr(va.0), level).unwrap();
            if let Entry::Table(pa) = walker.machine().decode(at, entry) {
                all.push(pa.0);
            }
        }
    }
    assert!(all.len() > 2, "{all:x?}");
    all
}

#[test]
fn no_minidump_is_made_without_a_page_table() {
    let case = Case::new(TWO);
    let raw = std::fs::read(case.path("raw")).unwrap();
    let (kernel, file) = (case.text("kernel"), case.text("lime"));
    for table in tables(&case) {
        std::fs::write(&file, without(&raw, table)).unwrap();
        let spec = format!("image:{file}");
        let words = ["capture", "-q", "--machine", &spec, "-k", &kernel];
        let dir = case.text("dumps");
        let refused = run(words.iter().chain([&dir.as_str()])).expect(2);
        let verify = run(["verify", "-k", &kernel, &file]);
        // What leads to the kernel itself is missing: it is not found.
        let lost = refused.stderr.contains("is not in this memory");
        let told = refused.stderr.contains("page tables of the kernel map");
        assert!(lost || told, "{table:x}: {}", refused.stderr);
        assert_eq!(verify.status, Some(if lost { 2 } else { 3 }), "{table:x}");
        let words = ["convert", "-k", &kernel, &file, "--to", "minidump"];
        run(words.iter().chain([&case.text("out").as_str()])).expect(2);
        assert!(!case.path("out").exists());
    }
}

#[test]
fn a_block_device_is_memory_and_what_has_none_is_refused() {
    let case = Case::new(TWO);
    let (kernel, raw) = (case.text("kernel"), case.text("raw"));
    let capture = |device: &str, to: &str| {
        let spec = format!("image:{device}");
        let words = ["capture", "-q", "--no-seal", "--machine", &spec, "-k"];
        run(words.iter().chain([&kernel.as_str(), &to]))
    };
    let fifo = case.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let to = case.text("none");
    std::fs::create_dir(&to).unwrap();
    for device in ["/dev/zero", "/dev/null", "/dev/random", &case.text("fifo")]
    {
        capture(device, &to).expect(2);
        run(["ps", "-k", &kernel, device]).expect(2);
    }
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 0);
    let attach = std::process::Command::new("losetup")
        .args(["-r", "-f", "--show", &raw])
        .output();
    let device = match attach {
        Ok(out) if out.status.success() => {
            String::from_utf8(out.stdout).unwrap().trim().to_owned()
        }
        _ => return livedump_skip::skipped("no loop device can be attached"),
    };
    let (a, b) = (case.text("a"), case.text("b"));
    for dir in [&a, &b] {
        std::fs::create_dir(dir).unwrap();
    }
    let of_device = capture(&device, &a);
    let detach = ["-d", &device];
    let _ = std::process::Command::new("losetup").args(detach).output();
    of_device.expect(0);
    capture(&raw, &b).expect(0);
    let dump = |dir: &str| {
        let mut bytes = std::fs::read(format!("{dir}/livecore.0")).unwrap();
        // The time of the dump.
        bytes.truncate(bytes.len() - 512);
        bytes
    };
    assert!(dump(&a) == dump(&b));
}

#[test]
fn a_full_dump_is_listed_with_the_kernel_beside_it() {
    let case = Case::new(TWO);
    let dir = case.text("crash");
    std::fs::create_dir(&dir).unwrap();
    let (kernel, raw) = (case.text("kernel"), case.text("raw"));
    let out = format!("{dir}/vmcore.3");
    let words = ["convert", "-k", &kernel, &raw, "--to", "elf"];
    run(words.iter().chain([&out.as_str()])).expect(0);
    let verdict = |exit| {
        let list = run(["list", "--json", &dir]).expect(exit).json();
        list["dumps"][0]["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict(3), "undetermined");
    std::fs::copy(&kernel, format!("{dir}/kernel.3")).unwrap();
    assert_eq!(verdict(0), "sound");
}

#[test]
fn of_two_copies_of_a_kernel_the_one_with_whole_lists_is_used() {
    const COPY: u64 = 128 << 20;
    const KERNEL: u64 = 8 << 20;
    let case = Case::new(&TWO.replace("size 16M", "size 256M"));
    let symbols =
        Symbols::parse(&std::fs::read(case.path("kernel")).unwrap()).unwrap();
    let want = case.says("ps", "raw", 0);
    // What is left of a machine that was started before: the kernel, and
    // tables that lead to it.
    let file = File::options().read(true).write(true).open(case.path("raw"));
    let file = file.unwrap();
    let mut kernel = vec![0; KERNEL as usize];
    file.read_exact_at(&mut kernel, 2 << 20).unwrap();
    file.write_all_at(&kernel, COPY + (2 << 20)).unwrap();
    let word = |pa: u64, value: u64| {
        file.write_all_at(&value.to_le_bytes(), pa).unwrap();
    };
    let root = COPY + (16 << 20);
    let pml4 = symbols.get("KPML4phys").unwrap() - KERNBASE;
    let mut old = [0; 8];
    file.read_exact_at(&mut old, pml4).unwrap();
    let mut table = [0; PAGE_SIZE];
    file.read_exact_at(&mut table, u64::from_le_bytes(old)).unwrap();
    file.write_all_at(&table, root).unwrap();
    word(pml4 + COPY, root);
    word(root + 511 * 8, (root + 0x1000) | 3);
    word(root + 0x1000 + 510 * 8, (root + 0x2000) | 3);
    word(root + 0x2000 + 8, (COPY + (2 << 20)) | 0x83);
    assert_eq!(case.says("ps", "raw", 0), want);
    let (kernel, raw) = (case.text("kernel"), case.text("raw"));
    let words = ["convert", "-k", &kernel, &raw, "--to", "lime"];
    let found = run(words.iter().chain([&case.text("out").as_str()]));
    let note = "is in this memory 2 times: only the one at 0x0 has whole lists";
    assert!(found.stderr.contains(note), "{}", found.stderr);
    // All of it is mapped, and so are its lists.
    for n in 2..5 {
        word(root + 0x2000 + n * 8, (COPY + (n << 21)) | 0x83);
    }
    let both = run(["ps", "-k", &kernel, &raw]).expect(2);
    assert!(both.stderr.contains("both have whole lists"), "{}", both.stderr);
}
