// SPDX-License-Identifier: BSD-2-Clause
//! Times as crontab(5) writes them: minute, hour, day of the month, month,
//! day of the week, the last two also by the first three letters of their
//! names. As there, a day matches when either of its two fields does, if both
//! say something.
//!
//! Where the clock of the time zone is changed, cron(8) and this distinguish
//! two kinds. What is to run in every hour runs by the clock: also in the
//! hour that comes twice, and not for the one that is left out. Anything else
//! runs once: in the first of the two hours, or so long after the hour that
//! is left out began.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use std::str::FromStr;

/// Every February 29 is within this.
const DAYS: u32 = 366 * 8 + 1;

/// When to take a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether both kinds of day are restricted.
    either_day: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct",
    "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// All of them.
const HOURS: u64 = (1 << 24) - 1;

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error(
        "{0:?} does not have the five fields of crontab(5): minute hour day \
         month weekday"
    )]
    Fields(String),
    /// A field.
    #[error("{field:?} is not a valid {name} ({low} to {high})")]
    Field {
        /// The field.
        field: String,
        /// Of what.
        name: &'static str,
        /// Lowest value.
        low: u32,
        /// Highest value.
        high: u32,
    },
    /// February 30.
    #[error("{0:?} matches no date")]
    Never(String),
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let spelled = match text {
            "@every_minute" => "* * * * *",
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<_> = spelled.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields(text.into()));
        };
        let mut weekdays = set(weekday, "weekday", 0, 7, &WEEKDAYS)?;
        // Both 0 and 7 are Sunday.
        weekdays |= weekdays >> 7 & 1;
        let cron = Self {
            minutes: set(minute, "minute", 0, 59, &[])?,
            hours: set(hour, "hour", 0, 23, &[])?,
            days: set(day, "day", 1, 31, &[])?,
            months: set(month, "month", 1, 12, &MONTHS)?,
            weekdays,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match cron.after(Timestamp::UNIX_EPOCH, &TimeZone::UTC) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(text.into())),
        }
    }
}

/// The numbers of `*/15` or `1,8-17/2` as bits. `names` are those of `low` and
/// the ones after it.
fn set(
    field: &str,
    name: &'static str,
    low: u32,
    high: u32,
    names: &[&str],
) -> Result<u64, CronError> {
    let number = |text: &str| -> Option<u32> {
        let named = names.iter().position(|n| text.eq_ignore_ascii_case(n));
        match named {
            Some(n) => u32::try_from(n).ok()?.checked_add(low),
            None => text.parse().ok(),
        }
    };
    let part = |part: &str| -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok()?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            // Up to the Sunday that ends the week.
            Some((from, to)) if high == 7 && to.eq_ignore_ascii_case("sun") => {
                (number(from)?, 7)
            }
            Some((from, to)) => (number(from)?, number(to)?),
            None if step > 1 => (number(range)?, high),
            None => (number(range)?, number(range)?),
        };
        let right = step > 0 && low <= from && from <= to && to <= high;
        right.then(|| {
            let numbers = (from..=to).step_by(step);
            numbers.fold(0, |bits, n| bits | 1 << n)
        })
    };
    let bits =
        field.split(',').try_fold(0, |bits, text| Some(bits | part(text)?));
    bits.ok_or_else(|| CronError::Field {
        field: field.into(),
        name,
        low,
        high,
    })
}

fn has(bits: u64, n: i8) -> bool {
    u32::try_from(n).is_ok_and(|n| bits >> n & 1 == 1)
}

