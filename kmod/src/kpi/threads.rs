// SPDX-License-Identifier: BSD-2-Clause
//! Threads that help one request.

/// Threads of the kernel's.
pub trait Threads {
    /// CPUs that run threads. C: `mp_ncpus`.
    fn ncpus(&self) -> usize;

    /// Runs `body` here while up to `threads` other threads run `worker`
    /// once; returns when all of them have returned. Fewer threads, or none,
    /// is no error: `body` runs in any case. May sleep. C: taskqueue(9).
    fn with_workers(
        &self,
        threads: usize,
        worker: &(dyn Fn() + Sync),
        body: &mut dyn FnMut(),
    );
}
