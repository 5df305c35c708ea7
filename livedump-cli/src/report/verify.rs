// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump verify` says: each check, what was not checked, and a
//! verdict that claims no more than that.

use super::{Instant, Report, escape};
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{Status, Verification};
use serde::Serialize;
use std::io::{self, Write};

/// The verdict on one file.
#[derive(Debug, Serialize)]
pub struct Verify {
    /// As the file was named.
    pub file: String,
    /// The kernel it was held against.
    pub kernel: Option<String>,
    /// The instant that all its pages are of, where it is of one.
    pub instant: Option<Instant>,
    /// All of it in a word.
    pub verdict: Verdict,
    /// What is damaged, or why it cannot be told.
    pub reason: Option<String>,
    /// How many checks failed.
    pub failed: usize,
    /// How many could not be made.
    pub undetermined: usize,
    /// How many found something odd.
    pub warnings: usize,
    /// Each check.
    pub checks: Vec<Check>,
    /// What was not checked.
    pub unchecked: Vec<String>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct Check {
    /// A name that stays.
    pub name: &'static str,
    /// "ok", "warning", "undetermined" or "fail".
    pub status: &'static str,
    /// In words.
    pub text: String,
}

impl Verify {
    /// What `verdict` says about `file`.
    #[must_use]
    pub fn new(
        file: String,
        kernel: Option<String>,
        instant: Option<Instant>,
        v: &Verification,
    ) -> Self {
        let checks = v.findings.iter().map(|f| Check {
            name: f.check,
            status: f.status.name(),
            text: escape(f.text.as_bytes()),
        });
        let verdict = v.verdict();
        let reason = verdict.reason().map(|text| escape(text.as_bytes()));
        Self {
            file,
            kernel,
            instant,
            verdict,
            reason,
            failed: v.count(Status::Fail),
            undetermined: v.count(Status::Undetermined),
            warnings: v.count(Status::Warning),
            checks: checks.collect(),
            unchecked: v.unchecked.clone(),
        }
    }
}

impl Report for Verify {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for c in &self.checks {
            // What is to be seen first.
            let status = match c.status {
                "fail" => "FAIL",
                status => status,
            };
            writeln!(out, "{status:<12} {:<11} {}", c.name, c.text)?;
        }
        if !self.unchecked.is_empty() {
            writeln!(out, "not checked:")?;
        }
        for text in &self.unchecked {
            writeln!(out, "  {}", escape(text.as_bytes()))?;
        }
        let file = escape(self.file.as_bytes());
        match &self.reason {
            None => writeln!(out, "{file}: {}", self.verdict.word()),
            Some(why) => {
                writeln!(out, "{file}: {}: {why}", self.verdict.word())
            }
        }
    }
}
