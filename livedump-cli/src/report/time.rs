// SPDX-License-Identifier: BSD-2-Clause
//! The time zone, asked for once: it is in a file, and later there may be no
//! opening one.

use jiff::tz::TimeZone;
use std::sync::OnceLock;

static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// The time zone of this process.
#[must_use]
pub fn time_zone() -> TimeZone {
    ZONE.get_or_init(TimeZone::system).clone()
}

/// Reads it now.
pub fn prepare_time_zone() {
    let _ = time_zone();
}
