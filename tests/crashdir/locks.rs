// SPDX-License-Identifier: BSD-2-Clause
//! File systems without locks, and files that other users made: what may be
//! in use is not removed, what is not ours is not written to.

use crate::tool::{CrashDir, refused, run};
use std::ffi::OsStr;

fn capture(dir: &CrashDir) -> [&OsStr; 5] {
    let [a, b, c, d] =
        ["capture", "-q", "--machine", "model:16M"].map(OsStr::new);
    [a, b, c, d, dir.path().as_os_str()]
}

/// flock(2) on NFS without lockd, and with flags that it does not take.
#[test]
fn a_file_that_cannot_be_locked_may_be_in_use() {
    let dir = CrashDir::new();
    let left = "livecore.tmp.123456";
    std::fs::write(dir.file(left), "of a run that may be at it").unwrap();
    for errno in [nix::libc::ENOLCK, nix::libc::EBADF, nix::libc::EOPNOTSUPP] {
        refused(&["flock"], errno, &capture(&dir)).expect(0);
        assert!(dir.file(left).exists(), "{errno}");
    }
    // The dumps are there all the same, and nothing else.
    let names = dir.names();
    let temporary = names.iter().filter(|name| name.contains(".tmp."));
    assert_eq!(temporary.count(), 1, "{names:?}");
    assert!(dir.file("livecore.2").exists(), "{names:?}");
    // Where there are locks it is known to be left over.
    run(capture(&dir)).expect(0);
    assert!(!dir.file(left).exists());
}

/// A run that has no lock may be at work beside one that gets locks.
#[test]
fn a_file_that_was_not_locked_is_no_leftover_for_an_hour() {
    let dir = CrashDir::new();
    let name = "livecore.tmp.qrstuv";
    let file = std::fs::File::create(dir.file(name)).unwrap();
    run(capture(&dir)).expect(0);
    assert!(dir.file(name).exists());
    let long_ago =
        std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 3600);
    file.set_modified(long_ago).unwrap();
    drop(file);
    run(capture(&dir)).expect(0);
    assert!(!dir.file(name).exists());
}

#[test]
fn a_file_of_another_name_is_not_written_to() {
    let dir = CrashDir::new();
    let outside = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
    let victim = outside.path().join("victim");
    for name in ["watch.lock", "livedump.lock", "livecore.tmp.000000"] {
        std::fs::write(&victim, "of somebody else").unwrap();
        std::fs::hard_link(&victim, dir.file(name)).unwrap();
    }
    let [every, keep] = ["--every=1h", "--keep=1"].map(OsStr::new);
    let watch = [OsStr::new("watch"), every, keep, OsStr::new("--count=1")];
    let machine = ["-q", "--machine", "model:16M"].map(OsStr::new);
    let path = dir.path().as_os_str();
    let args: Vec<_> = watch.into_iter().chain(machine).chain([path]).collect();
    let refusal = run(&args).expect(2);
    assert!(refusal.stderr.contains("hard links"), "{}", refusal.stderr);
    // Without locks for directories, livedump.lock is asked for.
    refused(&["flock"], nix::libc::EBADF, &capture(&dir)).expect(0);
    run(capture(&dir)).expect(0);
    assert_eq!(std::fs::read(&victim).unwrap(), b"of somebody else");
}
