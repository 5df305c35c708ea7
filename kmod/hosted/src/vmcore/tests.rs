// SPDX-License-Identifier: BSD-2-Clause
//! Small dumps, made here byte by byte.

use super::{VmcoreError, VmcoreMachine};
use crate::machine::Machine;
use livedump_kmod::error::Errno;
use livedump_vmcore::Vmcore;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::arch::{self, Entry, span};
use memdev::dump_avail;
use memdev::minidump::MinidumpHeader;
use std::path::PathBuf;

const AVAIL: [(u64, u64); 2] = [(0, 0x9000), (0x10_0000, 0x20_0000)];
const KVA: u64 = 0xffff_fe00_0000_0000;

/// A file in the temporary directory, gone when the value is.
pub(super) struct Scratch(pub(super) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn scratch(name: &str, contents: &[u8]) -> Scratch {
    let name = format!("livedump-vmcore-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, contents).unwrap();
    Scratch(path)
}

type Opened = core::result::Result<VmcoreMachine, VmcoreError>;

fn open(name: &str, contents: &[u8]) -> Opened {
    VmcoreMachine::new(Vmcore::open(&scratch(name, contents).0)?)
}

fn amd64() -> MinidumpHeader {
    MinidumpHeader {
        machine: arch::Machine::Amd64,
        version: 3,
        msgbufsize: 4000,
        bitmapsize: 4096,
        pmapsize: 2 * 4096,
        kernbase: Vaddr(KVA),
        dmapphys: 0,
        dmapbase: Vaddr(0xffff_f800_0000_0000),
        dmapend: Vaddr(0xffff_fc00_0000_0000),
        dumpavailsize: 4096,
        flags: 0,
    }
}

fn arm64() -> MinidumpHeader {
    MinidumpHeader {
        machine: arch::Machine::Arm64,
        version: 2,
        kernbase: Vaddr(0xffff_0000_0000_0000),
        dmapbase: Vaddr(0xffff_a000_0000_0000),
        dmapend: Vaddr(0xffff_ff00_0000_0000),
        ..amd64()
    }
}

/// A dump with pages 2, 5 and 10 (0x101000), whose bytes are 2, 5 and 10.
/// Page 2 of the kernel map's second directory maps page 5.
fn small_dump(h: &MinidumpHeader) -> Vec<u8> {
    let l = h.layout();
    let mut f = vec![0; l.pages as usize];
    let mut page = [0; PAGE_SIZE];
    h.encode(&mut page);
    f[..PAGE_SIZE].copy_from_slice(&page);
    f[l.msgbuf as usize..][..5].copy_from_slice(b"hello");
    if h.has_dump_avail() {
        dump_avail::encode(&AVAIL, &mut page);
        f[l.dump_avail as usize..][..PAGE_SIZE].copy_from_slice(&page);
    }
    // With garbage behind the bits.
    let bits = [0b100_0010_0100, 0, 0, 0];
    for (i, word) in bits.iter().enumerate() {
        let at = l.bitmap as usize + 8 * i;
        f[at..at + 8].copy_from_slice(&u64::to_le_bytes(*word));
    }
    if h.has_dump_avail() {
        f[l.bitmap as usize + 40..][..8].fill(0xff);
    }
    let entry = match h.machine {
        arch::Machine::Amd64 => 0x5003u64,
        arch::Machine::Arm64 => 0x5703,
    };
    f[l.pmap as usize + 4096 + 16..][..8].copy_from_slice(&entry.to_le_bytes());
    for fill in [2, 5, 10] {
        f.extend([fill; PAGE_SIZE]);
    }
    f
}

/// What maps `va`, found as the engine finds it.
pub(super) fn translate(m: &VmcoreMachine, va: u64) -> Option<Paddr> {
    let t = m.target();
    let mut table = t.root;
    for level in (0..=t.root_level).rev() {
        let index = va / span(level) % arch::ENTRIES;
        match t.machine.decode(level, m.load_entry(table, index)) {
            Entry::Table(below) => table = below,
            Entry::Mapped(pa) => return Some(Paddr(pa.0 + va % span(level))),
            Entry::Invalid => return None,
        }
    }
    None
}

#[test]
fn a_small_dump_is_a_machine() {
    for h in [amd64(), arm64(), MinidumpHeader { version: 3, ..arm64() }] {
        let m = open("small", &small_dump(&h)).unwrap();
        assert_eq!((m.pages(), m.missing_pages()), (3, 0));
        assert_eq!(m.dump_avail(), AVAIL);
        let t = m.target();
        assert_eq!((t.kernbase, t.bitset_bits), (h.kernbase, 9 + 256));
        assert_eq!(t.minidump_version, h.version);
        let mut page = [1; PAGE_SIZE];
        for (pa, fill) in [(0x2000, 2), (0x5fff, 5), (0x10_1000, 10)] {
            assert!(m.vm_phys_is_dumpable(Paddr(pa)));
            m.read_page(Paddr(pa), &mut page).unwrap();
            assert_eq!(page, [fill; PAGE_SIZE]);
        }
        for pa in [0, 0x3000, 0x9000, 0x10_0000, 0x20_0000 + (64 << 12)] {
            let pa = Paddr(pa);
            assert!(!m.vm_phys_is_dumpable(pa));
            assert_eq!(m.read_page(pa, &mut page), Err(Errno::EFAULT));
            assert_eq!(page, [0; PAGE_SIZE]);
            assert_eq!(m.load_entry(pa, 3), 0);
        }
        let mut words = [7; 8];
        m.copy_bitset(0, &mut words);
        assert_eq!(words, [0b100_0010_0100, 0, 0, 0, 0, 0, 0, 0]);
        let mut text = [1; 4000];
        m.copy_msgbuf(&mut text);
        assert_eq!(&text[..6], b"hello\0");
    }
}

#[test]
fn bits_are_page_numbers_where_there_is_no_dump_avail() {
    let h = MinidumpHeader { version: 2, dumpavailsize: 0, ..amd64() };
    let m = open("v2", &small_dump(&h)).unwrap();
    assert_eq!(m.target().bitset_bits, 4096 * 8);
    assert_eq!(m.dump_avail(), [(0, 0x800_0000)]);
    let mut page = [0; PAGE_SIZE];
    m.read_page(Paddr(0xa000), &mut page).unwrap();
    assert_eq!(page, [10; PAGE_SIZE]);
    assert!(!m.vm_phys_is_dumpable(Paddr(0x10_1000)));
}

#[test]
fn the_tables_above_the_files_lead_to_its_entries() {
    let m = open("amd64", &small_dump(&amd64())).unwrap();
    // The entry leads to page 5 as a table; its bytes are 5, so valid is set
    // and the frame is what 0x05 * 8 says.
    let va = KVA + span(2) + 2 * span(1);
    let frame = 0x0505_0505_0505_0505 & arch::amd64::PG_FRAME;
    assert_eq!(translate(&m, va), Some(Paddr(frame)));
    assert_eq!(translate(&m, KVA), None);
    assert_eq!(m.target().kva_end, Vaddr(KVA + 2 * span(2)));

    let m = open("arm64", &small_dump(&arm64())).unwrap();
    let va = 0xffff_0000_0000_0000 + span(1) + 2 * span(0);
    assert_eq!(translate(&m, va + 0x123), Some(Paddr(0x5123)));
    assert_eq!(m.target().kva_end, Vaddr(0xffff_0000_0040_0000));

    // Tables are dumpable and in the direct map, the root among them, and
    // reading them gives what loading them gives.
    let root = m.target().root;
    assert_eq!(root, Paddr(0x20_0000));
    assert!(m.phys_in_dmap(root) && m.vm_phys_is_dumpable(root));
    let mut page = [0; PAGE_SIZE];
    let mut tables = 0;
    for n in 0.. {
        let pa = Paddr(root.0 + n * 4096);
        if m.read_page(pa, &mut page).is_err() {
            break;
        }
        tables += 1;
        for (i, e) in page.as_chunks().0.iter().enumerate() {
            assert_eq!(m.load_entry(pa, i as u64), u64::from_le_bytes(*e));
        }
        assert_eq!(m.load_entry(pa, 512), 0);
    }
    assert_eq!(tables, 5, "root, level 2, level 1, two given");
}

#[test]
fn pages_after_the_end_lose_their_bits_and_are_counted() {
    let whole = small_dump(&amd64());
    let pages = amd64().layout().pages as usize;
    for (len, there, missing) in [
        (whole.len() - 1, 3, 0),
        (whole.len() - 4095, 3, 0),
        (whole.len() - 4096, 2, 1),
        (pages + 1, 1, 2),
        (pages, 0, 3),
    ] {
        let m = open("cut", &whole[..len]).unwrap();
        assert_eq!((m.pages(), m.missing_pages()), (there, missing));
        let last = m.vm_phys_is_dumpable(Paddr(0x10_1000));
        assert_eq!(last, there == 3);
        let mut words = [0; 5];
        m.copy_bitset(0, &mut words);
        assert_eq!(u64::from(words[0].count_ones()), there);
    }
    let m = open("part", &whole[..whole.len() - 4000]).unwrap();
    let mut page = [1; PAGE_SIZE];
    m.read_page(Paddr(0x10_1000), &mut page).unwrap();
    assert!(page[..96].iter().all(|&b| b == 10));
    assert!(page[96..].iter().all(|&b| b == 0));
}

#[test]
fn a_header_at_the_end_tells_host_and_version_and_is_no_data() {
    use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, Magic};
    let mut f = small_dump(&amd64());
    let header = KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: b"amd64",
        version: 4,
        architecture_version: 2,
        dumplength: f.len() as u64 - 4096,
        dumptime: 1,
        dumpkeysize: 0,
        blocksize: 4096,
        hostname: b"a.host",
        versionstring: b"FreeBSD 15.1\n",
        panicstring: b"",
        compression: memdev::kerneldump::Compression::None,
        dumpextent: f.len() as u64,
    };
    let mut b = [0; HEADER_SIZE];
    header.encode(&mut b);
    f.extend(b);
    let m = open("trailer", &f).unwrap();
    assert_eq!((m.hostname(), m.version()), ("a.host", "FreeBSD 15.1\n"));
    assert_eq!(m.missing_pages(), 1, "the dump ends where the header says");
    *f.last_mut().unwrap() ^= 1;
    let m = open("parity", &f).unwrap();
    // The reader goes by its length all the same, and says so.
    assert_eq!((m.hostname(), m.missing_pages()), ("", 1));
}

