// SPDX-License-Identifier: BSD-2-Clause
//! The keys of the kernel's own dumps are zeros in every dump, and untouched
//! in the machine.

use livedump_hosted::machine::Machine;
use livedump_kmod::error::Errno;
use livedump_tests::decoder::{RawFile, judge_raw};
use livedump_tests::expected;
use livedump_tests::scenario::{Scenario, TINY};
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::keys::{KEY_BYTES, KeysRecord};

/// Two keys: within a page, and across two adjacent ones.
fn places(s: &Scenario) -> Vec<Paddr> {
    let pages = expected::pages(&s.machine);
    let page = PAGE_SIZE as u64;
    let has_next = |pa: &&u64| pages.contains(&(**pa + page));
    let two = *pages.iter().rfind(has_next).unwrap();
    let other = s.machine.pattern_pages().iter();
    let other = other.map(|pa| pa.0).find(|pa| pa / page != two / page);
    vec![Paddr(other.unwrap() + 64), Paddr(two + page - 500)]
}

fn in_direct_map(s: &Scenario, pa: Paddr) -> Vaddr {
    let target = s.machine.target();
    Vaddr(target.dmapbase.0 + (pa.0 - target.dmapphys))
}

fn record(raw: &RawFile) -> Option<KeysRecord> {
    let page = raw.dump.plain().first_chunk().unwrap();
    KeysRecord::decode(page)
}

/// Every page is the machine's, but for zeros where a key is.
fn compare(s: &Scenario, raw: &RawFile, keys: &[Paddr]) {
    let mut zeros = 0;
    for (pa, page) in raw.dump.pages() {
        let real = s.machine.page(Paddr(pa)).unwrap();
        for (i, (&is, &was)) in page.iter().zip(real.iter()).enumerate() {
            let at = pa + i as u64;
            let hidden =
                |key: &Paddr| (key.0..key.0 + KEY_BYTES as u64).contains(&at);
            if keys.iter().any(hidden) {
                assert_eq!(is, 0, "{at:#x}");
                zeros += 1;
            } else {
                assert_eq!(is, was, "{at:#x}");
            }
        }
    }
    assert_eq!(zeros, keys.len() * KEY_BYTES);
}

#[test]
fn keys_are_zeros_in_a_dump_of_any_kind() {
    for recipe in [
        "size 16M\numa 64",
        "release 12.1-RELEASE\nsize 16M\numa 64",
        "machine arm64\nsize 16M\numa 64",
    ] {
        let s = Scenario::model(recipe);
        let keys = places(&s);
        let blocks = keys.iter().map(|&pa| in_direct_map(&s, pa)).collect();
        s.kernel.set_dump_keys(Some(blocks));
        for compression in 0..=2 {
            let raw = s.dump(compression);
            assert_eq!(record(&raw), Some(KeysRecord { overwritten: 2 }));
            compare(&s, &raw, &keys);
        }
        s.minidump2(&s.frozen(0)).unwrap();
        let raw = judge_raw(&s.contents()).unwrap();
        assert_eq!(record(&raw), Some(KeysRecord { overwritten: 2 }));
    }
}

#[test]
fn a_dump_says_nothing_of_keys_that_nobody_looked_for() {
    let s = Scenario::model(TINY);
    assert_eq!(record(&s.dump(0)), Some(KeysRecord { overwritten: 0 }));
    s.kernel.set_dump_keys(None);
    assert_eq!(record(&s.dump(0)), None);
    // One that is nowhere could not be overwritten, nor one too many: no dump
    // at all, and never one that says that it has none.
    let before = s.contents();
    s.kernel.set_dump_keys(Some(vec![Vaddr(0x1000)]));
    assert_eq!(s.kerneldump(0), Err(Errno::EFAULT));
    assert!(s.contents() == before);
    s.kernel.set_dump_keys(Some(vec![Vaddr(0); 65]));
    assert_eq!(s.kerneldump(0), Err(Errno::E2BIG));
    assert!(s.contents() == before);
}
