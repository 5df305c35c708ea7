// SPDX-License-Identifier: BSD-2-Clause
//! Real vmcores, where they are at hand: two from FreeBSD machines, found in
//! the `vmcores` directory next to the project, or in `$LIVEDUMP_VMCORES`.

use super::{file, kernel};
use crate::Vmcore;
use crate::elf::Kernel;
use memdev::addr::Vaddr;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Unpacks a core, leaving its zeros out.
fn core(name: &str) -> Option<Vmcore> {
    let path = vmcores()?.join(format!("{name}.bz2"));
    let packed = std::fs::File::open(path).ok()?;
    let mut from = bzip2::read::BzDecoder::new(packed);
    let to = tempfile::NamedTempFile::new().ok()?;
    let mut buf = vec![0; 1 << 20];
    let mut at = 0u64;
    loop {
        let n = from.read(&mut buf).unwrap();
        if n == 0 {
            break;
        }
        if buf[..n].iter().any(|&b| b != 0) {
            let mut f = to.as_file();
            f.seek(SeekFrom::Start(at)).unwrap();
            f.write_all(&buf[..n]).unwrap();
        }
        at += n as u64;
    }
    to.as_file().set_len(at).unwrap();
    Some(Vmcore::open(to.path()).unwrap())
}

fn vmcores() -> Option<PathBuf> {
    let named = std::env::var_os("LIVEDUMP_VMCORES").map(PathBuf::from);
    let beside = || {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/vmcores")
    };
    let dir = named.unwrap_or_else(beside);
    dir.is_dir().then_some(dir)
}

/// The symbols of a kernel's yaml, in an ELF file of our own.
fn kernel_of(core: &Vmcore, name: &str) -> Option<Kernel> {
    let yaml = vmcores()?.join(format!("{name}.yaml"));
    let yaml = std::fs::read_to_string(yaml).ok()?;
    let h = core.header();
    let mut s = super::sample::Sample::new(h.machine, 3);
    s.symbols.clear();
    let (_, list) = yaml.split_once("Symbols:")?;
    for symbol in list.split("- Name:").skip(1) {
        let name = symbol.lines().next()?.trim().to_string();
        let field = |key: &str| {
            let value = symbol.split_once(key)?.1.lines().next()?.trim();
            let hex = value.strip_prefix("0x")?;
            u64::from_str_radix(hex, 16).ok()
        };
        let value = field("Value:")?;
        let size = field(" Size:").unwrap_or(0);
        s.symbols.push((name.leak(), value, size));
    }
    Some(kernel(&s.kernel()))
}

fn amd64() -> Option<&'static (Vmcore, Kernel)> {
    static BOTH: OnceLock<Option<(Vmcore, Kernel)>> = OnceLock::new();
    BOTH.get_or_init(|| both("amd64")).as_ref()
}

fn both(arch: &str) -> Option<(Vmcore, Kernel)> {
    let core = core(&format!("vmcore-{arch}-minidump"));
    let found = core.and_then(|c| {
        let k = kernel_of(&c, &format!("kernel-{arch}"))?;
        Some((c, k))
    });
    if found.is_none() {
        livedump_skip::skipped("no vmcores beside the project");
    }
    found
}

fn int(core: &Vmcore, k: &Kernel, name: &str) -> u32 {
    core.read_u32(k.find(name).unwrap().address).unwrap()
}

