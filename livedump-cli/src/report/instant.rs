// SPDX-License-Identifier: BSD-2-Clause
//! The instant that a dump is of, and how long the machine was stopped for it.

use super::{human, time_zone};
use jiff::Timestamp;
use memdev::addr::PAGE_SIZE;
use memdev::freeze::{FreezeRecord, MinidumpFreeze};
use serde::Serialize;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// All of it, for `--json`. The keys are documented in livedump(8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instant {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// The same in the local time zone.
    pub time_text: String,
    /// Nanoseconds since boot.
    pub uptime_ns: u64,
    /// Nanoseconds from the first CPU stopped to the last that went on.
    pub pause_ns: u64,
    /// Nanoseconds that this was allowed to take; 0 where it was taken from
    /// outside.
    pub max_pause_ns: u64,
    /// Whether it was taken from outside, as that of a guest is.
    pub outside: bool,
    /// CPUs that were stopped.
    pub cpus: u32,
    /// Pages read meanwhile.
    pub pages: u64,
}

impl Instant {
    /// Of a dump's own record.
    #[must_use]
    pub fn of_record(record: &FreezeRecord) -> Self {
        let &FreezeRecord {
            cpus,
            uptime_ns,
            time_ns,
            pause_ns,
            max_pause_ns,
            pages,
        } = record;
        let time_text = time_text(time_ns);
        Self {
            time_ns,
            time_text,
            uptime_ns,
            pause_ns,
            max_pause_ns,
            outside: max_pause_ns == 0,
            cpus,
            pages,
        }
    }

    /// Of what a request answered.
    #[must_use]
    pub fn of_answer(freeze: &MinidumpFreeze) -> Self {
        Self::of_record(&FreezeRecord {
            cpus: freeze.cpus,
            uptime_ns: freeze.uptime_ns,
            time_ns: freeze.time_ns,
            pause_ns: freeze.pause_ns,
            max_pause_ns: freeze.max_pause_ns,
            pages: freeze.pages,
        })
    }

    /// `2026-11-27 18:00:00.123 +0000, up 5.000 s`.
    #[must_use]
    pub fn moment(&self) -> String {
        let (seconds, ns) =
            (self.uptime_ns / NS_PER_S, self.uptime_ns % NS_PER_S);
        format!("{}, up {seconds}.{:03} s", self.time_text, ns / NS_PER_MS)
    }

    /// `14 ms (budget 100 ms), 93.0 MiB by 4 CPUs`; `132 ms (taken from
    /// outside)`.
    #[must_use]
    pub fn pause(&self) -> String {
        if self.outside {
            let pause = milliseconds(self.pause_ns);
            return match self.pause_ns {
                0 => "0 ms (taken from outside, it was not running)".into(),
                _ => format!("{pause} (taken from outside)"),
            };
        }
        let bytes = human(self.pages.saturating_mul(PAGE_SIZE as u64));
        let (pause, max) =
            (milliseconds(self.pause_ns), milliseconds(self.max_pause_ns));
        let cpus = match self.cpus {
            1 => "1 CPU".into(),
            n => format!("{n} CPUs"),
        };
        format!("{pause} (budget {max}), {bytes} by {cpus}")
    }
}

/// A pause: `14 ms`, `3.1 ms`.
#[must_use]
pub fn milliseconds(ns: u64) -> String {
    // Up, so that what is above a budget never looks like what is in it.
    let tenths = ns.div_ceil(NS_PER_MS / 10);
    match (tenths / 10, tenths % 10) {
        (ms, 0) => format!("{ms} ms"),
        (ms @ 0..10, tenth) => format!("{ms}.{tenth} ms"),
        (ms, _) => format!("{} ms", ms.saturating_add(1)),
    }
}

fn time_text(ns: i64) -> String {
    match Timestamp::from_nanosecond(ns.into()) {
        Ok(time) => time
            .to_zoned(time_zone())
            .strftime("%Y-%m-%d %H:%M:%S.%3f %z")
            .to_string(),
        Err(_) => format!("{ns} ns after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_shown_in_milliseconds_and_never_shorter_than_it_was() {
        for (ns, text) in [
            (0, "0 ms"),
            (1, "0.1 ms"),
            (300_000, "0.3 ms"),
            (3_100_000, "3.1 ms"),
            (9_999_999, "10 ms"),
            (14_000_000, "14 ms"),
            (14_000_001, "15 ms"),
            (100_000_000, "100 ms"),
            (1_000_000_000, "1000 ms"),
            (u64::MAX, "18446744073710 ms"),
        ] {
            assert_eq!(milliseconds(ns), text, "{ns}");
        }
    }

    #[test]
    fn an_instant_is_told_in_words() {
        let it = Instant::of_record(&FreezeRecord {
            cpus: 4,
            uptime_ns: 5_012_000_007,
            time_ns: 1_700_000_000_123_456_789,
            pause_ns: 14_000_000,
            max_pause_ns: 100_000_000,
            pages: 23_808,
        });
        assert_eq!(it.pause(), "14 ms (budget 100 ms), 93.0 MiB by 4 CPUs");
        assert!(it.moment().ends_with(", up 5.012 s"), "{}", it.moment());
        assert!(it.time_text.contains(":20.123 "), "{}", it.time_text);
        let outside = FreezeRecord { pause_ns: 132_000_000, ..it_zero() };
        let it = Instant::of_record(&outside);
        assert_eq!(it.pause(), "132 ms (taken from outside)");
        let it = Instant::of_record(&it_zero());
        assert!(it.outside && it.pause().ends_with("not running)"));
        let odd = FreezeRecord {
            cpus: 1,
            max_pause_ns: 1,
            time_ns: i64::MIN,
            ..it_zero()
        };
        let it = Instant::of_record(&odd);
        assert!(it.pause().ends_with("0 B by 1 CPU"), "{}", it.pause());
        let _ = it.moment();
    }

    fn it_zero() -> FreezeRecord {
        FreezeRecord::default()
    }
}
