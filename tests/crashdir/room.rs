// SPDX-License-Identifier: BSD-2-Clause
//! Too little room: said in advance where it can be known, and cleared up
//! after where it could not.

use super::{check, contents};
use crate::tool::{CrashDir, Run, program, run};
use livedump_tests::scenario::TINY;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn minfree_is_respected_before_anything_is_written() {
    let dir = CrashDir::new();
    // Kilobytes, as savecore(8) has it: more than any disk.
    std::fs::write(dir.file("minfree"), "99999999999\n").unwrap();
    for options in [&[][..], &["-z"], &["-Z"]] {
        let run = dir.capture("model:16M", options).expect(2);
        assert!(run.stderr.contains("minfree") || run.stderr.contains("free"));
        assert_eq!(dir.names(), ["minfree"]);
    }
    dir.capture("model:16M", &["-f"]).expect(0);
    dir.judge("livecore.0");
}

/// A small file system of memory; gone when dropped.
pub(super) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(super) fn mount(dir: &CrashDir, bytes: u64) -> Option<Self> {
        let options = format!("size={bytes}");
        let flags = MsFlags::empty();
        let fs = Some("tmpfs");
        match mount(fs, dir.path(), fs, flags, Some(&*options)) {
            Ok(()) => Some(Self(dir.path().into())),
            Err(e) => {
                livedump_skip::skipped(format_args!("mounting a tmpfs: {e}"));
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_disk_that_fills_up_keeps_the_earlier_dump() {
    let dir = CrashDir::new();
    let Some(_mounted) = Tmpfs::mount(&dir, 3 << 20) else { return };
    let tiny = dir.recipe(&format!("machine arm64\n{TINY}"));
    dir.capture(&tiny, &[]).expect(0);
    let before = contents(&dir);
    // Without force there is an estimate; with it there is a full disk.
    let run = dir.capture("model:64M", &[]).expect(2);
    assert!(run.stderr.contains("no dump taken"), "{}", run.stderr);
    for options in [&["-f"][..], &["-f", "-m", "1"], &["-f", "-Z"]] {
        let run = dir.capture("model:256M", options).expect(2);
        assert!(run.stderr.contains("No space left"), "{}", run.stderr);
        assert_eq!(contents(&dir), before, "{options:?}");
        assert_eq!(check(&dir, &before), Ok(false));
    }
    // And there is room for another one like the first.
    dir.capture(&tiny, &["-Z"]).expect(0);
    dir.judge("livecore.1.zst");
}

#[test]
fn a_file_size_limit_keeps_the_earlier_dump() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &[]).expect(0);
    let before = contents(&dir);
    let run = Command::new("sh")
        .args(["-c", "ulimit -f 100; exec \"$0\" \"$@\"", program()])
        .args(["capture", "--machine", "model:16M"])
        .arg(dir.path())
        .output()
        .unwrap();
    let run = Run::from(run).expect(2);
    assert!(run.stderr.contains("File too large"), "{}", run.stderr);
    assert_eq!(contents(&dir), before);
}

#[test]
fn what_stands_in_the_way_is_neither_followed_nor_replaced() {
    let dir = CrashDir::new();
    let elsewhere = CrashDir::new();
    std::fs::write(elsewhere.file("precious"), "keep me").unwrap();
    let precious = elsewhere.file("precious");
    let link = |name: &str| {
        let _ = std::fs::remove_file(dir.file(name));
        std::os::unix::fs::symlink(&precious, dir.file(name)).unwrap();
    };
    for name in ["livecore.0", "info.0", "bounds"] {
        std::fs::write(dir.file("bounds"), "0\n").unwrap();
        link(name);
        let run = dir.capture("model:16M", &[]);
        assert_eq!(elsewhere.text("precious"), "keep me", "{name}");
        if run.status == Some(2) {
            assert!(run.stderr.contains(name), "{name}: {}", run.stderr);
        }
        for name in dir.names() {
            if name != "livecore.last" && name != "info.last" {
                std::fs::remove_file(dir.file(&name)).unwrap();
            }
        }
    }
    std::fs::create_dir(dir.file("livecore.0")).unwrap();
    std::fs::write(dir.file("bounds"), "0\n").unwrap();
    let run = dir.capture("model:16M", &[]).expect(2);
    assert!(run.stderr.contains("livecore.0"), "{}", run.stderr);
    assert!(dir.file("livecore.0").is_dir());
}

#[test]
fn bounds_that_make_no_sense_are_named_and_replace_no_dump() {
    let dir = CrashDir::new();
    std::fs::write(dir.file("vmcore.0"), "of a panic").unwrap();
    let senseless = ["", "many", "-1", "99999999999999999999", "1 2"];
    for (text, n) in senseless.iter().zip(1..) {
        std::fs::write(dir.file("bounds"), text).unwrap();
        let list = run(["list".as_ref(), dir.path().as_os_str()]);
        assert_ne!(list.status, Some(2), "{}", list.stderr);
        assert!(list.text().contains("panic"), "{}", list.text());
        let run = dir.capture("model:16M", &[]).expect(0);
        assert!(run.stderr.contains("bounds holds"), "{}", run.stderr);
        assert!(dir.file(&format!("livecore.{n}")).exists());
        assert_eq!(dir.text("bounds"), format!("{}\n", n + 1));
    }
    std::fs::write(dir.file("bounds"), "17\n").unwrap();
    dir.capture("model:16M", &[]).expect(0);
    assert!(dir.file("livecore.17").exists());
    assert_eq!(dir.text("bounds").trim(), "18");
    assert_eq!(dir.text("vmcore.0"), "of a panic");
}

#[test]
fn captures_at_the_same_time_get_numbers_of_their_own() {
    let dir = CrashDir::new();
    let capture = || dir.capture("model:16M", &[]).expect(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(capture);
        }
    });
    for n in 0..4 {
        dir.judge(&format!("livecore.{n}"));
        let info = dir.text(&format!("info.{n}"));
        assert!(info.contains(&format!("Bounds: {n}\n")));
    }
    assert_eq!(dir.text("bounds").trim(), "4");
}
