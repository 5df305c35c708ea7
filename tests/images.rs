// SPDX-License-Identifier: BSD-2-Clause
//! Memory images of other programs, which are run here: every page they wrote
//! is read and compared with the memory it is of.

mod avml;
mod checkpoint;
mod flips;
mod guest;
mod linux;
pub mod makedumpfile;
pub mod model;
mod params;
mod parts;
mod physmem;
mod qemu;

use livedump_vmcore::image::{self, MemoryImage};
use livedump_vmcore::source::Plain;
use memdev::addr::Paddr;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Opens a file as an image.
#[track_caller]
pub fn open(path: &Path) -> Arc<dyn MemoryImage> {
    let file = Arc::new(File::open(path).unwrap());
    let len = file.metadata().unwrap().len();
    let source = Arc::new(Plain::new(file, len));
    image::open(&(source as _)).unwrap().unwrap()
}

/// Its runs, adjacent ones joined.
pub fn runs(image: &dyn MemoryImage) -> Vec<(u64, u64)> {
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

/// What an image has of `size` bytes from `base` on, and zeros between.
fn memory(image: &dyn MemoryImage, base: u64, size: u64) -> Vec<u8> {
    let mut all = vec![0; size as usize];
    for (start, end) in runs(image) {
        let pages = start.max(base)..end.min(base + size);
        for page in pages.step_by(4096) {
            let at = (page - base) as usize;
            image.read(Paddr(page), &mut all[at..at + 4096]).unwrap();
        }
    }
    all
}
