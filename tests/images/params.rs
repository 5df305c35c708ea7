// SPDX-License-Identifier: BSD-2-Clause
//! The parameter page of a model machine in its memory: what is found by it is
//! what a kernel file finds, and a page that is not of a running kernel is
//! refused, in words of its own.

use super::model::{Case, TWO};
use crate::tool::run;
use livedump_tests::scenario::model;
use livedump_vmcore::image::MemoryImage;
use livedump_vmcore::image::kernel::{KernelMemory, Refusal};
use livedump_vmcore::image::raw::Raw;
use livedump_vmcore::source::Plain;
use livedump_vmcore::{Opened, chain, elf::Kernel};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::params::{self, Params};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The same with a parameter page.
fn recipe(more: &str) -> String {
    format!("{TWO}params\n{more}")
}

fn page_of(recipe: &str) -> Paddr {
    model(recipe).parameter_page().unwrap()
}

fn image(path: &Path) -> Arc<dyn MemoryImage> {
    let file = Arc::new(File::open(path).unwrap());
    let len = file.metadata().unwrap().len();
    Arc::new(Raw::new(Arc::new(Plain::new(file, len)), len))
}

fn read(path: &Path, at: u64) -> Box<[u8; PAGE_SIZE]> {
    let mut page = Box::new([0; PAGE_SIZE]);
    File::open(path).unwrap().read_exact_at(&mut page[..], at).unwrap();
    page
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

const KINDS: [&str; 5] = [
    "",
    "kernphys 8M\n",
    "osreldate 1302001\n",
    "release 12.1-RELEASE\n",
    "machine arm64\n",
];

#[test]
fn what_the_page_tells_is_what_the_kernel_file_tells() {
    for kind in KINDS {
        let recipe = recipe(kind);
        let case = Case::new(&recipe);
        let kernel = Kernel::open(&case.path("kernel")).unwrap();
        // Where memory does not start at 0, neither does the file's.
        let image = image(&case.path("raw"));
        let found = KernelMemory::by_page(&image, &[]).unwrap();
        let params = found.params.as_deref().unwrap();
        assert_eq!(Paddr(params.pa), page_of(&recipe), "{kind}");
        let [other] = &KernelMemory::find(&image, &kernel).unwrap()[..] else {
            panic!("{kind}: not one kernel");
        };
        let none: [&str; 0] = [];
        assert_eq!(found.differences(other), none, "{kind}");
        assert_eq!(found.kva_end, other.kva_end, "{kind}");
        assert_eq!(found.minidump_version, other.minidump_version, "{kind}");
        found.check_dumpable().unwrap();
    }
}

#[test]
fn an_image_is_dumped_and_read_without_a_kernel() {
    let case = Case::new(&recipe(""));
    let (file, with, without) =
        (case.text("raw"), case.text("with"), case.text("without"));
    let spec = format!("image:{file}");
    for (dir, kernel) in [(&with, Some(case.text("kernel"))), (&without, None)]
    {
        std::fs::create_dir(dir).unwrap();
        let mut words = vec!["capture", "-q", "--machine", &spec];
        if let Some(kernel) = &kernel {
            words.extend(["-k", kernel]);
        }
        words.push(dir);
        run(&words).expect(0);
    }
    let dump = |dir: &str| {
        let mut bytes = std::fs::read(format!("{dir}/livecore.0")).unwrap();
        // The time of the dump.
        bytes.truncate(bytes.len() - 512);
        bytes
    };
    assert!(dump(&with) == dump(&without), "the dumps differ");
    let mini = case.text("mini");
    run(["convert", &file, "--to", "minidump", &mini]).expect(0);
    for (command, exit) in [("ps", 0), ("deadlock", 1), ("dmesg", 0)] {
        let want = case.says(command, "raw", exit);
        assert_eq!(case.says(command, "without/livecore.0", exit), want);
        assert_eq!(case.says(command, "mini", exit), want);
    }
    let dmesg = run(["dmesg", &file]).expect(0);
    assert_eq!(
        dmesg.text(),
        run(["dmesg", "-k", &case.text("kernel"), &file]).expect(0).text()
    );
    let info = run(["info", "--json", &file]).expect(0).json();
    assert_eq!(info["machine"], "amd64", "{info}");
    let said = info["notes"].to_string();
    assert!(said.contains("found by the parameter page at 0x"), "{said}");
}

#[test]
fn a_page_with_any_bit_changed_is_damaged_and_none_with_its_magic_changed() {
    let recipe = recipe("");
    let case = Case::new(&recipe);
    let (path, at) = (case.path("raw"), page_of(&recipe).0);
    let whole = read(&path, at);
    for byte in (0..400).chain([params::NOTE_OFFSET + 30, PAGE_SIZE - 1]) {
        let mut page = whole.clone();
        page[byte] ^= 1 << (byte % 8);
        write(&path, at, &page[..]);
        let e = KernelMemory::at_page(&image(&path), Paddr(at)).unwrap_err();
        match byte {
            0..8 => assert!(matches!(e, Refusal::Absent), "{byte}: {e}"),
            _ => assert_eq!(e.to_string(), "damaged (checksum)", "{byte}"),
        }
    }
    std::fs::create_dir(case.path("none")).unwrap();
    let spec = format!("image:{}", case.text("raw"));
    let refused =
        run(["capture", "-q", "--machine", &spec, &case.text("none")])
            .expect(2);
    let said = "parameter page at ";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert!(refused.stderr.contains("damaged (checksum)"));
    let info = run(["info", &case.text("raw")]).expect(2);
    assert!(info.stderr.contains("damaged (checksum)"), "{}", info.stderr);
}

#[test]
fn a_page_of_a_kernel_that_runs_no_more_is_stale() {
    let recipe = recipe("");
    let case = Case::new(&recipe);
    let (path, at) = (case.path("raw"), page_of(&recipe).0);
    let it = Params::decode(&read(&path, at)).unwrap().unwrap();
    let says = || {
        let e = KernelMemory::by_page(&image(&path), &[]).unwrap_err();
        chain(&e)
    };
    let stale = "stale: the kernel that wrote it runs no more";
    // Taken back: another generation; zeros.
    for bytes in [it.witness().map(|b| b ^ 1), [0; params::WITNESS_BYTES]] {
        let old = read(&path, it.witness_pa);
        write(&path, it.witness_pa, &bytes);
        let said = says();
        assert!(said.contains(stale), "{said}");
        assert!(said.contains("its witness differs"), "{said}");
        write(&path, it.witness_pa, &old[..]);
    }
    // Its tables are somebody else's memory now.
    let old = read(&path, it.root);
    write(&path, it.root, &[0x5a; PAGE_SIZE]);
    let said = says();
    assert!(said.contains(stale), "{said}");
    assert!(said.contains("page tables do not lead to it"), "{said}");
    write(&path, it.root, &old[..]);
    // The page itself, moved away.
    let page = read(&path, at);
    let elsewhere = at - 0x5000;
    let old = read(&path, elsewhere);
    write(&path, elsewhere, &page[..]);
    write(&path, at, &[0; PAGE_SIZE]);
    let said = says();
    let want = format!("at {elsewhere:#x}: copied from {at:#x}");
    assert!(said.contains(&want), "{said}");
    write(&path, elsewhere, &old[..]);
    let said = says();
    assert!(
        said.contains("no parameter page was found in this memory"),
        "{said}"
    );
    write(&path, at, &page[..]);
    KernelMemory::by_page(&image(&path), &[]).unwrap();
}

/// Memory keeps pages of the boots before.
#[test]
fn of_two_boots_the_page_of_the_one_that_runs_is_used() {
    let recipe = recipe("");
    let case = Case::new(&recipe);
    let (path, at) = (case.path("raw"), page_of(&recipe).0);
    let it = Params::decode(&read(&path, at)).unwrap().unwrap();
    let earlier = at - 0x6000;
    let page_at = |change: &dyn Fn(&mut Params)| {
        let mut other = Params { pa: earlier, ..it };
        change(&mut other);
        let mut page = [0; PAGE_SIZE];
        other.encode(&mut page);
        write(&path, earlier, &page);
    };
    // Same addresses: the same kernel, loaded at the same place.
    page_at(&|other| other.generation ^= 7);
    let found = KernelMemory::by_page(&image(&path), &[]).unwrap();
    assert_eq!(found.params.as_deref().unwrap().pa, at);
    let notes = found.notes.join("\n");
    assert!(notes.contains("stale: the kernel that wrote it"), "{notes}");
    assert!(notes.contains("its memory was searched"), "{notes}");
    // A hint that leads to the other is not the last word.
    let found = KernelMemory::by_page(&image(&path), &[Paddr(earlier)]);
    assert_eq!(found.unwrap().params.as_deref().unwrap().pa, at);
    // Both have a witness: nothing tells which of them runs.
    let witness_va = it.witness_va + 64;
    let witness_pa = it.witness_pa + 64;
    page_at(&|other| {
        (other.witness_va, other.witness_pa) = (witness_va, witness_pa);
    });
    let other = Params { pa: earlier, ..it };
    write(&path, witness_pa, &other.witness());
    let e = KernelMemory::by_page(&image(&path), &[]).unwrap_err();
    let said = e.to_string();
    assert!(said.contains("both are in use"), "{said}");
}

/// The checksum is right, and nothing else is.
#[test]
fn a_hostile_page_is_refused_or_harmless() {
    let recipe = recipe("");
    let case = Case::new(&recipe);
    let (path, at) = (case.path("raw"), page_of(&recipe).0);
    let whole = read(&path, at);
    let values = [
        0,
        1,
        0xfff,
        0x1000,
        1 << 21,
        1 << 32,
        1 << 51,
        1 << 52,
        u64::MAX,
        u64::MAX - 0xfff,
        0xffff_8000_0000_0000,
        0xffff_f800_0000_0000,
        at,
    ];
    let mut taken = 0;
    for field in (24..360).step_by(4) {
        for value in values {
            let mut page = whole.clone();
            let bytes = value.to_le_bytes();
            let n = if field % 8 == 0 { 8 } else { 4 };
            page[field..field + n].copy_from_slice(&bytes[..n]);
            params::seal(&mut page);
            write(&path, at, &page[..]);
            let image = image(&path);
            if let Ok(memory) = KernelMemory::at_page(&image, Paddr(at)) {
                taken += 1;
                let _ = memory.page_facts();
                let _ = memory.check_dumpable();
                let _ = memory.marked();
            }
        }
    }
    // Those that are only of use to debuggers.
    assert!(taken > 100, "{taken}");
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..2000 {
        let mut page = whole.clone();
        for _ in 0..random % 4 + 1 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let field = 24 + (random % 84) as usize * 4;
            let value = random.rotate_left(21).to_le_bytes();
            page[field..field + 4].copy_from_slice(&value[..4]);
        }
        params::seal(&mut page);
        write(&path, at, &page[..]);
        let _ = KernelMemory::at_page(&image(&path), Paddr(at))
            .map(|memory| memory.check_dumpable().is_ok());
    }
}

