// SPDX-License-Identifier: BSD-2-Clause
//! Small dumps of every machine and version, made by hand: a few pages of
//! memory with page tables, a message buffer and a process list in them.
//!
//! ```text
//!  kernbase + 2 MB   image   hz, allproc, msgbufp, offsets, version
//!           + 1000   procs   three processes, each with two threads
//!           + 2000   a page that is not dumped
//!           + 3000   a page outside memory
//!  direct map        msgbuf  text and struct msgbuf
//! ```

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::must_use_candidate
)]

pub mod kdump;

use crate::Vmcore;
use memdev::addr::{PAGE_SIZE, Page, Vaddr};
use memdev::arch::Machine;
use memdev::freeze::FreezeRecord;
use memdev::kerneldump::{Compression, KernelDumpHeader, Magic};
use memdev::keys::KeysRecord;
use memdev::minidump::MinidumpHeader;
use std::collections::BTreeMap;
use std::io::Write;
use tempfile::NamedTempFile;

pub const VERSIONS: [(Machine, u32); 6] = [
    (Machine::Amd64, 1),
    (Machine::Amd64, 2),
    (Machine::Amd64, 3),
    (Machine::Arm64, 1),
    (Machine::Arm64, 2),
    (Machine::Arm64, 3),
];
pub const TEXT: &[u8] = b"FreeBSD is a trademark\n<2>cpu0: hot\n";
pub const VERSION: &[u8] = b"FreeBSD 14.3-RELEASE GENERIC\n    root@host\n";
pub const MSGBUF_SIZE: u32 = 4096 - 72;

// Physical pages, above the start of memory. The table's page is not the
// first, so that no offset is right by accident.
const IMAGE: u64 = 0x3000;
const PROCS: u64 = 0x5000;
const UNDUMPED: u64 = 0x6000;
const OUTSIDE: u64 = 0x40_0000;
const TABLE: u64 = 0x8000;
pub const MSGBUF: u64 = 0xa000;

/// `bytes` in a file that lives as long as the handle.
pub fn file(bytes: &[u8]) -> NamedTempFile {
    let mut f = NamedTempFile::new().unwrap();
    f.write_all(bytes).unwrap();
    f
}

/// Opens the dump that `bytes` are.
pub fn open(bytes: &[u8]) -> Vmcore {
    Vmcore::open(file(bytes).path()).unwrap()
}

