// SPDX-License-Identifier: BSD-2-Clause
//! A minidump as physical memory: its pages are runs, so that what needs no
//! kernel addresses reads it as it reads every other image. Pages that are
//! adjacent in memory are adjacent in the file.

use super::{Claims, Format, MemoryImage, Run};
use crate::pages::PageState;
use crate::source::SourceError;
use crate::{MemoryError, PagesError, Vmcore};
use memdev::addr::{PAGE_SIZE, Paddr};

const PAGE: u64 = PAGE_SIZE as u64;

impl Vmcore {
    /// The first run of pages in the dump at or after `from`, and the rank of
    /// its first page among all; the file may end before them. It may be
    /// adjacent to the next run.
    ///
    /// # Errors
    /// The bitset cannot be read.
    pub fn next_pages(
        &self,
        from: Paddr,
    ) -> Result<Option<(Run, u64)>, SourceError> {
        match self.pages() {
            Ok(pages) => pages.next_run(self.source(), from),
            Err(PagesError::Source(e)) => {
                let source = std::io::Error::other(crate::chain(e));
                let offset = self.layout().bitmap;
                Err(SourceError::Io { offset, source })
            }
            // What was read of it before is told when a dump is opened.
            Err(_) => Ok(None),
        }
    }

    /// Whether the file has all of `pages` pages.
    fn has_all(&self, pa: Paddr, pages: u64) -> Result<bool, MemoryError> {
        let Ok(index) = self.pages() else { return Ok(false) };
        let (present, _) = index.count_range(self.source(), pa, pages)?;
        Ok(present == pages)
    }
}

impl MemoryImage for Vmcore {
    fn format(&self) -> Format {
        match self.image() {
            Some(memory) => memory.format(),
            None => Format::Minidump,
        }
    }

    fn claims(&self) -> &Claims {
        match self.image() {
            Some(memory) => memory.image().claims(),
            None => &self.claims,
        }
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        Ok(self.next_pages(from)?.map(|(run, _)| run))
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let into = pa.0 % PAGE;
        let end = into.saturating_add(buf.len() as u64);
        let first = Paddr(pa.0.saturating_sub(into));
        let pages = end.div_ceil(PAGE);
        if pages <= 1 {
            return self.read_in_page(pa, buf);
        }
        if let Some(memory) = self.image() {
            return memory.image().read(pa, buf);
        }
        let PageState::Present(at) = self.page_state(first)? else {
            // It says why.
            return self.read_in_page(pa, buf.get_mut(..1).unwrap_or_default());
        };
        if !self.has_all(first, pages)? {
            return Err(MemoryError::NotDumped { pa });
        }
        let at = at.saturating_add(into);
        let got = self.source().read_at(at, buf)?;
        if got < buf.len() {
            let offset = at;
            let end = at.saturating_add(got as u64);
            return Err(MemoryError::BeyondEnd { pa, offset, end });
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        let ranges = self.pages().map_or(&[][..], |pages| pages.ranges());
        let last = ranges.last().map_or(0, |range| range.1);
        last.checked_next_multiple_of(PAGE).unwrap_or(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Sample, VERSIONS, open};

    #[test]
    fn its_runs_are_its_pages_and_read_as_they_do() {
        for (machine, version) in VERSIONS {
            let sample = Sample::new(machine, version);
            let core = open(&sample.bytes());
            let image: &dyn MemoryImage = &core;
            let mut found = Vec::new();
            let mut at = 0;
            let mut rank = 0;
            while let Some((run, first)) = core.next_pages(Paddr(at)).unwrap() {
                assert_eq!(first, rank);
                let again = image.next_run(Paddr(at)).unwrap();
                assert_eq!(again, Some(run));
                let pages = (run.end - run.start) / PAGE;
                let mut all = vec![0; (run.end - run.start) as usize];
                image.read(Paddr(run.start), &mut all).unwrap();
                for (n, page) in all.chunks(PAGE_SIZE).enumerate() {
                    let pa = run.start + n as u64 * PAGE;
                    found.push((pa, page.to_vec()));
                }
                let mut more = vec![0; all.len() + PAGE_SIZE];
                assert!(image.read(Paddr(run.start), &mut more).is_err());
                (at, rank) = (run.end, rank + pages);
            }
            let want: Vec<_> =
                sample.pages.iter().map(|(pa, p)| (*pa, p.to_vec())).collect();
            assert_eq!(found, want, "{machine:?} {version}");
            assert!(image.end() >= at);
            assert!(image.next_run(Paddr(u64::MAX)).unwrap().is_none());
        }
    }
}
