// SPDX-License-Identifier: BSD-2-Clause
//! One dump at a time.

use crate::error::Result;

/// The lock that a dump holds from its first to its last step.
pub trait DumpLock {
    /// Takes the livedump lock if it is free. C: a flag under a mutex; the
    /// stock facility has an sx lock, whose waiters spin.
    fn livedump_try_xlock(&self) -> bool;

    /// Takes the livedump lock; sleeps until it is free. C: `cv_wait_sig`.
    ///
    /// # Errors
    /// `EINTR` when a signal ends the wait; the lock is not held then.
    fn livedump_xlock_sig(&self) -> Result<()>;

    /// Gives it back. C: `cv_broadcast`.
    fn livedump_xunlock(&self);
}
