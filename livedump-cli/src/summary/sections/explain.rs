// SPDX-License-Identifier: BSD-2-Clause
//! What threads wait for in the end, in words.

use super::deadlock::paragraphs;
use crate::summary::{Absent, Body, Content, Sources};

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let explain = &s.waiting()?.explain;
    let json = serde_json::to_value(explain).unwrap_or_default();
    let body = Body::of("explain", Content::Report(paragraphs(explain), json));
    let found = explain.stuck == Some(true);
    let what = explain.verdict.reason();
    let first = explain.reasons.first().cloned();
    let why = first.filter(|_| !explain.verdict.is_sound());
    Ok(body
        .finding(what.filter(|_| found).map(String::from))
        // They are in the text.
        .undetermined(why))
}
