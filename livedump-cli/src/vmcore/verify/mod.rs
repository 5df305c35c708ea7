// SPDX-License-Identifier: BSD-2-Clause
//! What a dump can prove about itself, and what it cannot.
//!
//! That the bitset and the pages agree says little: a stock 13.2 live dump
//! passes it in 20 of 20 runs and lacks the message buffer and the process
//! list in each. A dump is called sound only when, with its kernel, the lists
//! walk and the message buffer is where msgbufp says.

mod lists;
mod structure;
mod tables;

use super::Vmcore;
use super::elf::Kernel;

/// What no checksum covers begins like this.
const FLIPPED: &str = "flipped bits";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Odd, but nothing is lost by it.
    Warning,
    /// Not as it should be.
    Wrong,
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
    /// What nobody looked at, and why.
    pub unchecked: Vec<String>,
    /// Whether the dump's lists were held against its kernel.
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

    fn wrong(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(check, Status::Wrong, text);
    }

    fn skip(&mut self, text: impl Into<String>) {
        self.unchecked.push(text.into());
    }

    /// Adds what a look at the dump's seal found; one that holds covers what
    /// the dump's own checksums leave open.
    pub fn add_seal(&mut self, findings: Vec<Finding>, holds: bool) {
        self.findings.extend(findings);
        if holds {
            self.unchecked.retain(|text| !text.starts_with(FLIPPED));
        }
    }

    /// How many checks ended like this.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|f| f.status == status).count()
    }

    /// Whether anything is wrong.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.count(Status::Wrong) > 0
    }

    /// Whether nothing is wrong *and* enough was looked at to say so.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.walked && !self.is_wrong()
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
        let mut v = Verification::default();
        self.verify_structure(&mut v, threads);
        self.verify_tables(&mut v);
        match kernel {
            Some(kernel) => self.verify_lists(kernel, &mut v),
            None => v.skip(
                "what the pages hold: give the dump's kernel with -k to \
                 walk its lists",
            ),
        }
        v.skip(
            "whether the pages are of one instant: the machine ran on while \
             they were copied",
        );
        v.skip(
            "memory that is in no list and no kernel mapping: a page that is \
             missing there leaves no trace",
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
