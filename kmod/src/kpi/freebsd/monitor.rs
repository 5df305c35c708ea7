// SPDX-License-Identifier: BSD-2-Clause
//! sx(9) and condvar(9) around a value.

use crate::kpi::Monitor;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

unsafe extern "C" {
    safe fn livedump_monitor_init() -> *mut c_void;
    fn livedump_monitor_lock(monitor: *mut c_void);
    fn livedump_monitor_unlock(monitor: *mut c_void);
    fn livedump_monitor_wait(monitor: *mut c_void);
    fn livedump_monitor_notify(monitor: *mut c_void);
    fn livedump_monitor_fini(monitor: *mut c_void);
}

/// A lock of the kernel's around a value.
#[derive(Debug)]
pub struct FreeBsdMonitor<T> {
    monitor: NonNull<c_void>,
    value: UnsafeCell<T>,
}

impl<T> FreeBsdMonitor<T> {
    /// `None` where there is no memory for it.
    pub(super) fn new(value: T) -> Option<Self> {
        let monitor = NonNull::new(livedump_monitor_init())?;
        Some(Self { monitor, value: UnsafeCell::new(value) })
    }
}

// SAFETY: the value is reached only through a guard, one of which exists at a
// time: the kernel's lock sees to that.
unsafe impl<T: Send> Sync for FreeBsdMonitor<T> {}

impl<T> Drop for FreeBsdMonitor<T> {
    fn drop(&mut self) {
        // SAFETY: from livedump_monitor_init, destroyed once; no guard is
        // alive, each borrows the monitor.
        unsafe { livedump_monitor_fini(self.monitor.as_ptr()) };
    }
}

/// The lock, held.
#[derive(Debug)]
pub struct Guard<'a, T> {
    of: &'a FreeBsdMonitor<T>,
    /// A lock is released by the thread that took it: not `Send`.
    _here: PhantomData<*mut ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock until the guard is dropped.
        unsafe { &*self.of.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for deref; `&mut self` makes it the only borrow.
        unsafe { &mut *self.of.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: taken by lock() of the same monitor, which outlives us.
        unsafe { livedump_monitor_unlock(self.of.monitor.as_ptr()) };
    }
}

impl<T> Monitor<T> for FreeBsdMonitor<T> {
    type Guard<'a>
        = Guard<'a, T>
    where
        Self: 'a;

    fn lock(&self) -> Guard<'_, T> {
        // SAFETY: initialised until drop; the engine never locks twice (the
        // kernel would panic, not corrupt).
        unsafe { livedump_monitor_lock(self.monitor.as_ptr()) };
        Guard { of: self, _here: PhantomData }
    }

    fn wait<'a>(&'a self, guard: Guard<'a, T>) -> Guard<'a, T> {
        // SAFETY: the guard says that this thread holds the lock; it does
        // again when this returns, and nothing borrows the value meanwhile.
        unsafe { livedump_monitor_wait(guard.of.monitor.as_ptr()) };
        guard
    }

    fn notify(&self) {
        // SAFETY: initialised until drop.
        unsafe { livedump_monitor_notify(self.monitor.as_ptr()) };
    }
}