#[test]
fn a_real_amd64_panic_dump_gives_its_vectors() {
    let Some((core, k)) = amd64() else { return };
    let hz = Vaddr(0xffff_ffff_81cd_4c0c);
    assert_eq!(core.translate(hz).unwrap().0, 0x1cd_4c0c);
    assert_eq!(k.find("hz").unwrap().address, hz);
    assert_eq!(int(core, k, "hz"), 100);
    assert_eq!(int(core, k, "dumptid"), 100_670);
    assert_eq!(int(core, k, "pcb_size"), 320);
    for (name, offset) in [
        ("hz", 0x243_3c0c),
        ("dumptid", 0x240_59a8),
        ("pcb_size", 0x1d2_9590),
        ("allproc", 0x23f_92f0),
    ] {
        let pa = core.translate(k.find(name).unwrap().address).unwrap();
        let at = match core.page_state(pa).unwrap() {
            crate::PageState::Present(at) => at + pa.0 % 4096,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(at, offset & 0xfff_ffff, "{name}");
    }
    let pcb = k.find("dumppcb").unwrap().address.0;
    let reg = |i| core.read_u64(Vaddr(pcb + 8 * i)).unwrap();
    let want = [
        0xffff_f800_0336_9380,
        0,
        0xffff_f800_0336_93a8,
        0xffff_fe00_45b1_1c00,
        0xffff_fe00_798c_4760,
        0xffff_fe00_798c_4748,
        0,
        0xffff_ffff_80c0_9ade,
    ];
    assert_eq!(std::array::from_fn(|i| reg(i as u64)), want);
    // Up the frame pointers.
    let mut rbp = reg(4);
    for want in [
        0xffff_ffff_80c0_9916u64,
        0xffff_ffff_80c0_9d90,
        0xffff_ffff_80c0_9b93,
        0xffff_ffff_80c5_7d91,
        0xffff_ffff_80c1_9e71,
        0xffff_ffff_80c1_92bc,
        0xffff_ffff_80c1_9933,
        0xffff_ffff_80c1_977f,
        0xffff_ffff_8108_ba8c,
        0xffff_ffff_8106_20ce,
    ] {
        assert_eq!(core.read_u64(Vaddr(rbp + 8)).unwrap(), want);
        rbp = core.read_u64(Vaddr(rbp)).unwrap();
    }
    let found = core.procs(k).unwrap();
    let pids: Vec<_> = found.procs.iter().map(|p| p.pid).collect();
    assert_eq!(pids, [800, 28, 11]);
    assert_eq!(found.procs[0].comm, b"sysctl");
    assert_eq!(found.procs[0].address.0, 0xffff_f800_02c3_b528);
    let tids: Vec<_> = found.procs[1].threads.iter().map(|t| t.tid).collect();
    assert_eq!(tids, [100_210, 100_214, 100_215]);
    assert_eq!(found.procs[2].threads.len(), 12);
}

#[test]
fn a_real_amd64_panic_dump_is_counted_as_it_is() {
    let Some((core, k)) = amd64() else { return };
    let pages = core.pages().unwrap();
    assert_eq!((pages.bits(), pages.count_set()), (32634, 24144));
    assert_eq!(core.expected_len(), Some(107_388_928));
    assert!(core.notes().iter().any(|n| n.starts_with("truncated")));
    let v = core.verify(Some(k), 2);
    let wrong: Vec<_> = v
        .findings
        .iter()
        .filter(|f| f.status == crate::Status::Fail)
        .map(|f| f.check)
        .collect();
    // Its list of processes was shortened by whoever shortened the file.
    assert_eq!(wrong, ["length", "allproc"], "{v:#?}");
}

#[test]
fn a_real_arm64_panic_dump_gives_its_vectors() {
    let Some((core, k)) = &both("arm64") else { return };
    let hz = Vaddr(0xffff_0000_00e2_651c);
    assert_eq!(core.translate(hz).unwrap().0, 0x44a2_651c);
    assert_eq!(int(core, k, "hz"), 1000);
    assert_eq!(int(core, k, "dumptid"), 100_137);
    assert_eq!(int(core, k, "pcb_size"), 1376);
    let pages = core.pages().unwrap();
    assert_eq!((pages.bits(), pages.count_set()), (64816, 19296));
    let found = core.procs(k).unwrap();
    let pids: Vec<_> = found.procs.iter().map(|p| p.pid).collect();
    assert_eq!(pids, [939, 21, 11]);
    assert_eq!(found.procs[0].address.0, 0xffff_a000_09f0_f000);
}

#[test]
fn a_kernel_of_another_machine_is_found_out() {
    let Some((core, _)) = amd64() else { return };
    let s = super::sample::Sample::new(memdev::arch::Machine::Arm64, 2);
    let elf = file(&s.kernel());
    let k = Kernel::open(elf.path()).unwrap();
    let v = core.verify(Some(&k), 1);
    assert!(v.findings.iter().any(|f| f.check == "kernel"), "{v:#?}");
    assert!(!v.verdict().is_sound());
}
