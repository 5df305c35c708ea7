// SPDX-License-Identifier: BSD-2-Clause
//! Heap values, a lock with a condition, and threads, as `Kpi` asks for them:
//! vectors, parking_lot and scoped threads.

use livedump_kmod::error::Result;
use livedump_kmod::kpi::Monitor;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::thread;

/// C: `struct mtx` and `struct cv`.
#[derive(Debug, Default)]
pub struct HostedMonitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> HostedMonitor<T> {
    /// Around `value`.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }
}

impl<T> Monitor<T> for HostedMonitor<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock()
    }

    fn wait<'a>(&'a self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.changed.wait(&mut guard);
        guard
    }

    fn notify(&self) {
        self.changed.notify_all();
    }
}

/// `Kpi::malloc_array`.
pub(super) fn malloc_array<T>(
    len: usize,
    make: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<T>> {
    (0..len).map(make).collect()
}

/// `Kpi::ncpus`.
pub(super) fn ncpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// `Kpi::with_workers`: a thread the host refuses is a thread less.
pub(super) fn with_workers(
    threads: usize,
    worker: &(dyn Fn() + Sync),
    body: &mut dyn FnMut(),
) {
    thread::scope(|scope| {
        for _ in 0..threads {
            let started = thread::Builder::new()
                .name("livedump".into())
                .spawn_scoped(scope, worker);
            if started.is_err() {
                break;
            }
        }
        body();
    });
}
