// SPDX-License-Identifier: BSD-2-Clause
//! What a capture came to, as one line and as JSON.

use crate::report::{Report, human};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// What a dump came to, for `--json`. The keys are documented in
/// livedump(8).
#[derive(Debug, Serialize)]
pub(super) struct Captured {
    pub(super) number: u32,
    pub(super) file: PathBuf,
    pub(super) info: Option<PathBuf>,
    pub(super) kernel: Option<PathBuf>,
    pub(super) machine: String,
    pub(super) architecture: String,
    pub(super) hostname: String,
    pub(super) version: String,
    pub(super) dumptime: u64,
    pub(super) compression: &'static str,
    pub(super) dumplength: u64,
    pub(super) dumpextent: u64,
    /// Unknown where the kernel's own facility dumped.
    pub(super) pages: Option<u64>,
    pub(super) zero_pages: Option<u64>,
    pub(super) elapsed_ns: u64,
    /// Whether its lists walk; unknown where nobody looked.
    pub(super) lists: Option<bool>,
    /// Nothing of it is missing or odd, as far as its shape and its lists
    /// show.
    pub(super) complete: bool,
    pub(super) problems: Vec<String>,
    /// What was not looked at, and why.
    pub(super) unchecked: Vec<String>,
}

impl Captured {
    pub(super) fn summary(&self) -> String {
        let seconds = Duration::from_nanos(self.elapsed_ns).as_secs_f64();
        let size = human(self.dumplength);
        let of = match self.compression {
            "none" => String::new(),
            codec => {
                let percent = (u128::from(self.dumplength) * 100)
                    .checked_div(u128::from(self.dumpextent))
                    .unwrap_or(100);
                let extent = human(self.dumpextent);
                format!(" of {extent} ({codec}, {percent} %)")
            }
        };
        format!("{}: {size}{of} in {seconds:.2} s", self.file.display())
    }
}

impl Report for Captured {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())
    }
}
