// SPDX-License-Identifier: BSD-2-Clause
//! A small memory with a kernel in it, of which the input changes bytes: three
//! bytes each, an address and a value. The checksum of its parameter page is
//! right, so that everything after it is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_fuzz::file;
use livedump_vmcore::image::MemoryImage;
use livedump_vmcore::image::kernel::KernelMemory;
use livedump_vmcore::image::raw::Raw;
use livedump_vmcore::image::view::MinidumpView;
use livedump_vmcore::source::Plain;
use memdev::addr::Paddr;
use memdev::params::{MACHINE_AMD64, Params, seal};
use std::sync::Arc;

const PAGES: usize = 16;
const PAGE: usize = 4096;
const KERNBASE: u64 = 0xffff_ffff_8000_0000;
const DMAP: u64 = 0xffff_f800_0000_0000;
const AT: u64 = 0x1000;

/// Page by page: nothing, the parameters, four tables, the witness,
/// dump_avail, version and message buffer, two variables, the bitset.
fn memory() -> (Vec<u8>, Params) {
    let mut all = vec![0; PAGES * PAGE];
    let mut word = |at: u64, value: u64| {
        all[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
    };
    word(0x2000 + 511 * 8, 0x3003);
    word(0x3000 + 510 * 8, 0x4003);
    word(0x4000 + 8, 0x20_0083);
    word(0x4000 + 16, 0x5003);
    word(0x5000, 0x6003);
    word(0x7008, 0x1_0000);
    word(0x8800, DMAP + 0x8000);
    word(0x8808, 64 << 32 | 0x06_3062);
    word(0x9000, KERNBASE + (8 << 20));
    word(0x9008, 4);
    all[0x8000..][..21].copy_from_slice(b"FreeBSD 15.1-RELEASE\n");
    let params = Params {
        pa: AT,
        generation: 1,
        osreldate: 1_501_000,
        machine: MACHINE_AMD64,
        levels: 4,
        minidump_version: 3,
        kernphys: 2 << 20,
        root: 0x2000,
        top: 0x2000,
        kernbase: KERNBASE,
        kva_start: 0xffff_fe00_0000_0000,
        kva_end: KERNBASE + (8 << 20),
        kernel_vm_end_pa: 0x9000,
        nkpt_pa: 0x9008,
        dmapbase: DMAP,
        dmapend: DMAP + (1 << 42),
        dump_avail_pa: 0x7000,
        dump_avail_bytes: 1024,
        dump_avail_len: 32,
        bitset_pa: 0xa000,
        bitset_va: DMAP + 0xa000,
        bitset_bits: 16,
        msgbuf_pa: 0x8800,
        version_pa: 0x8000,
        witness_va: KERNBASE + (4 << 20),
        witness_pa: 0x6000,
        segments_va: DMAP + 0xb000,
        segments: 1,
        segment_bytes: 24,
        segment_end: 8,
        segment_first: 16,
        page_bytes: 104,
        page_flags: 80,
        page_flags_bytes: 1,
        ..Params::default()
    };
    let witness = params.witness();
    all[0x6000..][..witness.len()].copy_from_slice(&witness);
    (all, params)
}

fuzz_target!(|data: &[u8]| {
    let (mut all, params) = memory();
    let mut page = [0; PAGE];
    params.encode(&mut page);
    all[AT as usize..][..PAGE].copy_from_slice(&page);
    for change in data.chunks_exact(3) {
        let at = u16::from_le_bytes([change[0], change[1]]);
        all[usize::from(at)] = change[2];
    }
    page.copy_from_slice(&all[AT as usize..][..PAGE]);
    seal(&mut page);
    all[AT as usize..][..PAGE].copy_from_slice(&page);
    let len = all.len() as u64;
    let source = Plain::new(Arc::new(file(&all).into_file()), len);
    let image: Arc<dyn MemoryImage> = Arc::new(Raw::new(Arc::new(source), len));
    let _ = KernelMemory::by_page(&image, &[]);
    let found = KernelMemory::at_page(&image, Paddr(AT));
    assert!(!data.is_empty() || found.is_ok(), "{found:?}");
    let Ok(memory) = found else { return };
    let _ = memory.check_dumpable();
    let _ = memory.marked();
    if let Some(pages) = memory.page_facts().and_then(|facts| facts.pages) {
        let _ = memory.may_dump(&pages, Paddr(0x3000));
    }
    let _ = MinidumpView::new(Arc::new(memory));
});
