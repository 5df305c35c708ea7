// SPDX-License-Identifier: BSD-2-Clause
//! An estimate, as text and as JSON. It says how each figure was come by.

use crate::report::{Report, human, milliseconds};
use livedump_vmcore::path::FilePath;
use memdev::kerneldump::Compression;
use serde::Serialize;
use std::io::{self, Write};

/// For `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
pub(super) struct Estimate {
    pub(super) machine: String,
    pub(super) directory: FilePath,
    /// Unknown where only the kernel's own facility is there.
    pub(super) pages: Option<u64>,
    pub(super) dumpextent: Option<u64>,
    /// Memory that cannot be paged out, where the kernel tells.
    pub(super) wired_bytes: Option<u64>,
    /// What the flags ask for.
    pub(super) compression: &'static str,
    pub(super) codecs: Vec<Codec>,
    pub(super) free: u64,
    pub(super) minfree: u64,
    /// Bytes that the dump asked for takes.
    pub(super) need: Option<u64>,
    pub(super) fits: Option<bool>,
    /// What --freeze takes; null without it.
    pub(super) freeze: Option<Freeze>,
    /// For how long the machine was stopped for this estimate; null of one that
    /// is not read from outside.
    pub(super) paused_ns: Option<u64>,
}

/// What it takes to stop the machine and copy it.
#[derive(Debug, Serialize)]
pub(super) struct Freeze {
    pub(super) max_pause_ns: u64,
    pub(super) pause_ns: u64,
    /// Memory for the copy.
    pub(super) copy_bytes: u64,
    pub(super) pages: u64,
    pub(super) cpus: u32,
    /// Whether the pause is within what is allowed.
    pub(super) fits: bool,
}

impl Freeze {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let cpus = match self.cpus {
            1 => "1 CPU".into(),
            n => format!("{n} CPUs"),
        };
        writeln!(
            out,
            "freeze: a pause of about {} (--max-pause {}: {}), {} of memory \
             for the copy, {cpus}",
            milliseconds(self.pause_ns),
            milliseconds(self.max_pause_ns),
            if self.fits { "enough" } else { "not enough" },
            human(self.copy_bytes),
        )
    }
}

/// What one compressor leaves.
#[derive(Debug, Serialize)]
pub(super) struct Codec {
    pub(super) compression: &'static str,
    /// Unknown where the sample was too small, or the kernel has no such
    /// compressor.
    pub(super) bytes: Option<u64>,
    /// Whether all of it was compressed, and not a sample.
    pub(super) exact: bool,
    pub(super) sampled_pages: u64,
    pub(super) sampled_bytes: u64,
    pub(super) elapsed_ns: u64,
}

impl Report for Estimate {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = &self.machine;
        match (self.pages, self.dumpextent, self.wired_bytes) {
            (Some(pages), Some(extent), _) => writeln!(
                out,
                "{name}: {} plain, {pages} pages at present",
                human(extent)
            )?,
            (_, _, Some(wired)) => writeln!(
                out,
                "{name}: the stock live dump reports no size; {} of memory \
                 are wired, most of which a dump has",
                human(wired)
            )?,
            _ => writeln!(out, "{name}: the stock live dump reports no size")?,
        }
        if let Some(ns) = self.paused_ns {
            let pause = milliseconds(ns);
            writeln!(out, "paused {pause} (taken from outside)")?;
        }
        for codec in &self.codecs {
            codec.text(self.pages, self.dumpextent, out)?;
        }
        if let Some(freeze) = &self.freeze {
            freeze.text(out)?;
        }
        let room = format!(
            "{}: {} free, minfree: {}",
            self.directory,
            human(self.free),
            human(self.minfree)
        );
        let dump = match self.compression {
            "none" => "plain",
            codec => codec,
        };
        match self.fits {
            Some(true) => writeln!(out, "{room}: enough for a {dump} dump"),
            Some(false) => {
                writeln!(out, "{room}: not enough for a {dump} dump")
            }
            None => writeln!(
                out,
                "{room}: not known whether it is enough for a {dump} dump"
            ),
        }
    }
}

impl Codec {
    /// Before it was measured, or where it cannot be.
    pub(super) fn unmeasured(compression: Compression) -> Self {
        Self {
            compression: compression.name(),
            bytes: None,
            exact: false,
            sampled_pages: 0,
            sampled_bytes: 0,
            elapsed_ns: 0,
        }
    }

    fn text(
        &self,
        pages: Option<u64>,
        extent: Option<u64>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let name = self.compression;
        let Some(bytes) = self.bytes else {
            return writeln!(out, "{name}: not measured");
        };
        let percent = extent
            .and_then(|e| (u128::from(bytes) * 100).checked_div(e.into()))
            .unwrap_or(100);
        let size = human(bytes);
        if self.exact {
            return writeln!(
                out,
                "{name}: {size} ({percent} %), all memory compressed"
            );
        }
        writeln!(
            out,
            "{name}: about {size} ({percent} %): the first {} of {} pages \
             became {}",
            self.sampled_pages,
            pages.unwrap_or(0),
            human(self.sampled_bytes)
        )
    }
}
