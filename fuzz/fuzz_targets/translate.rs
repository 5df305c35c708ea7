// SPDX-License-Identifier: BSD-2-Clause
//! A dump whose header makes sense, with anything in its dump_avail, its
//! bitmap, its page tables and its pages: addresses resolve or they do not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_vmcore::Vmcore;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::arch::Machine;
use memdev::minidump::MinidumpHeader;
use std::io::Write;

const KERNBASE: u64 = 0xffff_fe00_0000_0000;
const DMAPBASE: u64 = 0xffff_f800_0000_0000;

/// One page each of ranges, bitmap and tables; what is left are pages.
fn header(machine: Machine) -> MinidumpHeader {
    MinidumpHeader {
        machine,
        version: 3,
        msgbufsize: PAGE_SIZE as u32,
        bitmapsize: PAGE_SIZE as u32,
        pmapsize: PAGE_SIZE as u32,
        kernbase: Vaddr(KERNBASE),
        dmapphys: 0,
        dmapbase: Vaddr(DMAPBASE),
        dmapend: Vaddr(KERNBASE - (1 << 41)),
        dumpavailsize: PAGE_SIZE as u32,
        flags: 0,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let machine = match choice & 1 {
        0 => Machine::Amd64,
        _ => Machine::Arm64,
    };
    let mut page = [0; PAGE_SIZE];
    header(machine).encode(&mut page);
    let mut file = tempfile::NamedTempFile::new().expect("room for a file");
    file.write_all(&page).expect("room for a page");
    file.write_all(&[0; PAGE_SIZE]).expect("room for a page");
    file.write_all(rest).expect("room for the rest");
    let Ok(core) = Vmcore::open(file.path()) else { return };
    for i in 0..64 {
        let off = i * 0x1f_f008;
        let _ = core.read_va(Vaddr(KERNBASE + off), &mut page);
        let _ = core.read_va(Vaddr(DMAPBASE + off), &mut page);
        let _ = core.read_phys(Paddr(off), &mut page);
    }
});
