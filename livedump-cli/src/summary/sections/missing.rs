// SPDX-License-Identifier: BSD-2-Clause
//! What the dump lacks, and what the report could not know: ranges that were
//! lost, fields whose offsets are not known, checks that do not hold.

use crate::analysis::types::structs;
use crate::report::escape;
use crate::summary::{Absent, Body, Content, Sources};
use livedump_vmcore::Status;
use livedump_vmcore::chain;

/// Ranges, fields and findings that are named.
const MAX_LINES: usize = 64;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(s.info.notes.iter().cloned());
    lines.extend(s.core.incomplete().map(String::from));
    if let Err(e) = s.core.instant() {
        lines.push(chain(&e));
    }
    if let Some(info) = s.info_text {
        let problem = info.problem.as_ref();
        lines.extend(
            problem.map(|text| format!("info.N: {}", escape(text.as_bytes()))),
        );
        let ranges = info.missing.iter().take(MAX_LINES);
        lines.extend(ranges.map(|range| {
            let bytes = range.end.saturating_sub(range.start);
            format!("{bytes} bytes at {} never arrived", range.start)
        }));
    }
    if let Some(n) = s.info.keys_overwritten.filter(|&n| n > 0) {
        lines.push(format!("{n} dump keys of the kernel, overwritten"));
    }
    match &s.known {
        Err(why) => lines.push(format!("the kernel: {why}")),
        Ok(known) => {
            let t = known.target;
            lines.extend(t.unproven.iter().cloned());
            lines.extend(unknown_structures(s));
            let found = s.core.verify_lists_only(t.kernel);
            let wrong = found.findings.iter();
            let wrong = wrong.filter(|f| f.status != Status::Ok);
            lines.extend(wrong.take(MAX_LINES).map(|f| {
                format!("{}: {}: {}", f.check, f.status.name(), f.text)
            }));
        }
    }
    match lines.is_empty() {
        true => Err(Absent::none("nothing that is known of")),
        false => Ok(Body::of("lines", Content::Lines(lines))),
    }
}

/// Structures that no source of types has.
fn unknown_structures(s: &Sources<'_>) -> Option<String> {
    let types = &s.known.as_ref().ok()?.target.types;
    let unknown: Vec<_> = structs()
        .map(|of| of.name)
        .filter(|name| types.size(name).is_none())
        .take(MAX_LINES)
        .collect();
    let names = unknown.join(", ");
    (!unknown.is_empty()).then(|| format!("unknown structures: {names}"))
}
