// SPDX-License-Identifier: BSD-2-Clause
//! Memory the engine asks the kernel for, counted: tests hold the peak
//! against what the engine promises, and the rest against zero.

use super::threads::malloc_array;
use core::ops::{Deref, DerefMut};
use livedump_kmod::error::{Errno, Result};
use memdev::addr::{PAGE_SIZE, Page};
use memmap2::MmapMut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How much is out, was out at most, and may be out.
#[derive(Debug)]
pub struct Memory {
    current: AtomicUsize,
    peak: AtomicUsize,
    limit: AtomicUsize,
    waits: AtomicBool,
    /// Refusals that a kernel would have waited before.
    waited: AtomicUsize,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            current: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            waits: AtomicBool::new(true),
            waited: AtomicUsize::new(0),
        }
    }

    /// Bytes that have not been given back.
    pub fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The most that was out at one time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Forgets the peak.
    pub fn reset_peak(&self) {
        self.peak.store(self.current(), Ordering::Relaxed);
    }

    /// What would exceed `bytes` is refused with `ENOMEM`.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    /// How often memory was waited for in vain.
    pub fn waited(&self) -> usize {
        self.waited.load(Ordering::Relaxed)
    }

    pub(super) fn allocate(&self, bytes: usize) -> Result<Allocation<'_>> {
        let limit = self.limit.load(Ordering::Relaxed);
        let before = self
            .current
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                now.checked_add(bytes).filter(|&n| n <= limit)
            })
            .map_err(|_| {
                let waits = self.waits.load(Ordering::Relaxed);
                self.waited.fetch_add(usize::from(waits), Ordering::Relaxed);
                Errno::ENOMEM
            })?;
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Ok(Allocation { memory: self, bytes })
    }

    pub(super) fn words(&self, n: usize) -> Result<Words<'_>> {
        let allocation =
            self.allocate(n.checked_mul(8).ok_or(Errno::ENOMEM)?)?;
        let mut words = Vec::new();
        words.try_reserve_exact(n).map_err(|_| Errno::ENOMEM)?;
        words.resize(n, 0);
        Ok(Words { words, _allocation: allocation })
    }

    pub(super) fn array<T>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T>,
    ) -> Result<Array<'_, T>> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(Errno::ENOMEM)?;
        let allocation = self.allocate(bytes)?;
        Ok(Array { values: malloc_array(len, make)?, _allocation: allocation })
    }

    pub(super) fn pages(&self, n: usize) -> Result<Pages<'_>> {
        let bytes = n.checked_mul(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let allocation = self.allocate(bytes)?;
        let map = MmapMut::map_anon(bytes).map_err(|_| Errno::ENOMEM)?;
        Ok(Pages { map, _allocation: allocation })
    }
}

/// An entry in the books, struck on drop.
#[derive(Debug)]
pub(super) struct Allocation<'a> {
    memory: &'a Memory,
    bytes: usize,
}

impl Drop for Allocation<'_> {
    fn drop(&mut self) {
        self.memory.current.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Zeroed words. C: `malloc(M_ZERO | M_NODUMP)`.
#[derive(Debug)]
pub struct Words<'a> {
    words: Vec<u64>,
    _allocation: Allocation<'a>,
}

impl Deref for Words<'_> {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        &self.words
    }
}

impl DerefMut for Words<'_> {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

/// Values on the heap.
#[derive(Debug)]
pub struct Array<'a, T> {
    values: Vec<T>,
    _allocation: Allocation<'a>,
}

impl<T> Deref for Array<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T> DerefMut for Array<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

/// Zeroed, page-aligned memory.
#[derive(Debug)]
pub struct Pages<'a> {
    map: MmapMut,
    _allocation: Allocation<'a>,
}

impl Deref for Pages<'_> {
    type Target = [Page];
    fn deref(&self) -> &[Page] {
        self.map.as_chunks().0
    }
}

impl DerefMut for Pages<'_> {
    fn deref_mut(&mut self) -> &mut [Page] {
        self.map.as_chunks_mut().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_struck_and_the_peak_stays() {
        let m = Memory::new();
        {
            let mut w = m.words(100).unwrap();
            let mut p = m.pages(3).unwrap();
            assert!(w.iter().all(|&w| w == 0) && w.len() == 100);
            assert!(p.iter().all(|p| *p == [0; PAGE_SIZE]) && p.len() == 3);
            assert_eq!(p.as_ptr() as usize % PAGE_SIZE, 0);
            w[99] = 1;
            p[2][4095] = 1;
            assert_eq!(m.current(), 800 + 3 * PAGE_SIZE);
        }
        assert_eq!(m.current(), 0);
        assert_eq!(m.peak(), 800 + 3 * PAGE_SIZE);
        m.reset_peak();
        assert_eq!(m.peak(), 0);
    }

    #[test]
    fn nothing_is_a_size_too() {
        let m = Memory::new();
        assert!(m.words(0).unwrap().is_empty());
        assert!(m.pages(0).unwrap().is_empty());
    }

    #[test]
    fn a_size_that_cannot_be_had_is_enomem_and_leaves_no_trace() {
        let m = Memory::new();
        for n in [usize::MAX, usize::MAX / 8, 1 << 58] {
            assert_eq!(m.words(n).unwrap_err(), Errno::ENOMEM);
            assert_eq!(m.pages(n).unwrap_err(), Errno::ENOMEM);
        }
        m.set_limit(4096);
        assert_eq!(m.pages(2).unwrap_err(), Errno::ENOMEM);
        let page = m.pages(1).unwrap();
        assert_eq!(m.words(1).unwrap_err(), Errno::ENOMEM);
        drop(page);
        assert_eq!(m.current(), 0);
    }
}
