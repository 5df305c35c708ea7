// SPDX-License-Identifier: BSD-2-Clause
//! Machines that change: what a seed replays, and what holds all the same.

use super::*;
use crate::model::recipe::Mutate;
use crate::model::rng::mix as scramble;

/// Everything the KPI can see, boiled down.
fn fingerprint(m: &ModelMachine) -> u64 {
    let mut h = 0;
    let t = m.target();
    let mut add = |n: u64| h = scramble(h ^ n);
    add(t.kva_end.0);
    let mut words = vec![0; t.bitset_bits.div_ceil(64) as usize];
    m.copy_bitset(0, &mut words);
    words.into_iter().for_each(&mut add);
    for &(start, end) in m.dump_avail() {
        for pa in (start..end).step_by(4096) {
            let page = m.page(Paddr(pa)).unwrap();
            if page != [0; 4096] {
                add(pa);
                for w in page.as_chunks::<8>().0 {
                    add(u64::from_le_bytes(*w));
                }
            }
            add(m.vm_phys_is_dumpable(Paddr(pa)).into());
        }
    }
    h
}

/// No page has two owners, and none is both in use and free.
fn owners(m: &ModelMachine) {
    let mut state = m.0.state.lock();
    let mut used = BTreeSet::new();
    let mut take = |pa| assert!(used.insert(pa), "{pa:#x} has two owners");
    m.pattern_pages().iter().for_each(|pa| take(pa.0));
    m.nodump_pages().iter().for_each(|pa| take(pa.0));
    state.uma.iter().for_each(|&pa| take(pa));
    for slot in &state.kmap.slots {
        let entry = m.0.mem.phys.load(slot.entry).unwrap();
        let mapped = match m.target().machine.decode(0, entry) {
            Entry::Mapped(pa) => Some(pa.0),
            _ => None,
        };
        assert_eq!(mapped, slot.page);
        slot.page.into_iter().for_each(&mut take);
    }
    for block in &state.kmap.blocks {
        (block.pa..block.pa + (2 << 20)).step_by(4096).for_each(&mut take);
        block.split.into_iter().for_each(&mut take);
    }
    let pages: Vec<u64> = used.into_iter().collect();
    for pa in pages {
        assert_eq!(state.kmap.frames.allocate_at(pa, 4096), None);
    }
}

/// What must be true of a machine between two changes.
fn check_live(m: &ModelMachine) {
    owners(m);
    let r = Reader::new(m);
    let mut found: Vec<i32> = r.processes().iter().map(|p| p.0).collect();
    found.sort_unstable();
    let mut wanted: Vec<i32> =
        m.processes().iter().filter(|p| !p.zombie).map(|p| p.pid).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    let bits = r.bits();
    for &pa in m.pattern_pages() {
        assert!(bits.contains(&pa.0));
        assert_eq!(m.page(pa).unwrap(), pattern_page(pa));
    }
    for &pa in m.nodump_pages() {
        assert_eq!(m.page(pa).unwrap(), nodump_page(pa));
    }
    for &pa in m.nodump_pages().iter().step_by(2) {
        assert!(!m.vm_phys_is_dumpable(pa));
    }
    for &pa in &m.0.state.lock().uma {
        assert!(bits.contains(&pa));
    }
    for pa in r.mapped() {
        let device = m.recipe().devices.iter().any(|d| d.0 == pa);
        assert!(device || m.page(Paddr(pa)).is_some(), "{pa:#x}");
    }
    assert_eq!(r.u32(r.sym("hz")), 1000);
}

const BUSY: &str = "size 16M\nkmap 1M\nkmap 2M 2M\nmutate all 2\n";

