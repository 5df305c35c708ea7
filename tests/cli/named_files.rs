// SPDX-License-Identifier: BSD-2-Clause
//! Files that are named on the command line and are not what they should be:
//! an error, and never damage of the dump.

use crate::tool::{CrashDir, Run, program, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const SIZE: &str = "size 16M\n";
const OTHER: &str = "size 16M\nrelease 13.2-RELEASE\n";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A dump with its kernel, and the kernel of another release as `other`.
fn scene() -> CrashDir {
    let dir = CrashDir::new();
    let place = CrashDir::new();
    let other = place.recipe(OTHER);
    place.capture(&other, &["-q", "--keep-kernel"]).expect(0);
    let machine = dir.recipe(SIZE);
    dir.capture(&machine, &["-q", "--keep-kernel"]).expect(0);
    fs::copy(place.file("kernel.0"), dir.file("other")).unwrap();
    fs::rename(dir.file("kernel.0"), dir.file("right")).unwrap();
    dir
}

/// The message of a command that could not run.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let run = run(args).expect(2);
    assert!(run.stdout.is_empty(), "{args:?}: {}", run.text());
    assert_eq!(run.stderr.lines().count(), 1, "{args:?}: {}", run.stderr);
    run.stderr
}

#[test]
fn a_kernel_that_is_none_or_anothers_is_refused_by_every_reader() {
    let dir = scene();
    let dump = dir.file("livecore.0");
    let dump = text(&dump);
    for (kernel, why) in [
        (program(), "is not a FreeBSD kernel: it has no symbol version"),
        ("/etc/passwd", "not a kernel: it is not an ELF file"),
        ("/nonexistent", "opening kernel /nonexistent: No such file"),
        (text(&dir.file("other")), "is not the dump's: its version is"),
    ] {
        for args in [
            &["verify", "-k", kernel, dump][..],
            &["dmesg", "-k", kernel, dump],
            &["read", "-k", kernel, dump, "hz"],
            &["read", "-k", kernel, dump, "0xffffffff80000000"],
            &["ps", "-k", kernel, dump],
            &["bt", "-k", kernel, dump, "100000"],
            &["deadlock", "-k", kernel, dump],
        ] {
            let said = refused(args);
            assert!(said.contains(why), "{args:?}: {said}");
            assert!(!said.contains("os error"), "{said}");
        }
    }
    let right = dir.file("right");
    run(["verify", "-k", text(&right), dump]).expect(0);
}

#[test]
fn list_refuses_what_is_no_kernel_and_cannot_tell_with_anothers() {
    let dir = scene();
    let path = text(dir.path());
    for kernel in [program(), "/etc/passwd", "/nonexistent"] {
        refused(&["list", "-k", kernel, path]);
    }
    let other = dir.file("other");
    let list = run(["list", "--json", "-k", text(&other), path]).expect(3);
    let dump = list.json()["dumps"][0].clone();
    assert_eq!(dump["verdict"], "undetermined", "{dump}");
    let reason = dump["reason"].as_str().unwrap();
    assert!(reason.contains("is not the dump's"), "{reason}");
    let right = dir.file("right");
    run(["list", "-k", text(&right), path]).expect(0);
}

#[test]
fn a_kernel_beside_a_dump_that_is_anothers_leaves_it_undetermined() {
    let dir = scene();
    fs::rename(dir.file("other"), dir.file("kernel.0")).unwrap();
    let dump = dir.file("livecore.0");
    let verify = run(["verify", "--json", text(&dump)]).expect(3).json();
    let list = run(["list", "--json", text(dir.path())]).expect(3).json();
    assert_eq!(verify["verdict"], "undetermined", "{verify}");
    assert_eq!(verify["reason"], list["dumps"][0]["reason"]);
    // The message buffer needs none.
    let dmesg = run(["dmesg", text(&dump)]).expect(0);
    assert!(dmesg.stderr.contains("is not the dump's"), "{}", dmesg.stderr);
}

#[test]
fn a_capture_with_a_wrong_kernel_keeps_a_dump_that_is_not_called_bad() {
    let dir = scene();
    let before = dir.names();
    let machine = dir.recipe(SIZE);
    for kernel in [program(), "/etc/passwd", "/nonexistent"] {
        for place in [text(dir.path()), "-"] {
            let args = ["capture", "--machine", &machine, "--kernel", kernel];
            refused(&[&args[..], &[place]].concat());
        }
        let args = ["watch", "--every", "1h", "--keep", "1", "--count", "1"];
        let rest = ["--machine", &machine, "--kernel", kernel];
        let watch = run([&args[..], &rest, &[text(dir.path())]].concat());
        watch.expect(2);
    }
    // The lock of watch stays.
    let after = dir.names().into_iter().filter(|name| name != "watch.lock");
    assert_eq!(after.collect::<Vec<_>>(), before);

    let other = dir.file("other");
    let run = dir.capture(&machine, &["--json", "--kernel", text(&other)]);
    let taken = run.expect(3).json();
    assert_eq!(taken["verdict"], "undetermined", "{taken}");
    assert_eq!(taken["lists"], serde_json::Value::Null);
    let reason = taken["reason"].as_str().unwrap();
    assert!(reason.contains("is not the dump's"), "{reason}");
    let info = dir.text("info.1");
    assert!(info.contains("\n  Dump Status: unknown\n"), "{info}");
    // With its own kernel it is sound.
    let dump = dir.file("livecore.1");
    let right = dir.file("right");
    self::run(["verify", "-k", text(&right), text(&dump)]).expect(0);
    let prune = ["prune", "-n", "--keep", "1", "--json", text(dir.path())];
    let pruned = self::run(prune).expect(0).json();
    assert_eq!(pruned["kept"], serde_json::json!([1]), "{pruned}");
}