/// A guest's memory in a file has no hole below 4 GiB.
#[test]
fn a_page_above_the_hole_is_found_in_a_file_without_it() {
    let ram = "ram 0x1000 0x9f000\nram 1M 2G\nram 4G 0x104000000\n";
    let recipe = recipe("").replace("size 16M\n", ram);
    assert!(page_of(&recipe).0 >= 4 << 30);
    let case = Case::with(&recipe, 2 << 30, 4 << 30);
    let file = case.text("raw");
    let (spec, dir) = (format!("image:{file}"), case.text("without"));
    std::fs::create_dir(&dir).unwrap();
    run(["capture", "-q", "--machine", &spec, &dir]).expect(0);
    assert_eq!(
        case.says("ps", "without/livecore.0", 0),
        case.says("ps", "dumps/livecore.0", 0)
    );
}

/// The vmcoreinfo of a dump says where the page is; a kernel file that says
/// otherwise is told of.
#[test]
fn a_hint_is_followed_and_compared_with_the_kernel_file() {
    let recipe = recipe("");
    let case = Case::new(&recipe);
    let at = page_of(&recipe).0;
    let page = read(&case.path("raw"), at);
    let end = params::NOTE_OFFSET + params::note_bytes(&page) as usize;
    let raw = std::fs::read(case.path("raw")).unwrap();
    let elf = case.path("elf");
    let make = |page: &[u8]| {
        let mut raw = raw.clone();
        raw[at as usize..][..PAGE_SIZE].copy_from_slice(page);
        std::fs::write(&elf, core_of(&raw, &page[params::NOTE_OFFSET..end]))
            .unwrap();
        match Opened::new(File::open(&elf).unwrap(), &elf).unwrap() {
            Opened::Image(image) => image,
            Opened::Minidump(_) => panic!("no image"),
        }
    };
    let image = make(&page[..]);
    assert_eq!(image.page_hint(), Some(Paddr(at)));
    let core = image.with_page_at_hand().unwrap();
    // Nothing had to be searched.
    assert!(!core.notes().iter().any(|note| note.contains("searched")));
    let kernel = Kernel::open(&case.path("kernel")).unwrap();
    let told = |image: livedump_vmcore::ImageFile| {
        let core = image.with_kernel(&kernel).unwrap();
        let mut notes = core.notes().iter();
        notes.find(|note| note.contains("parameter page")).cloned()
    };
    assert_eq!(told(image), None);
    let mut it = Params::decode(&page).unwrap().unwrap();
    it.bitset_bits -= 64;
    let mut other = [0; PAGE_SIZE];
    it.encode(&mut other);
    let note = told(make(&other)).unwrap();
    assert!(note.contains("not the same: vm_page_dump"), "{note}");
    other[100] ^= 1;
    let note = told(make(&other)).unwrap();
    assert!(note.contains("damaged (checksum)"), "{note}");
}

/// An ELF core of memory from address 0, with one note.
fn core_of(raw: &[u8], note: &[u8]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([4u16, 62].map(u16::to_le_bytes).concat());
    out.extend(1u32.to_le_bytes());
    out.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
    out.extend(0u32.to_le_bytes());
    out.extend([64u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    let (notes, memory) = (176u64, 4096u64);
    let (note_len, len) = (note.len() as u64, raw.len() as u64);
    for (kind, offset, n, align) in
        [(4u32, notes, note_len, 4), (1, memory, len, 4096)]
    {
        out.extend(kind.to_le_bytes());
        out.extend(0u32.to_le_bytes());
        out.extend([offset, 0, 0, n, n, align].map(u64::to_le_bytes).concat());
    }
    out.extend(note);
    out.resize(memory as usize, 0);
    out.extend(raw);
    out
}
