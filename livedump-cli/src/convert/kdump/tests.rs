// SPDX-License-Identifier: BSD-2-Clause
//! What is written is read again, the flattened form as well.

use super::super::testing::{Pages, bytes, contents, image, written};
use super::*;
use livedump_vmcore::image::Format;
use memdev::arch::Machine;
use std::io::Write;

fn facts() -> Facts {
    Facts {
        machine: Some(Machine::Amd64),
        release: "15.1-RELEASE".into(),
        version: "FreeBSD 15.1-RELEASE ".repeat(9),
        phys_base: Some(0x20_0000),
        vmcoreinfo: "OSRELEASE=15.1-RELEASE\nNUMBER(phys_base)=2097152\n"
            .into(),
        memory: vec![(0, 0x9f000), (0x10_0000, 0x2ff_f000)],
    }
}

fn check(memory: &Pages, codec: Codec, threads: usize) -> u64 {
    let facts = facts();
    let (file, stream, bad) =
        written(|to, job| write(memory, &facts, codec, threads, to, job));
    assert_eq!(bad as usize, memory.broken.len());
    let mut flat = tempfile::tempfile().unwrap();
    flat.write_all(&stream).unwrap();
    for file in [&file, &flat] {
        let image = image(file);
        assert_eq!(image.format(), Format::Kdump);
        assert!(contents(image.as_ref()) == memory.all());
        let claims = image.claims();
        assert_eq!(claims.machine, Some(Machine::Amd64));
        assert_eq!(claims.phys_base, Some(0x20_0000));
        assert_eq!(claims.vmcoreinfo, facts.vmcoreinfo);
        assert!(claims.notes.is_empty(), "{:?}", claims.notes);
    }
    file.metadata().unwrap().len()
}

#[test]
fn every_page_comes_back_with_every_codec_and_any_number_of_threads() {
    let memory = Pages::sample();
    for codec in [Codec::Zstd, Codec::Zlib] {
        let sizes = [1, 2, 7].map(|threads| check(&memory, codec, threads));
        assert_eq!(sizes, [sizes[0]; 3]);
        assert!(sizes[0] < memory.pages.len() as u64 * PAGE / 2);
    }
}

#[test]
fn a_page_that_cannot_be_read_is_missing() {
    let mut memory = Pages::sample();
    memory.broken = [0x2000, 201 * PAGE, 202 * PAGE, 0x2ffe * PAGE].into();
    check(&memory, Codec::Zstd, 2);
}

#[test]
fn the_bitmaps_are_memory_and_pages() {
    let memory = Pages::sample();
    let facts = facts();
    let (file, ..) =
        written(|to, job| write(&memory, &facts, Codec::Zstd, 2, to, job));
    let file = bytes(&file);
    let n = |at: usize| {
        u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize
    };
    let (first, one) = ((1 + n(432)) * 4096, n(436) * 4096 / 2);
    for (n, want) in [
        (0, (true, false)),
        (2, (true, true)),
        (0x9e, (true, false)),
        (0x9f, (false, false)),
        (0x100, (true, true)),
        (0x300, (true, false)),
        (0x2ffd, (true, false)),
        (0x2ffe, (true, true)),
        (0x2fff, (false, false)),
    ] {
        let bit = |at: usize| file[at + n / 8] >> (n % 8) & 1 != 0;
        assert_eq!((bit(first), bit(first + one)), want, "{n:#x}");
    }
    assert_eq!(file[..8], *b"KDUMP   ");
    assert_eq!(file[12..20], *b"FreeBSD\0");
    // A name ends within its field.
    assert_eq!(file[12 + 4 * 65 - 1], 0);
    assert_eq!(file[12 + 4 * 65..12 + 4 * 65 + 7], *b"x86_64\0");
}