#[test]
fn damage_to_the_version_of_a_dump_is_damage_and_no_other_kernel() {
    let dir = scene();
    let mut bytes = dir.read("livecore.0");
    let version = b"FreeBSD 15.1-RELEASE model";
    let all = bytes.windows(version.len()).enumerate();
    let found = all.filter(|(_, w)| w == version).map(|(at, _)| at);
    for at in found.collect::<Vec<_>>() {
        bytes[at + 2] ^= 0x20;
    }
    let (dump, right) = (dir.file("damaged"), dir.file("right"));
    fs::write(&dump, bytes).unwrap();
    let verify = run(["verify", "-k", text(&right), text(&dump)]).expect(1);
    assert!(verify.text().contains("FAIL         kernel"), "{}", verify.text());
}

#[test]
fn what_is_no_seal_is_refused_and_one_that_cannot_be_read_is_undetermined() {
    let dir = scene();
    let dump = dir.file("livecore.0");
    let said = refused(&["verify", "--seal", "/etc/passwd", text(&dump)]);
    assert!(said.contains("/etc/passwd is not a seal: "), "{said}");
    let damaged = dir.text("seal.0").replace("size", "sice");
    fs::write(dir.file("damaged"), damaged).unwrap();
    let seal = dir.file("damaged");
    run(["verify", "--seal", text(&seal), text(&dump)]).expect(1);
    // Not even root can open it.
    fs::remove_file(dir.file("seal.0")).unwrap();
    symlink("seal.0", dir.file("seal.0")).unwrap();
    let run = run(["verify", text(&dump)]).expect(3);
    let row = "undetermined seal        the seal cannot be used: opening";
    assert!(run.text().contains(row), "{}", run.text());
    assert!(run.text().contains("ok           pagetables"), "{}", run.text());
}

#[test]
fn an_info_that_cannot_be_read_is_undetermined() {
    let dir = scene();
    fs::remove_file(dir.file("info.0")).unwrap();
    let dump = dir.file("livecore.0");
    run(["verify", text(&dump)]).expect(0);
    symlink("info.0", dir.file("info.0")).unwrap();
    let run = run(["verify", text(&dump)]).expect(3);
    assert!(run.text().contains("undetermined info"), "{}", run.text());
}

/// In one frame, larger than what is unpacked in memory.
fn packed() -> CrashDir {
    let dir = CrashDir::new();
    let machine = dir.recipe("size 16M\nmsgbuf 6M\n");
    dir.capture(&machine, &["-q", "--no-seal", "--keep-kernel"]).expect(0);
    let plain = dir.read("livecore.0");
    let packed = zstd::stream::encode_all(&plain[..], 1).unwrap();
    fs::write(dir.file("livecore.0.zst"), &packed).unwrap();
    fs::remove_file(dir.file("livecore.0")).unwrap();
    let (long, short) = (plain.len(), packed.len());
    let info =
        dir.text("info.0").replace("Compression: none", "Compression: zstd");
    let info = info.replace(&long.to_string(), &short.to_string());
    fs::write(dir.file("info.0"), info).unwrap();
    dir
}

#[test]
fn no_place_to_unpack_is_one_verdict_for_all_readers() {
    let dir = packed();
    let dump = dir.file("livecore.0.zst");
    let (dump, kernel) = (text(&dump), dir.file("kernel.0"));
    let kernel = text(&kernel);
    let nowhere = dir.file("nowhere");
    let run = |args: &[&str]| -> Run {
        let mut command = Command::new(program());
        command.args(args).env("TMPDIR", &nowhere);
        command.output().unwrap().into()
    };
    let mut runs = 0;
    for args in [
        &["read", "-k", kernel, dump, "hz"][..],
        &["read", "-k", kernel, "--json", dump, "hz"],
        &["read", dump, "0xffffffff80000000"],
        &["verify", "-k", kernel, dump],
        &["verify", dump],
        &["ps", "-k", kernel, dump],
        &["bt", "-k", kernel, dump, "100000"],
        &["deadlock", "-k", kernel, dump],
        &["list", text(dir.path())],
    ] {
        let run = run(args);
        let all = format!("{}{}", run.text(), run.stderr);
        assert_eq!(run.status, Some(3), "{args:?}: {all}");
        let why = format!("{} (TMPDIR): No such file", nowhere.display());
        assert!(all.contains(&why), "{args:?}: {all}");
        assert!(!all.contains("is not in the dump"), "{args:?}: {all}");
        assert!(!all.contains("not implemented"), "{args:?}: {all}");
        runs += 1;
    }
    assert_eq!(runs, 9);
    let args = ["capture", "--quiesce", "--machine", "model:16M", "-"];
    let capture = run(&args).expect(2);
    assert!(capture.stderr.contains("(TMPDIR): No such"), "{}", capture.stderr);
    assert!(!capture.stderr.contains("crash"), "{}", capture.stderr);
    let live = ["deadlock", "--live", "--machine", "model:16M"];
    let live = run(&live).expect(2).stderr;
    let why = format!("{} (TMPDIR): No such file", nowhere.display());
    assert!(live.trim_end().ends_with("No such file or directory"), "{live}");
    assert!(live.contains(&why), "{live}");
}

