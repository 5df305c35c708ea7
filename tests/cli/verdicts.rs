// SPDX-License-Identifier: BSD-2-Clause
//! One vocabulary for what a dump is: `verify`, `list` and `prune` agree, and
//! trouble of the host is never damage.

use crate::tool::{CrashDir, Run, program, run};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A message buffer that is larger than what is unpacked in memory.
const TEXT: &str = "size 16M\nmsgbuf 6M";

/// Dumps as the kernel's own compressor leaves them: one frame, no index.
fn one_frame(dumps: u32) -> CrashDir {
    let dir = CrashDir::new();
    let machine = dir.recipe(TEXT);
    for n in 0..dumps {
        dir.capture(&machine, &["--no-seal"]).expect(0);
        let plain = dir.read(&format!("livecore.{n}"));
        let mut e = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        e.include_checksum(true).unwrap();
        e.write_all(&plain).unwrap();
        let packed = e.finish().unwrap();
        let name = dir.file(&format!("livecore.{n}.zst"));
        std::fs::write(name, &packed).unwrap();
        std::fs::remove_file(dir.file(&format!("livecore.{n}"))).unwrap();
        let info = dir.text(&format!("info.{n}"));
        let info = info
            .replace(
                &format!("Dump Length: {}", plain.len()),
                &format!("Dump Length: {}", packed.len()),
            )
            .replace("Compression: none", "Compression: zstd");
        std::fs::write(dir.file(&format!("info.{n}")), info).unwrap();
    }
    dir
}

fn with_tmpdir(tmpdir: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(program());
    command.args(args).env("TMPDIR", tmpdir).output().unwrap().into()
}

#[test]
fn no_place_to_unpack_is_undetermined_and_removes_nothing() {
    let dir = one_frame(3);
    let path = dir.path().to_str().unwrap();
    let nowhere = dir.file("nowhere");
    let run = with_tmpdir(&nowhere, &["list", path]).expect(3);
    assert_eq!(run.text().matches("undetermined: ").count(), 3);
    assert!(run.text().contains("(TMPDIR)"), "{}", run.text());
    let dump = dir.file("livecore.0.zst");
    let dump = dump.to_str().unwrap();
    let run = with_tmpdir(&nowhere, &["verify", dump]).expect(3);
    assert!(!run.text().contains("FAIL"), "{}", run.text());
    assert!(!run.text().contains("the file ends"), "{}", run.text());
    let before = dir.names();
    let prune = ["prune", "--keep", "1", "--json", path];
    let run = with_tmpdir(&nowhere, &prune).expect(3);
    assert_eq!(dir.names(), before);
    assert_eq!(run.json()["undetermined"].as_array().unwrap().len(), 3);

    // With one, in the sandbox, in which there is no making another.
    run_sound(&dir, 3);
    let end = dir.file("livecore.2.zst");
    let file = std::fs::File::options().write(true).open(end).unwrap();
    file.set_len(500).unwrap();
    let run = self::run(["prune", "--keep", "1", "--json", path]).expect(0);
    assert_eq!(run.json()["newest_sound"], 1);
    let names = dir.names();
    assert!(names.iter().any(|name| name == "livecore.1.zst"), "{names:?}");
    assert!(!names.iter().any(|name| name == "livecore.0.zst"), "{names:?}");
}

fn run_sound(dir: &CrashDir, dumps: usize) {
    let path = dir.path().to_str().unwrap();
    let list = run(["list", "--json", path]).expect(0).json();
    let listed = list["dumps"].as_array().unwrap();
    assert_eq!(listed.len(), dumps);
    for dump in listed {
        assert_eq!(dump["verdict"], "sound", "{dump}");
        let file = dump["file"].as_str().unwrap();
        let verify = run(["verify", "--json", file]).expect(0).json();
        assert_eq!(verify["verdict"], dump["verdict"], "{verify}");
    }
}

