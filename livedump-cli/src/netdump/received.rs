// SPDX-License-Identifier: BSD-2-Clause
//! What a dump from the network came to, as one line and as JSON.

use crate::outcome::Outcome;
use crate::report::{Report, human};
use livedump_vmcore::path::FilePath;
use livedump_vmcore::verdict::Verdict;
use serde::Serialize;
use std::io::{self, Write};

/// Holes that are listed.
pub const MAX_HOLES: usize = 1000;

/// For `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
pub struct Received {
    /// N; null for a core of macOS, which has a name of its own.
    pub number: Option<u32>,
    /// The dump.
    pub file: FilePath,
    /// `info.N`.
    pub info: Option<FilePath>,
    /// `key.N`.
    pub key: Option<FilePath>,
    /// `seal.N`.
    pub seal: Option<FilePath>,
    /// "netdump" or "kdumpd".
    pub protocol: &'static str,
    /// Address and port of the client.
    pub client: String,
    /// The path that it asked for.
    pub path: Option<String>,
    /// How it ended: "finished", "timeout", "stopped" or "failed".
    pub end: &'static str,
    /// Whether all of it arrived.
    pub complete: bool,
    /// Bytes of the dump that arrived.
    pub received: u64,
    /// Bytes of it by its header.
    pub dumplength: Option<u64>,
    /// How many holes it has; null where its length is not known.
    pub holes: Option<u64>,
    /// Bytes in them.
    pub missing: Option<u64>,
    /// Start and length of the first holes.
    pub ranges: Vec<Hole>,
    /// "none", "gzip" or "zstd".
    pub compression: Option<&'static str>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Of the dumped machine.
    pub architecture: Option<String>,
    /// The same.
    pub hostname: Option<String>,
    /// The same.
    pub version: Option<String>,
    /// The same.
    pub panic: Option<String>,
    /// Unix seconds.
    pub dumptime: Option<u64>,
    /// Messages that were kept.
    pub messages: u64,
    /// Messages that came again.
    pub repeated: u64,
    /// From the herald to the end.
    pub elapsed_ns: u64,
    /// On the dump.
    pub verdict: Verdict,
    /// What is damaged, or why it cannot be told.
    pub reason: Option<String>,
    /// That, and what went wrong with what lies beside the dump.
    pub problems: Vec<String>,
}

/// Bytes that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// Bytes from the start of the dump.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Received {
    /// What it is for an exit status: its verdict; what is missing beside the
    /// dump is a finding, too.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let beside = self.problems.len() > usize::from(self.reason.is_some());
        let beside = if beside { Outcome::Finding } else { Outcome::Clean };
        Outcome::from(&self.verdict).and(beside)
    }

    /// In one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let size = human(self.received);
        let seconds = self.elapsed_ns as f64 / 1e9;
        let rate = human((self.received as f64 / seconds.max(1e-9)) as u64);
        let host = match self.hostname.as_deref() {
            None | Some("") => String::new(),
            Some(name) => format!(" ({name})"),
        };
        let panic = match self.panic.as_deref() {
            None | Some("") => String::new(),
            Some(text) => format!(", panic \"{text}\""),
        };
        let verdict = match &self.reason {
            None => String::new(),
            Some(why) => format!(", {}: {why}", self.verdict.word()),
        };
        format!(
            "{}: {size} from {}{host} in {seconds:.2} s, {rate}/s, {} of {} \
             messages again{panic}{verdict}",
            self.file,
            self.client,
            self.repeated,
            self.repeated.saturating_add(self.messages),
        )
    }
}

impl Report for Received {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())
    }
}
