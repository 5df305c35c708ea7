// SPDX-License-Identifier: BSD-2-Clause
//! What a dump can prove about itself, and what it cannot.
//!
//! That the bitset and the pages agree says little: a stock 13.2 live dump
//! passes that in 20 of 20 runs, and lacks the message buffer and the process
//! list in each. So there has to be more: with its kernel, the lists walk and
//! the message buffer is where msgbufp says; without it, the memory that the
//! kernel has mapped is in the dump.

mod image;
mod lists;
mod structure;
mod tables;

use super::elf::Kernel;
use super::{Origin, Vmcore};
use crate::chain;
use crate::verdict::Verdict;
use std::error::Error;

/// What is not known of a dump of a machine that may have run on begins like
/// this.
pub const INSTANT: &str = "whether all pages are from the same moment";
/// What no checksum covers begins like this.
const BIT_FLIPS: &str = "flipped bits";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It holds.
    Ok,
    /// Odd, but nothing is lost by it.
    Warning,
    /// It could not be made.
    Undetermined,
    /// It does not hold.
    Fail,
}

impl Status {
    /// As in `--json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Undetermined => "undetermined",
            Self::Fail => "fail",
        }
    }
}

/// One check and what it found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A name that stays.
    pub check: &'static str,
    /// How it ended.
    pub status: Status,
    /// In words.
    pub text: String,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// In the order they were made.
    pub findings: Vec<Finding>,
    /// What was not checked, and why.
    pub unchecked: Vec<String>,
    /// Whether the dump's lists were walked with its kernel.
    pub walked: bool,
}

impl Verification {
    /// Adds a check.
    pub fn add(
        &mut self,
        check: &'static str,
        status: Status,
        text: impl Into<String>,
    ) {
        self.findings.push(Finding { check, status, text: text.into() });
    }

    fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(check, Status::Ok, text);
    }

    fn warn(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(check, Status::Warning, text);
    }

    fn fail(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(check, Status::Fail, text);
    }

    fn undetermined(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(check, Status::Undetermined, text);
    }

    /// A check that came to an error: damage, unless it is this host that
    /// could not read what was to be checked.
    fn error(&mut self, check: &'static str, e: &dyn Error, environment: bool) {
        let status = match environment {
            true => Status::Undetermined,
            false => Status::Fail,
        };
        self.add(check, status, chain(e));
    }

    /// Pages are in other files: what is missing is not damaged. Pages that
    /// are here and cannot be unpacked are.
    fn incomplete(&mut self, why: &str) {
        for finding in &mut self.findings {
            if finding.status == Status::Fail && finding.check != "data" {
                finding.status = Status::Undetermined;
            }
        }
        let (check, text) = ("parts", why.to_owned());
        let status = Status::Undetermined;
        self.findings.insert(0, Finding { check, status, text });
    }

    fn skip(&mut self, text: impl Into<String>) {
        self.unchecked.push(text.into());
    }

    /// Adds what the dump's seal says. Where it could be compared, nothing is
    /// left of what the dump's own checksums leave open.
    pub fn add_seal(&mut self, findings: Vec<Finding>, compared: bool) {
        self.findings.extend(findings);
        if compared {
            self.unchecked.retain(|text| !text.starts_with(BIT_FLIPS));
        }
    }

    /// How many checks ended like this.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|f| f.status == status).count()
    }

    /// What all of it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let reason = |status| {
            let mut all = self.findings.iter().filter(|f| f.status == status);
            let first = all.next()?;
            let text = format!("{}: {}", first.check, first.text);
            Some(match all.count() {
                0 => text,
                more => format!("{text}; and {more} more"),
            })
        };
        match (reason(Status::Fail), reason(Status::Undetermined)) {
            (Some(what), _) => Verdict::Damaged(what),
            (None, Some(why)) => Verdict::Undetermined(why),
            (None, None) => Verdict::Sound,
        }
    }
}

impl Vmcore {
    /// Checks everything that can be checked, with up to `threads` threads
    /// where there is much to unpack.
    #[must_use]
    pub fn verify(
        &self,
        kernel: Option<&Kernel>,
        threads: usize,
    ) -> Verification {
        self.verify_file(kernel, threads, false)
    }

    /// The same of a dump of which every stored byte has just been read if
    /// `was_read`. What has no checksums of its own is not read again.
    #[must_use]
    pub fn verify_file(
        &self,
        kernel: Option<&Kernel>,
        threads: usize,
        was_read: bool,
    ) -> Verification {
        let mut v = Verification::default();
        let data = self.verify_structure(&mut v, threads, was_read);
        let coverage = self.verify_tables(&mut v, data);
        self.verify_image(&mut v);
        match kernel {
            Some(kernel) => self.verify_lists(kernel, &mut v),
            None => v.skip(
                "the process list and msgbufp: name the dump's kernel with \
                 -k to check them",
            ),
        }
        if let Some(coverage) = coverage.filter(|_| !v.walked) {
            coverage.verify(&mut v);
        }
        if let Some(why) = self.incomplete() {
            v.incomplete(why);
        }
        match self.origin(kernel) {
            Origin::Stopped => {}
            Origin::Live => v.skip(format!(
                "{INSTANT}: the machine was running while they were copied"
            )),
            Origin::Unknown => v.skip(format!(
                "{INSTANT}: those of a live dump are not, and whether this \
                 is one is not recorded"
            )),
        }
        v.skip(
            "memory outside all lists and kernel mappings: a missing page \
             cannot be detected there",
        );
        v
    }

    /// Only what takes the dump's kernel: few pages, whatever its size.
    #[must_use]
    pub fn verify_lists_only(&self, kernel: &Kernel) -> Verification {
        let mut v = Verification::default();
        self.verify_lists(kernel, &mut v);
        v
    }
}