pub struct Sample {
    pub header: MinidumpHeader,
    pub ranges: Vec<(u64, u64)>,
    pub pages: BTreeMap<u64, Page>,
    pub pmap: Vec<u8>,
    pub excess: Vec<u64>,
    pub symbols: Vec<(&'static str, u64, u64)>,
    /// It is of one instant.
    pub instant: Option<FreezeRecord>,
    /// What it says of keys.
    pub keys: Option<KeysRecord>,
}

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Sample {
    pub fn new(machine: Machine, version: u32) -> Self {
        let amd64 = machine == Machine::Amd64;
        let (kernbase, dmapbase, dmapphys) = if amd64 {
            (0xffff_fe00_0000_0000, 0xffff_f800_0000_0000, 0)
        } else {
            (0xffff_0000_0000_0000, 0xffff_a000_0000_0000, 0x4000_0000)
        };
        let avail = machine.has_dump_avail(version);
        // Without dump_avail a bit is a page number: 0x40000 pages.
        let bitmapsize = if avail || amd64 { 4096 } else { 0x9000 };
        let header = MinidumpHeader {
            machine,
            version,
            msgbufsize: MSGBUF_SIZE,
            bitmapsize,
            pmapsize: 2 * 4096,
            kernbase: Vaddr(kernbase),
            dmapphys,
            dmapbase: Vaddr(dmapbase),
            dmapend: Vaddr(dmapbase + (1 << 40)),
            dumpavailsize: if avail { 4096 } else { 0 },
            flags: 0,
        };
        let mut s = Self {
            header,
            ranges: vec![
                (dmapphys, dmapphys + 0x4000),
                (dmapphys + 0x5000, dmapphys + 0x2_0000),
            ],
            pages: BTreeMap::new(),
            pmap: vec![0; 2 * 4096],
            excess: Vec::new(),
            symbols: Vec::new(),
            instant: None,
            keys: None,
        };
        for page in 0..0x20 {
            let pa = dmapphys + page * 4096;
            if page != 4 && pa != dmapphys + UNDUMPED && page % 7 != 2 {
                s.pages.insert(pa, [page as u8; PAGE_SIZE]);
            }
        }
        s.map(0, IMAGE);
        s.map(1, PROCS);
        s.map(2, UNDUMPED);
        s.map(3, OUTSIDE);
        s.fill_image();
        s.fill_procs();
        s.fill_msgbuf();
        s
    }

    /// All of it is of one instant.
    pub fn freeze(&mut self) {
        self.instant = Some(FreezeRecord {
            cpus: 4,
            uptime_ns: 5_000_000_000,
            time_ns: 1_700_000_000_000_000_000,
            pause_ns: 14_000_000,
            max_pause_ns: 100_000_000,
            pages: self.count(),
        });
    }

    /// First address of the mapped pages.
    pub fn base(&self) -> u64 {
        self.header.kernbase.0 + (2 << 20)
    }

    pub fn dmap(&self, pa: u64) -> u64 {
        self.header.dmapbase.0 + pa
    }

    pub fn page(&mut self, pa: u64) -> &mut Page {
        self.pages.get_mut(&(self.header.dmapphys + pa)).unwrap()
    }

    pub fn procs(&mut self) -> &mut Page {
        self.page(PROCS)
    }

    pub fn image(&mut self) -> &mut Page {
        self.page(IMAGE)
    }

    fn map(&mut self, index: usize, pa: u64) {
        let pa = self.header.dmapphys + pa;
        let amd64 = self.header.machine == Machine::Amd64;
        let leaf = if amd64 { pa | 0x8000_0000_0000_0003 } else { pa | 0x703 };
        let leaf = leaf.to_le_bytes();
        if self.header.machine.pmap_level(self.header.version) == 1 {
            let table = (TABLE | 3).to_le_bytes();
            put(&mut self.pmap, 8, &table);
            let page = self.page(TABLE);
            if index == 0 {
                page.fill(0);
            }
            put(page, 8 * index, &leaf);
        } else {
            put(&mut self.pmap, 8 * (512 + index), &leaf);
        }
    }

    fn fill_image(&mut self) {
        let base = self.base();
        let msgbufp = self.dmap(MSGBUF) + u64::from(MSGBUF_SIZE);
        let mut symbols = vec![
            ("hz", base, 4),
            ("allproc", base + 8, 8),
            ("msgbufp", base + 16, 8),
            ("dumptid", base + 0x80, 4),
            ("version", base + 0x100, 0),
        ];
        let page = self.image();
        page.fill(0);
        put(page, 0, &100u32.to_le_bytes());
        put(page, 8, &(base + 0x1000).to_le_bytes());
        put(page, 16, &msgbufp.to_le_bytes());
        put(page, 0x80, &100_102u32.to_le_bytes());
        put(page, 0x100, VERSION);
        for (i, (name, offset)) in [
            ("proc_off_p_list", 0u32),
            ("proc_off_p_threads", 16),
            ("proc_off_p_pid", 32),
            ("proc_off_p_comm", 36),
            ("thread_off_td_plist", 0),
            ("thread_off_td_tid", 16),
            ("thread_off_td_oncpu", 20),
            ("thread_off_td_pcb", 24),
            ("thread_off_td_name", 32),
        ]
        .into_iter()
        .enumerate()
        {
            put(page, 0x20 + 4 * i, &offset.to_le_bytes());
            symbols.push((name, base + 0x20 + 4 * i as u64, 4));
        }
        self.symbols = symbols;
    }

    // Process i at 0x400 * i, its threads at + 0x100 and + 0x200.
    fn fill_procs(&mut self) {
        let base = self.base();
        let head = base + 8;
        let page = self.procs();
        page.fill(0);
        let at = |i: usize| base + 0x1000 + 0x400 * i as u64;
        for (i, comm) in [&b"sh"[..], b"init", b"kernel"].iter().enumerate() {
            let proc = 0x400 * i;
            let next = if i < 2 { at(i + 1) } else { 0 };
            let back = if i > 0 { at(i - 1) } else { head };
            put(page, proc, &next.to_le_bytes());
            put(page, proc + 8, &back.to_le_bytes());
            put(page, proc + 16, &(at(i) + 0x100).to_le_bytes());
            put(page, proc + 32, &(2 - i as u32).to_le_bytes());
            put(page, proc + 36, comm);
            for t in 0..2u64 {
                let thread = proc + 0x100 * (t as usize + 1);
                let next = if t == 0 { at(i) + 0x200 } else { 0 };
                let back = at(i) + if t == 0 { 16 } else { 0x100 };
                let tid = 100_000 + 100 * i as u32 + t as u32;
                put(page, thread, &next.to_le_bytes());
                put(page, thread + 8, &back.to_le_bytes());
                put(page, thread + 16, &(tid + 1).to_le_bytes());
                put(page, thread + 20, &(-1i32).to_le_bytes());
                put(page, thread + 32, b"worker");
            }
        }
    }

    fn fill_msgbuf(&mut self) {
        let ptr = self.dmap(MSGBUF);
        let page = self.page(MSGBUF);
        page.fill(0);
        put(page, 0, TEXT);
        let at = MSGBUF_SIZE as usize;
        put(page, at, &ptr.to_le_bytes());
        put(page, at + 8, &0x06_3062u32.to_le_bytes());
        put(page, at + 12, &MSGBUF_SIZE.to_le_bytes());
        put(page, at + 16, &(TEXT.len() as u32).to_le_bytes());
    }

    /// Data pages in the file.
    pub fn count(&self) -> u64 {
        self.pages.len() as u64
    }

    /// The dump as savecore(8) leaves it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; PAGE_SIZE];
        let mut head = [0; PAGE_SIZE];
        self.header.encode(&mut head);
        if let Some(record) = &self.instant {
            record.encode(&mut head);
        }
        if let Some(keys) = &self.keys {
            keys.encode(&mut head);
        }
        out.copy_from_slice(&head);
        let mut text = vec![0; PAGE_SIZE];
        put(&mut text, 0, TEXT);
        out.extend(text);
        let with_avail = self.header.has_dump_avail();
        if with_avail {
            let mut page = [0; PAGE_SIZE];
            memdev::dump_avail::encode(&self.ranges, &mut page);
            out.extend(page);
        }
        let mut bitmap = vec![0u8; self.header.bitmapsize as usize];
        // Pages ascend, and so do their bits in either numbering.
        for bit in
            self.pages.keys().map(|pa| self.bit(*pa)).chain(self.excess.clone())
        {
            bitmap[bit as usize / 8] |= 1 << (bit % 8);
        }
        out.extend(bitmap);
        out.extend(&self.pmap);
        for page in self.pages.values() {
            out.extend(page);
        }
        out
    }

