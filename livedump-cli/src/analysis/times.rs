// SPDX-License-Identifier: BSD-2-Clause
//! How long the system had run. C: `time_second`, `time_uptime`, kern_tc.c.

use super::target::Target;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;

/// The year 9999: no clock is later.
const MAX_SECONDS: u64 = 253_402_300_799;

/// The system's own time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Since 1970. C: `time_second`.
    pub now: u64,
    /// Since it was started. C: `time_uptime`.
    pub uptime: u64,
}

impl Times {
    /// Reads them; `None` where the dump has none, or some that cannot be.
    #[must_use]
    pub fn new(t: &Target<'_>) -> Option<Self> {
        Self::of(t.core, t.kernel)
    }

    /// The same, of a dump whose structures do not matter.
    #[must_use]
    pub fn of(core: &Vmcore, kernel: &Kernel) -> Option<Self> {
        let get = |name| {
            let symbol = kernel.find(name).filter(|s| s.size == 8)?;
            core.read_u64(symbol.address).ok()
        };
        let (now, uptime) = (get("time_second")?, get("time_uptime")?);
        let plausible = now <= MAX_SECONDS && uptime <= now;
        plausible.then_some(Self { now, uptime })
    }

    /// When it was started.
    #[must_use]
    pub fn boot(self) -> u64 {
        self.now.saturating_sub(self.uptime)
    }
}
