// SPDX-License-Identifier: BSD-2-Clause
//! malloc(9), within a budget.

use super::copies::FreeBsdCopies;
use super::monitor::FreeBsdMonitor;
use super::{FreeBsd, caller::livedump_sig_intr};
use crate::error::{Errno, Result};
use crate::kpi::Heap;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::size_of;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use memdev::addr::Page;

unsafe extern "C" {
    safe fn livedump_malloc(size: usize) -> *mut c_void;
    fn livedump_free(p: *mut c_void);
    safe fn livedump_memory_waits(waits: bool);
    safe fn livedump_physmem() -> u64;
}

/// Why there is no memory: the wait for it ended, or a signal ended the wait.
pub(super) fn no_memory() -> Errno {
    match livedump_sig_intr() {
        0 => Errno::ENOMEM,
        _ => Errno::EINTR,
    }
}

/// Bytes that dumps may take in all: an eighth of the machine's memory. More
/// would make others wait for it.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// What the shim takes for whatever is smaller.
const MALLOC_LEAST: u64 = 64 << 10;

/// A part of [`TAKEN`], given back on drop.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn take(bytes: u64) -> Result<Self> {
        let limit = livedump_physmem() / 8;
        TAKEN
            .fetch_update(Relaxed, Relaxed, |taken| {
                taken.checked_add(bytes).filter(|&sum| sum <= limit)
            })
            .map_err(|_| Errno::ENOMEM)?;
        Ok(Self(bytes))
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Relaxed);
    }
}

/// Values in memory of the kernel's, not in dumps.
#[derive(Debug)]
pub struct Array<T> {
    /// Dangling where there is no room; malloc(9) returns no such address.
    memory: NonNull<T>,
    len: usize,
    _budget: Budget,
    _values: PhantomData<T>,
}

// SAFETY: it owns its values as a Vec does, and free(9) may be called by
// another thread than malloc(9) was.
unsafe impl<T: Send> Send for Array<T> {}

// SAFETY: as of a Vec: what is shared gives shared references alone.
unsafe impl<T: Sync> Sync for Array<T> {}

impl<T> Array<T> {
    /// Room for `room` values, zeroed, of which there are none yet.
    #[inline(never)] // Its stack is not everyone's.
    fn with_room(room: usize) -> Result<Self> {
        let bytes = room.checked_mul(size_of::<T>()).ok_or(Errno::ENOMEM)?;
        if bytes == 0 {
            return Ok(Self {
                memory: NonNull::dangling(),
                len: 0,
                _budget: Budget(0),
                _values: PhantomData,
            });
        }
        let _budget = Budget::take((bytes as u64).max(MALLOC_LEAST))?;
        let p = livedump_malloc(bytes);
        let memory = NonNull::new(p.cast::<T>()).ok_or_else(no_memory)?;
        if !memory.is_aligned() {
            // Whole pages are, unless a debugging allocator shifts them.
            // SAFETY: from livedump_malloc, and not kept.
            unsafe { livedump_free(p) };
            return Err(Errno::ENOMEM);
        }
        Ok(Self { memory, len: 0, _budget, _values: PhantomData })
    }
}

/// Plain data: any bytes are a value, zeros among them. Nothing else is.
pub trait Plain {}
impl Plain for u64 {}
impl Plain for Page {}

impl<T: Plain> Array<T> {
    fn zeroed(len: usize) -> Result<Self> {
        let mut array = Self::with_room(len)?;
        // The shim has zeroed it, and zeros are values of T.
        array.len = len;
        Ok(array)
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values have been put there (or are zeroed plain
        // data); the memory is ours until drop, and borrowed with self.
        unsafe { core::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for deref; `&mut self` makes it the only borrow.
        unsafe {
            core::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len)
        }
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        let values: *mut [T] = &mut **self;
        // SAFETY: the values are dropped here and never seen again: `len`
        // and the memory end with this function.
        unsafe { core::ptr::drop_in_place(values) };
        if self.memory != NonNull::dangling() {
            // SAFETY: from livedump_malloc, freed once, here.
            unsafe { livedump_free(self.memory.as_ptr().cast()) };
        }
    }
}

impl Heap for FreeBsd {
    type Words = Array<u64>;
    type Pages = Array<Page>;
    type Array<T: Send + Sync> = Array<T>;
    type Monitor<T: Send> = FreeBsdMonitor<T>;
    type Copies = FreeBsdCopies;

    fn set_waits(&self, waits: bool) {
        livedump_memory_waits(waits);
    }

    fn malloc_words(&self, words: usize) -> Result<Array<u64>> {
        Array::zeroed(words)
    }

    fn malloc_pages(&self, pages: usize) -> Result<Array<Page>> {
        Array::zeroed(pages)
    }

    fn malloc_array<T: Send + Sync>(
        &self,
        len: usize,
        mut make: impl FnMut(usize) -> Result<T>,
    ) -> Result<Array<T>> {
        let mut array = Array::with_room(len)?;
        for i in 0..len {
            let value = make(i)?;
            // SAFETY: i < len, and there is room for len.
            let slot = unsafe { array.memory.add(i) };
            // SAFETY: aligned memory of ours, without a value yet; from here
            // on `len` counts it, so drop will find it.
            unsafe { slot.write(value) };
            array.len = i + 1;
        }
        Ok(array)
    }

    fn free_pages(&self) -> usize {
        super::copies::free_pages()
    }

    fn copies(&self, pages: usize) -> Result<FreeBsdCopies> {
        FreeBsdCopies::new(pages)
    }

    fn monitor<T: Send>(&self, value: T) -> Result<FreeBsdMonitor<T>> {
        FreeBsdMonitor::new(value).ok_or_else(no_memory)
    }
}
