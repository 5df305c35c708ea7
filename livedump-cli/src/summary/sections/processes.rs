// SPDX-License-Identifier: BSD-2-Clause
//! All threads, as `livedump ps -t` prints them.

use crate::analysis::clock::Clock;
use crate::report::Ps;
use crate::report::build::{processes, unknown_columns};
use crate::summary::{Absent, Body, Content, Sources};
use livedump_vmcore::verdict::Verdict;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let (t, threads) = (s.target()?, s.threads()?);
    let waits = s.waiting().ok().map(|waiting| waiting.waits);
    let problems = threads.incomplete();
    let verdict = match problems.first() {
        Some(first) => Verdict::Undetermined(first.clone()),
        None => Verdict::Sound,
    };
    let missing = unknown_columns(t);
    let note = (!missing.is_empty())
        .then(|| format!("not known: {}", missing.join(", ")));
    let ps = Ps {
        file: s.info.file.clone(),
        kernel: t.kernel.path().to_string(),
        reason: verdict.reason().map(String::from),
        verdict,
        processes: processes(threads, waits, Clock::new(t)),
        missing,
        problems: problems.clone(),
        changed: None,
        each_thread: true,
        sort: None,
    };
    let body = Body::of("ps", Content::report(&ps));
    Ok(body.notes(note).problems(problems))
}
