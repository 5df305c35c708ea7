// SPDX-License-Identifier: BSD-2-Clause
//! One dump at a time.

use super::{FreeBsd, check};
use crate::error::{Errno, Result};
use crate::kpi::DumpLock;
use core::ffi::c_int;

unsafe extern "C" {
    safe fn livedump_try_xlock() -> bool;
    safe fn livedump_xlock_sig() -> c_int;
    fn livedump_xunlock();
}

impl DumpLock for FreeBsd {
    fn livedump_try_xlock(&self) -> bool {
        livedump_try_xlock()
    }

    fn livedump_xlock_sig(&self) -> Result<()> {
        check(livedump_xlock_sig()).map_err(|_| Errno::EINTR)
    }

    fn livedump_xunlock(&self) {
        // SAFETY: the engine's guard is the only caller, in its drop, on the
        // thread that took the lock.
        unsafe { livedump_xunlock() };
    }
}
