// SPDX-License-Identifier: BSD-2-Clause
//! Files made by hand; those of QEMU and makedumpfile are read in the tests
//! of the whole.

use super::super::notes::tests::{note, qemu_note};
use super::super::testing::{
    Pages, bit_flips, file, noise, open, open_bytes, open_file, page, runs,
};
use super::super::{Arm64State, Checksums, CpuState, Format, ImageError};
use super::codec;
use crate::MemoryError;
use crate::sample::kdump::{Kdump, compress};
use memdev::addr::Paddr;
use memdev::arch::Machine;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Two pages of the bitmap; runs of several lengths.
fn make(codecs: &[u32]) -> Kdump {
    let numbers = (0..3).chain([9]).chain(20..24).chain(40_000..40_004);
    let make = |n: u64| match n % 4 {
        // What does not compress is stored as it is.
        3 => (n, noise(n)),
        _ => (n, page(n)),
    };
    Kdump::new(numbers.map(make).collect(), 50_000, codecs)
}

/// A flattened file of these records.
fn flat(records: &[(u64, &[u8])], end: bool) -> Vec<u8> {
    let mut out = Vec::from(super::flat::SIGNATURE);
    out.extend([1u64.to_be_bytes(), 1u64.to_be_bytes()].concat());
    out.resize(4096, 0);
    for (offset, data) in records {
        out.extend(offset.to_be_bytes());
        out.extend((data.len() as u64).to_be_bytes());
        out.extend(*data);
    }
    if end {
        out.extend([0xff; 16]);
    }
    out
}

/// Every page of the recipe and no other.
#[track_caller]
fn check(bytes: &[u8], recipe: &Kdump) {
    let image = open(bytes);
    let (first, last) = recipe.split.unwrap_or((0, u64::MAX));
    let mine: Vec<u64> =
        recipe.pages.range(first..last).map(|(&n, _)| n).collect();
    let found: Vec<u64> = runs(image.as_ref())
        .into_iter()
        .flat_map(|(start, end)| start / 4096..end / 4096)
        .collect();
    assert_eq!(found, mine);
    for n in 0..50_001 {
        match recipe.pages.get(&n).filter(|_| mine.contains(&n)) {
            Some(page) => assert_eq!(image.page(n).unwrap(), *page, "{n}"),
            None if n % 64 > 32 => {}
            None => assert!(matches!(
                image.page(n),
                Err(MemoryError::NotDumped { .. })
            )),
        }
    }
}

#[test]
fn pages_of_every_codec_come_out_as_they_went_in() {
    let all = [codec::ZLIB, codec::LZO, codec::SNAPPY, codec::ZSTD, 0];
    for codecs in [&all[..], &all[..1], &all[1..2], &all[2..3], &all[3..4]] {
        let recipe = make(codecs);
        check(&recipe.bytes(), &recipe);
    }
    let image = open(&make(&all).bytes());
    assert_eq!(image.format(), Format::Kdump);
    assert_eq!(image.claims().checksums, Checksums::None);
    assert_eq!(image.claims().machine, Some(Machine::Amd64));
    assert!(image.claims().notes.is_empty(), "{:?}", image.claims().notes);
    let mut across = vec![0; 5000];
    image.read(Paddr(0x1800), &mut across).unwrap();
    let both = [page(1), page(2)].concat();
    assert_eq!(across, both[0x800..0x800 + 5000]);
    let image = open(&make(&[codec::ZLIB]).bytes());
    assert_eq!(image.claims().checksums, Checksums::Compressed);
}

#[test]
fn frames_as_makedumpfile_makes_them_have_no_checksum() {
    // Its call is the simple one of the library. Bit 2 of the descriptor,
    // behind the magic, says whether there is a checksum.
    let frame = compress(codec::ZSTD, &page(1));
    assert_eq!(frame[4] & 4, 0);
}

#[test]
fn records_in_any_order_make_up_the_file() {
    let recipe = make(&[codec::ZLIB, codec::ZSTD]);
    let whole = recipe.bytes();
    for size in [100, 4096, 5000, whole.len()] {
        let mut records: Vec<_> = whole
            .chunks(size)
            .enumerate()
            .map(|(i, data)| ((i * size) as u64, data))
            .collect();
        check(&flat(&records, true), &recipe);
        // Every second one first.
        records.sort_by_key(|(offset, _)| offset / size as u64 % 2);
        check(&flat(&records, true), &recipe);
        records.reverse();
        check(&flat(&records, true), &recipe);
        // Gaps are zero.
        records.retain(|(_, data)| data.iter().any(|&b| b != 0));
        check(&flat(&records, true), &recipe);
    }
}

