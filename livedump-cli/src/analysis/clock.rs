// SPDX-License-Identifier: BSD-2-Clause
//! How long a thread has waited. C: `ticks`, `td_slptick`, `td_blktick`.

use super::target::Target;
use super::threads::{TDI_LOCK, TDI_SLEEPING, Thread};

/// A wait that began after `ticks` was copied did so while the dump was
/// written, which takes less than this. `ticks` is an int, and with a hz of
/// 1000 it is negative half of the time: a wait of 25 days is no later one.
const MAX_DUMP_SECONDS: u32 = 24 * 60 * 60;

/// The time of the dumped machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    ticks: u32,
    hz: u32,
}

impl Clock {
    /// Reads it; `None` where it is not in the dump.
    #[must_use]
    pub fn new(t: &Target<'_>) -> Option<Self> {
        let hz = t.int("hz").filter(|hz| (1..=1_000_000).contains(hz))?;
        Some(Self { ticks: t.int("ticks")?, hz })
    }

    /// Seconds from a value of `ticks`; negative where it is a later one.
    #[must_use]
    pub fn since(self, then: u32) -> f64 {
        let slack = self.hz.saturating_mul(MAX_DUMP_SECONDS).min(1 << 31);
        let later = then.wrapping_sub(self.ticks);
        let ticks = match later {
            1.. if later < slack => -f64::from(later),
            _ => f64::from(self.ticks.wrapping_sub(then)),
        };
        ticks / f64::from(self.hz)
    }

    /// Seconds that a thread has waited, if it waits and its start is known.
    #[must_use]
    pub fn waited(self, td: &Thread) -> Option<f64> {
        let waits = td.state.is_inhibited_by(TDI_LOCK | TDI_SLEEPING);
        td.since.filter(|_| waits).map(|then| self.since(then).max(0.0))
    }
}

/// The order of waits: the longest first, and last those whose start is not
/// known.
#[must_use]
pub fn longest(a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
    let or_less = |s: Option<f64>| s.unwrap_or(f64::NEG_INFINITY);
    or_less(b).total_cmp(&or_less(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_may_be_longer_than_half_of_what_ticks_can_count() {
        let clock = Clock { ticks: 3_000_000_000, hz: 1000 };
        assert_eq!(clock.since(3_000_000_000), 0.0);
        assert_eq!(clock.since(2_999_985_000), 15.0);
        // 34 days.
        assert_eq!(clock.since(1000), 2_999_999.0);
        assert_eq!(clock.since(3_000_002_000), -2.0);
        let wrapped = Clock { ticks: 1000, hz: 1000 };
        assert_eq!(wrapped.since(u32::MAX), 1.001);
    }

    #[test]
    fn a_kernel_of_any_hz_has_a_clock() {
        let clock = Clock { ticks: 0, hz: 1_000_000 };
        assert_eq!(clock.since(1), -0.000_001);
        assert_eq!(clock.since(1 << 31), 2_147.483_648);
    }
}
