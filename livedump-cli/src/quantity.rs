// SPDX-License-Identifier: BSD-2-Clause
//! Sizes and durations on the command line: `10G`, `1h30m`.

use memdev::ioctl::{LEVEL_AUTO, ZSTD_LEVELS};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Why a value is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number, or not in its range.
    #[error("not a number from {low} to {high}")]
    Number {
        /// The least.
        low: String,
        /// The largest.
        high: String,
    },
    /// Not a number of bytes.
    #[error("{0:?} is not a size such as 512M or 10G")]
    Size(String),
    /// Not a position in memory.
    #[error("{0:?} is not an address such as 0x20000000 or 512M")]
    Address(String),
    /// Not a part of memory.
    #[error("{0:?} is not a range START-END or START-END@ADDRESS")]
    Range(String),
    /// Not a span of time.
    #[error("{0:?} is not a duration such as 30s, 15m, 1h30m or 7d")]
    Duration(String),
    /// A number that could be of days as well as of seconds.
    #[error("{0} has no unit: use 30s, 15m, 12h or 7d")]
    Unit(String),
    /// CPUs may not be stopped for so long, or so short.
    #[error("{0} is not from 1ms to 1s")]
    Pause(String),
}

/// A parser of a number in a range, for an option.
pub fn number<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, QuantityError> + Clone + Send + Sync
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync,
{
    move |word| match word.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(QuantityError::Number {
            low: range.start().to_string(),
            high: range.end().to_string(),
        }),
    }
}

/// A compression level of either format; `auto` is [`LEVEL_AUTO`].
///
/// # Errors
/// It is a level of neither.
pub fn level(word: &str) -> Result<i16, String> {
    if word == "auto" {
        return Ok(LEVEL_AUTO);
    }
    let level = word.parse().ok();
    level
        .filter(|&level| level != 0 && ZSTD_LEVELS.contains(&level))
        .ok_or_else(|| {
            "not 1 to 9 for gzip, or -7 to -1, 1 to 19 or auto for zstd".into()
        })
}

/// `256M`: a number of bytes, with an optional suffix for a power of 1024.
///
/// # Errors
/// It is not a size, or exceeds 64 bits.
pub fn size(word: &str) -> Result<u64, QuantityError> {
    parse_size(word).ok_or_else(|| QuantityError::Size(word.into()))
}

/// `0x1000` or a size: a position in memory.
///
/// # Errors
/// It is neither, or exceeds 64 bits.
pub fn address(word: &str) -> Result<u64, QuantityError> {
    let address = match word.strip_prefix("0x") {
        // from_str_radix takes a sign.
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => parse_size(word),
    };
    address.ok_or_else(|| QuantityError::Address(word.into()))
}