#[test]
fn later_records_overwrite_earlier_ones() {
    let recipe = make(&[codec::LZO]);
    let whole = recipe.bytes();
    let junk = vec![0xee; whole.len()];
    // The header of a file is often written last.
    let mut records = vec![(0, &junk[..])];
    for (i, data) in whole.chunks(1000).enumerate() {
        records.push((i as u64 * 1000, data));
        if i % 3 == 0 {
            records.push((i as u64 * 1000 + 200, &junk[..500]));
            records.push((i as u64 * 1000 + 100, &data[100.min(data.len())..]));
            records.push((0, &[]));
        }
    }
    check(&flat(&records, true), &recipe);
    // Continues the record before in the file, but not where it ends.
    let records = [(0, &whole[..3000]), (2000, &whole[2000..])];
    check(&flat(&records, true), &recipe);
}

#[test]
fn a_flattened_file_that_is_cut_has_what_was_written() {
    let recipe = make(&[codec::ZLIB]);
    let whole = recipe.bytes();
    let records: Vec<_> = whole
        .chunks(1000)
        .enumerate()
        .map(|(i, data)| (i as u64 * 1000, data))
        .collect();
    let bytes = flat(&records, false);
    check(&bytes, &recipe);
    assert_eq!(open(&bytes).claims().notes.len(), 1);
    let image = open(&bytes[..bytes.len() - 300]);
    assert_eq!(image.claims().notes.len(), 2, "{:?}", image.claims().notes);
    assert_eq!(image.page(0).unwrap(), page(0));
    let last = *recipe.pages.keys().last().unwrap();
    assert!(matches!(image.page(last), Err(MemoryError::BeyondEnd { .. })));
    for cut in [4096, 4100, 4096 + 400, 5 * 4096] {
        assert!(open_bytes(&bytes[..cut]).is_err());
    }
    let mut negative = flat(&records[..1], false);
    negative.extend((-5i64).to_be_bytes());
    negative.extend(5i64.to_be_bytes());
    assert!(open_bytes(&negative).is_err());
}

#[test]
fn a_flattened_elf_core_is_an_elf_core() {
    let mut core = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    core.resize(64 + 56, 0);
    for (at, n) in [(16, 4), (18, 62), (32, 64), (54, 56), (56, 1), (64, 1)] {
        core[at] = n;
    }
    for (at, n) in [(72, 4096u64), (96, 4096), (104, 4096)] {
        core[at..at + 8].copy_from_slice(&n.to_le_bytes());
    }
    core.resize(4096, 0);
    core.extend(page(0));
    let image = open(&flat(&[(0, &core)], true));
    assert_eq!(image.format(), Format::Elf);
    assert_eq!(image.page(0).unwrap(), page(0));
}

#[test]
fn qemus_are_known_by_their_notes_or_by_their_empty_names() {
    let mut recipe = make(&[codec::ZLIB]);
    recipe.notes = [qemu_note(0), qemu_note(1)].concat();
    recipe.phys_base = 0x1677_7216;
    recipe.vmcoreinfo =
        b"OSRELEASE=15.1\nNUMBER(phys_base)=16777216\n".to_vec();
    let image = open(&recipe.bytes());
    assert_eq!(image.format(), Format::QemuKdump);
    let claims = image.claims();
    assert_eq!(claims.cpus.len(), 2);
    assert_eq!(claims.vmcoreinfo, recipe.vmcoreinfo);
    assert_eq!(claims.phys_base, Some(16_777_216));
    check(&recipe.bytes(), &recipe);
    recipe.notes.clear();
    recipe.vmcoreinfo.clear();
    let image = open(&recipe.bytes());
    assert_eq!(image.format(), Format::Kdump);
    assert_eq!(image.claims().phys_base, Some(0x1677_7216));
    recipe.sysname = "";
    assert_eq!(open(&recipe.bytes()).format(), Format::QemuKdump);
    recipe.machine = "aarch64";
    let image = open(&recipe.bytes());
    assert_eq!(image.claims().machine, Some(Machine::Arm64));
}

