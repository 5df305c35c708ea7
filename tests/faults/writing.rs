// SPDX-License-Identifier: BSD-2-Clause
//! Files that fail: each write in turn, a full disk, a size limit. The dump
//! ends at once, and no half of it can be taken for one.

use livedump_hosted::process::Descriptor;
use livedump_hosted::vnode::{Disk, FileFaults, Vnode};
use livedump_hosted::{Block, Events};
use livedump_kmod::error::Errno;
use livedump_tests::decoder::judge_raw;
use livedump_tests::scenario::{Scenario, TINY};
use livedump_vmcore::Vmcore;
use memdev::ioctl::MemMinidumpArg;
use memdev::stage::Stage;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A file of its own, and its locks.
fn install(s: &Scenario, file: &File) -> (i32, Arc<Vnode>) {
    let d = Descriptor::from_file(file.try_clone().unwrap()).unwrap();
    let vnode = Arc::clone(d.vnode());
    (s.process.install(d), vnode)
}

fn request(fd: i32, compression: u8) -> MemMinidumpArg {
    MemMinidumpArg { fd, compression, ..MemMinidumpArg::new() }
}

/// Writes that a whole dump takes.
fn writes(s: &Scenario, compression: u8) -> u64 {
    let file = tempfile::tempfile().unwrap();
    let (fd, vnode) = install(s, &file);
    s.minidump(&request(fd, compression)).unwrap();
    s.process.close(fd).unwrap();
    vnode.writes()
}

#[test]
fn every_write_may_fail_with_any_errno_and_it_is_the_last() {
    let s = Scenario::model(TINY);
    let errnos =
        [Errno::ENOSPC, Errno::EDQUOT, Errno::EIO, Errno::EFBIG, Errno::EROFS];
    for compression in 0..=2 {
        let last = writes(&s, compression);
        assert!(last >= 2);
        for (nth, errno) in (1..=last).zip(errnos.into_iter().cycle()) {
            let file = tempfile::tempfile().unwrap();
            let (fd, vnode) = install(&s, &file);
            let fail_write = Some((nth, errno));
            vnode.set_faults(FileFaults { fail_write, ..Default::default() });
            let result = s.minidump(&request(fd, compression));
            assert_eq!(result, Err(errno), "write {nth} of {last}");
            assert_eq!(vnode.writes(), nth, "it went on after {errno}");
            assert_eq!(file.metadata().unwrap().len(), 0);
            s.process.close(fd).unwrap();
            s.assert_at_rest();
            let status = s.status();
            assert_eq!(status.last_error, errno.0);
            let stage = status.last_stage().unwrap();
            assert!((Stage::Header..=Stage::Finish).contains(&stage));
            assert!(nth < last || stage == Stage::Finish);
        }
    }
}

#[test]
fn a_short_write_is_an_error() {
    let s = Scenario::model(TINY);
    for compression in 0..=2 {
        for nth in 1..=writes(&s, compression) {
            let file = tempfile::tempfile().unwrap();
            let (fd, vnode) = install(&s, &file);
            let short_write = Some(nth);
            vnode.set_faults(FileFaults { short_write, ..Default::default() });
            let result = s.minidump(&request(fd, compression));
            assert_eq!(result, Err(Errno::EIO), "write {nth}");
            assert_eq!(file.metadata().unwrap().len(), 0);
            s.process.close(fd).unwrap();
        }
    }
    s.assert_at_rest();
}

#[test]
fn a_disk_that_fills_up_is_enospc_once_and_gets_its_room_back() {
    let s = Scenario::model(TINY);
    let whole = s.dump(0).trailer.dumplength;
    for free in [0, 4095, 4096, whole / 100, whole / 50] {
        let file = tempfile::tempfile().unwrap();
        let (fd, vnode) = install(&s, &file);
        let disk = Disk::new(free);
        let full = Some(Arc::clone(&disk));
        vnode.set_faults(FileFaults { disk: full, ..Default::default() });
        let result = s.minidump(&request(fd, 0));
        assert_eq!(result, Err(Errno::ENOSPC), "{free} bytes");
        assert_eq!(disk.free(), free);
        s.process.close(fd).unwrap();
    }
    s.assert_at_rest();
}

#[test]
fn a_file_size_limit_is_efbig() {
    let s = Scenario::model(TINY);
    let whole = s.dump(0).trailer.dumplength;
    for (max, result) in [
        (0, Err(Errno::EFBIG)),
        (whole / 2, Err(Errno::EFBIG)),
        // Room for the data, none for the header.
        (whole, Err(Errno::EFBIG)),
        (whole + 511, Err(Errno::EFBIG)),
        (whole + 512, Ok(())),
    ] {
        let file = tempfile::tempfile().unwrap();
        let (fd, vnode) = install(&s, &file);
        let max_size = Some(max);
        vnode.set_faults(FileFaults { max_size, ..Default::default() });
        let got = s.minidump(&request(fd, 0)).map(|_| ());
        assert_eq!(got, result, "{max} of {whole} bytes");
        s.process.close(fd).unwrap();
    }
    s.assert_at_rest();
}

#[test]
fn a_file_that_cannot_be_emptied_is_not_written() {
    let s = Scenario::model(TINY);
    let file = tempfile::tempfile().unwrap();
    let (fd, vnode) = install(&s, &file);
    let fail_truncate = Some(Errno::EROFS);
    vnode.set_faults(FileFaults { fail_truncate, ..Default::default() });
    assert_eq!(s.minidump(&request(fd, 0)), Err(Errno::EROFS));
    assert_eq!(vnode.writes(), 0);
    assert_eq!(s.status().last_stage(), Some(Stage::Truncate));
    s.assert_at_rest();
}

/// Whether the tool's `verify` would let a file pass.
fn verify_accepts(path: &Path) -> bool {
    match Vmcore::open(path) {
        Ok(core) => !core.verify(None, 1).verdict().is_damaged(),
        Err(_) => false,
    }
}

/// As where the file system has gone: the last write fails, and so does
/// emptying the file.
#[test]
fn half_a_dump_that_cannot_be_removed_is_not_accepted() {
    let s = Scenario::model(TINY);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("half");
    for compression in 0..=2 {
        let last = writes(&s, compression);
        for nth in 1..=last + 1 {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .unwrap();
            let (fd, vnode) = install(&s, &file);
            let gone = Arc::clone(&vnode);
            let dump = move |_: Block<'_>| {
                gone.set_faults(FileFaults {
                    fail_write: Some((nth, Errno::EIO)),
                    fail_truncate: Some(Errno::EIO),
                    ..Default::default()
                });
                Ok(())
            };
            let dump = Some(Arc::new(dump) as Arc<_>);
            s.kernel.set_events(Events { dump, ..Events::default() });
            let result = s.minidump(&request(fd, compression));
            s.process.close(fd).unwrap();
            let what = format!("{compression}: write {nth} of {last} failed");
            assert_eq!(result.is_ok(), nth > last, "{what}");
            // Without its header alone it is whole, as savecore leaves it.
            if nth != last {
                assert_eq!(verify_accepts(&path), nth > last, "{what}");
            }
        }
        judge_raw(&std::fs::read(&path).unwrap()).unwrap();
    }
}
