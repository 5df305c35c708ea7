// SPDX-License-Identifier: BSD-2-Clause
//! Tests that cannot run here.
//!
//! The test harness of the standard library knows no test that finds out
//! while it runs that it cannot: it would count as passed, and what it prints
//! is hidden. [`skipped`] prints past the harness, and adds a line to the
//! file that `LIVEDUMP_SKIPPED` names, from which `.ci/run` counts.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};

/// Names the file that lists skipped tests, one a line: its name, a tab, why.
pub const LIST: &str = "LIVEDUMP_SKIPPED";

/// Reports that the running test, or a part of it, is skipped. It is for the
/// caller to return.
///
/// # Panics
/// The list cannot be written: a skipped test must not go uncounted.
pub fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not eprintln!, which the harness captures.
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
    let Some(list) = std::env::var_os(LIST) else { return };
    let file = OpenOptions::new().append(true).create(true).open(&list);
    let written = file.and_then(|mut file| {
        // One write a line: tests run at the same time.
        file.write_all(format!("{test}\t{why}\n").as_bytes())
    });
    written.unwrap_or_else(|e| panic!("{LIST}={}: {e}", list.display()));
}
