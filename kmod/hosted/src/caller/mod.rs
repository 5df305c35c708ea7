// SPDX-License-Identifier: BSD-2-Clause
//! One request of one process: the KPI as the engine sees it. Each method
//! counts its step first; what can fail may be made to, before it has done
//! anything. A file for each trait of the KPI.

mod compressor;
mod cpus;
mod events;
mod file;
mod heap;
mod keys;
mod lock;
mod memory;
mod processes;
mod stream;
mod system;
mod threads;

use crate::HostedKernel;
use crate::method::Method;
use crate::process::Process;
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One request of one process.
pub struct Caller<'a> {
    kernel: &'a HostedKernel,
    process: &'a Process,
    interrupted: AtomicBool,
    passes: AtomicU64,
}

impl<'a> Caller<'a> {
    /// A request of `process`.
    #[must_use]
    pub fn new(process: &'a Process) -> Self {
        let interrupted = AtomicBool::new(false);
        let passes = AtomicU64::new(0);
        Self { kernel: process.kernel(), process, interrupted, passes }
    }

    /// Whether a signal of the process's ended a wait or the dump.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn step(&self, method: Method) -> Result<()> {
        self.kernel.step(method)
    }

    /// The step of a method that cannot fail.
    fn pass(&self, method: Method) {
        self.kernel.pass(method);
    }

    fn interrupt(&self) -> Errno {
        self.interrupted.store(true, Ordering::Relaxed);
        Errno::EINTR
    }
}

impl kpi::Caller for Caller<'_> {
    fn priv_check_kmem_read(&self) -> Result<()> {
        self.step(Method::PrivCheckKmemRead)?;
        let everyone = self.kernel.kmem_read_granted.load(Ordering::Relaxed);
        if everyone || self.process.credentials().is_root() {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    fn priv_check_root(&self) -> Result<()> {
        self.step(Method::PrivCheckRoot)?;
        let c = self.process.credentials();
        if c.is_root() && !c.jailed { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn sig_intr(&self) -> Result<()> {
        self.step(Method::SigIntr)?;
        if self.process.signal_pending() {
            return Err(self.interrupt());
        }
        Ok(())
    }

    fn pid(&self) -> i32 {
        self.pass(Method::Pid);
        self.process.pid()
    }

    fn maybe_yield(&self) {
        self.pass(Method::MaybeYield);
    }
}
