// SPDX-License-Identifier: BSD-2-Clause
//! Which pages did not hold at the end what the dump has of them. Four bytes
//! of memory for each page that is dumped, and a bit for each that could be (two
//! more are its kind); all of it taken before the first byte is out.
//!
//! A page counts as unchanged with one chance in 2^32 of being wrong; one that
//! was changed and changed back is unchanged.

use super::snapshot::Snapshot;
use crate::error::{Errno, Result, Stage};
use crate::kpi::Kpi;
use crate::progress::Progress;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use memdev::addr::{PAGE_SIZE, Page};
use memdev::bitset::Bitset;
use memdev::changes::{HEADER_BYTES, Header, RECORD_BYTES, Record};

/// Pages between two looks at signals.
const PAGES_BETWEEN_CHECKS: usize = 1 << 10;

/// A hash of each page as it went into the dump.
pub(super) struct Stability<K: Kpi> {
    hashes: K::Array<AtomicU32>,
    changed: K::Words,
    page: K::Pages,
}

impl<K: Kpi> Stability<K> {
    /// Memory for the dump that `from` is of.
    pub(super) fn new(kpi: &K, from: &Snapshot<'_, K>) -> Result<Self> {
        let pages = usize::try_from(from.planned.pages);
        let pages = pages.map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            hashes: kpi.malloc_array(pages, |_| Ok(AtomicU32::new(0)))?,
            changed: kpi.malloc_words(from.words.len())?,
            page: kpi.malloc_pages(1)?,
        })
    }

    /// Remembers data pages from the nth on.
    pub(super) fn note(&self, nth: usize, pages: &[Page]) {
        let hashes = self.hashes.iter().skip(nth);
        for (slot, page) in hashes.zip(pages) {
            slot.store(hash(page), Relaxed);
        }
    }

    /// Looks again, and writes the list where there is a file for it.
    pub(super) fn compare(
        &mut self,
        kpi: &K,
        from: &Snapshot<'_, K>,
        file: Option<&K::File>,
        progress: &Progress,
    ) -> Result<Header> {
        progress.stage(Stage::Stability);
        let header = self.count_changed(kpi, from)?;
        if let Some(file) = file {
            self.write(kpi, from, header, file)?;
        }
        Ok(header)
    }

    fn count_changed(
        &mut self,
        kpi: &K,
        from: &Snapshot<'_, K>,
    ) -> Result<Header> {
        let mut header = Header::default();
        let set =
            Bitset::new(&*from.words, from.bits).ok_or(Errno::EINTEGRITY)?;
        let mut changed = Bitset::new(&mut *self.changed, from.bits)
            .ok_or(Errno::EINTEGRITY)?;
        let page = self.page.first_mut().ok_or(Errno::EINTEGRITY)?;
        for (nth, bit) in set.iter().enumerate() {
            if nth.is_multiple_of(PAGES_BETWEEN_CHECKS) {
                kpi.sig_intr()?;
                kpi.maybe_yield();
            }
            let pa = from.avail.pa_of(bit).ok_or(Errno::EINTEGRITY)?;
            let was = self.hashes.get(nth).ok_or(Errno::EINTEGRITY)?;
            kpi.read_page(pa, page)?;
            header.pages += 1;
            if hash(page) != was.load(Relaxed) {
                changed.set(bit);
                let kind = from.kind(bit) as usize;
                if let Some(n) = header.changed.get_mut(kind) {
                    *n += 1;
                }
            }
        }
        Ok(header)
    }

    /// Writes the list into a file of its own, which is empty afterwards when
    /// that fails.
    fn write(
        &mut self,
        kpi: &K,
        from: &Snapshot<'_, K>,
        mut header: Header,
        file: &K::File,
    ) -> Result<()> {
        kpi.vn_truncate(file)?;
        let Self { changed, page, .. } = self;
        let buffer = page.first_mut().ok_or(Errno::EINTEGRITY)?;
        let changed =
            Bitset::new(&**changed, from.bits).ok_or(Errno::EINTEGRITY)?;
        let mut list =
            List { kpi, file, buffer, used: 0, offset: HEADER_BYTES as u64 };
        let mut records = 0;
        let mut run: Option<Record> = None;
        for bit in changed.iter() {
            let start = from.avail.pa_of(bit).ok_or(Errno::EINTEGRITY)?;
            let kind = from.kind(bit);
            match &mut run {
                Some(r) if r.end() == start.0 && r.kind == kind => {
                    r.pages += 1;
                }
                _ => {
                    if let Some(r) = run.take() {
                        list.push(&r)?;
                    }
                    records += 1;
                    run = Some(Record { start, pages: 1, kind });
                }
            }
        }
        if let Some(r) = run {
            list.push(&r)?;
        }
        list.flush()?;
        // Last, so that a list without an end has no beginning either.
        header.records = records;
        kpi.vn_write(file, 0, &header.encode())
    }
}

/// Records on their way out, a page of them at a time.
struct List<'a, K: Kpi> {
    kpi: &'a K,
    file: &'a K::File,
    buffer: &'a mut Page,
    used: usize,
    offset: u64,
}

impl<K: Kpi> List<'_, K> {
    fn push(&mut self, record: &Record) -> Result<()> {
        let room = self.buffer.get_mut(self.used..);
        let room = room.and_then(|b| b.first_chunk_mut::<RECORD_BYTES>());
        *room.ok_or(Errno::EINTEGRITY)? = record.encode();
        self.used += RECORD_BYTES;
        if self.used == PAGE_SIZE {
            self.kpi.sig_intr()?;
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let data = self.buffer.get(..self.used).ok_or(Errno::EINTEGRITY)?;
        if !data.is_empty() {
            self.kpi.vn_write(self.file, self.offset, data)?;
        }
        self.offset += self.used as u64;
        self.used = 0;
        Ok(())
    }
}

/// Four lanes, so that a page costs little more than to read it. Each step is
/// a bijection: no change of one word is lost in its lane.
fn hash(page: &Page) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [1u64, 2, 3, 4];
    for block in page.as_chunks::<32>().0 {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            let word = u64::from_le_bytes(*word);
            *lane = (*lane ^ word).wrapping_mul(MULTIPLIER).rotate_left(31);
        }
    }
    let sum = lanes.iter().fold(0u64, |sum, lane| {
        (sum ^ lane).wrapping_mul(MULTIPLIER).rotate_left(29)
    });
    (sum ^ sum >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_one_bit_changes_the_hash() {
        let mut page = [0; PAGE_SIZE];
        let none = hash(&page);
        for at in 0..PAGE_SIZE {
            page[at] ^= 1 << (at % 8);
            assert_ne!(hash(&page), none, "byte {at}");
            page[at] = 0;
        }
        assert_eq!(hash(&page), none);
    }

    #[test]
    fn words_that_change_places_change_the_hash() {
        let mut page = [0; PAGE_SIZE];
        page[0] = 1;
        let first = hash(&page);
        page.swap(0, 32);
        assert_ne!(hash(&page), first, "next in the same lane");
        page.swap(32, 8);
        assert_ne!(hash(&page), first, "another lane");
    }
}
