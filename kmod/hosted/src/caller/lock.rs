// SPDX-License-Identifier: BSD-2-Clause
//! One dump at a time.

use super::Caller;
use crate::method::Method;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::DumpLock;

impl DumpLock for Caller<'_> {
    fn livedump_try_xlock(&self) -> bool {
        let taken = self.step(Method::LivedumpTryXlock).is_ok()
            && self.kernel.livedump_lock.try_lock();
        if taken {
            self.kernel.lock_taken();
        }
        taken
    }

    fn livedump_xlock_sig(&self) -> Result<()> {
        self.step(Method::LivedumpXlockSig)?;
        let stop = || self.process.signal_pending();
        if !self.kernel.livedump_lock.lock_unless(stop) {
            return Err(self.interrupt());
        }
        self.kernel.lock_taken();
        Ok(())
    }

    fn livedump_xunlock(&self) {
        self.pass(Method::LivedumpXunlock);
        self.kernel.lock_given_back(self.kernel.livedump_lock.unlock());
    }
}
