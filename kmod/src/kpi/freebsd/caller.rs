// SPDX-License-Identifier: BSD-2-Clause
//! The caller: curthread.

use super::{FreeBsd, check};
use crate::error::{Errno, Result};
use crate::kpi::Caller;
use core::ffi::c_int;

unsafe extern "C" {
    safe fn livedump_priv_check_kmem_read() -> c_int;
    safe fn livedump_priv_check_kmem_write() -> c_int;
    safe fn livedump_jailed() -> bool;
    pub(super) safe fn livedump_sig_intr() -> c_int;
    safe fn livedump_pid() -> c_int;
    pub(super) safe fn livedump_maybe_yield();
}

impl Caller for FreeBsd {
    fn priv_check_kmem_read(&self) -> Result<()> {
        check(livedump_priv_check_kmem_read())
    }

    fn priv_check_root(&self) -> Result<()> {
        // A jail is refused PRIV_KMEM_WRITE in every release so far; a policy
        // module could think otherwise.
        if livedump_jailed() {
            return Err(Errno::EPERM);
        }
        check(livedump_priv_check_kmem_write())
    }

    fn sig_intr(&self) -> Result<()> {
        check(livedump_sig_intr()).map_err(|_| Errno::EINTR)
    }

    fn pid(&self) -> i32 {
        livedump_pid()
    }

    fn maybe_yield(&self) {
        livedump_maybe_yield();
    }
}
