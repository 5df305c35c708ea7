// SPDX-License-Identifier: BSD-2-Clause
//! The caller: the thread that made the request, and what it may do.

use crate::error::Result;

/// The thread that made the request.
pub trait Caller {
    /// C: `priv_check(td, PRIV_KMEM_READ)`. The kernel grants it to everyone
    /// (12.1, 13.2, 15.1), unless a policy of mac(4) does not.
    ///
    /// # Errors
    /// `EPERM`.
    fn priv_check_kmem_read(&self) -> Result<()>;

    /// Whether the caller may really read all of the kernel's memory: not
    /// jailed, and root or what `PRIV_KMEM_WRITE` is granted to.
    ///
    /// # Errors
    /// `EPERM`.
    fn priv_check_root(&self) -> Result<()>;

    /// Whether a signal is waiting for the caller. C: `sig_intr`, or
    /// `SIGPENDING` before it existed.
    ///
    /// # Errors
    /// `EINTR`.
    fn sig_intr(&self) -> Result<()>;

    /// The caller's process, for the status request. C: `p_pid`.
    fn pid(&self) -> i32;

    /// Lets others run; the walk of a large machine takes seconds.
    /// C: `should_yield`, `kern_yield`.
    fn maybe_yield(&self);
}