#[test]
fn a_seed_replays_every_step() {
    let run = |seed| {
        let m = build(&format!("{BUSY}seed {seed}\n"));
        (1..300).for_each(|n| m.step(n));
        (fingerprint(&m), m.messages())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn every_step_changes_something_if_the_recipe_says_so() {
    let m = build(BUSY);
    let mut last = fingerprint(&m);
    for n in 1..20 {
        m.step(n);
        let now = fingerprint(&m);
        assert_ne!(now, last, "step {n}");
        last = now;
    }
    let still = build("size 16M");
    let first = fingerprint(&still);
    (1..20).for_each(|n| still.step(n));
    assert_eq!(fingerprint(&still), first);
}

#[test]
fn thousands_of_steps_leave_the_machine_consistent() {
    for machine in ["amd64", "arm64\nrelease 12.4-RELEASE", "arm64"] {
        let m = build(&format!("machine {machine}\n{BUSY}"));
        let before = m.target().kva_end;
        for n in 1..2000 {
            m.step(n);
            if n % 1000 == 0 {
                check_live(&m);
            }
        }
        check_live(&m);
        let state = m.0.state.lock();
        assert!(state.grown > 0);
        let grew = m.target().kva_end > before;
        let arm64 = m.target().machine == memdev::arch::Machine::Arm64;
        assert_eq!(grew, arm64);
        drop(state);
        assert!(m.messages().ends_with(b"model: tick 1999.1\n"));
        let r = Reader::new(&m);
        assert_eq!(r.u32(r.sym("ticks")), 0x4000 + 1999);
    }
}

#[test]
fn each_kind_of_change_can_be_had_alone() {
    let bits = |m: &ModelMachine| Reader::new(m).bits();
    let m = build("size 16M\nmutate bitset 4");
    let before = (bits(&m), Reader::new(&m).mapped());
    (1..50).for_each(|n| m.step(n));
    assert_ne!(bits(&m), before.0);
    assert_eq!(Reader::new(&m).mapped(), before.1);

    let m = build("size 16M\nmutate tables 4");
    let before = (bits(&m), Reader::new(&m).mapped());
    (1..50).for_each(|n| m.step(n));
    assert_eq!(bits(&m), before.0);
    assert_ne!(Reader::new(&m).mapped(), before.1);

    let m = build("size 16M\nmutate procs 4");
    let r = Reader::new(&m);
    let before = r.processes().len();
    let seen: BTreeSet<usize> = (1..200)
        .map(|n| {
            m.step(n);
            r.processes().len()
        })
        .collect();
    assert!(seen.len() > 3 && *seen.first().unwrap() >= before);
    check_live(&m);
}

#[test]
fn threads_change_it_until_they_are_told_to_stop() {
    let m = build(&BUSY.replace("mutate all 2\n", ""));
    assert!(!m.recipe().mutate.any());
    let before = fingerprint(&m);
    let mutators = m.start_mutators(3);
    let t = m.target();
    let mut words = vec![0; t.bitset_bits.div_ceil(64) as usize];
    let mut text = vec![0; t.msgbuf_bytes as usize];
    let mut page = [0; 4096];
    for _ in 0..200 {
        // What a dump does meanwhile; nothing of it may wait or fail.
        m.copy_bitset(0, &mut words);
        m.copy_msgbuf(&mut text);
        Reader { m: &m, t: m.target(), symbols: BTreeMap::new() }.mapped();
        for pa in m.pattern_pages() {
            m.read_page(*pa, &mut page).unwrap();
            assert_eq!(page, pattern_page(*pa));
        }
    }
    drop(mutators);
    let after = fingerprint(&m);
    assert_ne!(after, before);
    assert_eq!(fingerprint(&m), after);
    check_live(&m);
}

#[test]
fn a_machine_without_free_memory_goes_on() {
    let mut recipe = Recipe::with_size(16 << 20).unwrap();
    recipe.mutate = Mutate::all(3);
    recipe.uma_pages = 900;
    let m = ModelMachine::build(&recipe).unwrap();
    while m.0.state.lock().kmap.frames.allocate_any(&mut Rng::new(1)).is_some()
    {
    }
    (1..2000).for_each(|n| m.step(n));
    check_live(&m);
}