#[test]
fn a_dump_of_raw_memory_has_the_same_verdict_everywhere() {
    let dir = CrashDir::new();
    let taken = dir.capture("raw:/etc/passwd", &["--json"]).expect(0).json();
    assert_eq!(taken["verdict"], "sound");
    let list = run(["list", text(dir.path())]).expect(0);
    assert!(list.text().contains("  -  "), "{}", list.text());
    assert!(!list.text().contains("(none"), "{}", list.text());
    let dump = dir.file("livecore.0");
    let verify = run(["verify", text(&dump)]).expect(0);
    assert!(verify.text().contains("raw memory, without"), "{}", verify.text());
}

#[test]
fn a_debug_file_that_was_named_is_used_or_an_error() {
    let dir = CrashDir::new();
    let machine = dir.recipe("size 16M\ntypes none\n");
    dir.capture(&machine, &["-q", "--keep-kernel"]).expect(0);
    let (dump, right) = (dir.file("livecore.0"), dir.file("kernel.0"));
    let ps = ["ps", "-k", text(&right), text(&dump)];
    for (debug, why) in [
        (program(), "is not the debug file of kernel"),
        ("/nonexistent", "debug file /nonexistent: "),
        ("/etc/passwd", "debug file /etc/passwd: it is not an ELF file"),
        (text(&right), "has no type information: neither DWARF nor CTF"),
    ] {
        let said = refused(&[&ps[..], &["--debug", debug]].concat());
        assert!(said.contains(why), "{debug}: {said}");
        assert!(!said.contains("opening kernel"), "{said}");
    }
    let short = run(ps).expect(0).stderr;
    assert!(short.contains("type information is missing ("), "{short}");
    assert!(short.len() < 200, "{short}");
    assert!(run(ps.iter().chain(&["--json"])).json()["missing"].is_array());
}

#[test]
fn limits_that_the_newest_sound_dump_exceeds_are_named() {
    let dir = scene();
    let path = text(dir.path());
    let prune = |limit: &[&str]| {
        let args = [&["prune", "-n"], limit, &[path]].concat();
        run(args).expect(0).text().to_string()
    };
    let text = prune(&["--max-bytes", "1"]);
    assert!(text.starts_with("1 live dump kept, "), "{text}");
    assert!(text.contains("newest sound one, exceeds --max-bytes"), "{text}");
    let text = prune(&["--keep", "1"]);
    assert!(!text.contains("exceeds"), "{text}");
}

#[test]
fn an_option_that_needs_another_is_refused_without_it() {
    let dir = scene();
    let dump = dir.file("livecore.0");
    let args = ["deadlock", "--machine", "model", text(&dump)];
    assert!(refused(&args).contains("--machine requires --live"));
}

#[test]
fn usage_errors_start_as_all_messages_do() {
    for args in [&["frobnicate"][..], &["info"], &["capture", "-zZ", "c"]] {
        let said = run(args).expect(2).stderr;
        assert!(said.starts_with("livedump: "), "{said}");
        assert!(!said.contains("error:"), "{said}");
    }
    let said = run(["capture", "-zZ", "c"]).expect(2).stderr;
    assert!(said.contains("livedump capture [OPTIONS] [DIRECTORY]"), "{said}");
    let said = run(["deadlock"]).expect(2).stderr;
    assert!(said.contains("--live"), "{said}");
    for codec in ["-z", "-Z"] {
        let said = run(["capture", codec, "--level", "0", "c"]).expect(2);
        assert!(said.stderr.contains("1 to 9 for gzip"), "{}", said.stderr);
    }
}

#[test]
fn an_empty_message_buffer_is_reported() {
    let dir = scene();
    let mut bytes = dir.read("livecore.0");
    let size = u32::from_le_bytes(bytes[28..32].try_into().unwrap());
    bytes[4096..4096 + size as usize].fill(0);
    fs::write(dir.file("empty"), bytes).unwrap();
    let file = dir.file("empty");
    let dmesg = run(["dmesg", text(&file)]).expect(0);
    assert!(dmesg.stderr.contains("message buffer is empty"));
    assert!(dmesg.stdout.is_empty());
}
