// SPDX-License-Identifier: BSD-2-Clause
//! What the tests of all formats share.

use super::{ImageError, MemoryImage};
use crate::MemoryError;
use crate::source::Plain;
use memdev::addr::{Paddr, Page};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// A page like no other, which compresses.
pub fn page(n: u64) -> Page {
    let mut page = [0; 4096];
    for (i, word) in page.chunks_mut(8).enumerate() {
        let value = n << 32 | (i as u64 / 7);
        word.copy_from_slice(&value.to_le_bytes());
    }
    page
}

/// One that does not.
pub fn noise(n: u64) -> Page {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut page = [0; 4096];
    for word in page.chunks_mut(8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        word.copy_from_slice(&x.to_le_bytes());
    }
    page
}

/// A file of these bytes.
pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Opens a file, if it is an image.
pub fn open_file(
    file: File,
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    let len = file.metadata().unwrap().len();
    super::open(&(Arc::new(Plain::new(Arc::new(file), len)) as _))
}

/// The same for bytes.
pub fn open_bytes(
    bytes: &[u8],
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    open_file(file(bytes))
}

/// Opens what is one.
#[track_caller]
pub fn open(bytes: &[u8]) -> Arc<dyn MemoryImage> {
    open_bytes(bytes).unwrap().unwrap()
}

/// Pages by number.
pub trait Pages {
    /// One.
    fn page(&self, n: u64) -> Result<Page, MemoryError>;
}

impl Pages for Arc<dyn MemoryImage> {
    fn page(&self, n: u64) -> Result<Page, MemoryError> {
        let mut page = [0xa5; 4096];
        self.read(Paddr(n * 4096), &mut page)?;
        Ok(page)
    }
}

/// The image's runs, up to a bound, adjacent ones joined; they rise.
pub fn runs(image: &dyn MemoryImage) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    for _ in 0..200_000 {
        let run = image.next_run(Paddr(at)).unwrap();
        let Some(run) = run else { break };
        assert!(run.start >= at && run.end > run.start, "{run:?}");
        assert!(run.start % 4096 == 0 && run.end % 4096 == 0, "{run:?}");
        at = run.end;
        match all.last_mut() {
            Some(last) if last.1 == run.start => last.1 = run.end,
            _ => all.push((run.start, run.end)),
        }
    }
    all
}

/// Flips 60 bits of a file, one at a time, and reads all there is. `check`
/// is given where the bit is and the image, if it opens.
pub fn bit_flips(
    bytes: &[u8],
    mut check: impl FnMut(usize, Option<&Arc<dyn MemoryImage>>),
) {
    // Half of them in the headers, where they do most.
    let mut x = 0x2545_f491_4f6c_dd1du64;
    for i in 0..60 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let within = if i % 2 == 0 { bytes.len() } else { 512 };
        let at = (x >> 8) as usize % within.min(bytes.len());
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (x % 8);
        let image = open_bytes(&changed).ok().flatten();
        if let Some(image) = &image {
            for (start, end) in runs(image.as_ref()).into_iter().take(64) {
                let pages = (end - start).min(64 << 12) / 4096;
                for n in start / 4096..start / 4096 + pages {
                    let _ = image.page(n);
                }
            }
        }
        check(at, image.as_ref());
    }
}
