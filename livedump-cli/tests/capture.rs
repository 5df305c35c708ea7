// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture` as a program: signals, kills, full disks, exit status.
//! The machine is a file of noise; gzip takes seconds over it, which is time
//! enough to hit any moment.

#![allow(clippy::disallowed_methods)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const TOOL: &str = env!("CARGO_BIN_EXE_livedump");

/// A crash directory with one dump, and the memory of a machine next to it.
struct Place {
    tmp: tempfile::TempDir,
}

impl Place {
    fn new(megabytes: usize) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let place = Self { tmp };
        let crash = place.crash();
        fs::create_dir(&crash).unwrap();
        fs::write(crash.join("livecore.0"), "an older dump").unwrap();
        fs::write(crash.join("info.0"), "about it").unwrap();
        fs::write(crash.join("bounds"), "1\n").unwrap();
        symlink("livecore.0", crash.join("livecore.last")).unwrap();
        let mut state = 7u64;
        let noise: Vec<u8> = (0..megabytes << 17)
            .flat_map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .collect();
        fs::write(place.memory(), noise).unwrap();
        place
    }

    fn crash(&self) -> PathBuf {
        self.tmp.path().join("crash")
    }

    fn memory(&self) -> PathBuf {
        self.tmp.path().join("memory")
    }

    fn capture(&self, words: &[&str]) -> Command {
        let mut command = Command::new(TOOL);
        command
            .arg("capture")
            .args(words)
            .arg("--machine")
            .arg(format!("raw:{}", self.memory().display()))
            .arg(self.crash())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a slow capture, and returns when its dump has `bytes`.
    fn slow(&self, bytes: u64) -> Child {
        let mut child =
            self.capture(&["-z", "--workers", "1"]).spawn().unwrap();
        let started = Instant::now();
        while self.temp_len().is_none_or(|len| len < bytes) {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            assert!(started.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(2));
        }
        child
    }

    fn temp_len(&self) -> Option<u64> {
        let (name, _) = contents(&self.crash())
            .into_iter()
            .find(|(name, _)| name.contains("tmp"))?;
        fs::metadata(self.crash().join(name)).ok().map(|m| m.len())
    }

    fn check_older_dump(&self) {
        let crash = self.crash();
        let text = |name: &str| fs::read_to_string(crash.join(name)).unwrap();
        assert_eq!(text("livecore.0"), "an older dump");
        assert_eq!(text("livecore.last"), "an older dump");
        assert_eq!(text("info.0"), "about it");
    }
}

/// Names and sizes.
fn contents(at: &Path) -> BTreeMap<String, u64> {
    fs::read_dir(at)
        .unwrap()
        .filter_map(|e| {
            let e = e.unwrap();
            let name = e.file_name().into_string().unwrap();
            // A file may have been removed.
            Some((name, e.metadata().ok()?.len()))
        })
        .collect()
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn sigint_and_sigterm_leave_the_directory_as_it_was() {
    let place = Place::new(24);
    let before = contents(&place.crash());
    for (signal, bytes) in [
        (Signal::SIGINT, 0),
        (Signal::SIGTERM, 1),
        (Signal::SIGHUP, 1 << 20),
        (Signal::SIGINT, 4 << 20),
    ] {
        // Under nohup(1) SIGHUP is ignored, here and in the tool.
        if livedump_cli::device::is_ignored(signal) {
            continue;
        }
        let child = place.slow(bytes);
        send(&child, signal);
        let started = Instant::now();
        let output = child.wait_with_output().unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(signal.as_str()), "{told}");
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(contents(&place.crash()), before);
        place.check_older_dump();
    }
}

#[test]
fn sigkill_at_any_moment_leaves_no_half_dump_with_a_name() {
    let place = Place::new(24);
    for bytes in [0, 1, 1 << 20, 9 << 20, 20 << 20] {
        let mut child = place.slow(bytes);
        send(&child, Signal::SIGKILL);
        child.wait().unwrap();
        place.check_older_dump();
        let left = contents(&place.crash());
        assert!(!left.contains_key("livecore.1.gz"), "{left:?}");
        assert!(!left.contains_key("info.1"), "{left:?}");
    }
    // What is left of the last one goes with the next, and only that.
    assert!(place.temp_len().is_some());
    let output = place.capture(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place.temp_len().ok_or(()).unwrap_err();
    assert!(place.crash().join("livecore.1").exists());
    assert!(place.crash().join("livecore.0").exists());
}

#[test]
fn two_captures_at_once_do_not_take_each_others_files() {
    let place = Place::new(24);
    let slow = place.slow(1);
    let quick = place.capture(&[]).output().unwrap();
    assert_eq!(quick.status.code(), Some(0), "{}", stderr(&quick));
    assert!(place.temp_len().is_some(), "the slow one's file is gone");
    let slow = slow.wait_with_output().unwrap();
    assert_eq!(slow.status.code(), Some(0), "{}", stderr(&slow));
    let all = contents(&place.crash());
    assert!(all.contains_key("livecore.1"), "{all:?}");
    assert!(all.contains_key("livecore.2.gz"), "{all:?}");
}

#[test]
fn sigusr1_prints_a_line_and_nothing_else_happens() {
    let place = Place::new(24);
    let child = place.slow(1);
    send(&child, Signal::SIGUSR1);
    let output = child.wait_with_output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("livedump: writing data pages: "), "{told}");
    assert!(told.contains(" written, "), "{told}");
}

