// SPDX-License-Identifier: BSD-2-Clause
//! Whole machines, looked at as a dump's reader would: symbols from the ELF
//! file, addresses through the page tables, lists by exported offsets.

use super::*;
use crate::machine::{Machine as _, Running as _};
use memdev::arch::{ENTRIES, Entry, span};
use memdev::dump_avail::DumpAvail;
use std::collections::{BTreeMap, BTreeSet};

mod live;

/// pid, name, and (tid, name) of its threads.
type Found = (i32, String, Vec<(i32, String)>);

/// A reader over the running machine: only the KPI, and the ELF file.
struct Reader<'m> {
    m: &'m ModelMachine,
    t: Target,
    symbols: BTreeMap<String, u64>,
}

impl<'m> Reader<'m> {
    fn new(m: &'m ModelMachine) -> Self {
        use object::{Object as _, ObjectSymbol as _};
        let elf = m.kernel_elf().unwrap();
        let file = object::File::parse(&*elf).unwrap();
        let symbols = file
            .symbols()
            .filter(|s| s.is_definition() || s.address() != 0)
            .map(|s| (s.name().unwrap().to_string(), s.address()))
            .collect();
        Self { m, t: m.target(), symbols }
    }

    fn sym(&self, name: &str) -> u64 {
        *self.symbols.get(name).unwrap_or_else(|| panic!("no symbol {name}"))
    }

    fn pa(&self, va: u64) -> Option<u64> {
        let t = &self.t;
        if (t.dmapbase.0..t.dmapend.0).contains(&va) {
            return Some(va - t.dmapbase.0 + t.dmapphys);
        }
        let mut table = t.root;
        for level in (0..=t.root_level).rev() {
            let i = va / span(level) % ENTRIES;
            match t.machine.decode(level, self.m.load_entry(table, i)) {
                Entry::Table(pa) => table = pa,
                Entry::Mapped(pa) => return Some(pa.0 + va % span(level)),
                Entry::Invalid => return None,
            }
        }
        None
    }

    fn bytes(&self, va: u64, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < len {
            let va = va + out.len() as u64;
            let pa = self.pa(va).unwrap_or_else(|| panic!("{va:#x}"));
            let page = self.m.page(Paddr(pa & !0xfff)).unwrap();
            let rest = &page[pa as usize & 0xfff..];
            out.extend(&rest[..rest.len().min(len - out.len())]);
        }
        out
    }

    fn u32(&self, va: u64) -> u32 {
        u32::from_le_bytes(self.bytes(va, 4).try_into().unwrap())
    }

    fn u64(&self, va: u64) -> u64 {
        u64::from_le_bytes(self.bytes(va, 8).try_into().unwrap())
    }

