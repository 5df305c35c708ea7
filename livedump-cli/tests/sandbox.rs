// SPDX-License-Identifier: BSD-2-Clause
//! What is confined can do what it is for, and nothing else. A program of its
//! own: who is armed stays so. Linux confines threads, so each test has one.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)]

use livedump_cli::sandbox::{self, Entered, Purpose, Role, arm, enter};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Confines a thread that has `file` and `dir` open; what it came to, or
/// nothing where this kernel does not confine.
fn confined(
    role: Role,
    file: &Path,
    dir: &Path,
    then: impl FnOnce(File, File) + Send,
) {
    arm();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (file, dir) =
                (File::open(file).unwrap(), File::open(dir).unwrap());
            let mut files = vec![(file.as_fd(), Purpose::Read)];
            if role == Role::Writer {
                files.push((dir.as_fd(), Purpose::Directory));
            }
            match enter(role, &files) {
                Entered::Confined => then(file, dir),
                Entered::Not(why) => {
                    livedump_skip::skipped(format_args!("{why}"))
                }
                Entered::Unarmed => panic!("armed is armed"),
            }
        });
    });
}

fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("file");
    fs::write(&file, "what is in it").unwrap();
    (tmp, file)
}

#[test]
fn a_reader_keeps_its_file_and_opens_no_other() {
    let (tmp, path) = scratch();
    confined(Role::Reader, &path, tmp.path(), |mut file, _| {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "what is in it");
        let mut buf = [0; 4];
        file.read_exact_at(&mut buf, 5).unwrap();

        assert!(File::open(&path).is_err());
        assert!(File::open("/etc/passwd").is_err());
        assert!(File::create(tmp.path().join("new")).is_err());
        assert!(fs::read_dir("/").is_err());
        assert!(fs::remove_file(&path).is_err());
        assert!(fs::rename(&path, tmp.path().join("other")).is_err());
        assert!(TcpListener::bind("127.0.0.1:0").is_err());
        assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        assert!(Command::new("/bin/true").spawn().is_err());
        // Threads and memory are no matter, and threads are confined, too.
        let path = &path;
        thread::scope(|s| {
            let inner = s.spawn(move || {
                let many = vec![1u8; 64 << 20];
                assert!(File::open(path).is_err());
                many.len()
            });
            assert_eq!(inner.join().unwrap(), 64 << 20);
        });
    });
    assert!(path.exists());
}

#[test]
fn a_writer_keeps_its_directory() {
    let (tmp, path) = scratch();
    let elsewhere = tempfile::tempdir().unwrap();
    confined(Role::Writer, &path, tmp.path(), |_, _| {
        let at = |name: &str| tmp.path().join(name);
        let mut new = File::create(at("new")).unwrap();
        new.write_all(b"written").unwrap();
        new.set_len(3).unwrap();
        new.sync_all().unwrap();
        fs::rename(at("new"), at("named")).unwrap();
        std::os::unix::fs::symlink("named", at("last")).unwrap();
        fs::remove_file(at("last")).unwrap();
        assert_eq!(fs::read(at("named")).unwrap(), b"wri");
        assert!(File::create(elsewhere.path().join("x")).is_err());
        assert!(File::open("/etc/passwd").is_err());
    });
}

#[test]
fn asking_how_far_it_goes_confines_nobody() {
    let message = sandbox::describe();
    assert_eq!(message.mechanism, "landlock and seccomp");
    assert!(!message.text.is_empty());
    File::open("/etc/passwd").unwrap();
}

#[test]
fn the_program_confines_itself_before_it_writes() {
    let tmp = tempfile::tempdir().unwrap();
    let livedump = env!("CARGO_BIN_EXE_livedump");
    let taken = Command::new(livedump)
        .args(["capture", "-q", "--machine", "model:16M"])
        .arg(tmp.path())
        .status()
        .unwrap();
    assert!(taken.success());
    // More than a pipe holds: it waits until somebody reads.
    let mut child = Command::new(livedump)
        .args(["read", "--raw", "--phys"])
        .arg(tmp.path().join("livecore.0"))
        .args(["0x200000", "1M"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 4096]).unwrap();
    let status = format!("/proc/{}/status", child.id());
    let status = fs::read_to_string(status).unwrap();
    if sandbox::describe().works {
        assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    }
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), (1 << 20) - 4096);
    assert!(child.wait().unwrap().success());
}

#[test]
fn who_lists_a_directory_reads_it_and_nothing_else() {
    let (tmp, _) = scratch();
    arm();
    let dir = File::open(tmp.path()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let files = [(dir.as_fd(), Purpose::Listing)];
            if enter(Role::Reader, &files) != Entered::Confined {
                return livedump_skip::skipped("this kernel does not confine");
            }
            let at = |name: &str| tmp.path().join(name);
            assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);
            assert_eq!(fs::read(at("file")).unwrap(), b"what is in it");
            assert!(File::create(at("new")).is_err());
            assert!(File::options().write(true).open(at("file")).is_err());
            assert!(fs::remove_file(at("file")).is_err());
            assert!(fs::rename(at("file"), at("new")).is_err());
            assert!(File::open("/etc/passwd").is_err());
            assert!(Command::new("/bin/true").spawn().is_err());
            assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        });
    });
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);
}

/// A watch without --exec and --on-change; with them it may need anything.
#[test]
fn watch_is_confined_for_as_long_as_it_runs() {
    if !sandbox::describe().works {
        return livedump_skip::skipped("this kernel does not confine");
    }
    for (options, mode) in [(&[][..], "2"), (&["--exec", "true"], "0")] {
        let tmp = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_livedump"))
            .args(["watch", "--machine", "model:16M", "--every", "1h"])
            .args(["-q", "--keep", "1"])
            .args(options)
            .arg(tmp.path())
            .spawn()
            .unwrap();
        let began = std::time::Instant::now();
        while !tmp.path().join("livecore.last").exists() {
            assert!(began.elapsed().as_secs() < 60);
            thread::sleep(std::time::Duration::from_millis(10));
        }
        let status = format!("/proc/{}/status", child.id());
        let status = fs::read_to_string(status).unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
        let line = format!("\nSeccomp:\t{mode}\n");
        assert!(status.contains(&line), "{options:?}: {status}");
    }
}
