// SPDX-License-Identifier: BSD-2-Clause
//! Physical memory: ranges of pages that are made when they are first
//! written, so that a machine of 4 GB costs what it touches. Shared between
//! threads; every access is atomic per 64-bit word and nothing more, which is
//! what a page copied from a running machine is, too.

use livedump_kmod::error::{Errno, Result};
use memdev::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr, Page, trunc_page};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = PAGE_SIZE / 8;
const DIRECTORY: u64 = 512;

type Words = [AtomicU64; WORDS];
type Directory = Box<[OnceLock<Box<Words>>]>;

/// Memory that exists in some ranges.
#[derive(Debug)]
pub struct Phys {
    ranges: Vec<Range>,
    touched: AtomicU64,
}

#[derive(Debug)]
struct Range {
    start: u64,
    end: u64,
    directories: Box<[OnceLock<Directory>]>,
}

/// `n` cells that nothing has been put in.
fn empty<T>(n: u64) -> Box<[OnceLock<T>]> {
    (0..n).map(|_| OnceLock::new()).collect()
}

impl Range {
    fn new(start: u64, end: u64) -> Self {
        let pages = (end - start) >> PAGE_SHIFT;
        Self { start, end, directories: empty(pages.div_ceil(DIRECTORY)) }
    }

    fn place(&self, pa: u64) -> (usize, usize) {
        let page = (pa - self.start) >> PAGE_SHIFT;
        ((page / DIRECTORY) as usize, (page % DIRECTORY) as usize)
    }

    fn page(&self, pa: u64) -> Option<&Words> {
        let (d, p) = self.place(pa);
        self.directories.get(d)?.get()?.get(p)?.get().map(|b| &**b)
    }
}

impl Phys {
    /// Memory that is there, all of it zero, in each of `ranges`, rounded out
    /// to pages. `None` where they do not ascend or reach past 2^52.
    #[must_use]
    pub fn new(ranges: &[(u64, u64)]) -> Option<Self> {
        let mut below = 0;
        let mut out = Vec::with_capacity(ranges.len());
        for &(start, end) in ranges {
            let start = trunc_page(start);
            let end = memdev::addr::round_page(end)?;
            if start < below || end < start || end > 1 << 52 {
                return None;
            }
            below = end;
            out.push(Range::new(start, end));
        }
        Some(Self { ranges: out, touched: AtomicU64::new(0) })
    }

