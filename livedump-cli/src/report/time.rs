// SPDX-License-Identifier: BSD-2-Clause
//! The time zone, asked for once: it is in a file, and later there may be no
//! opening one. It is that of the environment variable TZ, or else of
//! /etc/localtime.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::sync::OnceLock;

static ZONE: OnceLock<Result<TimeZone, UnknownZone>> = OnceLock::new();

/// TZ names no time zone.
#[derive(Clone, Debug, thiserror::Error)]
#[error("TZ={name}: no such time zone")]
pub struct UnknownZone {
    name: String,
}

/// The time zone of this process.
///
/// # Errors
/// TZ names none that is known.
pub fn known_time_zone() -> Result<TimeZone, UnknownZone> {
    ZONE.get_or_init(query).clone()
}

/// The same, or UTC. [`prepare_time_zone`] has reported that.
#[must_use]
pub fn time_zone() -> TimeZone {
    known_time_zone().unwrap_or(TimeZone::UTC)
}

/// Reads it now; an unknown zone is reported.
pub fn prepare_time_zone() {
    if ZONE.get().is_none()
        && let Err(e) = known_time_zone()
    {
        super::note(format_args!("{e}: times are UTC"));
    }
}

fn query() -> Result<TimeZone, UnknownZone> {
    let Some(name) = std::env::var_os("TZ") else {
        // Without a file there is none, and that is UTC by tzset(3).
        return Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC));
    };
    let name = name.to_string_lossy();
    // As tzset(3): empty is UTC, and a colon means a file.
    if name.trim_start_matches(':').is_empty() {
        return Ok(TimeZone::UTC);
    }
    match TimeZone::try_system() {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => Err(UnknownZone { name: name.into_owned() }),
    }
}

/// Now, as log files have it: `2024-03-31 02:30:00 +0200`.
#[must_use]
pub fn now() -> String {
    show(&Timestamp::now().to_zoned(time_zone()))
}

/// A moment in Unix seconds, as info.N has it; the bare number where it is
/// none.
#[must_use]
pub fn local_time(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok());
    match time {
        Some(time) => show(&time.to_zoned(time_zone())),
        None => seconds.to_string(),
    }
}

/// A time with its offset.
#[must_use]
pub fn show(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S %z").to_string()
}
