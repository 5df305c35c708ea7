// SPDX-License-Identifier: BSD-2-Clause
//! Dumps of one instant that do not succeed at once.

use super::process::Descriptor;
use super::raw::RawMachine;
use super::vnode::scratch_file;
use super::*;
use livedump_kmod::error::Errno;
use livedump_kmod::kpi::Target;
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use memdev::freeze::{FLAG_FREEZE, MEM_MINIDUMP2, MemMinidumpArg2};
use std::os::unix::fs::FileExt;

const PAGES: u64 = 8192;

/// A machine that has some of its pages at first, and all of them from the
/// time that memory is taken for the copies.
struct Growing {
    raw: RawMachine,
    few: u64,
    has_grown: AtomicBool,
}

impl Growing {
    fn kernel(few: u64) -> Arc<HostedKernel> {
        let file = scratch_file("growing");
        for page in 0..PAGES {
            let text = [page as u8 | 1; PAGE_SIZE];
            file.write_all_at(&text, page * PAGE_SIZE as u64).unwrap();
        }
        let raw = RawMachine::from_file(file).unwrap();
        HostedKernel::new(Arc::new(Self {
            raw,
            few,
            has_grown: AtomicBool::new(false),
        }))
    }
}

impl Machine for Growing {
    fn target(&self) -> Target {
        self.raw.target()
    }

    fn dump_avail(&self) -> &[(u64, u64)] {
        self.raw.dump_avail()
    }

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        self.raw.copy_bitset(first, words);
        if self.has_grown.load(Ordering::Relaxed) {
            return;
        }
        for (i, word) in words.iter_mut().enumerate() {
            if (first + i) as u64 >= self.few / 64 {
                *word = 0;
            }
        }
        // The last word of the first look.
        if (first + words.len()) as u64 * 64 >= PAGES {
            self.has_grown.store(true, Ordering::Relaxed);
        }
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        self.raw.copy_msgbuf(text);
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        self.raw.load_entry(table, index)
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        self.raw.phys_in_dmap(pa)
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        self.raw.vm_phys_is_dumpable(pa)
    }

    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        self.raw.read_page(pa, page)
    }

    fn hostname(&self) -> &str {
        self.raw.hostname()
    }

    fn version(&self) -> &str {
        self.raw.version()
    }
}

fn freeze(kernel: &Arc<HostedKernel>) -> Result<(MemMinidumpArg2, Vec<u8>)> {
    let p = kernel.process(Credentials::ROOT);
    let out = scratch_file("frozen");
    let descriptor = Descriptor::from_file(out.try_clone().unwrap()).unwrap();
    let mut arg = MemMinidumpArg2::new();
    arg.arg.fd = p.install(descriptor);
    arg.arg.flags = FLAG_FREEZE;
    arg.freeze.max_pause_ns = 1_000_000_000;
    let mut data = [0; 192];
    arg.encode(&mut data);
    let answer = p.ioctl(MEM_MINIDUMP2, &mut data);
    assert_eq!(kernel.memory().current(), 0);
    assert_eq!((kernel.locks_held(), kernel.files_held()), (0, 0));
    let len = out.metadata().unwrap().len();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    out.read_exact_at(&mut bytes, 0).unwrap();
    answer?;
    Ok((MemMinidumpArg2::decode(&data), bytes))
}

/// The data pages are those that the machine has, in their order.
#[track_caller]
fn assert_whole(arg: &MemMinidumpArg2, dump: &[u8]) {
    assert_eq!(arg.arg.pages, PAGES);
    let end = usize::try_from(arg.arg.dumpextent).unwrap();
    let first = end - PAGES as usize * PAGE_SIZE;
    for (nth, page) in dump[first..end].chunks(PAGE_SIZE).enumerate() {
        assert!(page.iter().all(|&b| b == nth as u8 | 1), "page {nth}");
    }
}

#[test]
fn more_pages_than_there_is_room_for_get_more_room() {
    let kernel = Growing::kernel(1024);
    let (arg, dump) = freeze(&kernel).unwrap();
    assert_whole(&arg, &dump);
    assert_eq!(arg.freeze.late_pages, PAGES - 1024);
    assert!(kernel.faults().calls(Method::Freeze) > 1);
}

#[test]
fn pages_that_came_since_are_in_the_dump_and_told() {
    let kernel = Growing::kernel(PAGES - 64);
    let (arg, dump) = freeze(&kernel).unwrap();
    assert_whole(&arg, &dump);
    assert_eq!(arg.freeze.late_pages, 64);
    assert_eq!(kernel.faults().calls(Method::Freeze), 1);
}

/// What was copied when a CPU did not say that it was done is not the copy
/// that another stop is told to be of.
#[test]
fn a_stop_that_is_no_good_is_followed_by_another_copy() {
    let copies = |times| {
        let kernel = Growing::kernel(PAGES);
        kernel.set_silent_cpu(times);
        let answer = freeze(&kernel);
        (kernel.faults().calls(Method::ReadPage), answer)
    };
    let (once, answer) = copies(0);
    let (arg, dump) = answer.unwrap();
    assert_whole(&arg, &dump);
    let (twice, answer) = copies(1);
    let (arg, dump) = answer.unwrap();
    assert_whole(&arg, &dump);
    assert!(twice >= once + PAGES, "{once} pages read, then {twice}");
    let (_, answer) = copies(2);
    assert_eq!(answer.unwrap_err(), Errno::ETIMEDOUT);
}
