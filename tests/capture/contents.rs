// SPDX-License-Identifier: BSD-2-Clause
//! Section by section and page by page, against the machine itself.

use livedump_hosted::machine::Machine;
use livedump_tests::decoder::{Arch, Dump, RawFile};
use livedump_tests::expected;
use livedump_tests::scenario::{Scenario, model};
use livedump_tests::wrapped::Wrapped;
use memdev::addr::Paddr;
use std::collections::BTreeSet;
use std::path::Path;

const SECOND: i64 = 1_700_000_123;

/// Takes a dump and holds all of it against the machine.
fn compare(recipe: &str, arch: Arch, version: u32) {
    let s = Scenario::model(recipe);
    s.kernel.set_time_second(SECOND);
    let raw = s.dump(0);
    assert_eq!((raw.dump.arch, raw.dump.version), (arch, version), "{recipe}");
    header(&s, &raw);
    sections(&s, &raw.dump);
    pages(&s, &raw.dump);
    map(&s, &raw.dump);
    lists(&s, &raw.dump);
}

fn header(s: &Scenario, raw: &RawFile) {
    let t = &raw.trailer;
    assert_eq!(t.dumptime, SECOND as u64);
    assert_eq!(t.hostname, s.machine.recipe().hostname);
    assert_eq!(t.versionstring, s.machine.version());
    assert_eq!(t.compression, 0);
    assert_eq!(t.dumplength, t.dumpextent);
    let target = s.machine.target();
    assert_eq!(raw.dump.kernbase, target.kernbase.0);
    assert_eq!(raw.dump.dmap, target.dmapbase.0..target.dmapend.0);
    assert_eq!(raw.dump.dmapphys, target.dmapphys);
    assert_eq!(raw.dump.flags, 0);
}

fn sections(s: &Scenario, dump: &Dump) {
    let mut text = vec![0; s.machine.target().msgbuf_bytes as usize];
    s.machine.copy_msgbuf(&mut text);
    assert!(text.iter().any(|&b| b != 0));
    assert!(dump.msgbuf() == text, "message buffer");
    if s.machine.target().dump_avail_bytes != 0 {
        assert_eq!(dump.dump_avail, s.machine.dump_avail());
        let pages = |r: &(u64, u64)| r.1.div_ceil(4096) - r.0 / 4096;
        let bits: u64 = dump.dump_avail.iter().map(pages).sum();
        assert_eq!(dump.bitmap().len() as u64, bits.div_ceil(32768) * 4096);
    } else {
        let bits = s.machine.target().bitset_bits;
        assert_eq!(dump.bitmap().len() as u64, bits.div_ceil(32768) * 4096);
    }
}

fn pages(s: &Scenario, dump: &Dump) {
    let want = expected::pages(&s.machine);
    let have: BTreeSet<u64> = dump.pas().iter().copied().collect();
    let missing: Vec<_> = want.difference(&have).take(3).collect();
    let extra: Vec<_> = have.difference(&want).take(3).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:x?}, too many {extra:x?}"
    );
    for (pa, page) in dump.pages() {
        let real = s.machine.page(Paddr(pa)).unwrap();
        assert!(page == real, "page {pa:#x} differs");
    }
    let pattern = s.machine.pattern_pages();
    assert!(!pattern.is_empty());
    for pa in pattern {
        assert!(dump.has(pa.0), "pattern page {pa} is missing");
    }
    let hidden = s.machine.nodump_pages();
    assert!(!hidden.is_empty());
    for pa in hidden {
        assert!(!dump.has(pa.0), "page {pa} has PG_NODUMP");
    }
}

/// Every address of the kernel map resolves in the dump as in the machine.
fn map(s: &Scenario, dump: &Dump) {
    let mappings = expected::mappings(&s.machine);
    assert!(mappings.len() > 100);
    for (va, pa, bytes) in mappings {
        for off in [0, bytes / 2 + 8, bytes - 1] {
            assert_eq!(dump.translate(va + off), Ok(pa + off), "{va:#x}");
        }
    }
    let target = s.machine.target();
    let (start, _) = s.machine.dump_avail()[0];
    let va = target.dmapbase.0 + start - target.dmapphys;
    assert_eq!(dump.translate(va + 5), Ok(start + 5));
}

