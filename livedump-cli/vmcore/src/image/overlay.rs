// SPDX-License-Identifier: BSD-2-Clause
//! An image with other bytes in some of its pages.

use super::{Claims, Format, MemoryImage, Run};
use crate::MemoryError;
use crate::source::SourceError;
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;

/// An image, and whole pages in place of its own.
#[derive(Debug)]
pub struct Overlay {
    image: Arc<dyn MemoryImage>,
    pages: BTreeMap<u64, Box<Page>>,
}

impl Overlay {
    /// The image as it is.
    #[must_use]
    pub fn new(image: Arc<dyn MemoryImage>) -> Self {
        Self { image, pages: BTreeMap::new() }
    }

    /// Puts `bytes`, which end in the page in which they begin, at `pa`.
    ///
    /// # Errors
    /// The image lacks the page.
    pub fn put(&mut self, pa: Paddr, bytes: &[u8]) -> Result<(), MemoryError> {
        let within = pa.0 % PAGE;
        let start = pa.0.saturating_sub(within);
        let page = match self.pages.entry(start) {
            std::collections::btree_map::Entry::Occupied(page) => {
                page.into_mut()
            }
            std::collections::btree_map::Entry::Vacant(free) => {
                let mut page = Box::new([0; PAGE_SIZE]);
                self.image.read(Paddr(start), page.as_mut_slice())?;
                free.insert(page)
            }
        };
        let at = within as usize;
        let end = at.saturating_add(bytes.len());
        match page.get_mut(at..end) {
            Some(to) => to.copy_from_slice(bytes),
            None => return Err(MemoryError::NotDumped { pa }),
        }
        Ok(())
    }

    /// Whether nothing was put.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

impl MemoryImage for Overlay {
    fn format(&self) -> Format {
        self.image.format()
    }

    fn claims(&self) -> &Claims {
        self.image.claims()
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        self.image.next_run(from)
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.image.read(pa, buf)?;
        let end = pa.0.saturating_add(buf.len() as u64);
        let first = pa.0.saturating_sub(pa.0 % PAGE);
        for (&start, page) in self.pages.range(first..end) {
            let from = start.max(pa.0);
            let to = start.saturating_add(PAGE).min(end);
            let range = |base: u64| {
                let at = from.saturating_sub(base) as usize;
                at..(to.saturating_sub(base) as usize)
            };
            if let (Some(out), Some(bytes)) =
                (buf.get_mut(range(pa.0)), page.get(range(start)))
            {
                out.copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        self.image.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::raw::Raw;
    use crate::source::Plain;

    #[test]
    fn reads_have_what_was_put_and_the_rest() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x4000).unwrap();
        let source = Arc::new(Plain::new(Arc::new(file), 0x4000));
        let raw: Arc<dyn MemoryImage> = Arc::new(Raw::new(source, 0x4000));
        let mut image = Overlay::new(raw);
        assert!(image.is_empty());
        image.put(Paddr(0x1ffe), &[1, 2]).unwrap();
        image.put(Paddr(0x2000), &[3]).unwrap();
        assert!(image.put(Paddr(0x1fff), &[1, 2]).is_err());
        assert!(image.put(Paddr(0x4000), &[1]).is_err());
        let mut buf = [9; 0x3000];
        image.read(Paddr(0x1000), &mut buf).unwrap();
        assert_eq!(buf[0xffd..0x1002], [0, 1, 2, 3, 0]);
        let mut buf = [9; 2];
        image.read(Paddr(0x1fff), &mut buf).unwrap();
        assert_eq!(buf, [2, 3]);
        image.read(Paddr(0x3000), &mut buf).unwrap();
        assert_eq!(buf, [0, 0]);
    }
}
