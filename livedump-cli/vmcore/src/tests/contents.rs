// SPDX-License-Identifier: BSD-2-Clause
//! What is in a dump comes out of it, for every machine and version.

use super::sample::{MSGBUF, Sample, TEXT, VERSIONS};
use super::{kernel, open};
use crate::{MemoryError, PageState, Status};
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use std::ops::ControlFlow;

#[test]
fn every_page_reads_at_its_physical_and_direct_map_address() {
    for (machine, version) in VERSIONS {
        let s = Sample::new(machine, version);
        let core = open(&s.bytes());
        assert_eq!(core.pages().unwrap().count_set(), s.count());
        for (pa, want) in &s.pages {
            let mut page = [0; PAGE_SIZE];
            core.read_phys(Paddr(*pa), &mut page).unwrap();
            assert!(page == *want, "{machine:?} {version} {pa:#x}");
            let va = s.dmap(pa - s.header.dmapphys);
            core.read_va(Vaddr(va), &mut page).unwrap();
            assert!(page == *want, "{machine:?} {version} {pa:#x}");
        }
    }
}

#[test]
fn pages_come_in_the_order_of_the_file() {
    for (machine, version) in VERSIONS {
        let s = Sample::new(machine, version);
        let core = open(&s.bytes());
        let mut found = Vec::new();
        core.for_each_page(|pa, at| {
            found.push((pa.0, at));
            ControlFlow::Continue(())
        })
        .unwrap();
        let first = core.layout().pages;
        let want: Vec<_> = s
            .pages
            .keys()
            .enumerate()
            .map(|(i, pa)| (*pa, first + 4096 * i as u64))
            .collect();
        assert_eq!(found, want);
    }
}

#[test]
fn a_read_crosses_pages_and_stops_at_the_first_that_is_missing() {
    for (machine, version) in VERSIONS {
        let s = Sample::new(machine, version);
        let core = open(&s.bytes());
        let mut buf = [0; 0x3000];
        let e = core.read_va(Vaddr(s.base() + 0x800), &mut buf).unwrap_err();
        assert_eq!((e.done, e.at), (0x1800, s.base() + 0x2000));
        assert!(matches!(e.why, MemoryError::NotDumped { .. }), "{e:?}");
        assert_eq!(buf[0x800 + 36..][..2], *b"sh");
        let e = core.read_va(Vaddr(s.base() + 0x3000), &mut buf).unwrap_err();
        // Without dump_avail there is no telling what is memory.
        let outside = matches!(e.why, MemoryError::OutsideMemory { .. });
        assert_eq!(outside, s.header.has_dump_avail(), "{e:?}");
        let e = core.read_va(Vaddr(s.base() + 0x4000), &mut buf).unwrap_err();
        assert!(matches!(e.why, MemoryError::NotMapped), "{e:?}");
        for va in [0, 0x1000, u64::MAX, u64::MAX - 5] {
            let e = core.read_va(Vaddr(va), &mut buf).unwrap_err();
            assert_eq!((e.done, e.at), (0, va));
        }
    }
}

#[test]
fn the_answers_about_a_page_are_distinct() {
    let (machine, version) = VERSIONS[2];
    let s = Sample::new(machine, version);
    let bytes = s.bytes();
    let core = open(&bytes[..bytes.len() - 4096]);
    let state = |pa| core.page_state(Paddr(pa)).unwrap();
    let first = core.layout().pages;
    assert_eq!(state(0x123), PageState::Present(first));
    assert_eq!(state(0x6000), PageState::NotDumped);
    assert_eq!(state(0x4000), PageState::OutsideMemory);
    assert_eq!(state(u64::MAX), PageState::OutsideMemory);
    let last = first + 4096 * (s.count() - 1);
    assert_eq!(state(0x1_f000), PageState::BeyondEnd(last));
    assert!(core.notes().iter().any(|n| n.starts_with("truncated")));
    let mut b = [0];
    let e = core.read_phys(Paddr(0x1_f000), &mut b).unwrap_err();
    assert!(matches!(e.why, MemoryError::BeyondEnd { .. }));
}

#[test]
fn a_page_that_the_file_cuts_in_two_gives_its_first_half() {
    let (machine, version) = VERSIONS[2];
    let s = Sample::new(machine, version);
    let bytes = s.bytes();
    let core = open(&bytes[..bytes.len() - 1000]);
    let mut page = [0; PAGE_SIZE];
    let e = core.read_phys(Paddr(0x1_f000), &mut page).unwrap_err();
    assert_eq!((e.done, e.at), (3096, 0x1_f000 + 3096));
    assert!(page[..3096].iter().all(|&b| b == 0x1f));
}

