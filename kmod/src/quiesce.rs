// SPDX-License-Identifier: BSD-2-Clause
//! User processes, suspended for the duration of a dump, and resumed on every
//! path out of it.

use crate::error::{Errno, Result};
use crate::kpi::Kpi;

/// Threads have so long to stop. One that is in the kernel for longer, and
/// neither sleeps nor returns, is not a matter of time.
const LIMIT_NS: u64 = 5_000_000_000;

/// Processes are suspended while this lives.
pub(crate) struct Quiesced<'k, K: Kpi> {
    kpi: &'k K,
    since_ns: u64,
}

impl<'k, K: Kpi> Quiesced<'k, K> {
    /// Suspends them.
    ///
    /// # Errors
    /// `EAGAIN` when some do not stop in time, or had to be resumed; `EINTR`
    /// for a signal; `ENOMEM`. All of them go on then.
    pub(crate) fn acquire(kpi: &'k K) -> Result<Self> {
        kpi.quiesce()?;
        let mut quiesced = Self { kpi, since_ns: kpi.nanouptime() };
        let deadline = quiesced.since_ns.saturating_add(LIMIT_NS);
        while kpi.suspend_pass() != 0 {
            kpi.sig_intr()?;
            if kpi.nanouptime() > deadline {
                return Err(Errno::EAGAIN);
            }
            kpi.pause();
        }
        kpi.quiesced()?;
        quiesced.since_ns = kpi.nanouptime();
        Ok(quiesced)
    }

    /// Ends it; for how long they were suspended.
    pub(crate) fn release(self) -> u64 {
        self.kpi.nanouptime().saturating_sub(self.since_ns)
    }
}

impl<K: Kpi> Drop for Quiesced<'_, K> {
    fn drop(&mut self) {
        self.kpi.resume();
    }
}
