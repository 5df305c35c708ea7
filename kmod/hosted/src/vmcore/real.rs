// SPDX-License-Identifier: BSD-2-Clause
//! Two real dumps, which are beside the project and not in it: what was found
//! in them by hand is found through this machine, and a dump of the machine
//! has what they have.

use super::VmcoreMachine;
use super::tests::{Scratch, scratch, translate};
use crate::HostedKernel;
use crate::machine::Machine;
use crate::process::{Credentials, Descriptor};
use livedump_vmcore::Vmcore;
use memdev::addr::Vaddr;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::dump_avail::DumpAvail;
use memdev::ioctl::{MEM_KERNELDUMP, MemLivedumpArg};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A real dump, unpacked; `None`, said aloud, where it is not here.
fn real(name: &str) -> Option<Scratch> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packed = root.join("../shared/vmcores").join(format!("{name}.bz2"));
    if !packed.exists() {
        livedump_skip::skipped(format_args!(
            "no {name}.bz2 in ../shared/vmcores"
        ));
        return None;
    }
    let out = scratch(name, b"");
    let file = std::fs::File::create(&out.0).unwrap();
    let done = Command::new("bzip2")
        .arg("-dc")
        .arg(&packed)
        .stdout(Stdio::from(file))
        .status();
    if !done.is_ok_and(|s| s.success()) {
        livedump_skip::skipped(format_args!("no bzip2 to unpack {name}.bz2"));
        return None;
    }
    Some(out)
}

fn open(path: &Path) -> Result<VmcoreMachine, super::VmcoreError> {
    VmcoreMachine::new(Vmcore::open(path)?)
}

fn bytes_at(m: &VmcoreMachine, va: u64) -> [u8; 8] {
    let pa = translate(m, va).unwrap();
    let mut page = [0; PAGE_SIZE];
    m.read_page(pa, &mut page).unwrap();
    let at = pa.0 as usize % PAGE_SIZE;
    page[at..at + 8].try_into().unwrap()
}

fn check_every_page(m: &VmcoreMachine, path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    let end = file.metadata().unwrap().len();
    let avail = DumpAvail::new(m.dump_avail()).unwrap();
    let (mut page, mut want) = ([0; PAGE_SIZE], Box::new([0; PAGE_SIZE]));
    for (rank, bit) in m.set.iter().enumerate() {
        let at = m.core().layout().pages + rank as u64 * 4096;
        let there = (end - at).min(4096) as usize;
        want.fill(0);
        file.read_exact_at(&mut want[..there], at).unwrap();
        m.read_page(avail.pa_of(bit).unwrap(), &mut page).unwrap();
        assert_eq!(page, *want, "bit {bit}");
    }
}

#[test]
fn a_real_amd64_kernels_variables_are_found_through_the_tables() {
    let Some(file) = real("vmcore-amd64-minidump") else { return };
    let m = open(&file.0).unwrap();
    assert_eq!(m.pages() + m.missing_pages(), 24144);
    assert_eq!(m.missing_pages(), 1392, "the file is a shortened one");
    let t = m.target();
    assert_eq!(t.bitset_bits, 32634);
    assert_eq!(t.kva_end, Vaddr(0xffff_ffff_c000_0000));
    assert_eq!(translate(&m, 0xffff_ffff_81cd_4c0c), Some(Paddr(0x1cd_4c0c)));
    let int =
        |va| u32::from_le_bytes(bytes_at(&m, va)[..4].try_into().unwrap());
    assert_eq!(int(0xffff_ffff_81cd_4c0c), 100, "hz");
    assert_eq!(int(0xffff_ffff_81ca_69a8), 100_670, "dumptid");
    assert_eq!(int(0xffff_ffff_815c_a590), 320, "pcb_size");
    let allproc = u64::from_le_bytes(bytes_at(&m, 0xffff_ffff_81c9_a2f0));
    assert_eq!(allproc, 0xffff_f800_02c3_b528);
    check_every_page(&m, &file.0);
    check_a_dump_of_it(m);
}

#[test]
fn a_real_arm64_kernels_variables_are_found_through_the_tables() {
    let Some(file) = real("vmcore-arm64-minidump") else { return };
    let m = open(&file.0).unwrap();
    assert_eq!(m.pages() + m.missing_pages(), 19296);
    assert_eq!(m.target().bitset_bits, 64816);
    let pa = translate(&m, 0xffff_0000_00e2_651c);
    assert_eq!(pa, Some(Paddr(0x44a2_651c)));
    let int =
        |va| u32::from_le_bytes(bytes_at(&m, va)[..4].try_into().unwrap());
    assert_eq!(int(0xffff_0000_00e2_651c), 1000, "hz");
    assert_eq!(int(0xffff_0000_00df_3cf0), 100_137, "dumptid");
    assert_eq!(int(0xffff_0000_0096_bc0c), 1376, "pcb_size");
    let allproc = u64::from_le_bytes(bytes_at(&m, 0xffff_0000_00de_7230));
    assert_eq!(allproc, 0xffff_a000_09f0_f000);
    check_every_page(&m, &file.0);
    check_a_dump_of_it(m);
}

/// Dumps the machine and opens that dump: everything both have is equal.
fn check_a_dump_of_it(m: VmcoreMachine) {
    let m = Arc::new(m);
    let out = scratch(&format!("again-{}", m.header().pmapsize), b"");
    let kernel = HostedKernel::new(m.clone());
    let p = kernel.process(Credentials::ROOT);
    let file = std::fs::File::options().write(true).open(&out.0).unwrap();
    let fd = p.install(Descriptor::from_file(file).unwrap());
    let arg = MemLivedumpArg { fd, ..MemLivedumpArg::default() };
    p.ioctl(MEM_KERNELDUMP, &mut arg.encode()).unwrap();
    assert_eq!((kernel.locks_held(), kernel.memory().current()), (0, 0));

    let again = open(&out.0).unwrap();
    assert_eq!(again.header(), m.header());
    assert_eq!(again.dump_avail(), m.dump_avail());
    assert_eq!(again.missing_pages(), 0);
    // Everything dumpable is in the bitset already: the walk adds nothing.
    assert_eq!(again.set.words(), m.set.words());
    let (mut a, mut b) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
    let avail = DumpAvail::new(m.dump_avail()).unwrap();
    for bit in m.set.iter() {
        let pa = avail.pa_of(bit).unwrap();
        m.read_page(pa, &mut a).unwrap();
        again.read_page(pa, &mut b).unwrap();
        assert_eq!(a, b, "{pa}");
    }
    for n in 0..u64::from(m.header().pmapsize) / 4096 {
        m.core()
            .source()
            .read_at(m.core().layout().pmap + n * 4096, &mut a)
            .unwrap();
        again
            .core()
            .source()
            .read_at(again.core().layout().pmap + n * 4096, &mut b)
            .unwrap();
        assert_eq!(a, b, "pmap page {n}");
    }
}
