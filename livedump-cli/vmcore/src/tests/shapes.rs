// SPDX-License-Identifier: BSD-2-Clause
//! One dump in every shape a file has: raw and stripped, plain and packed.

use super::sample::{Sample, VERSIONS};
use super::{file, gzip, kernel, open, zstd, zstd_frame};
use crate::verdict::Verdict;
use crate::{OpenError, Status, Vmcore};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::kerneldump::Compression;

fn sample() -> Sample {
    let (machine, version) = VERSIONS[2];
    Sample::new(machine, version)
}

/// A pmap section of `size` bytes, from `from` on nothing that shrinks. No
/// entry is valid.
fn add_noise(s: &mut Sample, size: usize, from: usize) {
    s.header.pmapsize = size as u32;
    s.pmap.resize(size, 0);
    let mut x = 1u64;
    for b in s.pmap.iter_mut().skip(from) {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *b = (x >> 56) as u8 & 0xfe;
    }
}

fn all_pages_read(core: &Vmcore, s: &Sample) {
    // Backwards, so that nothing is right because it was just unpacked.
    for (pa, want) in s.pages.iter().rev() {
        let mut page = [0; PAGE_SIZE];
        core.read_phys(Paddr(*pa), &mut page).unwrap();
        assert!(page == *want, "{pa:#x}");
    }
}

fn packed(data: &[u8]) -> Vec<(&'static str, Vec<u8>, Compression)> {
    let big = data.len();
    vec![
        ("plain", data.to_vec(), Compression::None),
        ("one gzip member", gzip(data, big), Compression::Gzip),
        ("gzip members", gzip(data, 5000), Compression::Gzip),
        ("one zstd frame", zstd_frame(data), Compression::Zstd),
        ("zstd frames", zstd(data, 5000, false), Compression::Zstd),
        ("zstd with a table", zstd(data, 5000, true), Compression::Zstd),
    ]
}

#[test]
fn raw_and_stripped_plain_and_packed_read_the_same() {
    let s = sample();
    let k = kernel(&s.kernel());
    for (name, stored, compression) in packed(&s.bytes()) {
        for raw in [false, true] {
            let bytes =
                if raw { s.raw(&stored, compression) } else { stored.clone() };
            let core = open(&bytes);
            assert_eq!(core.compression(), compression, "{name}");
            assert_eq!(core.trailer().is_some(), raw, "{name}");
            all_pages_read(&core, &s);
            let v = core.verify(Some(&k), 2);
            assert!(v.verdict().is_sound(), "{name}: {v:#?}");
            assert_eq!(v.count(Status::Warning), 0, "{name}: {v:#?}");
            // Without it the mapped memory has to be there, and no list is
            // walked.
            let v = core.verify(None, 1);
            assert!(!v.verdict().is_damaged() && !v.walked, "{name}: {v:#?}");
        }
    }
}

#[test]
fn units_larger_than_memory_is_for_go_through_a_file() {
    let mut s = sample();
    add_noise(&mut s, 12 << 20, 9 << 20);
    let data = s.bytes();
    for stored in [
        gzip(&data, data.len()),
        zstd_frame(&data),
        // A small unit first, then one that is too large, then small ones.
        [zstd(&data[..300_000], 1000, false), zstd_frame(&data[300_000..])]
            .concat(),
        zstd(&data, 70_000, false),
        zstd(&data, 70_000, true),
        zstd(&data, 10 << 20, true),
    ] {
        let core = open(&stored);
        all_pages_read(&core, &s);
        let mut buf = vec![0; 3 << 20];
        for at in [11 << 20, 290_000, 8 << 20, 0] {
            assert_eq!(core.source().read_at(at, &mut buf).unwrap() % 2, 0);
            let at = at as usize;
            let n = buf.len().min(data.len() - at);
            assert!(buf[..n] == data[at..at + n], "at {at:#x}");
        }
    }
}

#[test]
fn a_truncated_stream_gives_what_was_before_the_cut() {
    let mut s = sample();
    add_noise(&mut s, 1 << 20, 8192);
    let data = s.bytes();
    for (name, stored, compression) in packed(&data) {
        if compression == Compression::None {
            continue;
        }
        let cut = &stored[..stored.len() * 2 / 3];
        let core = match Vmcore::open(file(cut).path()) {
            Ok(core) => core,
            Err(e) => panic!("{name}: {e:?}"),
        };
        let mut first = vec![0; 400 << 10];
        let got = core.source().read_at(0, &mut first).unwrap();
        assert!(first == data[..got] && got == first.len(), "{name}");
        assert!(core.verify(None, 1).verdict().is_damaged(), "{name}");
    }
}