#[test]
fn two_megabyte_blocks_are_followed() {
    let (machine, version) = VERSIONS[2];
    let mut s = Sample::new(machine, version);
    // The third directory entry: physical 0, NX and a software bit set.
    s.pmap[16..24].copy_from_slice(&0x8040_0000_0000_01e3u64.to_le_bytes());
    let core = open(&s.bytes());
    let va = s.header.kernbase.0 + (4 << 20) + 0x1_c007;
    assert_eq!(core.translate(Vaddr(va)).unwrap(), Paddr(0x1_c007));
    let mut b = [0; 4];
    core.read_va(Vaddr(va), &mut b).unwrap();
    assert_eq!(b, [0x1c; 4]);
}

#[test]
fn bits_behind_the_last_page_do_not_count() {
    let (machine, version) = VERSIONS[2];
    let mut s = Sample::new(machine, version);
    s.excess = vec![31, 63, 64, 32767];
    let core = open(&s.bytes());
    let pages = core.pages().unwrap();
    assert_eq!((pages.count_set(), pages.excess_bits()), (s.count(), 4));
    let v = core.verify(Some(&kernel(&s.kernel())), 1);
    assert!(v.verdict().is_sound(), "{v:#?}");
    assert_eq!(v.count(Status::Warning), 1);
}

#[test]
fn the_message_buffer_reads_with_and_without_its_kernel() {
    for (machine, version) in VERSIONS {
        let mut s = Sample::new(machine, version);
        let core = open(&s.bytes());
        assert_eq!(core.msgbuf_section().unwrap().unrolled(), TEXT);
        let h = core.msgbuf_header(&kernel(&s.kernel())).unwrap();
        let ring = core.msgbuf_ring(&h).unwrap();
        assert_eq!(ring.unrolled(), TEXT);
        assert_eq!(ring.position, Some(TEXT.len()));

        s.page(MSGBUF)[0xfb8 + 8] ^= 1;
        let core = open(&s.bytes());
        assert!(core.msgbuf_header(&kernel(&s.kernel())).is_err());
    }
}

#[test]
fn a_structure_behind_the_sections_text_gives_its_position() {
    let (machine, version) = VERSIONS[2];
    let mut s = Sample::new(machine, version);
    let mut bytes = s.bytes();
    let page = *s.page(MSGBUF);
    bytes[0x1000..0x2000].copy_from_slice(&page);
    let ring = open(&bytes).msgbuf_section().unwrap();
    assert_eq!(ring.position, Some(TEXT.len()));
}

#[test]
fn the_process_list_walks_through_the_exported_offsets() {
    for (machine, version) in VERSIONS {
        let s = Sample::new(machine, version);
        let core = open(&s.bytes());
        let found = core.procs(&kernel(&s.kernel())).unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let pids: Vec<_> =
            found.procs.iter().map(|p| (p.pid, p.comm.as_slice())).collect();
        assert_eq!(pids, [(2, &b"sh"[..]), (1, b"init"), (0, b"kernel")]);
        assert_eq!(found.thread_count(), 6);
        let t = &found.procs[1].threads[1];
        assert_eq!((t.tid, t.oncpu), (100_102, -1));
        assert_eq!(t.name, b"worker");
    }
}

#[test]
fn lists_that_loop_tear_or_lie_end_and_say_so() {
    let (machine, version) = VERSIONS[2];
    let broken = |change: &dyn Fn(&mut Sample)| {
        let mut s = Sample::new(machine, version);
        change(&mut s);
        let found = open(&s.bytes()).procs(&kernel(&s.kernel())).unwrap();
        let text = found.problems.iter().map(ToString::to_string);
        (found.procs.len(), text.collect::<Vec<_>>().join("; "))
    };
    let base = Sample::new(machine, version).base();
    let set = |at: usize, value: u64| {
        move |s: &mut Sample| {
            s.procs()[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    };
    let (n, text) = broken(&set(0x800, base + 0x1000));
    assert_eq!(n, 3);
    assert!(text.contains("has a cycle"), "{text}");
    let (n, text) = broken(&set(0x800, base + 0x1800));
    assert_eq!(n, 3);
    assert!(text.contains("has a cycle"), "{text}");
    let (n, text) = broken(&set(0x400, base + 0x2000));
    assert_eq!(n, 2);
    assert!(text.contains("cannot be read"), "{text}");
    let (n, text) = broken(&set(0x408, 77));
    assert_eq!(n, 3);
    assert!(text.contains("points back to 0x4d"), "{text}");
    let (_, text) = broken(&set(0x420, u64::MAX));
    assert!(text.contains("has id -1"), "{text}");
    let (_, text) = broken(&set(0x20, 1));
    assert!(text.contains("twice"), "{text}");
    let (_, text) = broken(&set(0x210, 5));
    assert!(text.contains("has id 5"), "{text}");
}
