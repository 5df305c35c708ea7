// SPDX-License-Identifier: BSD-2-Clause
//! Memory images of other programs, which are run here: every page they wrote
//! is read and compared with the memory it is of.

mod makedumpfile;
mod qemu;

use livedump_vmcore::image::{self, MemoryImage};
use livedump_vmcore::source::Plain;
use memdev::addr::Paddr;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Opens a file as an image.
#[track_caller]
fn open(path: &Path) -> Arc<dyn MemoryImage> {
    let file = Arc::new(File::open(path).unwrap());
    let len = file.metadata().unwrap().len();
    let source = Arc::new(Plain::new(file, len));
    image::open(&(source as _)).unwrap().unwrap()
}

/// Its runs, adjacent ones joined.
fn runs(image: &dyn MemoryImage) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while let Some(run) = image.next_run(Paddr(at)).unwrap() {
        at = run.end;
        match all.last_mut() {
            Some(last) if last.1 == run.start => last.1 = run.end,
            _ => all.push((run.start, run.end)),
        }
    }
    all
}

/// Everything an image has below `end`, and zeros between.
fn memory(image: &dyn MemoryImage, end: u64) -> Vec<u8> {
    let mut all = vec![0; end as usize];
    for (start, stop) in runs(image) {
        let stop = stop.min(end);
        for page in (start..stop).step_by(4096) {
            let part = &mut all[page as usize..page as usize + 4096];
            image.read(Paddr(page), part).unwrap();
        }
    }
    all
}