#[test]
fn a_part_of_a_split_dump_has_its_pages() {
    let mut recipe = make(&[codec::SNAPPY]);
    recipe.split = Some((2, 22));
    check(&recipe.bytes(), &recipe);
    let image = open(&recipe.bytes());
    assert_eq!(image.claims().notes.len(), 1);
    let why = image.claims().incomplete.as_ref();
    assert!(why.unwrap().contains("one part of a split dump"));
    recipe.split = Some((22, 50_000));
    check(&recipe.bytes(), &recipe);
    // Ends before it starts: it has nothing.
    recipe.split = Some((50, 20));
    let mut bytes = bytes_of(&recipe, &make(&[0]));
    bytes.truncate(100_000);
    let image = open(&bytes);
    assert!(runs(image.as_ref()).is_empty());
}

#[test]
fn the_parts_of_a_split_dump_make_up_all_of_it() {
    use super::super::MemoryImage;
    use super::super::joined::{JoinError, Joined};
    let whole = make(&[codec::SNAPPY, 0]);
    let part = |start, end| {
        let mut part = make(&[codec::SNAPPY, 0]);
        part.split = Some((start, end));
        open(&part.bytes())
    };
    let cuts = [(22, 30_000), (0, 22), (30_000, 50_000)];
    let joined = Joined::new(cuts.map(|(a, b)| part(a, b)).into()).unwrap();
    let joined: std::sync::Arc<dyn super::super::MemoryImage> =
        std::sync::Arc::new(joined);
    assert!(joined.claims().notes.is_empty(), "{:?}", joined.claims().notes);
    assert_eq!(joined.claims().incomplete, None);
    let pages = runs(joined.as_ref());
    assert_eq!(pages, runs(open(&whole.bytes()).as_ref()));
    for (&n, page) in &whole.pages {
        assert_eq!(joined.page(n).unwrap(), *page, "{n}");
    }
    let mut across = vec![0; 3 << 12];
    joined.read(Paddr(21 << 12), &mut across).unwrap();
    assert_eq!(across[4096..8192], whole.pages[&22]);
    // One that is not there.
    let joined = Joined::new(vec![part(22, 30_000), part(0, 22)]).unwrap();
    let notes = &joined.claims().notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("is missing: 0x7530000 to 0xc350000"));
    assert_eq!(joined.claims().incomplete.as_ref(), Some(&notes[0]));
    // What does not belong together.
    let error = |images| Joined::new(images).unwrap_err();
    let all = open(&whole.bytes());
    assert_eq!(error(vec![part(0, 22), all]), (1, JoinError::NotAPart));
    let twice = error(vec![part(0, 22), part(20, 50_000)]);
    assert_eq!(twice, (1, JoinError::Twice(20 << 12)));
    let mut others = [0; 3].map(|codec| make(&[codec]));
    others[0].sysname = "Linux";
    others[1].notes = qemu_note(1);
    others[2].vmcoreinfo = b"CRASHTIME=1700000000\n".to_vec();
    for mut other in others {
        other.split = Some((22, 50_000));
        let other = open(&other.bytes());
        assert_eq!(error(vec![part(0, 22), other]), (1, JoinError::Other));
    }
}

/// The bytes of another recipe with the split of this one.
fn bytes_of(recipe: &Kdump, other: &Kdump) -> Vec<u8> {
    let mut bytes = other.bytes();
    let (start, end) = recipe.split.unwrap();
    bytes[4096 + 12] = 1;
    bytes[4096 + 80..4096 + 88].copy_from_slice(&start.to_le_bytes());
    bytes[4096 + 88..4096 + 96].copy_from_slice(&end.to_le_bytes());
    bytes
}