    /// The ranges, in whole pages.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|r| (r.start, r.end))
    }

    /// Whether there is memory at `pa`.
    #[must_use]
    pub fn contains(&self, pa: Paddr) -> bool {
        self.range(pa.0).is_some()
    }

    /// Pages that have been written, and so take up memory here.
    #[must_use]
    pub fn touched_pages(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    fn range(&self, pa: u64) -> Option<&Range> {
        let i = self.ranges.partition_point(|r| r.end <= pa);
        self.ranges.get(i).filter(|r| r.start <= pa)
    }

    fn page_to_write(&self, pa: u64) -> Result<&Words> {
        let range = self.range(pa).ok_or(Errno::EFAULT)?;
        let (d, p) = range.place(pa);
        let cell = range
            .directories
            .get(d)
            .and_then(|d| d.get_or_init(|| empty(DIRECTORY)).get(p))
            .ok_or(Errno::EFAULT)?;
        Ok(cell.get_or_init(|| {
            self.touched.fetch_add(1, Ordering::Relaxed);
            Box::new([const { AtomicU64::new(0) }; WORDS])
        }))
    }

    /// Copies the page that holds `pa`.
    ///
    /// # Errors
    /// `EFAULT` where there is no memory; `page` is then zero.
    pub fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        let Some(range) = self.range(pa.0) else {
            page.fill(0);
            return Err(Errno::EFAULT);
        };
        match range.page(pa.0) {
            None => page.fill(0),
            Some(words) => {
                for (to, word) in page.chunks_exact_mut(8).zip(words) {
                    let w = word.load(Ordering::Relaxed);
                    to.copy_from_slice(&w.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// Copies bytes from anywhere, across pages.
    ///
    /// # Errors
    /// `EFAULT` where some of it is no memory.
    pub fn read(&self, pa: Paddr, out: &mut [u8]) -> Result<()> {
        for (at, piece) in pieces(pa, out.len())? {
            let word = self.load(Paddr(at & !7))?.to_le_bytes();
            let in_word = (at & 7) as usize;
            let to = out.get_mut(piece.clone()).ok_or(Errno::EFAULT)?;
            let from = word.get(in_word..).and_then(|w| w.get(..to.len()));
            to.copy_from_slice(from.ok_or(Errno::EFAULT)?);
        }
        Ok(())
    }

    /// Writes bytes anywhere, across pages. Bytes beside them that another
    /// thread writes at the same time are not lost.
    ///
    /// # Errors
    /// `EFAULT` where some of it is no memory; what comes before is written.
    pub fn write(&self, pa: Paddr, data: &[u8]) -> Result<()> {
        for (at, piece) in pieces(pa, data.len())? {
            let from = data.get(piece).ok_or(Errno::EFAULT)?;
            let in_word = (at & 7) as usize;
            let mut mask = [0u8; 8];
            let mut bits = [0u8; 8];
            for (i, &b) in from.iter().enumerate() {
                mask[in_word + i] = 0xff;
                bits[in_word + i] = b;
            }
            let mask = u64::from_le_bytes(mask);
            let bits = u64::from_le_bytes(bits);
            if mask == u64::MAX {
                self.store(Paddr(at & !7), bits)?;
            } else {
                self.update(Paddr(at & !7), |w| w & !mask | bits)?;
            }
        }
        Ok(())
    }

    /// Writes the page that holds `pa`, a word at a time.
    ///
    /// # Errors
    /// `EFAULT` where there is no memory.
    pub fn write_page(&self, pa: Paddr, page: &Page) -> Result<()> {
        let (from, _) = page.as_chunks();
        for (word, &w) in self.page_to_write(pa.0)?.iter().zip(from) {
            word.store(u64::from_le_bytes(w), Ordering::Release);
        }
        Ok(())
    }

    /// Loads the aligned word that holds `pa`.
    ///
    /// # Errors
    /// `EFAULT` where there is no memory.
    pub fn load(&self, pa: Paddr) -> Result<u64> {
        let range = self.range(pa.0).ok_or(Errno::EFAULT)?;
        let word = range.page(pa.0).and_then(|w| w.get(word_of(pa)));
        Ok(word.map_or(0, |w| w.load(Ordering::Acquire)))
    }

    /// Stores the aligned word that holds `pa`.
    ///
    /// # Errors
    /// `EFAULT` where there is no memory.
    pub fn store(&self, pa: Paddr, value: u64) -> Result<()> {
        self.word(pa)?.store(value, Ordering::Release);
        Ok(())
    }

    /// Changes the aligned word that holds `pa` in one step; returns what it
    /// was.
    ///
    /// # Errors
    /// `EFAULT` where there is no memory.
    pub fn update(&self, pa: Paddr, f: impl Fn(u64) -> u64) -> Result<u64> {
        let word = self.word(pa)?;
        let mut old = word.load(Ordering::Acquire);
        loop {
            match word.compare_exchange_weak(
                old,
                f(old),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(was) => return Ok(was),
                Err(now) => old = now,
            }
        }
    }

    fn word(&self, pa: Paddr) -> Result<&AtomicU64> {
        self.page_to_write(pa.0)?.get(word_of(pa)).ok_or(Errno::EFAULT)
    }
}

fn word_of(pa: Paddr) -> usize {
    (pa.0 as usize % PAGE_SIZE) / 8
}

/// The words that `len` bytes at `pa` lie in: the address of the first byte
/// in each, and which of the bytes those are.
fn pieces(
    pa: Paddr,
    len: usize,
) -> Result<impl Iterator<Item = (u64, core::ops::Range<usize>)>> {
    pa.0.checked_add(len as u64).ok_or(Errno::EFAULT)?;
    let mut done = 0;
    Ok(core::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = pa.0 + done as u64;
        let n = (8 - (at & 7) as usize).min(len - done);
        let piece = done..done + n;
        done += n;
        Some((at, piece))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_ranges() -> Phys {
        Phys::new(&[(0x1000, 0x9000), (0x10_0000, 0x1_0000_0000)]).unwrap()
    }

    #[test]
    fn untouched_memory_reads_zero_and_costs_nothing() {
        let m = two_ranges();
        let mut page = [1; PAGE_SIZE];
        m.read_page(Paddr(0xffff_f000), &mut page).unwrap();
        assert_eq!(page, [0; PAGE_SIZE]);
        assert_eq!(m.load(Paddr(0x1000)), Ok(0));
        assert_eq!(m.touched_pages(), 0);
        m.store(Paddr(0x1008), 7).unwrap();
        assert_eq!(m.touched_pages(), 1);
    }

    #[test]
    fn what_lies_between_the_ranges_is_no_memory() {
        let m = two_ranges();
        let mut page = [1; PAGE_SIZE];
        for pa in [0, 0xfff, 0x9000, 0xf_ffff, 0x1_0000_0000, u64::MAX] {
            assert!(!m.contains(Paddr(pa)));
            assert_eq!(m.load(Paddr(pa)), Err(Errno::EFAULT));
            assert_eq!(m.store(Paddr(pa), 1), Err(Errno::EFAULT));
            assert_eq!(m.read_page(Paddr(pa), &mut page), Err(Errno::EFAULT));
            assert_eq!(page, [0; PAGE_SIZE]);
        }
        assert_eq!(m.write(Paddr(0x8ffc), &[1; 8]), Err(Errno::EFAULT));
        assert_eq!(m.write(Paddr(u64::MAX), &[1; 8]), Err(Errno::EFAULT));
    }

    #[test]
    fn bytes_cross_words_and_pages() {
        let m = two_ranges();
        let data: Vec<u8> = (0..=255).cycle().take(9001).collect();
        m.write(Paddr(0x10_0ffd), &data).unwrap();
        let mut back = vec![0; data.len()];
        m.read(Paddr(0x10_0ffd), &mut back).unwrap();
        assert_eq!(back, data);
        assert_eq!(m.load(Paddr(0x10_0ff8)).unwrap() >> 40, 0x02_0100);
        let mut page = [0; PAGE_SIZE];
        m.read_page(Paddr(0x10_1abc), &mut page).unwrap();
        assert_eq!(page[..], data[3..3 + PAGE_SIZE]);
    }

    #[test]
    fn ranges_that_overlap_or_end_nowhere_are_refused() {
        assert!(Phys::new(&[(0x2000, 0x1000)]).is_none());
        assert!(Phys::new(&[(0, 0x1001), (0x1800, 0x3000)]).is_none());
        assert!(Phys::new(&[(0, u64::MAX)]).is_none());
        let m = Phys::new(&[(0x1800, 0x2801)]).unwrap();
        assert_eq!(m.ranges().collect::<Vec<_>>(), [(0x1000, 0x3000)]);
    }

    #[test]
    fn neighbouring_bytes_written_at_once_are_all_kept() {
        let m = two_ranges();
        std::thread::scope(|s| {
            for i in 0..8u64 {
                let m = &m;
                s.spawn(move || {
                    for n in 0..1000u64 {
                        m.write(Paddr(0x2000 + i), &[n as u8]).unwrap();
                    }
                });
            }
        });
        assert_eq!(m.load(Paddr(0x2000)), Ok(u64::from_le_bytes([0xe7; 8])));
    }
}