    fn str(&self, va: u64, room: usize) -> String {
        let bytes = self.bytes(va, room);
        let end = bytes.iter().position(|&b| b == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    fn off(&self, field: &str) -> u64 {
        self.u32(self.sym(field)).into()
    }

    /// allproc as kgdb walks it.
    fn processes(&self) -> Vec<Found> {
        let mut all = Vec::new();
        let mut p = self.u64(self.sym("allproc"));
        while p != 0 {
            let mut threads = Vec::new();
            let mut td = self.u64(p + self.off("proc_off_p_threads"));
            while td != 0 {
                let tid = self.u32(td + self.off("thread_off_td_tid"));
                let name = td + self.off("thread_off_td_name");
                threads.push((tid as i32, self.str(name, 20)));
                td = self.u64(td + self.off("thread_off_td_plist"));
                assert!(threads.len() < 10_000);
            }
            let pid = self.u32(p + self.off("proc_off_p_pid"));
            let comm = p + self.off("proc_off_p_comm");
            all.push((pid as i32, self.str(comm, 20), threads));
            p = self.u64(p + self.off("proc_off_p_list"));
            assert!(all.len() < 10_000);
        }
        all
    }

    fn bits(&self) -> BTreeSet<u64> {
        let words = self.t.bitset_bits.div_ceil(64) as usize;
        let mut copy = vec![0; words + 2];
        self.m.copy_bitset(0, &mut copy);
        let set = memdev::bitset::Bitset::new(&copy, self.t.bitset_bits);
        let all = [(0, self.t.bitset_bits * 4096)];
        let ranges = match self.t.dump_avail_bytes {
            0 => &all,
            _ => self.m.dump_avail(),
        };
        let avail = DumpAvail::new(ranges).unwrap();
        assert_eq!(avail.bits(), self.t.bitset_bits);
        set.unwrap().iter().map(|b| avail.pa_of(b).unwrap().0).collect()
    }

    /// Every page that the kernel map leads to.
    fn mapped(&self) -> BTreeSet<u64> {
        let mut out = BTreeSet::new();
        self.walk(self.t.root, self.t.root_level, 0, &mut out);
        out
    }

    fn walk(&self, table: Paddr, level: u32, va: u64, out: &mut BTreeSet<u64>) {
        for i in 0..ENTRIES {
            let mut va = va + i * span(level);
            let root = level == self.t.root_level;
            let arm64 = self.t.machine == memdev::arch::Machine::Arm64;
            if root && (arm64 || i >= ENTRIES / 2) {
                va |= 0xffff << 48;
            }
            let last = va + (span(level) - 1);
            if last < self.t.kernbase.0 || va >= self.t.kva_end.0 {
                continue;
            }
            let e = self.m.load_entry(table, i);
            match self.t.machine.decode(level, e) {
                Entry::Table(pa) => self.walk(pa, level - 1, va, out),
                Entry::Mapped(pa) => {
                    out.extend((pa.0..pa.0 + span(level)).step_by(4096));
                }
                Entry::Invalid => {}
            }
        }
    }
}

fn build(text: &str) -> ModelMachine {
    ModelMachine::build(&Recipe::parse(text).unwrap()).unwrap()
}

/// What must be true of any machine at rest.
fn check(m: &ModelMachine) {
    let r = Reader::new(m);
    let recipe = m.recipe();
    assert_eq!(r.u32(r.sym("hz")), 1000);
    assert_eq!(r.str(r.sym("version"), 64), m.version());
    assert_eq!(r.u32(r.sym("osreldate")), recipe.release.osreldate);
    assert_eq!(r.str(r.sym("osrelease"), 64), recipe.release.name());
    for (name, va) in m.symbols() {
        assert_eq!(r.sym(name), va.0, "{name}");
        assert_eq!(m.symbol(name), Some(va));
    }

    // Processes, whole, newest first, as the recipe has them.
    let mut found = r.processes();
    found.reverse();
    let wanted: Vec<_> = recipe
        .processes
        .iter()
        .filter(|p| !p.zombie)
        .map(|p| {
            let threads =
                p.threads.iter().map(|t| (t.tid, t.name.clone())).collect();
            (p.pid, p.comm.clone(), threads)
        })
        .collect();
    assert_eq!(found, wanted);
    assert!(found.iter().any(|p| p.0 == 0 && p.1 == "kernel"));
    assert!(found.iter().any(|p| p.0 == 1));
    assert_eq!(m.processes().len(), recipe.processes.len());

    // The message buffer, through msgbufp and through the KPI.
    let msgbufp = r.u64(r.sym("msgbufp"));
    assert_eq!(r.u32(msgbufp + 8), 0x063062);
    let size = r.u32(msgbufp + 12);
    assert_eq!(size, r.t.msgbuf_bytes);
    let wseq = r.u32(msgbufp + 16);
    let ring = r.bytes(r.u64(msgbufp), size as usize);
    let mut copy = vec![1; size as usize];
    m.copy_msgbuf(&mut copy);
    assert_eq!(ring, copy);
    let len = wseq.min(size);
    let text: Vec<u8> =
        (wseq - len..wseq).map(|seq| ring[(seq % size) as usize]).collect();
    assert_eq!(text, m.messages());
    assert!(!text.is_empty());
    let sum: u32 = ring.iter().map(|&b| u32::from(b)).sum();
    assert_eq!(r.u32(msgbufp + 24), sum);
    assert_eq!(r.u32(msgbufp + 28), size * 16);

    // Bits: all that nothing maps, none that is not memory.
    let bits = r.bits();
    let mapped = r.mapped();
    for pa in m.pattern_pages() {
        assert!(bits.contains(&pa.0));
        assert!(!mapped.contains(&pa.0));
        assert_eq!(m.page(*pa).unwrap(), pattern_page(*pa));
    }
    for pa in m.nodump_pages() {
        assert!(mapped.contains(&pa.0));
        assert!(!m.vm_phys_is_dumpable(*pa));
        assert_eq!(m.page(*pa).unwrap(), nodump_page(*pa));
    }
    for &pa in &bits {
        assert!(m.phys_in_dmap(Paddr(pa)) && m.page(Paddr(pa)).is_some());
    }
    for &(pa, _) in &recipe.devices {
        assert!(mapped.contains(&pa));
        assert!(!m.vm_phys_is_dumpable(Paddr(pa)));
    }

    // Everything a debugger follows is in a dump.
    let dumped = |va| {
        let pa = r.pa(va).unwrap() & !0xfff;
        bits.contains(&pa) || mapped.contains(&pa)
    };
    let mut p = r.u64(r.sym("allproc"));
    while p != 0 {
        assert!(dumped(p));
        let mut td = r.u64(p + r.off("proc_off_p_threads"));
        while td != 0 {
            assert!(dumped(td));
            let pcb = r.u64(td + r.off("thread_off_td_pcb"));
            assert!(dumped(pcb) && dumped(pcb + r.off("pcb_size") - 1));
            backtrace(&r, pcb);
            td = r.u64(td + r.off("thread_off_td_plist"));
        }
        p = r.u64(p + r.off("proc_off_p_list"));
    }
    backtrace(&r, r.sym("dumppcb"));
    assert!(dumped(r.u64(r.sym("vm_page_dump"))));
    assert!(dumped(msgbufp));
}

/// Frame pointers lead from a pcb to the outermost frame, through text.
fn backtrace(r: &Reader<'_>, pcb: u64) {
    let new = r.u32(r.sym("osreldate")) >= 1_400_084;
    let (fp, pc) = match r.t.machine {
        memdev::arch::Machine::Amd64 => (32, 56),
        memdev::arch::Machine::Arm64 if new => (80, 88),
        memdev::arch::Machine::Arm64 => (232, 240),
    };
    let (mut fp, mut pc) = (r.u64(pcb + fp), r.u64(pcb + pc));
    let mut depth = 0;
    loop {
        assert!((r.sym("btext")..r.sym("etext")).contains(&pc), "{pc:#x}");
        if fp == 0 {
            break;
        }
        pc = r.u64(fp + 8);
        fp = r.u64(fp);
        depth += 1;
        assert!(depth < 32);
    }
    assert!(depth >= 3);
}

#[test]
fn the_default_machine_is_whole() {
    check(&ModelMachine::build(&Recipe::default()).unwrap());
}

#[test]
fn every_machine_and_release_is_whole() {
    for (machine, release) in [
        ("amd64", "12.1-RELEASE"),
        ("amd64", "13.2-RELEASE"),
        ("amd64", "14.3-RELEASE-p1"),
        ("arm64", "12.4-RELEASE"),
        ("arm64", "13.2-RELEASE"),
        ("arm64", "15.1-RELEASE"),
    ] {
        let m =
            build(&format!("machine {machine}\nrelease {release}\nsize 32M\n"));
        check(&m);
    }
}

/// A recipe of tests/recipes.
fn recipe(name: &str) -> Recipe {
    let path = format!(
        "{}/../../tests/recipes/{name}.recipe",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap();
    Recipe::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn every_recipe_of_the_tests_is_a_whole_machine() {
    for name in [
        "amd64-15.1",
        "amd64-12.1",
        "arm64-15",
        "arm64-13",
        "holes",
        "gigabyte",
        "busy",
    ] {
        let m = ModelMachine::build(&recipe(name)).unwrap();
        check(&m);
    }
}

#[test]
fn a_gigabyte_block_is_one_entry() {
    let m = ModelMachine::build(&recipe("gigabyte")).unwrap();
    let r = Reader::new(&m);
    let blocks = (0..4 * ENTRIES).filter(|i| {
        let va = r.t.kernbase.0 + i * span(2);
        let root = m.load_entry(r.t.root, va / span(3) % ENTRIES);
        let Entry::Table(pdp) = r.t.machine.decode(3, root) else {
            panic!("{va:#x}");
        };
        let e = m.load_entry(pdp, va / span(2) % ENTRIES);
        matches!(r.t.machine.decode(2, e), Entry::Mapped(_))
    });
    assert_eq!(blocks.count(), 1);
    // And it costs the host next to nothing.
    assert!(m.touched_pages() < 1 << 16);
}

#[test]
fn la57_moves_the_direct_map_and_kva_layout_says_so() {
    let m = build("la57\nsize 32M");
    check(&m);
    let r = Reader::new(&m);
    assert_eq!(r.t.dmapbase.0, 0xff01_0000_0000_0000);
    let layout = r.sym("kva_layout");
    assert_eq!(r.u64(layout + 16), r.t.dmapbase.0);
    assert_eq!(r.u64(layout + 24), r.t.dmapend.0);
    assert_eq!(r.u64(layout + 48), r.t.kernbase.0);
}

#[test]
fn offsets_that_a_recipe_moves_are_exported_and_used() {
    let m = build(
        "size 32M\noffset p_pid 1200\noffset p_comm 17\n\
         offset p_threads 512\noffset td_plist 1024\noffset td_tid 4\n\
         offset td_lock 8\noffset td_proc 1000\noffset p_list 2032",
    );
    check(&m);
    let r = Reader::new(&m);
    assert_eq!(r.off("proc_off_p_pid"), 1200);
    assert_eq!(r.off("thread_off_td_tid"), 4);
    let overlap = Recipe::parse("offset td_tid 20").unwrap();
    assert_eq!(
        ModelMachine::build(&overlap).unwrap_err().to_string(),
        "invalid machine: td_plist at 16 and td_tid at 20 overlap"
    );
}

#[test]
fn zombies_are_where_their_release_keeps_them() {
    for (release, list) in [("12.1-RELEASE", true), ("15.1-RELEASE", false)] {
        let m = build(&format!("release {release}\nsize 32M"));
        let r = Reader::new(&m);
        assert_eq!(r.symbols.contains_key("zombproc"), list);
        assert_eq!(r.symbols.contains_key("proc_off_p_hash"), !list);
        if list {
            let p = r.u64(r.sym("zombproc"));
            assert_eq!(r.u32(p + r.off("proc_off_p_pid")), 401);
            continue;
        }
        let slot =
            r.u64(r.sym("pidhashtbl")) + (401 & r.u64(r.sym("pidhash"))) * 8;
        let mut p = r.u64(slot);
        while r.u32(p + r.off("proc_off_p_pid")) != 401 {
            p = r.u64(p + r.off("proc_off_p_hash"));
        }
    }
}

#[test]
fn the_ring_wraps_and_the_newest_text_stays() {
    let mut text = String::from("size 32M\nmsgbuf 4K\n");
    for i in 0..900 {
        text += &format!("message \"line {i} of the ring\"\n");
    }
    let m = build(&text);
    check(&m);
    let log = m.messages();
    assert_eq!(log.len(), 4096 - 72);
    assert!(log.ends_with(b"line 899 of the ring\n"));
}

#[test]
fn what_does_not_fit_is_said() {
    for (text, wanted) in [
        ("size 32M\numa 100000", "too small for its UMA pages"),
        ("size 512M\nkmap 1G 1G", "too small for a block of the kernel map"),
        ("size 32M\nkernphys 64M", "no room for the kernel's 3M at 0x4000000"),
        ("size 32M\ndevice 0x100000", "the device at 0x100000 overlaps memory"),
        ("size 32M\ndumper 5", "no thread has tid 5"),
        ("size 32M\ndata 4K", "Data is too small"),
        ("ram 0 0x10000", "no room for the kernel"),
        ("ram 2M 0x1f00800\nram 0x1f00800 64M", "share a page"),
    ] {
        let e = ModelMachine::build(&Recipe::parse(text).unwrap());
        let e = e.unwrap_err().to_string();
        assert!(e.contains(wanted), "{text}: {e}");
    }
}

#[test]
fn nonsense_made_by_hand_is_refused_too() {
    let spoil: [fn(&mut Recipe); 12] = [
        |r| r.ram.clear(),
        |r| r.ram = vec![(5, 1)],
        |r| r.ram = vec![(0, u64::MAX)],
        |r| r.cpus = 0,
        |r| r.msgbuf_bytes = 8,
        |r| r.text.level = 7,
        |r| r.text.bytes = 0,
        |r| r.kmap[0].level = 40,
        |r| r.kmap[0].bytes = !0xfff,
        |r| r.devices = vec![(u64::MAX - 0xfff, 4096)],
        |r| r.kernphys = u64::MAX,
        |r| r.uma_pages = u64::MAX,
    ];
    for (i, spoil) in spoil.into_iter().enumerate() {
        let mut r = Recipe::with_size(32 << 20).unwrap();
        spoil(&mut r);
        assert!(ModelMachine::build(&r).is_err(), "{i}");
    }
    assert!(Recipe::with_size(1 << 20).is_err());
    assert!(Recipe::with_size(u64::MAX).is_err());
}

#[test]
fn the_smallest_and_a_large_machine_can_be() {
    check(&ModelMachine::build(&Recipe::with_size(16 << 20).unwrap()).unwrap());
    let m = build("size 1T\numa 64\nkmap 1M\nvmpage 16");
    let r = Reader::new(&m);
    assert_eq!(r.u32(r.sym("hz")), 1000);
    assert!(m.dump_avail().last().unwrap().1 > 1 << 40);
}

#[test]
fn garbled_recipes_are_errors_or_machines_and_no_panic() {
    let text = "machine arm64\nrelease 13.2-RELEASE\ncpus 2\nsize 16M\n\
                kmap 1M 4K\nmsgbuf 8K\nmessage \"x\"\nprocess 7 a\n\
                thread 9 b run 1\noffset td_tid 168\nmutate all 3\n";
    let mut rng = Rng::new(11);
    let mut built = 0;
    for _ in 0..3000 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..1 + rng.below(3) {
            let i = rng.below(bytes.len() as u64) as usize;
            match rng.below(3) {
                0 => bytes[i] = rng.below(128) as u8,
                1 => bytes.insert(i, b"0 9KMG\"#\n"[rng.below(9) as usize]),
                _ => drop(bytes.remove(i)),
            }
        }
        let Ok(recipe) = Recipe::parse(&String::from_utf8(bytes).unwrap())
        else {
            continue;
        };
        if built < 60 && recipe.ram_bytes() < 64 << 20 {
            built += 1;
            let _ = ModelMachine::build(&recipe);
        }
    }
    assert!(built > 20);
}
