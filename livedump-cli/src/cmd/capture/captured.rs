// SPDX-License-Identifier: BSD-2-Clause
//! What a capture came to, as one line and as JSON.

use crate::outcome::Outcome;
use crate::report::{Instant, Report, human};
use livedump_vmcore::path::FilePath;
use livedump_vmcore::verdict::Verdict;
use memdev::ioctl::MISSING_CPUS_MORE;
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;

/// What a dump came to, for `--json`. The keys are documented in
/// livedump(8).
#[derive(Debug, Serialize)]
pub(in crate::cmd) struct Captured {
    pub(in crate::cmd) number: u32,
    pub(in crate::cmd) file: FilePath,
    pub(in crate::cmd) info: Option<FilePath>,
    pub(in crate::cmd) kernel: Option<FilePath>,
    pub(in crate::cmd) debug: Option<FilePath>,
    pub(in crate::cmd) key: Option<FilePath>,
    pub(in crate::cmd) seal: Option<FilePath>,
    pub(in crate::cmd) report: Option<FilePath>,
    pub(in crate::cmd) machine: String,
    pub(in crate::cmd) architecture: String,
    pub(in crate::cmd) hostname: String,
    pub(in crate::cmd) version: String,
    pub(in crate::cmd) dumptime: u64,
    pub(in crate::cmd) compression: &'static str,
    /// Of compression; unknown where the kernel's own facility dumped.
    pub(in crate::cmd) level: Option<i16>,
    /// Whether the dump chose it.
    #[serde(skip)]
    pub(in crate::cmd) chose_level: bool,
    /// The cipher; none of a plain dump.
    pub(in crate::cmd) encryption: Option<&'static str>,
    pub(in crate::cmd) dumplength: u64,
    pub(in crate::cmd) dumpextent: u64,
    /// Unknown where the kernel's own facility dumped.
    pub(in crate::cmd) pages: Option<u64>,
    pub(in crate::cmd) zero_pages: Option<u64>,
    pub(in crate::cmd) elapsed_ns: u64,
    /// User processes were suspended for so long; none where nobody asked.
    pub(in crate::cmd) quiesced_ns: Option<u64>,
    /// Threads whose registers are in the dump.
    pub(in crate::cmd) registers: Option<u32>,
    /// CPUs that did not answer in time: their threads' registers are not in
    /// it.
    pub(in crate::cmd) missing_cpus: Option<Vec<u32>>,
    /// The instant that every page is of, and the pause; none of a dump of a
    /// machine that ran.
    pub(in crate::cmd) instant: Option<Instant>,
    /// Pages that came into use after the dump was planned.
    pub(in crate::cmd) late_pages: Option<u64>,
    /// Memory that the copy took.
    pub(in crate::cmd) copy_bytes: Option<u64>,
    pub(in crate::cmd) changed: Option<Changed>,
    /// Whether its lists walk; unknown where nobody looked.
    pub(in crate::cmd) lists: Option<bool>,
    /// On the dump.
    pub(in crate::cmd) verdict: Verdict,
    /// What is damaged, or why it cannot be told.
    pub(in crate::cmd) reason: Option<String>,
    /// That, and what went wrong with what lies beside the dump.
    pub(in crate::cmd) problems: Vec<String>,
    /// What was not checked, and why.
    pub(in crate::cmd) unchecked: Vec<String>,
}

/// Pages that changed while the dump was written.
#[derive(Debug, Serialize)]
pub(in crate::cmd) struct Changed {
    /// The list of them.
    pub(in crate::cmd) file: Option<FilePath>,
    pub(in crate::cmd) pages: u64,
    pub(in crate::cmd) page_tables: u64,
    pub(in crate::cmd) kernel_map: u64,
    pub(in crate::cmd) direct_map: u64,
}

/// "1, 3"; the last number there can be is that of all CPUs from it on.
pub(super) fn numbers(cpus: &[u32]) -> String {
    let one = |&n: &u32| match n {
        MISSING_CPUS_MORE => format!("{n} or more"),
        n => n.to_string(),
    };
    cpus.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Captured {
    /// How `capture` ends: with its verdict; a file beside the dump that is
    /// missing is a finding, too.
    pub(in crate::cmd) fn outcome(&self) -> Outcome {
        let beside = self.problems.len() > usize::from(self.reason.is_some());
        let beside = if beside { Outcome::Finding } else { Outcome::Clean };
        Outcome::from(&self.verdict).and(beside)
    }

    pub(in crate::cmd) fn summary(&self) -> String {
        let seconds = Duration::from_nanos(self.elapsed_ns).as_secs_f64();
        let size = human(self.dumplength);
        let of = match self.compression {
            "none" => String::new(),
            codec => {
                let percent = (u128::from(self.dumplength) * 100)
                    .checked_div(u128::from(self.dumpextent))
                    .unwrap_or(100);
                let extent = human(self.dumpextent);
                let level = match self.level {
                    Some(level) if self.chose_level => {
                        format!(" level {level}")
                    }
                    _ => String::new(),
                };
                format!(" of {extent} ({codec}{level}, {percent} %)")
            }
        };
        let mut line = format!("{}: {size}{of} in {seconds:.2} s", self.file);
        if let Some(cipher) = self.encryption {
            line.push_str(&format!(", encrypted ({cipher})"));
        }
        if let Some(instant) = &self.instant {
            line.push_str(&format!(", paused {}", instant.pause()));
        }
        if let Some(ns) = self.quiesced_ns {
            let seconds = Duration::from_nanos(ns).as_secs_f64();
            line.push_str(&format!(", processes suspended {seconds:.2} s"));
        }
        if let Some(n) = self.registers {
            line.push_str(&format!(", registers of {n} threads"));
        }
        if let Some(cpus) = self.missing_cpus.as_deref()
            && !cpus.is_empty()
        {
            let cpus = numbers(cpus);
            line.push_str(&format!(" (CPU {cpus} did not answer)"));
        }
        if let Some(changed) = &self.changed {
            line.push_str(&format!(", {} pages changed", changed.pages));
        }
        line
    }
}

impl Report for Captured {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())
    }
}
