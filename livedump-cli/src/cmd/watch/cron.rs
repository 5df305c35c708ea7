// SPDX-License-Identifier: BSD-2-Clause
//! Times as crontab(5) writes them: minute, hour, day of the month, month,
//! day of the week. As there, a day matches when either of its two fields
//! does, if both say something.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::str::FromStr;

/// Every February 29 comes within this.
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

/// Why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error(
        "{0:?} has not the five fields of crontab(5): minute hour day month \
         weekday"
    )]
    Fields(String),
    /// A field.
    #[error("{field:?} is no {name} ({low} to {high})")]
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
    #[error("{0:?} never comes")]
    Never(String),
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let spelled = match text {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            other => other,
        };
        let fields: Vec<_> = spelled.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields(text.into()));
        };
        let mut weekdays = set(weekday, "weekday", 0, 7)?;
        // Both 0 and 7 are Sunday.
        weekdays |= weekdays >> 7 & 1;
        let cron = Self {
            minutes: set(minute, "minute", 0, 59)?,
            hours: set(hour, "hour", 0, 23)?,
            days: set(day, "day", 1, 31)?,
            months: set(month, "month", 1, 12)?,
            weekdays,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match cron.after(Timestamp::UNIX_EPOCH, &TimeZone::UTC) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(text.into())),
        }
    }
}

/// The numbers of `*/15` or `1,8-17/2` as bits.
fn set(
    field: &str,
    name: &'static str,
    low: u32,
    high: u32,
) -> Result<u64, CronError> {
    let part = |part: &str| -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok()?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
            None if step > 1 => (range.parse().ok()?, high),
            None => (range.parse().ok()?, range.parse().ok()?),
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
    /// The first such time behind another.
    #[must_use]
    pub fn after(&self, then: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let now = then.to_zoned(zone.clone()).datetime();
        let mut day = now.date();
        for _ in 0..DAYS {
            if self.has_day(day.at(0, 0, 0, 0)) {
                for hour in (0..24).filter(|&h| has(self.hours, h)) {
                    for minute in (0..60).filter(|&m| has(self.minutes, m)) {
                        let at = day.at(hour, minute, 0, 0);
                        // One that the clock leaves out is a little later.
                        let at = zone.to_timestamp(at).ok()?;
                        if at > then {
                            return Some(at);
                        }
                    }
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
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
            ("0 0 30 2 *", "never comes"),
        ] {
            let e = cron.parse::<Cron>().unwrap_err().to_string();
            assert!(e.contains(words), "{cron}: {e}");
        }
    }
}