fn parse_size(word: &str) -> Option<u64> {
    let (number, unit) = split(word)?;
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// `1h30m`: numbers, each with its unit: ms, s, m, h, d, w. A number alone is
/// in seconds.
///
/// # Errors
/// It is not a duration, or exceeds 100 years.
pub fn duration(word: &str) -> Result<Duration, QuantityError> {
    parse_duration(word).ok_or_else(|| QuantityError::Duration(word.into()))
}

/// A duration that always has a unit: a number alone may be meant in seconds,
/// minutes or days.
///
/// # Errors
/// As [`duration`], and for a number alone.
pub fn age(word: &str) -> Result<Duration, QuantityError> {
    match word.parse::<u64>() {
        Ok(_) => Err(QuantityError::Unit(word.into())),
        Err(_) => duration(word),
    }
}

/// How long CPUs may be stopped. The kernel takes 1 s at most: its clock would
/// lose time.
///
/// # Errors
/// As [`age`], and for one out of range.
pub fn pause(word: &str) -> Result<Duration, QuantityError> {
    let pause = age(word)?;
    let range = Duration::from_millis(1)..=Duration::from_secs(1);
    match range.contains(&pause) {
        true => Ok(pause),
        false => Err(QuantityError::Pause(word.into())),
    }
}

fn parse_duration(word: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = word;
    loop {
        let (number, after) = split(rest)?;
        let at = after.find(|c: char| c.is_ascii_digit());
        let (unit, next) = after.split_at(at.unwrap_or(after.len()));
        let (milliseconds, bare) = match unit {
            "ms" => (1, false),
            "s" => (1000, false),
            "m" => (60_000, false),
            "h" => (3_600_000, false),
            "d" => (86_400_000, false),
            "w" => (604_800_000, false),
            "" => (1000, true),
            _ => return None,
        };
        // "1h30" may be minutes or seconds.
        if bare && rest.len() != word.len() {
            return None;
        }
        let part = Duration::from_millis(number.checked_mul(milliseconds)?);
        total = total.checked_add(part)?;
        if next.is_empty() {
            // What no clock has room for is no time to wait.
            let limit = Duration::from_secs(100 * 366 * 86_400);
            return (total <= limit).then_some(total);
        }
        rest = next;
    }
}

/// Splits a word after its leading digits.
fn split(word: &str) -> Option<(u64, &str)> {
    let at = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (digits, rest) = word.split_at(at);
    Some((digits.parse().ok()?, rest))
}

/// A duration in the units it is usually given in: `2h`, `90s`.
#[must_use]
pub fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    for (unit, name) in units {
        if ms >= unit && ms.is_multiple_of(unit) {
            return format!("{}{name}", ms / unit);
        }
    }
    match ms {
        0 => "0s".into(),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_understood() {
        for (word, bytes) in
            [("0", 0), ("512", 512), ("3k", 3072), ("10G", 10 << 30)]
        {
            assert_eq!(size(word), Ok(bytes), "{word}");
        }
        for (word, seconds) in
            [("90", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604_800)]
        {
            let want = Duration::from_secs(seconds);
            assert_eq!(duration(word), Ok(want), "{word}");
        }
        assert_eq!(duration("1s250ms"), Ok(Duration::from_millis(1250)));
    }

    #[test]
    fn what_is_none_is_named() {
        for word in ["", "G", "1.5G", "-1", "10GB", "16777216T", "1 G"] {
            let e = size(word).unwrap_err().to_string();
            assert!(e.contains(&format!("{word:?}")), "{e}");
        }
        for word in ["", "m", "1h30", "15x", "-5m", "1h m", "99999999w", "5M"] {
            let e = duration(word).unwrap_err().to_string();
            assert!(e.contains(&format!("{word:?}")), "{e}");
        }
    }

    #[test]
    fn addresses_are_sizes_or_hexadecimal() {
        assert_eq!(address("0x20000000"), Ok(512 << 20));
        assert_eq!(address("512M"), Ok(512 << 20));
        for word in ["", "0x", "0x+1", "20000000h", "0x10000000000000000"] {
            let e = address(word).unwrap_err().to_string();
            assert!(e.contains(&format!("{word:?}")), "{e}");
        }
    }

    #[test]
    fn a_number_is_in_its_range() {
        let level = number::<i16>(1..=19);
        assert_eq!(level("19"), Ok(19));
        for word in ["0", "20", "x", "", "1.5", "99999"] {
            let e = level(word).unwrap_err().to_string();
            assert_eq!(e, "not a number from 1 to 19", "{word}");
        }
    }

    #[test]
    fn an_age_says_its_unit() {
        assert_eq!(age("5d"), duration("5d"));
        assert_eq!(age("5"), Err(QuantityError::Unit("5".into())));
        assert_eq!(age("old"), Err(QuantityError::Duration("old".into())));
    }

    #[test]
    fn a_pause_is_at_least_a_millisecond_and_at_most_a_second() {
        for word in ["1ms", "100ms", "1s", "1000ms"] {
            assert_eq!(pause(word), duration(word), "{word}");
        }
        for word in ["0ms", "0s", "1001ms", "1s1ms", "2s", "1m", "7d"] {
            let e = pause(word).unwrap_err().to_string();
            assert_eq!(e, format!("{word} is not from 1ms to 1s"));
        }
        assert_eq!(pause("100"), Err(QuantityError::Unit("100".into())));
        assert_eq!(pause("-1ms"), duration("-1ms"));
    }

    #[test]
    fn a_duration_is_shown_as_it_is_written() {
        for word in ["7d", "36h", "15m", "90s", "1500ms", "0s"] {
            assert_eq!(show(duration(word).unwrap()), word);
        }
    }
}
