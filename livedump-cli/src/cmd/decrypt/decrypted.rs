// SPDX-License-Identifier: BSD-2-Clause
//! What came out of encrypted dumps, as lines and as JSON.

use crate::outcome::Outcome;
use crate::report::{Report, human};
use livedump_vmcore::path::FilePath;
use livedump_vmcore::verdict::Verdict;
use serde::Serialize;
use std::io::{self, Write};

/// For `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
pub(super) struct All {
    pub(super) dumps: Vec<Decrypted>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Decrypted {
    pub(super) file: FilePath,
    /// Where its key block is.
    pub(super) key: FilePath,
    pub(super) encryption: &'static str,
    /// What was written; null: standard output.
    pub(super) output: Option<FilePath>,
    pub(super) dumplength: u64,
    pub(super) compression: &'static str,
    /// "minidump", or the format of an image.
    pub(super) format: &'static str,
    /// On its structure and length.
    pub(super) verdict: Verdict,
    pub(super) reason: Option<String>,
}

impl Decrypted {
    pub(super) fn summary(&self) -> String {
        let to = match &self.output {
            Some(output) => output.to_string(),
            None => "standard output".into(),
        };
        let what = match self.compression {
            "none" => self.format.to_string(),
            codec => format!("{}, {codec}", self.format),
        };
        let size = human(self.dumplength);
        let mut line = format!(
            "{}: {size} decrypted ({}) to {to}: {what}",
            self.file, self.encryption
        );
        if let Some(reason) = &self.reason {
            let word = match self.verdict {
                Verdict::Damaged(_) => "damaged",
                _ => "not all was checked",
            };
            line.push_str(&format!("; {word}: {reason}"));
        }
        line
    }
}

impl All {
    /// That not everything could be checked is no finding: `verify` is for
    /// that.
    pub(super) fn outcome(&self) -> Outcome {
        let damaged = self.dumps.iter().any(|it| it.verdict.is_damaged());
        if damaged { Outcome::Finding } else { Outcome::Clean }
    }
}

impl Report for All {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for it in &self.dumps {
            writeln!(out, "{}", it.summary())?;
        }
        Ok(())
    }
}
