// SPDX-License-Identifier: BSD-2-Clause
//! Files made by hand.

use super::super::testing::{
    Pages, bit_flips, file, noise, open, open_bytes, open_file, page, runs,
};
use super::super::{Checksums, Format};
use crate::MemoryError;
use crate::source::{Plain, Sequential};
use memdev::addr::Paddr;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

fn header(magic: &[u8], version: u32, start: u64, end: u64) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend(version.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend((end - 1).to_le_bytes());
    out.resize(32, 0);
    out
}

fn memory(start: u64, end: u64) -> Vec<u8> {
    (start / 4096..end.div_ceil(4096))
        .flat_map(|n| if n % 5 == 4 { noise(n) } else { page(n) })
        .take((end - start) as usize)
        .collect()
}

const RANGES: [(u64, u64); 3] =
    [(0x1000, 0x9_f000), (0x10_0000, 0x18_0000), (1 << 32, (1 << 32) + 0x3000)];

fn lime(ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for &(start, end) in ranges {
        out.extend(header(b"EMiL", 1, start, end));
        out.extend(memory(start, end));
    }
    out
}

fn block(start: u64, end: u64, data: &[u8]) -> Vec<u8> {
    let mut e = snap::write::FrameEncoder::new(Vec::new());
    // A page at a time, as AVML does.
    for page in data.chunks(4096) {
        e.write_all(page).unwrap();
    }
    let frame = e.into_inner().unwrap();
    let mut out = header(b"AVML", 2, start, end);
    out.extend(&frame);
    out.extend((frame.len() as u64).to_le_bytes());
    out
}

/// Blocks of `size` bytes.
fn avml(ranges: &[(u64, u64)], size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for &(start, end) in ranges {
        for at in (start..end).step_by(size as usize) {
            let next = end.min(at + size);
            out.extend(block(at, next, &memory(at, next)));
        }
    }
    out
}

#[track_caller]
fn check(bytes: &[u8], format: Format) {
    let image = open(bytes);
    assert_eq!(image.format(), format);
    assert!(image.claims().notes.is_empty(), "{:?}", image.claims().notes);
    assert_eq!(runs(image.as_ref()), RANGES);
    for (start, end) in RANGES {
        let mut all = vec![0; (end - start) as usize];
        image.read(Paddr(start), &mut all).unwrap();
        assert!(all == memory(start, end));
        let mut last = [0; 16];
        image.read(Paddr(end - 16), &mut last).unwrap();
        assert_eq!(last, all[all.len() - 16..]);
        for pa in [start - 1, end] {
            let missing = image.read(Paddr(pa), &mut [0]);
            assert!(matches!(missing, Err(MemoryError::NotDumped { .. })));
        }
    }
    assert_eq!(image.end(), RANGES[2].1);
}

#[test]
fn ranges_are_inclusive_and_in_any_order() {
    check(&lime(&RANGES), Format::Lime);
    let mut turned = RANGES;
    turned.reverse();
    check(&lime(&turned), Format::Lime);
    let image = open(&lime(&RANGES));
    assert_eq!(image.claims().checksums, Checksums::None);
}

#[test]
fn blocks_are_unpacked_where_they_are_read() {
    for size in [0x4000, 0x10_000, 0x4_5000, 16 << 20] {
        check(&avml(&RANGES, size), Format::Avml);
    }
    // In a stream, which has no known end to begin with.
    let packed = avml(&RANGES, 0x4_5000);
    let mut e =
        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    e.write_all(&packed).unwrap();
    let gz = e.finish().unwrap();
    let len = gz.len() as u64;
    let source =
        Sequential::new(crate::source::Codec::Gzip, Arc::new(file(&gz)), len);
    let image = super::super::open(&(Arc::new(source) as _)).unwrap().unwrap();
    assert_eq!(runs(image.as_ref()), RANGES);
    assert!(image.page(0x19).unwrap() == page(0x19));
    assert_eq!(image.claims().checksums, Checksums::All);
}

#[test]
fn blocks_that_are_left_out_are_missing() {
    let parts = [(0, 0x4000), (0x8000, 0xc000)];
    let image = open(&avml(&parts, 0x4000));
    assert_eq!(runs(image.as_ref()), parts);
    assert!(image.page(5).is_err());
}

#[test]
fn ranges_that_overlap_or_end_inside_a_page() {
    let image = open(&lime(&[(0x1000, 0x3000), (0x2000, 0x5800)]));
    assert_eq!(runs(image.as_ref()), [(0x1000, 0x5000)]);
    assert_eq!(image.claims().notes.len(), 2);
    assert_eq!(image.page(2).unwrap(), page(2));
    assert_eq!(image.page(4).unwrap(), noise(4));
}

