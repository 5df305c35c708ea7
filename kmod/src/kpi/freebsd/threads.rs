// SPDX-License-Identifier: BSD-2-Clause
//! taskqueue(9) threads.

use super::FreeBsd;
use crate::kpi::Threads;
use core::ffi::{c_int, c_void};

unsafe extern "C" {
    safe fn livedump_ncpus() -> c_int;
    safe fn livedump_workers_limit() -> c_int;
    fn livedump_workers_start(
        n: usize,
        run: extern "C" fn(*mut c_void),
        arg: *mut c_void,
    ) -> *mut c_void;
    fn livedump_workers_join(workers: *mut c_void);
}

/// `body` of [`Threads::with_workers`], as a C function on each thread.
extern "C" fn run_worker(arg: *mut c_void) {
    let worker = arg.cast::<&(dyn Fn() + Sync)>();
    // SAFETY: with_workers points it to a reference on its stack, and leaves
    // only when every thread has returned from here.
    let worker = unsafe { *worker };
    worker();
}

impl Threads for FreeBsd {
    fn ncpus(&self) -> usize {
        let cpus = usize::try_from(livedump_ncpus()).unwrap_or(1).max(1);
        match usize::try_from(livedump_workers_limit()) {
            Ok(limit @ 1..) => limit.min(cpus),
            _ => cpus,
        }
    }

    fn with_workers(
        &self,
        threads: usize,
        worker: &(dyn Fn() + Sync),
        body: &mut dyn FnMut(),
    ) {
        if threads == 0 {
            return body();
        }
        let arg: *const &(dyn Fn() + Sync) = &worker;
        // SAFETY: `worker` is on this stack, which the shim keeps from being
        // swapped out, until the threads are joined below.
        let workers = unsafe {
            livedump_workers_start(threads, run_worker, arg as *mut c_void)
        };
        body();
        if workers.is_null() {
            return;
        }
        // SAFETY: what was just started; panics abort, so that body always
        // comes back here.
        unsafe { livedump_workers_join(workers) };
    }
}
