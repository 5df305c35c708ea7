// SPDX-License-Identifier: BSD-2-Clause
//! What the tests of all writers share.

use super::{Error, Job, Progress, Sink};
use livedump_vmcore::MemoryError;
use livedump_vmcore::image::{Claims, Format, MemoryImage, Run};
use livedump_vmcore::source::{Plain, Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

/// Memory of which some pages cannot be read.
#[derive(Debug, Default)]
pub struct Pages {
    pub pages: BTreeMap<u64, Vec<u8>>,
    pub broken: BTreeSet<u64>,
    pub end: u64,
    pub claims: Claims,
}

impl Pages {
    /// Runs that touch and that do not, zeros, and what does not compress.
    pub fn sample() -> Self {
        let mut all = Self { end: 0x300_0000, ..Self::default() };
        let numbers = (2..9).chain(200..600).chain([0x2000, 0x2001, 0x2ffe]);
        for n in numbers {
            let mut page = vec![0; PAGE_SIZE];
            let mut x = u64::wrapping_mul(n, 0x9e37_79b9_7f4a_7c15) | 1;
            for word in page.chunks_mut(8) {
                if n % 5 == 0 {
                    break;
                }
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let value: u64 = if n % 3 == 0 { x } else { n << 40 };
                word.copy_from_slice(&value.to_le_bytes());
            }
            all.pages.insert(n * 4096, page);
        }
        all
    }

    /// What is there, by address.
    pub fn all(&self) -> BTreeMap<u64, Vec<u8>> {
        let pages = self.pages.clone().into_iter();
        pages.filter(|(pa, _)| !self.broken.contains(pa)).collect()
    }
}

impl MemoryImage for Pages {
    fn format(&self) -> Format {
        Format::Raw
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        let start = self.pages.range(from.0..).next().map(|(pa, _)| *pa);
        Ok(start.map(|start| {
            let mut end = start + 4096;
            // Adjacent ones of a few pages.
            while self.pages.contains_key(&end) && end % 0x4_0000 != 0 {
                end += 4096;
            }
            Run { start, end }
        }))
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let mut at = pa.0;
        let mut done = 0;
        while done < buf.len() {
            let (page, into) = (at / 4096 * 4096, (at % 4096) as usize);
            let found = self.pages.get(&page);
            let found = found.filter(|_| !self.broken.contains(&page));
            let found = found.ok_or(MemoryError::NotDumped { pa })?;
            let n = (4096 - into).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&found[into..into + n]);
            (at, done) = (at + n as u64, done + n);
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        self.end
    }
}

pub fn job() -> Job<'static> {
    Job::new(None, Progress::default())
}

/// What a writer writes to a file, and what it writes to a pipe.
pub fn written(
    write: impl Fn(Sink<'_>, &mut Job<'_>) -> Result<(), Error>,
) -> (File, Vec<u8>, u64) {
    let file = tempfile::tempfile().unwrap();
    let mut first = job();
    write(Sink::file(&file).unwrap(), &mut first).unwrap();
    let mut stream = Vec::new();
    let mut second = job();
    write(Sink::stream(&mut stream), &mut second).unwrap();
    assert_eq!(first.problems.pages(), second.problems.pages());
    (file, stream, first.problems.pages())
}

/// The bytes of a file.
pub fn bytes(file: &File) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut all = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut all, 0).unwrap();
    all
}

/// A file as an image of a format that has a magic number.
pub fn image(file: &File) -> Arc<dyn MemoryImage> {
    let file = file.try_clone().unwrap();
    let len = file.metadata().unwrap().len();
    let source: Arc<dyn Source> = Arc::new(Plain::new(Arc::new(file), len));
    livedump_vmcore::image::open(&source).unwrap().unwrap()
}

/// All pages of an image.
pub fn contents(image: &dyn MemoryImage) -> BTreeMap<u64, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut runs = super::Runs::new(image);
    while let Some(run) = runs.next().unwrap() {
        for pa in (run.start..run.end).step_by(PAGE_SIZE) {
            let mut page = vec![0; PAGE_SIZE];
            image.read(Paddr(pa), &mut page).unwrap();
            all.insert(pa, page);
        }
    }
    all
}
