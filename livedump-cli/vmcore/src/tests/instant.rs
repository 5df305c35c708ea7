// SPDX-License-Identifier: BSD-2-Clause
//! What may be torn in a dump of a machine that ran is whole in one of an
//! instant, or is damage. Other records beside that of the instant.

use crate::elf::Kernel;
use crate::sample::{MSGBUF, Sample, VERSIONS, file, open};
use crate::verdict::Verdict;
use crate::{INSTANT, Origin, Status, Verification};
use memdev::freeze::{RECORD_BYTES, RECORD_OFFSET, RecordError};
use memdev::keys::KeysRecord;

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The sample, live or frozen, after a change.
fn verify(frozen: bool, change: impl Fn(&mut Sample)) -> Verification {
    let (machine, version) = VERSIONS[2];
    let mut s = Sample::new(machine, version);
    change(&mut s);
    if frozen {
        s.freeze();
    }
    let kernel = file(&s.kernel());
    let kernel = Kernel::open(kernel.path()).unwrap();
    open(&s.bytes()).verify(Some(&kernel), 1)
}

fn status(v: &Verification, check: &str) -> Option<Status> {
    v.findings.iter().find(|f| f.check == check).map(|f| f.status)
}

#[test]
fn a_frozen_dump_says_so_and_its_instant_is_no_open_question() {
    for (machine, version) in VERSIONS {
        let mut s = Sample::new(machine, version);
        let core = open(&s.bytes());
        assert_eq!((core.instant(), core.is_frozen()), (Ok(None), false));
        s.freeze();
        let core = open(&s.bytes());
        assert_eq!(core.instant(), Ok(s.instant.as_ref()));
        assert_eq!(core.origin(None), Origin::Stopped);
        let v = core.verify(None, 1);
        assert_eq!(status(&v, "instant"), Some(Status::Ok));
        assert_eq!(status(&v, "header"), Some(Status::Ok), "{v:?}");
        assert!(!v.unchecked.iter().any(|text| text.starts_with(INSTANT)));
        assert!(core.notes().is_empty());
    }
    let live = verify(false, |_| {});
    assert_eq!(status(&live, "instant"), None);
    assert!(live.unchecked.iter().any(|text| text.starts_with(INSTANT)));
}

#[test]
fn a_record_that_is_not_understood_is_named_and_never_silently_live() {
    let (machine, version) = VERSIONS[2];
    let mut s = Sample::new(machine, version);
    s.freeze();
    let good = s.bytes();
    for at in 8..RECORD_BYTES {
        let mut bytes = good.clone();
        bytes[RECORD_OFFSET + at] ^= 1;
        let core = open(&bytes);
        let error = core.instant().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("record of the instant at offset 2048: "));
        assert_eq!(core.notes(), std::slice::from_ref(&text));
        assert!(!core.is_frozen());
        let v = core.verify(None, 1);
        let (want, damaged) = match error {
            RecordError::Version(_) => (Status::Undetermined, false),
            RecordError::Checksum => (Status::Fail, true),
        };
        assert_eq!(status(&v, "instant"), Some(want), "byte {at}");
        assert_eq!(v.verdict().is_damaged(), damaged);
        assert_ne!(v.verdict(), Verdict::Sound);
    }
    // As many pages as were copied, or something is lost or added.
    let fewer = verify(true, |_| {});
    assert_eq!(status(&fewer, "instant"), Some(Status::Ok));
    let mut other = s.instant.unwrap();
    other.pages += 1;
    s.instant = Some(other);
    let v = open(&s.bytes()).verify(None, 1);
    assert_eq!(status(&v, "instant"), Some(Status::Fail));
}

#[test]
fn what_is_logged_later_is_damage_in_a_frozen_dump() {
    let later = |s: &mut Sample| {
        let page = s.page(MSGBUF);
        let n = crate::sample::TEXT.len();
        put(page, n, b"later\n");
        let at = crate::sample::MSGBUF_SIZE as usize + 16;
        put(page, at, &(n as u32 + 6).to_le_bytes());
    };
    assert_eq!(status(&verify(false, later), "msgbufp"), Some(Status::Ok));
    assert_eq!(status(&verify(true, later), "msgbufp"), Some(Status::Fail));
    assert_eq!(status(&verify(true, |_| {}), "msgbufp"), Some(Status::Ok));
}

#[test]
fn who_takes_a_frozen_dump_is_on_a_list() {
    let unlisted =
        |s: &mut Sample| put(s.image(), 0x80, &123_456u32.to_le_bytes());
    let live = verify(false, unlisted);
    assert_eq!(status(&live, "dumptid"), Some(Status::Warning));
    let frozen = verify(true, unlisted);
    assert_eq!(status(&frozen, "dumptid"), Some(Status::Fail));
}

