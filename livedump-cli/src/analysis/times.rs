// SPDX-License-Identifier: BSD-2-Clause
//! How long the system had run. C: `time_second`, `time_uptime`, kern_tc.c.

use super::target::Target;

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
        let (now, uptime) =
            (t.number("time_second")?, t.number("time_uptime")?);
        let plausible = now <= MAX_SECONDS && uptime <= now;
        plausible.then_some(Self { now, uptime })
    }

    /// When it was started.
    #[must_use]
    pub fn boot(self) -> u64 {
        self.now.saturating_sub(self.uptime)
    }
}