#[test]
fn what_no_machine_can_have_is_named_with_the_file() {
    let says = |name: &str, contents: &[u8], wanted: &str| {
        let e = open(name, contents).unwrap_err();
        let text = livedump_vmcore::chain(&e);
        assert!(text.contains(wanted), "{text:?} lacks {wanted:?}");
        assert!(text.contains(&format!("-{name}")), "{text:?} names no file");
    };
    let dump = |h: MinidumpHeader| small_dump(&h);
    says("text", &[b'x'; 10_000], "is not a dump");
    let v1 = MinidumpHeader { version: 1, dumpavailsize: 0, ..amd64() };
    says("v1", &dump(v1), "minidump version 1");
    let whole = dump(amd64());
    says("head", &whole[..4096], "the file ends at 0x1000");

    let h = MinidumpHeader { kernbase: Vaddr(0x1000), ..amd64() };
    says("low", &dump(h), "kernel map at 0x1000");
    let h = MinidumpHeader { kernbase: Vaddr(KVA + 4096), ..amd64() };
    says("odd", &dump(h), "(offset 40)");
    let h = MinidumpHeader { pmapsize: 0, ..amd64() };
    let mut f = dump(MinidumpHeader { pmapsize: 8192, ..h });
    f[36..40].fill(0);
    says("nopmap", &f, "0 pages of page tables");

    let mut f = whole.clone();
    let avail = amd64().layout().dump_avail as usize;
    f[avail + 8..avail + 16].fill(0);
    says("none", &f, "0 pages of memory");
    let mut f = whole.clone();
    for i in 0..65u64 {
        let at = avail + 16 * i as usize;
        f[at..at + 8].copy_from_slice(&(i << 20).to_le_bytes());
        f[at + 8..at + 16].copy_from_slice(&((i + 1) << 20).to_le_bytes());
    }
    says("many", &f, "65 ranges of memory, at most 64");
    let mut f = whole.clone();
    f[avail + 24..avail + 32].copy_from_slice(&(1u64 << 40).to_le_bytes());
    says("bitmap", &f, "pages of memory, at most 32768");
}

/// No header, however broken, may take the process with it.
#[test]
fn a_header_of_noise_is_an_error_or_a_machine_and_no_panic() {
    let mut x = 0x1234_5678_9abc_def0u64;
    let mut next = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    for h in [amd64(), arm64()] {
        let whole = small_dump(&h);
        let avail = h.layout().dump_avail as usize;
        for round in 0..1500 {
            let mut f = whole.clone();
            for _ in 0..=next() % 3 {
                let at = match next() % 3 {
                    0 => avail + next() as usize % 64,
                    _ => 24 + next() as usize % 56,
                };
                f[at] = next() as u8;
            }
            if round % 7 == 0 {
                f.truncate(next() as usize % f.len());
            }
            let Ok(m) = open("noise", &f) else { continue };
            let mut page = [0; PAGE_SIZE];
            for pa in [0, 0x2000, next() >> 12, next(), m.tables.root().0] {
                let pa = Paddr(pa);
                let _ = m.read_page(pa, &mut page);
                m.load_entry(pa, next() % 600);
                m.vm_phys_is_dumpable(pa);
                m.phys_in_dmap(pa);
            }
            translate(&m, next() | 0xffff << 48);
        }
    }
}
