// SPDX-License-Identifier: BSD-2-Clause
//! How long the machine had run.

use crate::analysis::times::Times;
use crate::report::local_time;
use crate::summary::{Absent, Body, Cell, Content, Fact, Sources};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let t = s.target()?;
    let times = Times::new(t);
    let Times { now, uptime } = times.ok_or_else(|| {
        Absent::unknown("time_second and time_uptime cannot be read")
    })?;
    let boot = now.saturating_sub(uptime);
    let text = |seconds| Cell::Text(local_time(seconds));
    Ok(Body::of(
        "facts",
        Content::Facts(vec![
            Fact::new("uptime_text", "Uptime", Cell::Text(words(uptime))),
            Fact::hidden("uptime", Cell::Number(uptime)),
            Fact::new("boottime_text", "Boot time", text(boot)),
            Fact::hidden("boottime", Cell::Number(boot)),
            Fact::new("time_text", "System time", text(now)),
            Fact::hidden("time", Cell::Number(now)),
        ]),
    ))
}

/// `2 days, 03:04:05`.
fn words(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (hours, rest) = (rest / HOUR, rest % HOUR);
    let (minutes, seconds) = (rest / MINUTE, rest % MINUTE);
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}");
    match days {
        0 => time,
        1 => format!("1 day, {time}"),
        n => format!("{n} days, {time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_has_days_only_after_the_first() {
        assert_eq!(words(59), "00:00:59");
        assert_eq!(words(DAY + HOUR), "1 day, 01:00:00");
        assert_eq!(words(3 * DAY + 61), "3 days, 00:01:01");
    }
}
