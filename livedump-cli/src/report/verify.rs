// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump verify` says: each check, what was not checked, and a
//! verdict that claims no more than that.

use super::{Report, escape};
use crate::vmcore::{Status, Verification};
use serde::Serialize;
use std::io::{self, Write};

/// The verdict on one file.
#[derive(Debug, Serialize)]
pub struct Verify {
    /// As the file was named.
    pub file: String,
    /// The kernel it was held against.
    pub kernel: Option<String>,
    /// "sound", "structure", or "wrong": nothing wrong and its lists walk;
    /// nothing wrong as far as a look without them goes; something is wrong.
    pub verdict: &'static str,
    /// How many checks found something wrong.
    pub wrong: usize,
    /// How many found something odd.
    pub warnings: usize,
    /// Each check.
    pub checks: Vec<Check>,
    /// What nobody looked at.
    pub unchecked: Vec<String>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct Check {
    /// A name that stays.
    pub name: &'static str,
    /// "ok", "warning" or "wrong".
    pub status: &'static str,
    /// In words.
    pub text: String,
}

impl Verify {
    /// What `verdict` says about `file`.
    #[must_use]
    pub fn new(file: String, kernel: Option<String>, v: &Verification) -> Self {
        let checks = v.findings.iter().map(|f| Check {
            name: f.check,
            status: match f.status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Wrong => "wrong",
            },
            text: escape(f.text.as_bytes()),
        });
        Self {
            file,
            kernel,
            verdict: if v.is_wrong() {
                "wrong"
            } else if v.is_sound() {
                "sound"
            } else {
                "structure"
            },
            wrong: v.count(Status::Wrong),
            warnings: v.count(Status::Warning),
            checks: checks.collect(),
            unchecked: v.unchecked.clone(),
        }
    }
}

impl Report for Verify {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for c in &self.checks {
            writeln!(out, "{:<8} {:<11} {}", c.status, c.name, c.text)?;
        }
        writeln!(out, "not checked:")?;
        for text in &self.unchecked {
            writeln!(out, "  {text}")?;
        }
        let file = &self.file;
        match self.verdict {
            "sound" => writeln!(out, "{file}: sound"),
            "structure" => writeln!(
                out,
                "{file}: its structure is whole; whether its contents are \
                 is not known"
            ),
            _ => writeln!(
                out,
                "{file}: wrong ({} of {} checks)",
                self.wrong,
                self.checks.len()
            ),
        }
    }
}