#[test]
fn a_flipped_bit_in_a_frame_spoils_that_frame_and_no_other() {
    let s = sample();
    let data = s.bytes();
    let frame = 4096;
    let stored = zstd(&data, frame, true);
    let clean = open(&stored);
    let frames = clean.source().parts().unwrap() as usize;
    let stored_end = stored.len() - 17 - 8 * frames;
    let mut damaged = 0;
    for flip in (0..stored_end).step_by(11) {
        let mut bytes = stored.clone();
        bytes[flip] ^= 1 << (flip % 8);
        // In the first frames the dump does not even open.
        let Ok(core) = Vmcore::open(file(&bytes).path()) else { continue };
        let mut bad = 0;
        for at in (0..data.len()).step_by(frame) {
            let mut buf = vec![0; frame.min(data.len() - at)];
            match core.source().read_at(at as u64, &mut buf) {
                Ok(_) => assert!(buf == data[at..at + buf.len()]),
                Err(_) => bad += 1,
            }
        }
        assert!(bad <= 1, "flip at {flip} spoils {bad} frames");
        // Some bits of a frame header mean nothing.
        if bad == 1 {
            assert!(core.verify(None, 2).verdict().is_damaged());
        }
        damaged += bad;
    }
    assert!(damaged > 20);
}

#[test]
fn an_older_longer_file_keeps_its_tail_behind_the_header() {
    let s = sample();
    let mut bytes = s.raw(&s.bytes(), Compression::None);
    bytes.extend([7; 9999]);
    let core = open(&bytes);
    assert!(core.trailer().is_some());
    assert!(core.notes()[0].contains("9999 bytes"), "{:?}", core.notes());
    assert_eq!(core.source().known_len(), Some(s.bytes().len() as u64));
    assert!(core.verify(None, 1).verdict().is_damaged());
}

#[test]
fn a_header_that_does_not_match_is_found() {
    let s = sample();
    let good = s.raw(&s.bytes(), Compression::None);
    let at = good.len() - 512;
    for (byte, what) in [
        (at + 47, "dumplength"),
        (at + 20, "architecture"),
        (at + 503, "dumpextent"),
        (at + 300, "parity"),
    ] {
        let mut bytes = good.clone();
        bytes[byte] ^= 0x40;
        let core = open(&bytes);
        let v = core.verify(None, 1);
        let text = format!("{v:?} {:?}", core.notes());
        assert!(
            v.verdict().is_damaged() && text.contains(what),
            "{what}: {text}"
        );
    }
}

#[test]
fn what_is_no_minidump_is_named() {
    let text = |bytes: &[u8]| match Vmcore::open(file(bytes).path()) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("opened"),
    };
    assert!(text(b"").contains("has 0 bytes"));
    assert!(text(b"minidump").contains("has 8 bytes"));
    let long = |head: &[u8]| [head, &[0; 4096]].concat();
    assert!(text(&long(b"\x7fELF")).contains("ELF"));
    assert!(matches!(
        Vmcore::open(file(&long(b"KDUMP   ")).path()),
        Err(OpenError::Image { .. })
    ));
    assert!(text(&long(b"hello")).contains("no known magic"));
    assert!(text(b"some text\n").contains("is not a dump: "));
    let twice = zstd_frame(&gzip(&sample().bytes(), 1 << 20));
    assert!(text(&twice).contains("compressed twice"));
    assert!(text(&gzip(b"hello", 5)).contains("has 5 bytes"));
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Vmcore::open(dir.path()),
        Err(OpenError::NotRegular { .. })
    ));
    assert!(matches!(
        Vmcore::open(&dir.path().join("none")),
        Err(OpenError::Io { .. })
    ));
    let s = sample();
    let mut raw = s.raw(&s.bytes(), Compression::None);
    let at = raw.len() - 512;
    raw[at + 59] = 64;
    assert!(text(&raw).contains("--private-key"));
    raw[at..at + 20].copy_from_slice(b"FreeBSD Text Dump\0\0\0");
    assert!(text(&raw).contains("textdump"));
}

#[test]
fn damage_is_told_from_trouble_of_this_host() {
    // Every read of a directory is an error.
    let tmp = tempfile::tempdir().unwrap();
    let directory = std::fs::File::open(tmp.path()).unwrap();
    let e = Vmcore::from_file(directory, tmp.path()).unwrap_err();
    assert!(matches!(e.verdict(), Verdict::Undetermined(_)), "{e:?}");
    let e = Vmcore::open(&tmp.path().join("none")).unwrap_err();
    assert!(e.is_unread(), "{e:?}");
    // A window of 2^41 bytes is refused for what it would take.
    let mut window = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff];
    window.extend([0x01 | 8 << 3, 0, 0]);
    window.extend([0; 8]);
    let e = Vmcore::open(file(&window).path()).unwrap_err();
    assert!(matches!(e.verdict(), Verdict::Undetermined(_)), "{e:?}");
    // What does not unpack is damaged, and so is what is cut off.
    let packed = gzip(&sample().bytes(), 1 << 20);
    for bad in [&packed[..20], &[&packed[..20], &[0xff; 999]].concat()] {
        let e = Vmcore::open(file(bad).path()).unwrap_err();
        assert!(e.verdict().is_damaged(), "{e:?}");
    }
}