#[test]
fn what_a_truncated_file_has_is_served() {
    let whole = lime(&RANGES);
    let image = open(&whole[..32 + 0x2100]);
    assert_eq!(runs(image.as_ref()), [(0x1000, 0x3000)]);
    assert_eq!(image.claims().notes.len(), 1);
    // Inside the second header.
    let image = open(&whole[..32 + 0x9_e000 + 7]);
    assert_eq!(runs(image.as_ref()), RANGES[..1]);
    assert_eq!(image.claims().notes.len(), 1);
    assert!(open_bytes(&whole[..31]).is_err());

    let whole = avml(&RANGES, 0x4_0000);
    for cut in [whole.len() - 1, whole.len() - 9, whole.len() / 2, 100_000] {
        let image = open(&whole[..cut]);
        let found = runs(image.as_ref());
        assert!(!image.claims().notes.is_empty() || cut > whole.len() - 8);
        assert!(!found.is_empty());
        for (start, end) in found {
            let mut all = vec![0; (end - start) as usize];
            image.read(Paddr(start), &mut all).unwrap();
            assert!(all == memory(start, end));
        }
    }
}

#[test]
fn damage_to_a_block_costs_that_block() {
    let whole = avml(&[(0, 0xc_0000)], 0x4_0000);
    // The second block's frame: its first chunk's header, after the magic.
    let second = block(0, 0x4_0000, &memory(0, 0x4_0000)).len();
    for at in [second + 32 + 10, second + 32 + 12, second + 32 + 18] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        let image = open(&bytes);
        assert!(image.page(0x40).is_err(), "{at}");
        for n in [0, 0x3f, 0x80, 0xbf] {
            assert!(image.page(n).is_ok(), "{at}");
        }
    }
    // Its range is longer or shorter than its data.
    for end in [0x7_0000, 0x9_0000] {
        let bytes = [
            block(0, 0x4_0000, &memory(0, 0x4_0000)),
            block(0x4_0000, end, &memory(0x4_0000, 0x8_0000)),
            block(0xa_0000, 0xc_0000, &memory(0xa_0000, 0xc_0000)),
        ];
        let image = open(&bytes.concat());
        assert!(image.page(0x40).is_err());
        assert_eq!(image.page(0x3e).unwrap(), page(0x3e));
        assert_eq!(image.page(0xa0).unwrap(), page(0xa0));
    }
}

#[test]
fn every_page_has_a_checksum() {
    let whole = avml(&[(0x1000, 0x1_1000)], 0x10_000);
    let image = open(&whole);
    let all: Vec<_> = (1..0x11).map(|n| image.page(n).unwrap()).collect();
    // The frame, without the ends of the file.
    for i in 0..1500 {
        let at = 32 + i * (whole.len() - 40) / 1500;
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (i % 8);
        let Ok(Some(image)) = open_bytes(&bytes) else { continue };
        for (n, page) in (1..).zip(&all) {
            if let Ok(found) = image.page(n) {
                assert!(found == *page, "{at}");
            }
        }
    }
}

#[test]
fn headers_that_lie_end_soon() {
    // Ranges of one byte, and a range of everything.
    let mut tiny = Vec::new();
    for i in 0..100_000 {
        tiny.extend(header(b"EMiL", 1, i, i + 1));
        tiny.push(1);
    }
    assert!(runs(open(&tiny).as_ref()).is_empty());
    let huge = [header(b"EMiL", 1, 0, u64::MAX), page(0).to_vec()].concat();
    assert_eq!(runs(open(&huge).as_ref()), [(0, 4096)]);
    let f = file(&[header(b"AVML", 2, 0, u64::MAX), vec![0; 100]].concat());
    f.write_all_at(super::avml::STREAM_ID, 32).unwrap();
    f.set_len(20 << 30).unwrap();
    // Chunks of type 0 and no bytes.
    let image = open_file(f).unwrap().unwrap();
    assert!(runs(image.as_ref()).is_empty());
    // Chunks without data, and without an end.
    let mut skip = header(b"AVML", 2, 0, 4096);
    skip.extend(b"\xfe\0\0\0".repeat(1 << 20));
    assert!(runs(open(&skip).as_ref()).is_empty());
    for (at, value) in [(4, 3), (16, 0)] {
        let mut bytes = lime(&[(0x1000, 0x2000)]);
        bytes[at] = value;
        bytes[at + 1] = 0;
        assert!(open_bytes(&bytes).is_err());
    }
}

#[test]
fn flipped_bits_end_in_an_error_or_in_memory() {
    bit_flips(&lime(&RANGES), |_, _| {});
    bit_flips(&avml(&RANGES, 0x4_0000), |_, _| {});
}

#[test]
fn a_terabyte_of_holes_opens_soon() {
    let f = file(&header(b"EMiL", 1, 0, 1 << 40));
    let end = 32 + (1 << 40);
    f.write_all_at(&page(9), end - 4096).unwrap();
    f.set_len(end).unwrap();
    let source = Plain::new(Arc::new(f), end);
    let image = super::super::open(&(Arc::new(source) as _)).unwrap().unwrap();
    assert_eq!(image.page((1 << 28) - 1).unwrap(), page(9));
}
