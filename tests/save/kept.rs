// SPDX-License-Identifier: BSD-2-Clause
//! What was saved stays, what was not saved stays on the device.

use super::{Bench, noise};
use livedump_tests::dumpdisk::{Disk, key};
use std::ffi::OsStr;

fn disk() -> Disk {
    Disk::new(noise(40 * 4096))
}

#[test]
fn a_dump_is_saved_once_and_again_by_force() {
    let bench = Bench::new(&disk().image());
    bench.save(&["-C"]).expect(0);
    bench.save(&[]).expect(0);
    let cleared = bench.image();
    let run = bench.save(&[]).expect(1);
    assert!(run.stderr.contains("already saved (-f"), "{}", run.stderr);
    let run = bench.save(&["-C", "--json"]).expect(1);
    assert_eq!(run.json()["found"], false);
    assert_eq!(bench.dir.text("bounds"), "1\n");

    let run = bench.save(&["-f", "--json"]).expect(1);
    assert_eq!(run.json()["verdict"], "damaged");
    assert!(bench.dir.read("vmcore.1") == disk().data);
    assert!(bench.dir.text("info.1").contains("  Dump Status: bad\n"));
    assert!(bench.image() == cleared);
}

/// savecore(8) changes the magic, and leaves the parity.
#[test]
fn what_savecore_has_cleared_is_not_damaged() {
    let mut image = disk().image();
    let last = image.len() - 512;
    image[last..last + 20].copy_from_slice(b"Cleared Kernel Dump\0");
    let bench = Bench::new(&image);
    bench.save(&["-C"]).expect(1);
    let run = bench.save(&["-f"]).expect(1);
    assert!(!run.stderr.contains("parity"), "{}", run.stderr);
    assert!(bench.dir.read("vmcore.0") == disk().data);
}

#[test]
fn a_cleared_textdump_is_still_one() {
    let text = Disk { text: true, ..Disk::new(noise(4096)) };
    let bench = Bench::new(&text.image());
    bench.save(&[]).expect(0);
    bench.save(&["-f"]).expect(1);
    assert!(bench.dir.read("textdump.tar.1") == text.data);
}

#[test]
fn keep_and_check_do_not_write_to_the_device() {
    let image = disk().image();
    let bench = Bench::new(&image);
    let modified = || bench.device().metadata().unwrap().modified().unwrap();
    let before = modified();
    let run = bench.save(&["-C", "--json"]).expect(0);
    assert_eq!(run.json()["found"], true);
    assert_eq!(run.json()["panic"], "page fault");
    assert!(run.stderr.contains("page fault"), "{}", run.stderr);
    assert!(bench.dir.names().is_empty());
    for n in 0..2 {
        let run = bench.save(&["-k", "--json"]).expect(0);
        assert_eq!(run.json()["number"], n);
        assert_eq!(run.json()["cleared"], false);
    }
    assert!(bench.image() == image);
    assert_eq!(modified(), before);
}

#[test]
fn a_directory_that_takes_no_dump_leaves_it_on_the_device() {
    let image = disk().image();
    let bench = Bench::new(&image);
    std::fs::create_dir(bench.dir.file("vmcore.0")).unwrap();
    std::fs::write(bench.dir.file("bounds"), "0\n").unwrap();
    let run = bench.save(&[]).expect(2);
    assert!(run.stderr.contains("in the way"), "{}", run.stderr);
    std::fs::remove_dir(bench.dir.file("vmcore.0")).unwrap();
    std::fs::write(bench.dir.file("minfree"), "999999999999\n").unwrap();
    let run = bench.save(&[]).expect(2);
    assert!(run.stderr.contains("-f to try anyway"), "{}", run.stderr);
    assert!(bench.image() == image);
    assert_eq!(bench.dir.names(), ["bounds", "minfree"]);
    std::fs::write(bench.dir.file("bounds"), "4\n").unwrap();
    bench.save(&["-f"]).expect(0);
    assert!(bench.dir.read("vmcore.4") == disk().data);
}

/// At boot nobody is there to mend them.
#[test]
fn bounds_and_minfree_that_are_no_numbers_do_not_lose_the_dump() {
    let bench = Bench::new(&disk().image());
    std::fs::write(bench.dir.file("vmcore.7"), "an older one").unwrap();
    std::fs::write(bench.dir.file("minfree"), "2 GB\n").unwrap();
    std::fs::write(bench.dir.file("bounds"), "").unwrap();
    let run = bench.save(&["-k"]).expect(0);
    assert!(run.stderr.contains("bounds holds \"\""), "{}", run.stderr);
    assert!(run.stderr.contains("minfree holds"), "{}", run.stderr);
    assert!(bench.dir.read("vmcore.8") == disk().data);
    assert_eq!(bench.dir.text("bounds"), "9\n");
    std::fs::remove_file(bench.dir.file("bounds")).unwrap();
    std::fs::create_dir(bench.dir.file("bounds")).unwrap();
    let run = bench.save(&[]).expect(0);
    assert!(run.stderr.contains("in the way"), "{}", run.stderr);
    assert!(bench.dir.read("vmcore.9") == disk().data);
    assert_eq!(bench.dir.text("vmcore.7"), "an older one");
    bench.save(&["-C"]).expect(1);
}

