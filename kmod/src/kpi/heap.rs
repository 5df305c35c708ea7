// SPDX-License-Identifier: BSD-2-Clause
//! Memory that a request takes, and locks around values in it.

use crate::error::Result;
use core::ops::DerefMut;
use memdev::addr::{Paddr, Page};

/// A value that the threads of one dump share. C: `struct sx` and
/// `struct cv`.
pub trait Monitor<T> {
    /// The value, while the lock is held.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;

    /// C: `sx_xlock`.
    fn lock(&self) -> Self::Guard<'_>;

    /// Gives the lock up until [`Monitor::notify`], and takes it again. May
    /// also return early. C: `cv_wait`.
    fn wait<'a>(&'a self, guard: Self::Guard<'a>) -> Self::Guard<'a>;

    /// Wakes every waiter. C: `cv_broadcast`.
    fn notify(&self);
}

/// Copies of pages, in memory that is in nobody's dump: pages without an
/// object, wired, PG_NODUMP, reached through the direct map.
pub trait Copies: Send + Sync {
    /// How many there are.
    fn places(&self) -> usize;

    /// Copies page `pa` to place `at`, which no other thread uses.
    ///
    /// # Errors
    /// As [`super::DirectMap::read_page`]; `ENOBUFS` for a place that is none.
    fn copy_page(&self, at: usize, pa: Paddr) -> Result<()>;

    /// Copies the nth page of the message buffer's text to place `at`, zeros
    /// behind its end; without its lock, which nobody holds while all CPUs are
    /// stopped (it is a spin lock). C: `msgbufp->msg_ptr`.
    ///
    /// # Errors
    /// As [`Copies::copy_page`].
    fn copy_msgbuf(&self, at: usize, nth: usize) -> Result<()>;

    /// What was copied to place `at`.
    ///
    /// # Errors
    /// `ENOBUFS` for a place that is none.
    fn read(&self, at: usize, page: &mut Page) -> Result<()>;
}

/// Memory of the kernel's, for one request.
pub trait Heap {
    /// Zeroed memory of 64-bit words, freed on drop, not in the dump.
    type Words: DerefMut<Target = [u64]> + Send + Sync;
    /// Zeroed, page-aligned memory, freed on drop, not in the dump.
    type Pages: DerefMut<Target = [Page]> + Send + Sync;
    /// Values on the heap, dropped and freed on drop, not in the dump.
    type Array<T: Send + Sync>: DerefMut<Target = [T]> + Send + Sync;
    /// A lock around a value, destroyed on drop.
    type Monitor<T: Send>: Monitor<T> + Sync;
    /// Copies of pages, freed on drop.
    type Copies: Copies;

    /// Whether the calls below wait for memory; they do when a request begins.
    fn set_waits(&self, waits: bool);

    /// Zeroed words. Waits for memory no longer than all of a request may
    /// together (2 s); only before the first byte is out.
    /// C: `malloc(M_NOWAIT | M_ZERO | M_NODUMP)`.
    ///
    /// # Errors
    /// `ENOMEM` for what cannot be had; `EINTR`.
    fn malloc_words(&self, words: usize) -> Result<Self::Words>;

    /// Zeroed pages; as [`Heap::malloc_words`].
    ///
    /// # Errors
    /// Its own.
    fn malloc_pages(&self, pages: usize) -> Result<Self::Pages>;

    /// `len` values that `make` gives; as [`Heap::malloc_words`].
    ///
    /// # Errors
    /// Its own, and `make`'s.
    fn malloc_array<T: Send + Sync>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T>,
    ) -> Result<Self::Array<T>>;

    /// Pages that may be taken for copies: what is free above the page
    /// daemon's target in each domain. C: `vmd_free_count`,
    /// `vmd_free_target`.
    fn free_pages(&self) -> usize;

    /// Places for copies of pages, touched, so that they are really there. As
    /// [`Heap::malloc_words`], and leaves the page daemon's target free.
    /// C: `vm_page_alloc_noobj_domain(VM_ALLOC_WIRED | VM_ALLOC_NODUMP)`.
    ///
    /// # Errors
    /// Its own.
    fn copies(&self, pages: usize) -> Result<Self::Copies>;

    /// A lock around `value`; as [`Heap::malloc_words`].
    ///
    /// # Errors
    /// Its own.
    fn monitor<T: Send>(&self, value: T) -> Result<Self::Monitor<T>>;
}
