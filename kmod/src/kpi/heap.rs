// SPDX-License-Identifier: BSD-2-Clause
//! Memory that a request takes, and locks around values in it.

use crate::error::Result;
use core::ops::DerefMut;
use memdev::addr::Page;

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

    /// A lock around `value`; as [`Heap::malloc_words`].
    ///
    /// # Errors
    /// Its own.
    fn monitor<T: Send>(&self, value: T) -> Result<Self::Monitor<T>>;
}