/// What a debugger goes for first.
fn lists(s: &Scenario, dump: &Dump) {
    let symbols = s.symbols();
    let hz = symbols.get("hz").unwrap();
    assert_eq!(dump.read32(hz), Ok(1000));

    let mut walked: Vec<_> = dump
        .allproc(&symbols)
        .unwrap()
        .into_iter()
        .map(|p| (p.pid, p.comm, p.tids))
        .collect();
    walked.sort();
    let mut real: Vec<_> = s
        .machine
        .processes()
        .into_iter()
        .filter(|p| !p.zombie)
        .map(|p| {
            let tids = p.threads.iter().map(|t| t.tid as u32).collect();
            (p.pid as u32, p.comm, tids)
        })
        .collect::<Vec<(u32, String, Vec<u32>)>>();
    real.sort();
    assert_eq!(walked, real);
    assert!(real.iter().any(|p| p.0 == 0) && real.iter().any(|p| p.0 == 1));

    let m = dump.msgbufp(&symbols).unwrap();
    assert_eq!(m.size as usize, dump.msgbuf().len());
    let ring = dump.read(m.ptr, m.size as usize).unwrap();
    assert!(ring == dump.msgbuf());
    let end = (m.wseq % m.size) as usize;
    let unrolled = [&ring[end..], &ring[..end]].concat();
    let text: Vec<u8> = unrolled.into_iter().filter(|&b| b != 0).collect();
    assert_eq!(text, s.machine.messages());
}

#[test]
fn an_amd64_machine_of_256_mb_is_in_its_dump_to_the_byte() {
    compare("size 256M", Arch::Amd64, 3);
}

#[test]
fn every_recipe_at_rest_is_in_its_dump_to_the_byte() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut seen = 0;
    for entry in std::fs::read_dir(recipes).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let words = |l: &str| l.split_whitespace().next().map(String::from);
        let first: Vec<_> = text.lines().filter_map(words).collect();
        // Machines that change are `race`'s; a gigabyte's worth takes long.
        let large = text.contains("kmap 1G 1G");
        if large || first.iter().any(|w| w == "mutate") {
            continue;
        }
        let arch = match text.contains("machine arm64") {
            true => Arch::Arm64,
            false => Arch::Amd64,
        };
        let version = model(&text).target().minidump_version;
        compare(&text, arch, version);
        seen += 1;
    }
    assert!(seen > 3);
}

#[test]
fn amd64_of_12_counts_bits_from_address_zero() {
    compare("size 64M\nrelease 12.1-RELEASE", Arch::Amd64, 2);
}

#[test]
fn amd64_of_13_2_has_dump_avail() {
    compare("size 64M\nrelease 13.2-RELEASE", Arch::Amd64, 3);
}

#[test]
fn amd64_with_five_levels_has_another_direct_map() {
    compare("size 64M\nla57", Arch::Amd64, 3);
}

#[test]
fn arm64_writes_each_version_it_ever_had() {
    for (release, version) in
        [("12.4-RELEASE", 1), ("13.2-RELEASE", 2), ("15.1-RELEASE", 3)]
    {
        let recipe = format!("machine arm64\nsize 64M\nrelease {release}");
        compare(&recipe, Arch::Arm64, version);
    }
}

#[test]
fn memory_with_holes_counts_only_what_is_there() {
    compare(
        "ram 0 0x9f000\nram 1M 8M\nram 0x2001000 0x3fff000\n\
         ram 5G 0x140008000",
        Arch::Amd64,
        3,
    );
}

#[test]
fn blocks_of_two_megabytes_are_taken_apart() {
    let parts = "text 4M 2M\ndata 512K 4K\nkmap 1M 4K\nkmap 4M 2M";
    compare(&format!("size 64M\n{parts}"), Arch::Amd64, 3);
    let arm64 = format!("machine arm64\nsize 64M\n{parts}");
    compare(&arm64, Arch::Arm64, 3);
}

/// Of what lies above 1 GB only every 512th page may be in a dump.
fn below_or_first_of_a_block(pa: Paddr) -> bool {
    pa.0 < 1 << 30 || pa.0 & 0x1f_ffff == 0
}

#[test]
fn a_block_of_one_gigabyte_is_taken_apart() {
    for (machine, ram) in
        [("amd64", "ram 0 0x9f000\nram 1M 64M"), ("arm64", "ram 64M 128M")]
    {
        let model = model(&format!(
            "machine {machine}\n{ram}\nram 1G 4G\nkmap 1M 4K\nkmap 1G 1G"
        ));
        let dumpable = below_or_first_of_a_block;
        let s = Scenario::on(Wrapped { dumpable, ..Wrapped::new(model) });
        let dump = s.dump(0).dump;
        // Tables may lie in what is hidden: only the block is checked.
        let mappings = expected::mappings(&s.machine);
        let block = mappings.into_iter().find(|m| m.2 == 1 << 30);
        let (va, pa, bytes) = block.unwrap();
        for off in (0..bytes).step_by(1 << 20) {
            let off = off + 0x1234;
            assert_eq!(dump.translate(va + off), Ok(pa + off), "{machine}");
        }
        let inside = (pa..pa + bytes).step_by(2 << 20);
        assert!(inside.clone().all(|pa| dump.has(pa)), "{machine}");
        assert!(inside.clone().all(|pa| !dump.has(pa + 4096)), "{machine}");
    }
}