#[test]
fn list_and_verify_agree_about_damage() {
    let dir = CrashDir::new();
    for options in [&[][..], &["-z"], &["-Z"], &["-Z", "--no-seal"]] {
        dir.capture("model:16M", options).expect(0);
    }
    run_sound(&dir, 4);
    let names = ["livecore.0", "livecore.1.gz", "livecore.2.zst"];
    for name in names.into_iter().chain(["livecore.3.zst"]) {
        let mut bytes = dir.read(name);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(dir.file(name), bytes).unwrap();
    }
    let path = dir.path().to_str().unwrap();
    let list = run(["list", "--json", path]).expect(1).json();
    for dump in list["dumps"].as_array().unwrap() {
        let file = dump["file"].as_str().unwrap();
        let verify = run(["verify", "--json", file]).expect(1).json();
        assert_eq!(dump["verdict"], "damaged", "{dump}");
        assert_eq!(verify["verdict"], "damaged", "{verify}");
        assert_eq!(dump["reason"], verify["reason"]);
    }
    // Which bits those are was checked.
    let text = run([Path::new("verify"), &dir.file("livecore.0")]).expect(1);
    assert!(!text.text().contains("flipped bits"), "{}", text.text());
    assert!(text.text().contains("checksum mismatch"), "{}", text.text());
}

#[test]
fn zeros_that_fill_a_block_are_no_damage_and_others_are() {
    let dir = CrashDir::new();
    for options in [&[][..], &["-z"], &["-Z"]] {
        dir.capture("model:16M", &[options, &["--no-seal"]].concat()).expect(0);
    }
    for name in ["livecore.0", "livecore.1.gz", "livecore.2.zst"] {
        let bytes = dir.read(name);
        for (n, byte, status) in [(1, 0, 0), (300, 0, 0), (300, 1, 1)] {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + n, byte);
            std::fs::write(dir.file(name), padded).unwrap();
            let run = run([Path::new("verify"), &dir.file(name)]);
            assert_eq!(run.status, Some(status), "{name}: {}", run.text());
        }
        std::fs::write(dir.file(name), bytes).unwrap();
    }
}

#[test]
fn a_time_that_info_does_not_have_is_marked() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["--no-seal"]).expect(0);
    let path = dir.path().to_str().unwrap();
    let time = |line: &str| {
        let info: String = dir
            .text("info.0")
            .lines()
            .filter(|l| !l.contains("Dumptime"))
            .map(|l| format!("{l}\n"))
            .collect();
        std::fs::write(dir.file("info.0"), format!("{info}{line}")).unwrap();
        let json = run(["list", "--json", path]).expect(0).json();
        json["dumps"][0].clone()
    };
    let it = time("  Dumptime: 2023-11-14 22:13:20 +0000\n");
    assert_eq!(
        (&it["time"], &it["time_from"]),
        (&1_700_000_000.into(), &"info".into())
    );
    let it = time("  Dumptime: Tue Nov 14 22:13:20 2023\n");
    assert_eq!(it["time_from"], "info");
    assert!(it["time"].as_u64().unwrap().abs_diff(1_700_000_000) < 86_400);
    let it = time("  Dumptime: soon\n");
    assert_eq!(it["time_from"], "file");
    let text = run(["list", path]).expect(0);
    assert!(
        text.text().contains("* modification time of the file"),
        "{}",
        text.text()
    );
}

#[test]
fn a_section_that_no_kernel_has_is_refused_at_once() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["--no-seal"]).expect(0);
    let head = dir.read("livecore.0")[..4096].to_vec();
    // Message buffer, bitmap, pmap, dump_avail; 4 GiB in some KB.
    for at in [28, 32, 36, 64] {
        let mut head = head.clone();
        head[at..at + 4].copy_from_slice(&0xffff_f000_u32.to_le_bytes());
        let mut e = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        e.write_all(&head).unwrap();
        e.write_all(&vec![0x41; 8 << 20]).unwrap();
        std::fs::write(dir.file("livecore.9.zst"), e.finish().unwrap())
            .unwrap();
        let bomb = dir.file("livecore.9.zst");
        let tmp = CrashDir::new();
        for command in ["info", "dmesg"] {
            let args = [command, bomb.to_str().unwrap()];
            with_tmpdir(tmp.path(), &args).expect(2);
        }
        let args = ["verify", bomb.to_str().unwrap()];
        let run = with_tmpdir(tmp.path(), &args).expect(1);
        assert!(run.text().contains("expected at most"), "{}", run.text());
    }
}

#[test]
fn what_a_panic_left_did_not_run_on() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["--no-seal"]).expect(0);
    let verify = |name: &str| {
        let run = run([Path::new("verify"), &dir.file(name)]).expect(0);
        run.text().contains("same moment")
    };
    assert!(verify("livecore.0"));
    std::fs::rename(dir.file("livecore.0"), dir.file("vmcore.0")).unwrap();
    assert!(!verify("vmcore.0"));
    std::fs::rename(dir.file("vmcore.0"), dir.file("core")).unwrap();
    assert!(verify("core"));
}
