// SPDX-License-Identifier: BSD-2-Clause
//! Cores made by hand.

use super::super::notes::tests::{note, qemu_note};
use super::super::testing::{Pages, bit_flips, open, open_bytes, page, runs};
use super::super::{Checksums, CpuState, Format, ImageError};
use crate::MemoryError;
use memdev::addr::Paddr;
use memdev::arch::Machine;

/// A program header: type, offset, vaddr, paddr, filesz, memsz, align.
type Phdr = (u32, u64, u64, u64, u64, u64, u64);

fn load(offset: u64, paddr: u64, size: u64) -> Phdr {
    (1, offset, paddr, paddr, size, size, 4096)
}

fn phdrs(list: &[Phdr]) -> Vec<u8> {
    let mut out = Vec::new();
    for &(kind, offset, vaddr, paddr, filesz, memsz, align) in list {
        out.extend(kind.to_le_bytes());
        out.extend(4u32.to_le_bytes());
        for field in [offset, vaddr, paddr, filesz, memsz, align] {
            out.extend(field.to_le_bytes());
        }
    }
    out
}

fn ehdr(machine: u16, phoff: u64, phnum: u16) -> Vec<u8> {
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 255];
    out.resize(16, 0);
    out.extend(4u16.to_le_bytes());
    out.extend(machine.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for field in [0, phoff, 0] {
        out.extend(field.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for field in [64, 56, phnum, 64, 0, 0] {
        out.extend(field.to_le_bytes());
    }
    assert_eq!(out.len(), 64);
    out
}

/// A core with its headers first; `memory` starts at 0x1000 of the file.
fn core(machine: u16, list: &[Phdr], memory: &[u8]) -> Vec<u8> {
    let mut out = ehdr(machine, 64, list.len() as u16);
    out.extend(phdrs(list));
    assert!(out.len() <= 0x1000);
    out.resize(0x1000, 0);
    out.extend(memory);
    out
}

/// Full dump: pages 0, 1 and 16 to 19.
fn full() -> Vec<u8> {
    let memory: Vec<u8> =
        [0, 1, 16, 17, 18, 19].into_iter().flat_map(page).collect();
    let delta =
        (0x6fb5_d000, 0, 0xffff_ffff_8000_0000, 0x1020_0000, 0, 0, 0x20_0000);
    let list = [load(0x1000, 0, 0x2000), load(0x3000, 0x1_0000, 0x4000), delta];
    core(62, &list, &memory)
}

#[test]
fn a_full_dump_of_freebsd_is_its_ranges() {
    let image = open(&full());
    assert_eq!(image.format(), Format::Elf);
    let claims = image.claims();
    assert_eq!(claims.machine, Some(Machine::Amd64));
    assert_eq!(claims.kernphys, Some(0x1020_0000));
    assert_eq!(claims.checksums, Checksums::None);
    assert!(claims.notes.is_empty(), "{:?}", claims.notes);
    let all = [(0, 0x2000), (0x1_0000, 0x1_4000)];
    assert_eq!(runs(image.as_ref()), all);
    assert_eq!(image.end(), 0x1_4000);
    for n in [0, 1, 16, 17, 18, 19] {
        assert_eq!(image.page(n).unwrap(), page(n));
    }
    let mut two = vec![0; 0x2000];
    image.read(Paddr(0x1_1000), &mut two).unwrap();
    assert_eq!(two, [page(17), page(18)].concat());
    // A run that goes on in the middle of a range.
    let run = image.next_run(Paddr(0x1_0fff)).unwrap().unwrap();
    assert_eq!((run.start, run.end), (0x1_1000, 0x1_4000));
    for pa in [0x2000, 0x1_4000, u64::MAX - 100] {
        let missing = image.read(Paddr(pa), &mut [0; 8]);
        assert!(matches!(missing, Err(MemoryError::NotDumped { .. })));
    }
    let over = image.read(Paddr(0x1000), &mut two);
    assert!(matches!(over, Err(MemoryError::NotDumped { pa: Paddr(0x2000) })));
}

#[test]
fn other_machines_and_other_files_are_told_apart() {
    let arm = core(183, &[load(0x1000, 0x4000_0000, 4096)], &page(3));
    let image = open(&arm);
    assert_eq!(image.claims().machine, Some(Machine::Arm64));
    assert_eq!(image.claims().kernphys, None);
    let mut kernel = full();
    kernel[16] = 2;
    assert!(open_bytes(&kernel).unwrap().is_none());
    for (at, value) in [(4, 1), (18, 21), (54, 32)] {
        let mut other = full();
        other[at] = value;
        assert!(open_bytes(&other).is_err(), "{at}");
    }
    let process = [
        (1, 0x1000, 0x40_0000, 0, 4096, 4096, 4096),
        (1, 0x2000, 0x60_0000, 0, 4096, 4096, 4096),
    ];
    let refused = open_bytes(&core(62, &process, &[0; 0x2000]));
    assert!(matches!(refused, Err(ImageError::Unsupported(_))));
    let nothing = open_bytes(&core(62, &[], &[]));
    assert!(matches!(nothing, Err(ImageError::Unsupported(_))));
}

#[test]
fn what_a_truncated_dump_has_is_served() {
    let whole = full();
    let image = open(&whole[..0x4800]);
    assert_eq!(runs(image.as_ref()), [(0, 0x2000), (0x1_0000, 0x1_1000)]);
    assert_eq!(image.page(16).unwrap(), page(16));
    assert!(image.page(17).is_err());
    assert_eq!(
        image.claims().notes,
        ["truncated: it ends at 0x4800, and 10240 bytes of memory are missing"]
    );
    // Inside the second program header.
    let image = open(&whole[..64 + 56 + 8]);
    assert!(runs(image.as_ref()).is_empty());
    assert!(!image.claims().notes.is_empty());
    for cut in [20, 63, 64, 64 + 20] {
        let cut = open_bytes(&whole[..cut]);
        assert!(matches!(cut, Err(ImageError::Truncated { .. })));
    }
}

#[test]
fn what_is_larger_in_memory_than_in_the_file_is_missing() {
    let list = [(1, 0x1000, 0, 0, 0x1000, 0x3000, 4096)];
    let image = open(&core(62, &list, &page(0)));
    assert_eq!(runs(image.as_ref()), [(0, 0x1000)]);
    assert!(image.page(1).is_err());
    assert_eq!(image.claims().notes.len(), 1);
}

#[test]
fn headers_anywhere_and_many_ranges_in_any_order() {
    // 100,000 ranges: more than e_phnum can say. The headers are last.
    let n = 100_000u64;
    let mut file = ehdr(62, 0x2000, 0xffff);
    file[40..48].copy_from_slice(&64u64.to_le_bytes());
    let mut section = [0; 64];
    section[44..48].copy_from_slice(&(n as u32).to_le_bytes());
    file.extend(section);
    file.resize(0x1000, 0);
    file.extend(page(5));
    let list: Vec<_> =
        (0..n).rev().map(|i| load(0x1000, i * 0x2000, 0x1000)).collect();
    file.extend(phdrs(&list));
    let image = open(&file);
    assert_eq!(runs(image.as_ref()).len() as u64, n);
    assert_eq!(image.page(2 * 77_777).unwrap(), page(5));
    assert!(image.page(77_777).is_err());
    assert_eq!(image.end(), (2 * n - 1) * 0x1000);
    file[44..48].copy_from_slice(&[0xff; 4]);
    assert!(open_bytes(&file).is_err());
}

#[test]
fn four_billion_headers_are_not_read() {
    let mut file = ehdr(62, 64, 0xffff);
    file[40..48].copy_from_slice(&64u64.to_le_bytes());
    let mut section = phdrs(&[load(0x1000, 0, 0x1000)]);
    section.resize(64, 0);
    // sh_info lies in p_memsz of this header.
    section[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
    file.extend(section);
    file.resize(64 + 56 * 300_000, 0);
    let image = open(&file);
    assert!(image.claims().notes[0].contains("4294967295"));
}

#[test]
fn the_first_of_overlapping_segments_is_used() {
    let memory = [page(7), page(8), page(9)].concat();
    let list = [load(0x1000, 0x1000, 0x1000), load(0x2000, 0, 0x2000)];
    let image = open(&core(62, &list, &memory));
    assert_eq!(image.page(1).unwrap(), page(7));
    assert_eq!(image.page(0).unwrap(), page(8));
    assert_eq!(image.claims().notes.len(), 1);
}

fn qemu() -> Vec<u8> {
    let notes =
        [note(b"CORE", 1, &[0; 144]), qemu_note(0), qemu_note(1)].concat();
    let n = notes.len() as u64;
    let at = 64 + 3 * 56;
    let list = [
        (4, at, 0, 0, n, n, 0),
        (1, at + n, 0, 0, 0x1c00, 0x1c00, 0),
        (1, at + n + 0x1c00, 0x4000, 0x4000, 0x1000, 0x1000, 0),
    ];
    let mut out = ehdr(3, 64, 3);
    out[52] = 8;
    out.extend(phdrs(&list));
    out.extend(notes);
    out.extend([page(0), page(1)].concat().get(..0x1c00).unwrap());
    out.extend(page(4));
    out
}

#[test]
fn qemus_core_has_registers_and_is_known_as_qemus() {
    let image = open(&qemu());
    assert_eq!(image.format(), Format::QemuElf);
    assert_eq!(image.claims().machine, Some(Machine::Amd64));
    assert_eq!(image.claims().cpus.len(), 2);
    let CpuState::Amd64(cpu) = &image.claims().cpus[1] else { panic!() };
    assert_eq!(cpu.cr3, 1 << 32 | 416);
    // Half a page is none.
    assert_eq!(runs(image.as_ref()), [(0, 0x1000), (0x4000, 0x5000)]);
    assert_eq!(image.page(4).unwrap(), page(4));
}

#[test]
fn ranges_at_the_end_of_the_address_space_do_not_wrap() {
    for size in [0x1000, u64::MAX - 0x1000, u64::MAX] {
        let list = [
            load(0x1000, u64::MAX - 0xfff, size),
            load(u64::MAX - 0xfff, 0, size),
            load(0x1000, 0x8000, 0x1000),
        ];
        let image = open(&core(62, &list, &page(8)));
        assert_eq!(image.page(8).unwrap(), page(8));
        assert!(image.read(Paddr(u64::MAX - 10), &mut [0; 100]).is_err());
    }
}

#[test]
fn flipped_bits_end_in_an_error_or_in_memory() {
    // Nothing in this format has a checksum: that it ends is all there is.
    bit_flips(&full(), |_, _| {});
    bit_flips(&qemu(), |_, _| {});
}