const NAME: usize = 0xe00;
const LOCK: usize = 0xe40;
const OWNER: u64 = 0xffff_f800_0336_9380;

/// Puts a lock at an offset of a page that starts at `base`.
fn lock(page: &mut [u8], base: u64, at: usize, name: &[u8], word: u64) {
    put(page, NAME, name);
    put(page, at, &(base + NAME as u64).to_le_bytes());
    put(page, at + 8, &0x0201_0000u32.to_le_bytes());
    put(page, at + 24, &word.to_le_bytes());
}

#[test]
fn a_list_that_is_torn_is_being_changed_under_its_lock_or_damaged() {
    // The back link of the second process.
    let tear = |s: &mut Sample| put(s.procs(), 0x408, &8u64.to_le_bytes());
    let with = |name: &'static [u8], word: u64| {
        move |s: &mut Sample| {
            tear(s);
            let base = s.base();
            lock(s.image(), base, LOCK, name, word);
            s.symbols.push(("allproc_lock", base + LOCK as u64, 32));
        }
    };
    let held = with(b"allproc\0", OWNER | 4);
    let links =
        |frozen, v: &dyn Fn(&mut Sample)| status(&verify(frozen, v), "links");
    assert_eq!(links(false, &tear), Some(Status::Warning));
    assert_eq!(links(false, &held), Some(Status::Warning));
    assert_eq!(links(true, &held), Some(Status::Ok));
    assert!(verify(true, held).verdict() == Verdict::Sound);
    // Free, shared, or not a lock at all.
    for word in [1, 3 << 5 | 1, 0] {
        let free = with(b"allproc\0", word);
        assert_eq!(links(true, &free), Some(Status::Fail), "{word:#x}");
    }
    let other = with(b"allprod\0", OWNER);
    assert_eq!(links(true, &other), Some(Status::Undetermined));
    assert_eq!(links(true, &tear), Some(Status::Undetermined));
    assert_eq!(links(true, &|_| {}), None);
}

#[test]
fn a_list_of_threads_is_under_the_lock_of_its_process() {
    // The back link of the second thread of the first process.
    let tear = |s: &mut Sample| put(s.procs(), 0x208, &8u64.to_le_bytes());
    let with = |word: u64| {
        move |s: &mut Sample| {
            tear(s);
            let base = s.base() + 0x1000;
            // Wherever p_mtx is in struct proc.
            lock(s.procs(), base, 0x88, b"process lock\0", word);
        }
    };
    for (word, want) in [
        (OWNER, Status::Ok),
        (OWNER | 2, Status::Ok),
        (0, Status::Fail),
        (4, Status::Fail),
    ] {
        let v = verify(true, with(word));
        assert_eq!(status(&v, "links"), Some(want), "{word:#x}");
    }
    let v = verify(true, tear);
    assert_eq!(status(&v, "links"), Some(Status::Undetermined));
}

#[test]
fn a_table_that_is_missing_here_and_there_is_damage_in_a_frozen_dump() {
    // One of 121; without dump_avail a bit is a page's number.
    let (machine, version) = VERSIONS[1];
    for (frozen, want) in [(false, Status::Warning), (true, Status::Fail)] {
        let mut s = Sample::new(machine, version);
        for n in 0..120usize {
            let pa = 0x10_0000 + 4096 * n as u64;
            s.pages.insert(pa, [0; 4096]);
            put(&mut s.pmap, 8 * (n + 2), &(pa | 3).to_le_bytes());
        }
        if frozen {
            s.freeze();
        }
        let whole = open(&s.bytes()).verify(None, 1);
        assert_eq!(status(&whole, "pagetables"), Some(Status::Ok));
        put(&mut s.pmap, 8 * 130, &(0x20_0000u64 | 3).to_le_bytes());
        let v = open(&s.bytes()).verify(None, 1);
        assert_eq!(status(&v, "pagetables"), Some(want), "{v:?}");
    }
}

#[test]
fn a_dump_says_that_keys_are_not_in_it() {
    for keys in [None, Some(KeysRecord { overwritten: 2 })] {
        for frozen in [false, true] {
            let (machine, version) = VERSIONS[2];
            let mut s = Sample::new(machine, version);
            s.keys = keys;
            if frozen {
                s.freeze();
            }
            let core = open(&s.bytes());
            assert_eq!(core.keys_overwritten(), keys.map(|k| k.overwritten));
            assert_eq!(core.is_frozen(), frozen);
            let v = core.verify(None, 1);
            assert_eq!(status(&v, "header"), Some(Status::Ok));
        }
    }
}
