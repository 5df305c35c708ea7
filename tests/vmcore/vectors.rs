// SPDX-License-Identifier: BSD-2-Clause
//! What is known of the real vmcores, asked of the tool.

use crate::tool::run;
use livedump_tests::vmcores::{self, Real};
use tempfile::TempDir;

fn real(arch: &str) -> Option<(TempDir, Real)> {
    let dir = tempfile::tempdir().unwrap();
    let real = vmcores::unpack(arch, dir.path())?;
    Some((dir, real))
}

/// `livedump read --raw`.
fn read(real: &Real, place: &str, len: usize) -> Vec<u8> {
    let (kernel, core) = (real.kernel.to_str(), real.vmcore.to_str());
    let (kernel, core) = (kernel.unwrap(), core.unwrap());
    let len = len.to_string();
    let args = ["read", "-k", kernel, "--raw", core, place, &len];
    run(args).expect(0).stdout
}

fn long(real: &Real, place: &str) -> u64 {
    u64::from_le_bytes(read(real, place, 8).try_into().unwrap())
}

fn int(real: &Real, place: &str) -> u32 {
    u32::from_le_bytes(read(real, place, 4).try_into().unwrap())
}

fn at(address: u64) -> String {
    format!("{address:#x}")
}

#[test]
fn amd64_vectors() {
    let Some((_dir, real)) = real("amd64") else { return };
    assert_eq!(read(&real, "hz", 4), [0x64, 0, 0, 0]);
    assert_eq!(int(&real, &at(0xffff_ffff_81cd_4c0c)), 100);
    assert_eq!(int(&real, "dumptid"), 100_670);
    assert_eq!(int(&real, "pcb_size"), 320);
    assert_eq!(long(&real, "allproc"), 0xffff_f800_02c3_b528);
    let pcb = [
        0xffff_f800_0336_9380,
        0,
        0xffff_f800_0336_93a8,
        0xffff_fe00_45b1_1c00,
        0xffff_fe00_798c_4760,
        0xffff_fe00_798c_4748,
        0,
        0xffff_ffff_80c0_9ade_u64,
    ];
    for (i, register) in pcb.into_iter().enumerate() {
        let place = format!("dumppcb+{}", 8 * i);
        assert_eq!(long(&real, &place), register, "{place}");
    }
    // Up the stack: rbp leads to the frame above, and next to it is where
    // to return to.
    let mut frame = pcb[4];
    for low in [
        0x80c0_9916,
        0x80c0_9d90,
        0x80c0_9b93,
        0x80c5_7d91,
        0x80c1_9e71,
        0x80c1_92bc,
        0x80c1_9933,
        0x80c1_977f,
        0x8108_ba8c,
        0x8106_20ce_u64,
    ] {
        let returns_to = long(&real, &at(frame + 8));
        assert_eq!(returns_to, 0xffff_ffff_0000_0000 | low);
        frame = long(&real, &at(frame));
    }
}

#[test]
fn arm64_vectors() {
    let Some((_dir, real)) = real("arm64") else { return };
    assert_eq!(read(&real, "hz", 4), [0xe8, 3, 0, 0]);
    assert_eq!(int(&real, &at(0xffff_0000_00e2_651c)), 1000);
    assert_eq!(int(&real, "dumptid"), 100_137);
    assert_eq!(int(&real, "pcb_size"), 1376);
    assert_eq!(long(&real, "allproc"), 0xffff_a000_09f0_f000);
    // The direct map and the kernel map lead to the same page.
    let hz = int(&real, &at(0xffff_a000_04a2_651c));
    assert_eq!(hz, 1000);
}

#[test]
fn the_documented_hex_dump_is_what_is_printed() {
    for (arch, bytes, va) in [
        ("amd64", "64 00 00 00", "ffffffff81cd4c0c"),
        ("arm64", "e8 03 00 00", "ffff000000e2651c"),
    ] {
        let Some((_dir, real)) = real(arch) else { return };
        let (kernel, core) = (real.kernel.to_str(), real.vmcore.to_str());
        let args = ["read", "-k", kernel.unwrap(), core.unwrap(), "hz", "4"];
        let run = run(args).expect(0);
        let line = run.text().lines().next().unwrap();
        assert!(line.starts_with(va) && line.contains(bytes), "{line}");
    }
}

#[test]
fn a_cut_off_vmcore_is_read_and_said_to_be_cut_off() {
    for (arch, pids) in [("amd64", "800"), ("arm64", "939")] {
        let Some((_dir, real)) = real(arch) else { return };
        let (kernel, core) = (real.kernel.to_str(), real.vmcore.to_str());
        let (kernel, core) = (kernel.unwrap(), core.unwrap());
        let info = run(["info", core]);
        let message = format!("{}{}", info.text(), info.stderr);
        assert!(message.contains("truncated"), "{message}");
        let verify = run(["verify", "-k", kernel, core]).expect(1);
        assert!(verify.text().contains("length"), "{}", verify.text());
        let json = run(["verify", "-k", kernel, "--json", core]).json();
        assert!(json.to_string().contains("allproc"), "{json} {pids}");
        run(["dmesg", core]);
    }
}
