// SPDX-License-Identifier: BSD-2-Clause
//! Files that mean harm. Whatever is in them: an error or part of an answer,
//! soon, and in little memory.

mod bombs;
mod frames;
mod kernels;
mod sections;
mod structures;
mod types;

use livedump_tests::decoder::Dump;
use livedump_tests::scenario::{Scenario, TINY_ARM64};
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use memdev::addr::{Paddr, Vaddr};
use proptest::test_runner::{Config, FileFailurePersistence};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longer than this is a hang.
const SOON: Duration = Duration::from_secs(30);

/// As many cases as a test run has time for; `PROPTEST_CASES` for more.
fn cases(n: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|n| n.parse().ok()).unwrap_or(n);
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    Config { cases, failure_persistence, ..Config::default() }
}

/// A sound dump to spoil, raw, and its kernel.
struct Sound {
    raw: Vec<u8>,
    kernel: Vec<u8>,
}

impl Sound {
    /// A small machine's.
    fn new(recipe: &str, compression: u8) -> Self {
        use livedump_hosted::machine::Running;
        let s = Scenario::model(recipe);
        s.kernel.set_time_second(1);
        let _ = s.dump(compression);
        let kernel = s.machine.kernel_elf().unwrap();
        Self { raw: s.contents(), kernel }
    }

    fn arm64() -> Self {
        Self::new(TINY_ARM64, 0)
    }
}

/// A place for spoilt files.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Everything the reader can do, with a dump and its kernel. Returns
    /// whether it would be called sound.
    fn read(&self, core: &[u8], kernel: &[u8]) -> bool {
        let (core, kernel) =
            (self.put("core", core), self.put("kernel", kernel));
        let (done, ended) = channel();
        let reader = std::thread::spawn(move || {
            let sound = read_everything(&core, &kernel);
            let _ = done.send(());
            sound
        });
        // An error is a panic of the reader's; join says so.
        let waited = ended.recv_timeout(SOON);
        let hang = std::sync::mpsc::RecvTimeoutError::Timeout;
        assert_ne!(waited, Err(hang), "it hangs");
        match reader.join() {
            Ok(sound) => sound,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// That a spoilt file is read wrong nowhere: what is served is what was
/// dumped. Returns how many pages were.
fn serves_the_truth(core: &Path, was: &Dump) -> usize {
    let Ok(core) = Vmcore::open(core) else { return 0 };
    let mut page = [0; 4096];
    let mut served = 0;
    for (pa, want) in was.pages() {
        if core.read_phys(Paddr(pa), &mut page).is_ok() {
            assert!(page == want, "page {pa:#x} is served wrong");
            served += 1;
        }
    }
    served
}

fn read_everything(core: &Path, kernel: &Path) -> bool {
    let Ok(core) = Vmcore::open(core) else { return false };
    let kernel = Kernel::open(kernel).ok();
    let _ = core.notes().len();
    let _ = core.expected_len();
    let _ = core.msgbuf_section().map(|ring| ring.unrolled());
    let mut page = [0; 4096];
    let header = *core.header();
    for va in [
        header.kernbase.0,
        header.dmapbase.0,
        header.dmapend.0.wrapping_sub(8),
        0xffff_ffff_ffff_f000,
        0xffff_ffff_8000_0000,
        0,
    ] {
        let _ = core.read_va(Vaddr(va), &mut page);
        let _ = core.read_va(Vaddr(va.wrapping_add(4090)), &mut page);
    }
    for pa in [0, 0x4000_0000, 1 << 52, u64::MAX, u64::MAX - 4095] {
        let _ = core.read_phys(Paddr(pa), &mut page);
        let _ = core.page_state(Paddr(pa));
    }
    let mut seen = 0;
    let _ = core.for_each_page(|pa, _| {
        seen += 1;
        let _ = core.read_phys(pa, &mut page);
        match seen {
            200 => std::ops::ControlFlow::Break(()),
            _ => std::ops::ControlFlow::Continue(()),
        }
    });
    if let Some(kernel) = &kernel {
        let _ = core.procs(kernel);
        if let Ok(header) = core.msgbuf_header(kernel) {
            let _ = core.msgbuf_ring(&header);
        }
    }
    core.verify(kernel.as_ref(), 2).verdict().is_sound()
}