    fn bit(&self, pa: u64) -> u64 {
        if !self.header.has_dump_avail() {
            return pa / 4096;
        }
        let mut below = 0;
        for (start, end) in &self.ranges {
            if (*start..*end).contains(&pa) {
                return below + (pa - start) / 4096;
            }
            below += (end - start) / 4096;
        }
        unreachable!("{pa:#x} is in no range");
    }

    /// `stored`, which holds the dump compressed like this, as the kernel
    /// leaves it: with its header.
    pub fn raw(&self, stored: &[u8], compression: Compression) -> Vec<u8> {
        let machine = self.header.machine;
        let mut h = [0; 512];
        KernelDumpHeader {
            magic: Magic::Kernel,
            architecture: machine.arch().as_bytes(),
            version: 4,
            architecture_version: machine.kerneldump_version(),
            dumplength: stored.len() as u64,
            dumptime: 1_700_000_000,
            dumpkeysize: 0,
            blocksize: 4096,
            hostname: b"host.example",
            versionstring: VERSION,
            panicstring: b"",
            compression,
            dumpextent: self.bytes().len() as u64,
        }
        .encode(&mut h);
        let mut out = stored.to_vec();
        out.resize(stored.len().next_multiple_of(4096), 0);
        out.extend(h);
        out
    }

    /// An ELF kernel with the sample's symbols and the image page as .data.
    pub fn kernel(&self) -> Vec<u8> {
        let base = self.base();
        let machine: u16 = match self.header.machine {
            Machine::Amd64 => 62,
            Machine::Arm64 => 183,
        };
        let image = &self.pages[&(self.header.dmapphys + IMAGE)];
        let mut names = vec![0];
        let mut symtab = vec![0; 24];
        for (name, value, size) in &self.symbols {
            symtab.extend((names.len() as u32).to_le_bytes());
            symtab.extend([0x11, 0, 1, 0]);
            symtab.extend(value.to_le_bytes());
            symtab.extend(size.to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
        }
        let data_at = 64u64;
        let sym_at = data_at + image.len() as u64;
        let str_at = sym_at + symtab.len() as u64;
        let shoff = str_at + names.len() as u64;
        let mut out = b"\x7fELF\x02\x01\x01\x09\0\0\0\0\0\0\0\0".to_vec();
        out.extend([2, 0]);
        out.extend(machine.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(base.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend(shoff.to_le_bytes());
        out.extend([0; 4]);
        for half in [64u16, 56, 0, 64, 4, 0] {
            out.extend(half.to_le_bytes());
        }
        out.extend(image);
        out.extend(&symtab);
        out.extend(&names);
        let section = |kind: u32, addr: u64, at: u64, n: usize, link: u32| {
            let mut s = vec![0; 4];
            s.extend(kind.to_le_bytes());
            s.extend(2u64.to_le_bytes());
            s.extend(addr.to_le_bytes());
            s.extend(at.to_le_bytes());
            s.extend((n as u64).to_le_bytes());
            s.extend(link.to_le_bytes());
            s.resize(64, 0);
            s
        };
        out.extend(section(0, 0, 0, 0, 0));
        out.extend(section(1, base, data_at, image.len(), 0));
        out.extend(section(2, 0, sym_at, symtab.len(), 3));
        out.extend(section(3, 0, str_at, names.len(), 0));
        out
    }
}