#[test]
fn a_relative_directory_works_and_so_does_none() {
    let place = Place::new(1);
    let machine = format!("raw:{}", place.memory().display());
    let run = |cwd: &Path, words: &[&str]| {
        let output = Command::new(TOOL)
            .current_dir(cwd)
            .args(words)
            .args(["--machine", &machine])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    };
    run(place.tmp.path(), &["capture", "crash"]);
    run(&place.crash(), &["capture"]);
    // savecore's letters.
    run(place.tmp.path(), &["-Lv", "-Z", "crash"]);
    let all = contents(&place.crash());
    for name in ["livecore.1", "livecore.2", "livecore.3.zst"] {
        assert!(all.contains_key(name), "{name}: {all:?}");
    }
}

#[test]
fn json_goes_to_standard_output_and_all_else_does_not() {
    let place = Place::new(1);
    let output = place.capture(&["--json", "-v"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let value: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap();
    let file = place.crash().join("livecore.1");
    assert_eq!(value["file"], file.to_str().unwrap());
    assert_eq!(value["dumplength"], fs::metadata(file).unwrap().len());
    assert!(stderr(&output).lines().all(|l| l.starts_with("livedump: ")));

    let quiet = place.capture(&["-q"]).output().unwrap();
    assert_eq!(quiet.status.code(), Some(0));
    assert_eq!((quiet.stdout.len(), stderr(&quiet).as_str()), (0, ""));
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let place = Place::new(1);
    let mut child = place.capture(&["--json"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(place.crash().join("livecore.1").exists());
}

#[test]
fn what_could_not_run_exits_with_2_and_one_line() {
    let place = Place::new(1);
    let missing = place.tmp.path().join("missing");
    let missing = missing.to_str().unwrap();
    let vmcore = format!("vmcore:{missing}");
    for words in [
        vec!["capture", "--machine", "model", missing],
        vec!["capture", "--machine", &vmcore],
        vec!["capture", "--machine", "model:1K"],
    ] {
        let output = Command::new(TOOL)
            .current_dir(place.crash())
            .args(&words)
            .output()
            .unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {told}");
        assert!(told.starts_with("livedump: "), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    place.check_older_dump();
}

#[test]
fn dumps_take_no_disk_space_for_zeros() {
    let place = Place::new(1);
    fs::File::options()
        .write(true)
        .open(place.memory())
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let output = place.capture(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let meta = fs::metadata(place.crash().join("livecore.1")).unwrap();
    assert!(meta.len() > 64 << 20);
    assert!(meta.blocks() * 512 < 8 << 20, "{}", meta.blocks());
}

/// A file system of eight megabytes, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(&at)
            .output()
            .is_ok_and(|o| o.status.success());
        mounted.then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_before_and_while_and_costs_nothing() {
    let place = Place::new(24);
    let Some(disk) = SmallDisk::mount(place.crash()) else {
        livedump_skip::skipped("only root may mount a small disk");
        return;
    };
    fs::write(disk.0.join("livecore.0"), "an older dump").unwrap();
    fs::write(disk.0.join("minfree"), "1024\n").unwrap();
    let before = contents(&disk.0);
    for (words, told) in [
        // Known in advance.
        (vec![], "no dump taken"),
        // Known when minfree is reached.
        (vec!["-z", "--workers", "1"], "more would leave less than minfree"),
        // Known when the disk is full.
        (vec!["-f"], "No space left on device (28)"),
        (vec!["-fZ"], "No space left on device (28)"),
    ] {
        let output = place.capture(&words).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains(told), "{words:?}: {text}");
        assert_eq!(contents(&disk.0), before, "{words:?}");
    }
}
