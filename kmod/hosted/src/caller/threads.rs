// SPDX-License-Identifier: BSD-2-Clause
//! Threads of the host's.

use super::Caller;
use crate::method::Method;
use crate::threads;
use livedump_kmod::kpi::Threads;
use std::sync::atomic::Ordering;

impl Threads for Caller<'_> {
    fn ncpus(&self) -> usize {
        self.pass(Method::Ncpus);
        self.kernel.ncpus.load(Ordering::Relaxed)
    }

    // A failed step is a host without threads, which is no error.
    fn with_workers(
        &self,
        threads: usize,
        worker: &(dyn Fn() + Sync),
        body: &mut dyn FnMut(),
    ) {
        let refused = self.step(Method::WithWorkers).is_err();
        let threads = if refused { 0 } else { threads };
        threads::with_workers(threads, worker, body);
    }
}