#[test]
fn a_device_that_another_process_saves_is_left_to_it() {
    let bench = Bench::new(&disk().image());
    let other = std::fs::File::open(bench.device()).unwrap();
    other.lock().unwrap();
    let run = bench.save(&[]).expect(2);
    assert!(run.stderr.contains("another process"), "{}", run.stderr);
    assert!(bench.dir.names().is_empty());
    bench.save(&["-C"]).expect(0);
    drop(other);
    bench.save(&[]).expect(0);
}

#[test]
fn of_two_that_save_one_device_at_once_one_saves_it() {
    for _ in 0..5 {
        let bench = Bench::new(&disk().image());
        let runs = std::thread::scope(|scope| {
            let runs = [(); 2].map(|()| scope.spawn(|| bench.save(&[])));
            runs.map(|run| run.join().unwrap())
        });
        let mut ends = runs.each_ref().map(|run| run.status);
        ends.sort_unstable();
        // The other one was early, or late.
        let right = [Some(1), Some(2)].contains(&ends[1]);
        assert!(ends[0] == Some(0) && right, "{runs:?}");
        for run in &runs {
            assert!(!run.stderr.contains("stays"), "{}", run.stderr);
        }
        let names = bench.dir.names();
        let dumps = names.iter().filter(|n| n.starts_with("vmcore.0"));
        assert_eq!(dumps.count(), 1, "{names:?}");
        assert!(!names.contains(&"vmcore.1".to_string()), "{names:?}");
    }
}

/// A file system without symbolic links: the dump is safe, so it is not saved
/// again at every boot.
#[cfg(target_os = "linux")]
#[test]
fn without_links_the_dump_that_was_saved_is_named_and_cleared() {
    use crate::tool::refused;
    let bench = Bench::new(&disk().image());
    let (device, dir) = (bench.device(), bench.dir.path().to_path_buf());
    let args: [&OsStr; 3] =
        [OsStr::new("save"), device.as_os_str(), dir.as_os_str()];
    let run = refused(&["symlinkat"], nix::libc::EPERM, &args).expect(1);
    let kept = format!("{} was saved, but", dir.join("vmcore.0").display());
    assert!(run.stderr.contains(&kept), "{}", run.stderr);
    assert!(!run.stderr.contains("stays"), "{}", run.stderr);
    bench.save(&["-C"]).expect(1);
}

#[test]
fn numbers_are_shared_with_live_dumps_and_wrap() {
    let bench = Bench::new(&disk().image());
    bench.dir.capture("model:16M", &["-m", "2"]).expect(0);
    bench.save(&["-k", "-m", "2"]).expect(0);
    assert!(bench.dir.file("livecore.0").exists());
    assert!(bench.dir.file("vmcore.1").exists());
    assert!(!bench.dir.file("livecore.last").exists());
    let encrypted = Disk { key: key(1, 256), ..disk() };
    bench.put(&encrypted.image());
    bench.save(&["-k", "-m", "2"]).expect(0);
    assert!(!bench.dir.file("livecore.0").exists());
    assert!(bench.dir.file("vmcore_encrypted.0").exists());
    assert!(bench.dir.file("key.0").exists());
    bench.save(&["-k", "-m", "2"]).expect(0);
    bench.put(&disk().image());
    bench.save(&["-m", "2"]).expect(0);
    // What belonged to the older dump number 0 has gone with it.
    let names = bench.dir.names();
    let of_0: Vec<_> = names.iter().filter(|n| n.contains(".0")).collect();
    assert_eq!(of_0, ["info.0", "seal.0", "vmcore.0"], "{names:?}");
    assert!(bench.dir.file("vmcore_encrypted.1").exists());
}

#[test]
fn whoever_may_only_read_the_device_is_told_of_keep() {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        livedump_skip::skipped("root may write to everything");
        return;
    }
    let bench = Bench::new(&disk().image());
    let only = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(bench.device(), only).unwrap();
    let run = bench.save(&[]).expect(2);
    assert!(run.stderr.contains("--keep"), "{}", run.stderr);
    bench.save(&["-k"]).expect(0);
}