#[test]
fn damaged_pages_are_errors_and_the_others_are_served() {
    let recipe = make(&[codec::ZLIB]);
    let whole = recipe.bytes();
    let descriptors = 4096 * (2 + 4);
    let descriptor = |bytes: &[u8], i: usize| {
        u64::from_le_bytes(
            bytes[descriptors + 24 * i..][..8].try_into().unwrap(),
        ) as usize
    };
    let wrong: [(usize, &[u8]); 8] = [
        (0, &u64::MAX.to_le_bytes()),
        (0, &(1u64 << 40).to_le_bytes()),
        (8, &0u32.to_le_bytes()),
        (8, &u32::MAX.to_le_bytes()),
        (8, &5u32.to_le_bytes()),
        (12, &3u32.to_le_bytes()),
        (12, &0x40u32.to_le_bytes()),
        (12, &0u32.to_le_bytes()),
    ];
    for (at, value) in wrong {
        let mut bytes = whole.clone();
        // Of the second page.
        let at = descriptors + 24 + at;
        bytes[at..at + value.len()].copy_from_slice(value);
        let image = open(&bytes);
        assert!(image.page(1).is_err(), "{at} {value:?}");
        assert_eq!(image.page(0).unwrap(), page(0));
        assert_eq!(image.page(2).unwrap(), page(2));
        let mut three = vec![0; 3 * 4096];
        assert!(image.read(Paddr(0), &mut three).is_err());
    }
    // A descriptor that was never written.
    let mut bytes = whole.clone();
    bytes[descriptors + 24..descriptors + 48].fill(0);
    let missing = open(&bytes).page(1);
    assert!(matches!(missing, Err(MemoryError::NotDumped { .. })));
    // Every bit of a page's data.
    let at = descriptor(&whole, 1);
    for bit in 0..(descriptor(&whole, 2) - at) * 8 {
        let mut bytes = whole.clone();
        bytes[at + bit / 8] ^= 1 << (bit % 8);
        if let Ok(found) = open(&bytes).page(1) {
            assert_eq!(found, page(1), "bit {bit}");
        }
    }
}

#[test]
fn a_truncated_file_has_what_is_before() {
    let recipe = make(&[codec::ZLIB]);
    let whole = recipe.bytes();
    let descriptors = 4096 * (2 + 4);
    for cut in [0, 100, 463, 4096, 4200, 3 * 4096, descriptors - 1] {
        let cut = open_bytes(&whole[..cut]);
        let error = matches!(cut, Err(ImageError::Truncated { .. }));
        assert!(error || matches!(cut, Ok(None)));
    }
    let image = open(&whole[..descriptors + 30]);
    assert!(matches!(image.page(1), Err(MemoryError::BeyondEnd { .. })));
    assert_eq!(image.claims().notes.len(), 1);
    let image = open(&whole[..whole.len() - 1]);
    assert_eq!(image.page(0).unwrap(), page(0));
    assert_eq!(image.claims().notes.len(), 1);
}

#[test]
fn other_layouts_are_refused_by_name() {
    let whole = make(&[codec::ZLIB]).bytes();
    for (at, value, word) in [
        (428, 8192u32, "8192"),
        (428, 4096u32.swap_bytes(), "big-endian"),
        (0, u32::from_le_bytes(*b"DISK"), ""),
        (4096 + 100, 1, "pages"),
        (432, 0, "sub header"),
        (436, 1, "cannot have"),
    ] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        match open_bytes(&bytes) {
            Ok(None) => assert_eq!(word, ""),
            Ok(Some(_)) => panic!("{at}"),
            Err(e) => assert!(e.to_string().contains(word), "{e}"),
        }
    }
    let mut bytes = whole;
    bytes[424] |= 8;
    assert_eq!(open(&bytes).claims().notes.len(), 1);
}

/// QEMU's of an arm64 machine, whose blocks are sixteen pages.
#[test]
fn blocks_may_be_larger_than_pages() {
    let block: Vec<u8> = (0..16).flat_map(page).collect();
    let mut bytes = make(&[codec::ZLIB]).bytes();
    bytes.truncate(464);
    bytes[12..19].fill(0);
    bytes[272..279].copy_from_slice(b"Unknown");
    let mut put = |at: usize, n: u32| {
        bytes[at..at + 4].copy_from_slice(&n.to_le_bytes());
    };
    put(428, 65536);
    put(436, 2);
    put(440, 9);
    bytes.resize(5 << 16, 0);
    let registers = note(b"CORE", 1, &[0; 392]);
    let at = (1 << 16) + 104;
    bytes[at..at + registers.len()].copy_from_slice(&registers);
    for (field, n) in [(48, at as u64), (56, registers.len() as u64), (96, 9)] {
        let at = (1 << 16) + field;
        bytes[at..at + 8].copy_from_slice(&n.to_le_bytes());
    }
    // Blocks 4 and 8: one that is packed and one that is not.
    bytes[3 << 16] = 0x10;
    bytes[(3 << 16) + 1] = 1;
    let packed = compress(codec::ZLIB, &block);
    let data = (4 << 16) + 48;
    bytes.truncate(4 << 16);
    for (at, len, flags) in
        [(data, packed.len(), 1u64), (data + packed.len(), 65536, 0)]
    {
        bytes.extend((at as u64).to_le_bytes());
        bytes.extend((flags << 32 | len as u64).to_le_bytes());
        bytes.extend([0; 8]);
    }
    bytes.extend(&packed);
    bytes.extend(&block);
    let image = open(&bytes);
    assert_eq!(image.format(), Format::QemuKdump);
    assert_eq!(image.claims().machine, Some(Machine::Arm64));
    let state = CpuState::Arm64(Arm64State::default());
    assert_eq!(image.claims().cpus, [state]);
    assert_eq!(
        runs(image.as_ref()),
        [(0x4_0000, 0x5_0000), (0x8_0000, 0x9_0000)]
    );
    let run = image.next_run(Paddr(0x4_3001)).unwrap().unwrap();
    assert_eq!((run.start, run.end), (0x4_4000, 0x5_0000));
    for n in 0..16 {
        assert_eq!(image.page(0x40 + n).unwrap(), page(n));
        assert_eq!(image.page(0x80 + n).unwrap(), page(n));
    }
    let missing = image.read(Paddr(0x4_f000), &mut [0; 8192]);
    let pa = Paddr(0x5_0000);
    assert!(
        matches!(missing, Err(MemoryError::NotDumped { pa: p }) if p == pa)
    );
    assert_eq!(image.end(), 0x9_0000);
}

