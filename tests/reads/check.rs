// SPDX-License-Identifier: BSD-2-Clause
//! What a check reads: all of a dump, once, with several threads.

use super::capture;
use crate::images::model::{Case, TWO};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::source::{ALL, Stored};
use livedump_vmcore::{Opened, Vmcore};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

const PAGE: usize = 4096;

/// A file where a read, once it is asked to, waits for one of another thread.
#[derive(Debug)]
struct Meeting {
    file: File,
    waits: AtomicBool,
    threads: Mutex<HashSet<ThreadId>>,
    second: Condvar,
}

impl Stored for Meeting {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        if self.waits.load(Ordering::Relaxed) {
            let mut threads = self.threads.lock().unwrap();
            threads.insert(thread::current().id());
            self.second.notify_all();
            let alone = |threads: &mut HashSet<_>| threads.len() < 2;
            let most = Duration::from_secs(20);
            let waited = self.second.wait_timeout_while(threads, most, alone);
            if waited.unwrap().1.timed_out() {
                self.waits.store(false, Ordering::Relaxed);
            }
        }
        Stored::read_at(&self.file, buf, at)
    }
}

/// That a check of the file with two threads reads with two.
#[track_caller]
fn is_read_by_two(path: &Path, kernel: &Path) -> Vmcore {
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let meeting = Arc::new(Meeting {
        file,
        waits: false.into(),
        threads: Mutex::default(),
        second: Condvar::new(),
    });
    let stored = Arc::clone(&meeting) as Arc<dyn Stored>;
    let opened = Opened::decrypted(stored, len, &meeting.file, path);
    let core = match opened.unwrap() {
        Opened::Minidump(core) => *core,
        Opened::Image(image) => {
            image.with_kernel(&Kernel::open(kernel).unwrap()).unwrap()
        }
    };
    meeting.waits.store(true, Ordering::Relaxed);
    let check = core.source().check(2, ALL).unwrap();
    meeting.waits.store(false, Ordering::Relaxed);
    assert_eq!(check.bad_units, 0);
    assert_eq!(check.bytes, core.source().known_len().unwrap());
    assert_eq!(meeting.threads.lock().unwrap().len(), 2, "{path:?}");
    core
}

#[test]
fn a_check_of_a_dump_is_one_of_several_threads() {
    for (options, name) in
        [(&[][..], "livecore.0"), (&["-Z"], "livecore.0.zst")]
    {
        // More than one group of frames.
        let dir = capture("size 128M\numa 6000", options);
        is_read_by_two(&dir.file(name), &dir.file("kernel.0"));
    }
}

#[test]
fn a_check_of_an_image_is_one_of_several_threads() {
    let case = Case::new(TWO);
    let (kernel, raw) = (case.text("kernel"), case.text("raw"));
    for to in ["lime", "kdump"] {
        let (out, convert) = (case.text(to), ["convert", "--no-seal"]);
        let words = ["-k", &kernel, "--to", to, &raw, &out];
        crate::tool::run(convert.iter().chain(&words)).expect(0);
    }
    for name in ["lime", "kdump"] {
        let core = is_read_by_two(&case.path(name), &case.path("kernel"));
        // Many pages at a time are what they are one by one.
        let len = core.source().known_len().unwrap() as usize;
        let (mut all, mut page) = (vec![1; len], vec![2; PAGE]);
        assert_eq!(core.source().read_at(0, &mut all).unwrap(), len);
        for (n, want) in all.chunks(PAGE).enumerate() {
            let at = (n * PAGE) as u64;
            assert_eq!(core.source().read_at(at, &mut page).unwrap(), PAGE);
            assert!(page == want, "{name}: {at:#x}");
        }
        // Neither the start nor the end need be those of a page.
        let (at, mut part) = (PAGE * 9 + 100, vec![3; len - PAGE * 10]);
        let got = core.source().read_at(at as u64, &mut part).unwrap();
        assert!(got == part.len() && part == all[at..][..got], "{name}");
    }
}

/// Comparing it with the seal is what reads it.
#[cfg(target_os = "linux")]
#[test]
fn verify_reads_a_plain_dump_once_with_and_without_a_seal() {
    use crate::tool::{CrashDir, run};
    let dir = CrashDir::new();
    let machine = dir.recipe("size 128M\numa 6000\n");
    dir.capture(&machine, &["-q", "--keep-kernel"]).expect(0);
    let path = dir.file("livecore.0");
    let len = path.metadata().unwrap().len();
    // The kernel's file, libraries, and the sections.
    let most = len + (2 << 20);
    assert!(most < 2 * len);
    let verify = |status| super::program::read_by(&path, "verify", status);
    let found = || run(["verify".as_ref(), path.as_os_str()]);
    let sealed = (verify(0), found().expect(0).stdout);
    assert!(String::from_utf8_lossy(&sealed.1).contains("checksums match"));
    std::fs::remove_file(dir.file("seal.0")).unwrap();
    let unsealed = (verify(0), found().expect(0).stdout);
    for (read, text) in [sealed, unsealed] {
        let Some(read) = read else {
            livedump_skip::skipped("no /proc/PID/io");
            return;
        };
        println!("{read} bytes of {len}");
        // Without its holes.
        assert!((len / 2..=most).contains(&read), "{read} bytes of {len}");
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(&format!("all {len} bytes can be read")));
    }
}
