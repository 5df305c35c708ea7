// SPDX-License-Identifier: BSD-2-Clause
//! Whether threads wait for each other, in words.

use crate::report::Report;
use crate::summary::{Absent, Body, Content, Sources};

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let deadlock = &s.waiting()?.deadlock;
    let json = serde_json::to_value(deadlock).unwrap_or_default();
    let body =
        Body::of("deadlock", Content::Report(paragraphs(deadlock), json));
    let found = deadlock.deadlocked == Some(true);
    let what = deadlock.verdict.reason();
    let first = deadlock.reasons.first().cloned();
    let why = first.filter(|_| !deadlock.verdict.is_sound());
    Ok(body
        .finding(what.filter(|_| found).map(String::from))
        // They are in the text.
        .undetermined(why))
}

/// What there is to say.
pub(super) fn paragraphs(report: &impl Report) -> Vec<String> {
    let mut text = Vec::new();
    // A vector takes everything.
    let _ = report.text(&mut text);
    String::from_utf8_lossy(&text).lines().map(String::from).collect()
}
