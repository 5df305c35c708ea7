// SPDX-License-Identifier: BSD-2-Clause
//! How much of a dump is read for an answer: the page bitset once, and of the
//! rest the pages that the answer is made of.

mod check;
mod frames;
mod large;
#[cfg(target_os = "linux")]
mod program;

use crate::tool::CrashDir;
use livedump_vmcore::source::Stored;
use livedump_vmcore::{Opened, Vmcore};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Of the machines here.
const PROCESSES: u64 = 24;
const THREADS: u64 = 8 * PROCESSES;

/// A machine of this size, whose dump has few pages besides those of its
/// processes.
fn recipe(rest: &str) -> String {
    let mut text = format!(
        "text 64K 4K\ndata 128K 4K\nkmap 64K 4K\nnodump 4\nvmpage 4\n\
         msgbuf 4K\n{rest}\nprocess 843 livedump\n\
         thread 100670 livedump run 0\nlock hot sx owner 101000\n"
    );
    for process in 0..PROCESSES {
        let pid = 1000 + process;
        writeln!(text, "process {pid} worker{process}").unwrap();
        for n in 0..8 {
            let tid = 101_000 + 8 * process + n;
            let state = match n {
                1..4 => "wait hot",
                _ => "sleep biord",
            };
            writeln!(text, "thread {tid} w{n} {state}").unwrap();
        }
    }
    text
}

/// A dump of it, and its kernel.
fn capture(rest: &str, options: &[&str]) -> CrashDir {
    let dir = CrashDir::new();
    let machine = dir.recipe(&recipe(rest));
    let all = ["--keep-kernel", "--no-seal", "-q"];
    dir.capture(&machine, &[&all, options].concat()).expect(0);
    dir
}

/// A file, and what is read of it.
#[derive(Debug)]
struct Counted {
    file: File,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl Stored for Counted {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.reads.lock().unwrap().push((at, buf.len()));
        Stored::read_at(&self.file, buf, at)
    }
}

impl Counted {
    /// Opens a dump with it.
    fn open(path: &Path) -> (Arc<Self>, Vmcore) {
        let file = File::open(path).unwrap();
        let len = file.metadata().unwrap().len();
        let reads = Mutex::default();
        let counted = Arc::new(Self { file, reads });
        let stored = Arc::clone(&counted) as Arc<dyn Stored>;
        let opened = Opened::decrypted(stored, len, &counted.file, path);
        match opened.unwrap() {
            Opened::Minidump(core) => (counted, *core),
            Opened::Image(_) => panic!("not a minidump"),
        }
    }

    /// What was read since this was asked last: how often each place, of so
    /// many bytes.
    fn take(&self) -> BTreeMap<(u64, usize), u64> {
        let mut all = BTreeMap::new();
        for read in self.reads.lock().unwrap().drain(..) {
            *all.entry(read).or_default() += 1;
        }
        all
    }
}
