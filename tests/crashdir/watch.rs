// SPDX-License-Identifier: BSD-2-Clause
//! `watch` at high speed on a disk that holds a few dumps only: never out of
//! space, never more than it may keep, killed at any moment and started
//! again.

use super::room::Tmpfs;
use crate::tool::{CrashDir, program};
use livedump_tests::decoder::judge_stripped;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CAPTURES: u32 = 200;
const KEEP: usize = 4;
const MAX_BYTES: u64 = 24 << 20;

/// The numbers of the dumps that are there.
fn numbers(dir: &CrashDir) -> Vec<u32> {
    let names = dir.names().into_iter();
    let mut numbers: Vec<_> = names
        .filter_map(|n| {
            n.strip_prefix("livecore.")?.split('.').next()?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

fn start(dir: &CrashDir, log: &File, count: u32) -> Child {
    let max_bytes = MAX_BYTES.to_string();
    Command::new(program())
        .args(["watch", "--machine", "model:16M", "--every", "1ms"])
        .args(["--keep", &KEEP.to_string()])
        .args(["--max-bytes", &max_bytes, "--count", &count.to_string()])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.try_clone().unwrap())
        .spawn()
        .unwrap()
}

/// Whether a run is at one of the moments at which it is killed: with a
/// temporary file, an empty one or one that grows; with one dump more than
/// before; or anywhere.
fn is_at(moment: u64, dir: &CrashDir, before: &[u32]) -> bool {
    let temporary = |is_wanted: fn(u64) -> bool| {
        let names = dir.names().into_iter().filter(|n| n.contains(".tmp."));
        // It may have its name, or be gone, by now.
        let sizes = names.filter_map(|n| dir.file(&n).metadata().ok());
        sizes.map(|meta| meta.len()).any(is_wanted)
    };
    match moment {
        0 => temporary(|bytes| bytes == 0),
        1 => temporary(|bytes| bytes > 0),
        2 => numbers(dir).last() > before.last(),
        _ => true,
    }
}

/// What must hold whenever nobody is at work.
fn check(dir: &CrashDir, at_rest: bool, what: &str) {
    let mut bytes = 0;
    for name in dir.names() {
        let meta = std::fs::symlink_metadata(dir.file(&name)).unwrap();
        if !meta.is_file() || name.contains(".tmp.") {
            assert!(!at_rest || !name.contains(".tmp."), "{what}: {name}");
            continue;
        }
        if name.starts_with("livecore.") || name.starts_with("info.") {
            bytes += meta.blocks() * 512;
        }
        if name.starts_with("livecore.") {
            judge_stripped(&dir.read(&name))
                .unwrap_or_else(|e| panic!("{what}: {name}: {e}"));
        }
    }
    let numbers = numbers(dir);
    // Killed between a dump and what was to go for it there is one more.
    let most = if at_rest { KEEP } else { KEEP + 1 };
    assert!(numbers.len() <= most, "{what}: {numbers:?}");
    assert!(!at_rest || bytes <= MAX_BYTES, "{what}: {bytes} bytes");
    // The newest ones, without a gap that was not one of a kill.
    let newest = numbers.last().copied().unwrap_or(0);
    let text = dir.text("bounds");
    let next: u32 = text.trim().parse().unwrap();
    assert!(newest < next, "{what}: {newest}, bounds {next}");
}

#[test]
fn two_hundred_captures_and_as_many_kills_as_there_are() {
    let dir = CrashDir::new();
    let Some(_mounted) = Tmpfs::mount(&dir, 64 << 20) else { return };
    let log = tempfile::NamedTempFile::new().unwrap();
    let message = || {
        let mut text = String::new();
        let mut file = File::open(log.path()).unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    let taken =
        || message().lines().filter(|l| l.contains(": 14.8 MiB in ")).count();
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let mut state: u64 = seed.unwrap_or(0x9e37_79b9_7f4a_7c15);
    println!("SEED={state}");
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut kills = 0;
    while taken() < CAPTURES as usize - 20 {
        let before = numbers(&dir);
        let mut child = start(&dir, log.as_file(), CAPTURES);
        // By what it has done, not by the clock.
        let (dumps, moment) = (taken() + random(12) as usize, random(4));
        while taken() < dumps || !is_at(moment, &dir, &before) {
            assert_eq!(child.try_wait().unwrap(), None, "{}", message());
            std::thread::sleep(Duration::from_micros(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let what = format!("kill {kills}");
        if dir.file("bounds").exists() {
            check(&dir, false, &what);
            let newest = before.last();
            let lost = newest.filter(|n| !numbers(&dir).contains(n));
            let newer = numbers(&dir).last() > newest;
            assert!(lost.is_none() || newer, "{what}: {lost:?} is lost");
        }
        assert!(kills < 300, "{}", message());
    }
    // The rest undisturbed: exactly what is to be kept, and nothing else.
    let mut child = start(&dir, log.as_file(), 20);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", message());
    check(&dir, true, "the end");
    let last = numbers(&dir);
    assert_eq!(last.len(), KEEP, "{:?}", dir.names());
    assert!(last.windows(2).all(|w| w[0] + 1 == w[1]), "{last:?}");
    let mut want = vec!["bounds".to_string(), "info.last".into()];
    want.extend(["livecore.last", "seal.last", "watch.lock"].map(String::from));
    for n in last {
        want.extend(["info", "livecore", "seal"].map(|s| format!("{s}.{n}")));
    }
    want.sort();
    assert_eq!(dir.names(), want);
    let message = message();
    assert!(!message.contains("No space"), "{message}");
    assert!(!message.contains("no dump taken"), "{message}");
    assert!(taken() >= CAPTURES as usize && kills > 2, "{kills} kills");
}

#[test]
fn a_disk_with_room_for_less_than_is_to_be_kept_is_not_filled() {
    let dir = CrashDir::new();
    let Some(_mounted) = Tmpfs::mount(&dir, 20 << 20) else { return };
    std::fs::write(dir.file("minfree"), "4096\n").unwrap();
    let out = Command::new(program())
        .args(["watch", "--machine", "model:16M", "--every", "1ms"])
        .args(["--keep", "99", "--count", "6"])
        .arg(dir.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{message}");
    assert!(
        message.contains("minfree") || message.contains("to stay so"),
        "{message}"
    );
    assert!(!message.contains("No space"), "{message}");
    assert!(!numbers(&dir).is_empty(), "{message}");
    check(&dir, false, "full");
    let free = nix::sys::statvfs::statvfs(dir.path()).unwrap();
    assert!(free.blocks_available() * free.fragment_size() >= 4 << 20);
}

#[test]
fn told_to_stop_it_ends_a_dump_and_a_command_and_leaves_nothing() {
    let dir = CrashDir::new();
    let marker = dir.file("started");
    let command = format!("touch {}; sleep 60", marker.display());
    let mut child = Command::new(program())
        .args(["watch", "-q", "--machine", "model:16M", "--every", "1h"])
        .args(["--keep", "2", "--exec", &command])
        .arg(dir.path())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !marker.exists() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(40));
    assert_eq!(numbers(&dir), [0]);
    assert!(dir.names().iter().all(|n| !n.contains("tmp")));
}

/// Whether a process is at work; one that waits to be reaped is not.
#[cfg(target_os = "linux")]
fn is_at_work(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|text| !text.contains(") Z "))
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_command_has_started_ends_with_it() {
    let dir = CrashDir::new();
    let marker = dir.file("started");
    // The shell exits on the signal; its child does not.
    let command = format!(
        "(trap '' TERM; exec sleep 600) & echo $! > {0}.new; \
         mv {0}.new {0}; wait",
        marker.display()
    );
    let mut child = Command::new(program())
        .args(["watch", "-q", "--machine", "model:16M", "--every", "1h"])
        .args(["--keep", "2", "--exec", &command])
        .arg(dir.path())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !marker.exists() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
    let started = dir.text("started");
    assert!(is_at_work(started.trim()));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // It was sent SIGKILL, and is nobody's child that could be waited for.
    let stopped = Instant::now();
    while is_at_work(started.trim()) {
        assert!(stopped.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn standard_output_that_is_full_ends_no_watch() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        return livedump_skip::skipped("there is no /dev/full");
    };
    let dir = CrashDir::new();
    let ran = dir.file("ran");
    let out = Command::new(program())
        .args(["watch", "--json", "--machine", "model:16M"])
        .args(["--every", "1ms", "--keep", "1", "--count", "3", "--exec"])
        .arg(format!("echo $LIVEDUMP_NUMBER >> {}", ran.display()))
        .arg(dir.path())
        .stdout(full)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{message}");
    assert_eq!(message.matches("writing to standard output").count(), 3);
    assert_eq!(dir.text("ran"), "0\n1\n2\n");
    assert_eq!(dir.text("bounds"), "3\n");
}

#[test]
fn its_lines_carry_the_time_of_the_zone_that_tz_names() {
    let dir = CrashDir::new();
    let watch = |zone: &str| {
        let out = Command::new(program())
            .args(["watch", "--machine", "model:16M", "--every", "1ms"])
            .args(["--keep", "9", "--count", "1", "--at", "@yearly"])
            .arg(dir.path())
            .env("TZ", zone)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let mut zones = vec![("XYZ-9", "+0900"), ("", "+0000"), ("UTC0", "+0000")];
    if Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
        zones.push(("Asia/Tokyo", "+0900"));
        zones.push((":Asia/Tokyo", "+0900"));
    }
    for (zone, offset) in zones {
        let (status, message) = watch(zone);
        assert_eq!(status, Some(0), "{zone}: {message}");
        for line in message.lines() {
            assert_eq!(line.get(4..5), Some("-"), "{line}");
            assert_eq!(line.get(20..25), Some(offset), "{zone}: {line}");
            assert_eq!(line.get(25..36), Some(" livedump: "), "{line}");
        }
        assert!(!message.is_empty());
    }
    // A schedule in a zone that nobody knows would run at the wrong hour.
    let (status, message) = watch("Nowhere/Town");
    assert_eq!(status, Some(2), "{message}");
    assert!(
        message.contains("TZ=Nowhere/Town: no such time zone"),
        "{message}"
    );
}

#[test]
fn a_zone_that_nobody_knows_is_said() {
    let dir = CrashDir::new();
    let run = |args: &[&str]| {
        let out = Command::new(program())
            .args(args)
            .arg(dir.path())
            .env("TZ", "Nowhere/Town")
            .output()
            .unwrap();
        String::from_utf8(out.stderr).unwrap()
    };
    let message = run(&["capture", "-q", "--machine", "model:16M"]);
    assert!(message.contains("no such time zone: times are UTC"), "{message}");
    assert!(dir.text("info.0").contains(" +0000\n"));
    let message = run(&["list"]);
    assert!(message.contains("no such time zone: times are UTC"), "{message}");
}