impl Cron {
    /// The first such time after another.
    #[must_use]
    pub fn after(&self, then: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let now = then.to_zoned(zone.clone()).datetime();
        let mut day = now.date();
        for _ in 0..DAYS {
            if self.has_day(day.at(0, 0, 0, 0)) {
                // Not the first that is found: an hour may come twice.
                let hours = (0..24).filter(|&h| has(self.hours, h));
                let times = hours.flat_map(|hour| {
                    let minutes = (0..60).filter(|&m| has(self.minutes, m));
                    minutes.map(move |m| day.at(hour, m, 0, 0))
                });
                let times = times.flat_map(|at| self.instants(at, zone));
                let next = times.filter(|at| *at > then).min();
                if next.is_some() {
                    return next;
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// When the clock shows a time that is one of these.
    fn instants(
        &self,
        at: DateTime,
        zone: &TimeZone,
    ) -> impl Iterator<Item = Timestamp> {
        let hourly = self.hours == HOURS;
        let offset = zone.to_ambiguous_timestamp(at).offset();
        let offsets = match offset {
            AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
            AmbiguousOffset::Gap { .. } if hourly => [None, None],
            // So long after the gap began.
            AmbiguousOffset::Gap { before, .. } => [Some(before), None],
            AmbiguousOffset::Fold { before, after } if hourly => {
                [Some(before), Some(after)]
            }
            AmbiguousOffset::Fold { before, .. } => [Some(before), None],
        };
        let offsets = offsets.into_iter().flatten();
        offsets.filter_map(move |offset| offset.to_timestamp(at).ok())
    }

    fn has_day(&self, day: DateTime) -> bool {
        let by_date = has(self.days, day.day());
        let weekday = day.date().weekday().to_sunday_zero_offset();
        let by_weekday = has(self.weekdays, weekday);
        let right = match self.either_day {
            true => by_date || by_weekday,
            false => by_date && by_weekday,
        };
        right && has(self.months, day.month())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, then: &str) -> String {
        let cron: Cron = cron.parse().unwrap();
        let then: Timestamp = then.parse().unwrap();
        cron.after(then, &TimeZone::UTC).unwrap().to_string()
    }

    #[test]
    fn the_next_time_is_found() {
        // A Monday.
        let then = "2024-01-01T10:07:30Z";
        for (cron, want) in [
            ("* * * * *", "2024-01-01T10:08:00Z"),
            ("*/15 * * * *", "2024-01-01T10:15:00Z"),
            ("7 * * * *", "2024-01-01T11:07:00Z"),
            ("0 3 * * *", "2024-01-02T03:00:00Z"),
            ("30 10 * * 1", "2024-01-01T10:30:00Z"),
            ("0 0 * * 7", "2024-01-07T00:00:00Z"),
            ("0 0 15 * 3", "2024-01-03T00:00:00Z"),
            ("0 0 29 2 *", "2024-02-29T00:00:00Z"),
            ("5,50 8-12/2 * * 1-5", "2024-01-01T10:50:00Z"),
            ("10/20 * * * *", "2024-01-01T10:10:00Z"),
            ("0 0 * * wed", "2024-01-03T00:00:00Z"),
            ("0 0 * * Fri-sun", "2024-01-05T00:00:00Z"),
            ("0 0 * FEB,mar mon-Fri", "2024-02-01T00:00:00Z"),
            ("0 0 * * sun,tue", "2024-01-02T00:00:00Z"),
            ("@every_minute", "2024-01-01T10:08:00Z"),
            ("@yearly", "2025-01-01T00:00:00Z"),
            ("@annually", "2025-01-01T00:00:00Z"),
            ("@monthly", "2024-02-01T00:00:00Z"),
            ("@daily", "2024-01-02T00:00:00Z"),
            ("@midnight", "2024-01-02T00:00:00Z"),
            ("@hourly", "2024-01-01T11:00:00Z"),
            ("@weekly", "2024-01-07T00:00:00Z"),
        ] {
            assert_eq!(next(cron, then), want, "{cron}");
        }
        assert_eq!(
            next("0 0 29 2 *", "2096-03-01T00:00:00Z"),
            "2104-02-29T00:00:00Z"
        );
    }

    /// Times after another, by the clock of a place, with its offset.
    fn times(cron: &str, zone: &str, then: &str, n: usize) -> Vec<String> {
        let cron: Cron = cron.parse().unwrap();
        let zone = TimeZone::posix(zone).unwrap();
        let mut then: Timestamp = then.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..n {
            then = cron.after(then, &zone).unwrap();
            let shown = then.to_zoned(zone.clone());
            times.push(shown.strftime("%d %H:%M %z").to_string());
        }
        times
    }

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    #[test]
    fn in_the_hour_that_comes_twice_what_is_hourly_runs_twice() {
        // Half past two of October 27, the first time.
        let then = "2024-10-27T00:30:00Z";
        assert_eq!(
            times("*/20 * * * *", BERLIN, then, 5),
            [
                "27 02:40 +0200",
                "27 02:00 +0100",
                "27 02:20 +0100",
                "27 02:40 +0100",
                "27 03:00 +0100",
            ]
        );
        assert_eq!(
            times("30 2 * * *", BERLIN, "2024-10-26T23:00:00Z", 2),
            ["27 02:30 +0200", "28 02:30 +0100"]
        );
        assert_eq!(
            times("30 1-3 * * *", BERLIN, "2024-10-26T23:00:00Z", 3),
            ["27 01:30 +0200", "27 02:30 +0200", "27 03:30 +0100"]
        );
    }

    #[test]
    fn in_the_hour_that_is_left_out_what_is_not_hourly_runs_later() {
        let then = "2024-03-31T00:50:00Z";
        assert_eq!(
            times("*/20 * * * *", BERLIN, then, 2),
            ["31 03:00 +0200", "31 03:20 +0200"]
        );
        assert_eq!(
            times("30 2 * * *", BERLIN, then, 2),
            ["31 03:30 +0200", "01 02:30 +0200"]
        );
    }

    #[test]
    fn an_hour_that_comes_twice_around_midnight_is_of_the_day_before() {
        // At midnight the clock goes back to 23:00.
        let zone = "XST3XDT,M3.1.0/24,M10.3.0/24";
        let day = times("0,30 * * * *", zone, "2024-10-21T01:15:00Z", 4);
        assert_eq!(
            day,
            [
                "20 23:30 -0200",
                "20 23:00 -0300",
                "20 23:30 -0300",
                "21 00:00 -0300"
            ]
        );
    }

    #[test]
    fn what_is_no_time_is_named() {
        for (cron, words) in [
            ("", "five fields"),
            ("* * * *", "five fields"),
            ("60 * * * *", "minute (0 to 59)"),
            ("* 24 * * *", "hour (0 to 23)"),
            ("* * 0 * *", "day (1 to 31)"),
            ("* * * 13 *", "month (1 to 12)"),
            ("* * * * 8", "weekday (0 to 7)"),
            ("*/0 * * * *", "minute"),
            ("9-3 * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("mon * * * *", "\"mon\""),
            ("0 0 mon * *", "\"mon\""),
            ("0 0 * mon *", "month"),
            ("0 0 * * jan", "weekday"),
            ("0 0 * * monday", "\"monday\""),
            ("0 0 * * sat-mon", "weekday"),
            ("@reboot", "five fields"),
            ("0 0 30 2 *", "matches no date"),
        ] {
            let e = cron.parse::<Cron>().unwrap_err().to_string();
            assert!(e.contains(words), "{cron}: {e}");
        }
    }
}