/// A sparse file of a machine of a terabyte, whose last page is there.
fn terabyte() -> File {
    let mut recipe = make(&[codec::ZLIB]);
    recipe.max_mapnr = 1 << 28;
    recipe.pages.insert((1 << 28) - 1, page(77));
    let bytes = recipe.bytes();
    let mut f = file(&[]);
    for (i, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|&b| b != 0) {
            f.seek(SeekFrom::Start(i as u64 * 4096)).unwrap();
            f.write_all(block).unwrap();
        }
    }
    f.set_len(bytes.len() as u64).unwrap();
    f
}

#[test]
fn a_terabyte_opens_soon() {
    let image = open_file(terabyte()).unwrap().unwrap();
    assert_eq!(image.page((1 << 28) - 1).unwrap(), page(77));
    assert_eq!(image.end(), 1 << 40);
    assert_eq!(runs(image.as_ref()).len(), 5);
}

#[test]
fn bitmaps_larger_than_memory_are_not_counted() {
    // A flattened file can say that it is as large as it likes.
    let recipe = make(&[codec::ZLIB]);
    let mut whole = recipe.bytes();
    whole[436..440].copy_from_slice(&u32::MAX.to_le_bytes());
    let far = [0; 100];
    let image = open(&flat(&[(0, &whole), (1 << 62, &far)], true));
    // The second bitmap would be far behind the file's.
    assert!(runs(image.as_ref()).is_empty());
}

#[test]
fn a_file_of_empty_records_is_refused() {
    // 16 bytes each, and no end of them.
    let f = file(&flat(&[], false));
    f.set_len(20 << 30).unwrap();
    assert!(matches!(open_file(f), Err(ImageError::Unsupported(_))));
    // A record that is longer than any file.
    let f = file(&flat(&[], false));
    f.write_all_at(&[0x7f; 16], 4096).unwrap();
    assert!(open_file(f).is_err());
}

#[test]
fn flipped_bits_end_in_an_error_or_in_memory() {
    let all = [codec::ZLIB, codec::LZO, codec::SNAPPY, codec::ZSTD, 0];
    let mut recipe = make(&all);
    recipe.max_mapnr = 41_000;
    recipe.notes = qemu_note(0);
    let whole = recipe.bytes();
    bit_flips(&whole, |_, _| {});
    let records: Vec<_> = whole
        .chunks(3000)
        .enumerate()
        .map(|(i, data)| (i as u64 * 3000, data))
        .collect();
    bit_flips(&flat(&records, true), |_, _| {});
    // Where all pages have a checksum, no other memory comes out.
    let mut recipe = make(&[codec::ZLIB]);
    recipe.pages.retain(|n, _| n % 4 != 3);
    let whole = recipe.bytes();
    let data = 4096 * (2 + 4) + 24 * recipe.pages.len();
    bit_flips(&whole, |at, image| {
        let Some(image) = image.filter(|_| at >= data) else { return };
        for (&n, page) in &recipe.pages {
            if let Ok(found) = image.page(n) {
                assert_eq!(found, *page, "{at}");
            }
        }
    });
}
