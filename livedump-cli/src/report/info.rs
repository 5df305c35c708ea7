// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump info` knows about a dump.

use super::{Hex, Instant, Report, human};
use livedump_vmcore::changes::Changes;
use livedump_vmcore::path::escape_path;
use memdev::changes::Record;
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};

/// As many ranges of memory as fit on a screen with the rest.
const MOST_RANGES: usize = 4;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Info {
    /// As the file was named.
    pub file: String,
    /// "raw" with its kernel dump header, "stripped" without; the format of
    /// an image of memory.
    pub form: &'static str,
    /// "none", "gzip" or "zstd", by content.
    pub compression: &'static str,
    /// Frames that can be unpacked alone, where a seek table has them.
    pub frames: Option<u64>,
    /// Length of the file.
    pub file_length: u64,
    /// Bytes of disk it takes.
    pub allocated: u64,
    /// "amd64" or "arm64".
    pub machine: &'static str,
    /// Of the minidump header.
    pub version: u32,
    /// First address of the kernel map.
    pub kernbase: Hex,
    /// First address of the direct map.
    pub dmapbase: Hex,
    /// Physical address there.
    pub dmapphys: Hex,
    /// First address behind it.
    pub dmapend: Hex,
    /// Where everything is in the unpacked dump.
    pub sections: Vec<Section>,
    /// Physical memory, ranges and what of it is dumped; null where the file
    /// ends before the bitset does.
    pub memory: Option<Memory>,
    /// Bytes of the unpacked dump; null where only unpacking all of it would
    /// tell.
    pub length: Option<u64>,
    /// Bytes it should have by its header and bitset.
    pub expected_length: Option<u64>,
    /// Whether the file ends early.
    pub truncated: Option<bool>,
    /// The kernel dump header of a raw dump.
    pub dump_header: Option<DumpHeader>,
    /// The instant that all its pages are of; null of a dump of a machine that
    /// ran, or panicked.
    pub instant: Option<Instant>,
    /// Why its record of that is not understood, where it has one.
    pub instant_unknown: Option<String>,
    /// Keys of the kernel's own dumps that are not in this one; null where it
    /// does not say.
    pub keys_overwritten: Option<u32>,
    /// What the info.N beside the dump has, if there is one.
    pub info: Option<InfoFile>,
    /// The file of its kernel, if that was found.
    pub kernel: Option<String>,
    /// Pages that changed while the dump was written, where a list of them
    /// is beside it.
    pub changed: Option<Changed>,
    /// What is odd about the file.
    pub notes: Vec<String>,
}

/// What an info.N has, each null where it is not in it.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct InfoFile {
    pub hostname: Option<String>,
    /// Unix seconds.
    pub dumptime: Option<u64>,
    pub dumptime_text: Option<String>,
    pub version: Option<String>,
    pub panic: Option<String>,
    pub status: Option<String>,
    pub quiesced: Option<String>,
    pub registers: Option<String>,
}

impl InfoFile {
    fn text(&self, header: bool, o: &mut dyn Write) -> io::Result<()> {
        let fields = [
            ("Hostname", &self.hostname),
            ("Dumptime", &self.dumptime_text),
            ("Version string", &self.version),
            ("Panic string", &self.panic),
        ];
        for (key, value) in fields {
            if let Some(value) = value.as_ref().filter(|_| !header) {
                line(o, key, value)?;
            }
        }
        for (key, value) in [
            ("Dump Status", &self.status),
            ("Quiesced", &self.quiesced),
            ("Registers", &self.registers),
        ] {
            if let Some(value) = value {
                line(o, key, value)?;
            }
        }
        Ok(())
    }
}

/// Pages that changed while the dump was written.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Changed {
    /// The list of them.
    pub file: String,
    /// Pages that were looked at.
    pub checked: u64,
    pub pages: u64,
    pub page_tables: u64,
    pub kernel_map: u64,
    pub direct_map: u64,
    /// First address, first address behind, what they are; ascending.
    pub ranges: Vec<(Hex, Hex, &'static str)>,
}

impl Changed {
    /// What a list says.
    #[must_use]
    pub fn new(list: &Changes) -> Self {
        let [page_tables, kernel_map, direct_map] = list.header.changed;
        let range = |r: &Record| (Hex(r.start.0), Hex(r.end()), r.kind.name());
        Self {
            file: escape_path(&list.path),
            checked: list.header.pages,
            pages: list.header.total(),
            page_tables,
            kernel_map,
            direct_map,
            ranges: list.records().iter().map(range).collect(),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} (page tables {}, kernel map {}, direct map {})",
            self.pages,
            self.checked,
            self.page_tables,
            self.kernel_map,
            self.direct_map
        )
    }
}

/// A part of the file.
#[derive(Debug, Serialize)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Where it starts.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
}

/// Physical memory.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// dump_avail.
    pub ranges: Vec<(Hex, Hex)>,
    /// Pages in them.
    pub pages: u64,
    /// Pages in the dump.
    pub dumped_pages: u64,
    /// Bits set that stand for no page.
    pub excess_bits: u64,
}

/// C: `struct kerneldumpheader`.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct DumpHeader {
    pub offset: u64,
    pub magic: String,
    pub version: u32,
    pub architecture: String,
    pub architecture_version: u32,
    pub dumplength: u64,
    pub dumpextent: u64,
    pub blocksize: u32,
    pub compression: &'static str,
    pub dumptime: u64,
    pub dumptime_text: String,
    pub hostname: String,
    pub version_string: String,
    pub panic_string: String,
    pub parity_ok: bool,
}

pub(super) fn line(
    out: &mut dyn Write,
    key: &str,
    value: impl std::fmt::Display,
) -> io::Result<()> {
    writeln!(out, "{:<21} {value}", format!("{key}:"))
}

pub(super) fn size(n: u64) -> String {
    format!("{n} ({})", human(n))
}

impl Report for Info {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let o = out;
        line(o, "File", &self.file)?;
        if let Some(info) = &self.info {
            info.text(self.dump_header.is_some(), o)?;
        }
        line(o, "Form", self.form)?;
        match self.frames {
            Some(n) => line(
                o,
                "Compression",
                format_args!("{}, {n} frames", self.compression),
            )?,
            None => line(o, "Compression", self.compression)?,
        }
        line(o, "File length", size(self.file_length))?;
        if self.allocated < self.file_length {
            line(o, "On disk", size(self.allocated))?;
        }
        line(
            o,
            "Machine",
            format_args!("{}, minidump version {}", self.machine, self.version),
        )?;
        if let Some(kernel) = &self.kernel {
            line(o, "Kernel", kernel)?;
        }
        if let Some(n) = self.length {
            line(o, "Dump length", size(n))?;
        }
        let expected = self.expected_length;
        if let Some(n) = expected.filter(|_| expected != self.length) {
            line(o, "Expected length", size(n))?;
        }
        if let Some(instant) = &self.instant {
            let moment = instant.moment();
            line(o, "Of one instant", moment)?;
            line(o, "Paused", instant.pause())?;
        }
        if let Some(why) = &self.instant_unknown {
            line(o, "Of one instant", format_args!("not known: {why}"))?;
        }
        if let Some(n) = self.keys_overwritten.filter(|&n| n > 0) {
            line(o, "Dump keys", format_args!("{n}, overwritten"))?;
        }
        if self.truncated == Some(true) {
            line(o, "Truncated", "yes")?;
        }
        if let Some(h) = &self.dump_header {
            h.text(o)?;
        }
        line(o, "Kernel map from", self.kernbase)?;
        line(
            o,
            "Direct map",
            format_args!(
                "{} to {}, physical {}",
                self.dmapbase, self.dmapend, self.dmapphys
            ),
        )?;
        if let Some(m) = &self.memory {
            let bytes = human(m.dumped_pages.saturating_mul(4096));
            line(
                o,
                "Pages",
                format_args!(
                    "{} of {} dumped ({bytes})",
                    m.dumped_pages, m.pages
                ),
            )?;
            if m.excess_bits > 0 {
                line(o, "Excess bits", m.excess_bits)?;
            }
            for (start, end) in m.ranges.iter().take(MOST_RANGES) {
                line(o, "Memory", format_args!("{start} to {end}"))?;
            }
            let more = m.ranges.len().saturating_sub(MOST_RANGES);
            if more > 0 {
                line(o, "Memory", format_args!("{more} more ranges"))?;
            }
        }
        if let Some(c) = &self.changed {
            line(o, "Changed pages", c)?;
            line(o, "Changed list", &c.file)?;
        }
        for s in &self.sections {
            line(
                o,
                &format!("Section {}", s.name),
                format_args!("{:#x}, {} bytes", s.offset, s.size),
            )?;
        }
        Ok(())
    }
}

impl DumpHeader {
    fn text(&self, o: &mut dyn Write) -> io::Result<()> {
        line(
            o,
            "Dump header",
            format_args!(
                "version {} at {:#x}, parity {}",
                self.version,
                self.offset,
                if self.parity_ok { "holds" } else { "is wrong" }
            ),
        )?;
        line(o, "Magic", &self.magic)?;
        line(o, "Architecture", &self.architecture)?;
        line(o, "Architecture version", self.architecture_version)?;
        line(o, "Stored length", size(self.dumplength))?;
        line(o, "Extent", size(self.dumpextent))?;
        line(o, "Blocksize", self.blocksize)?;
        line(o, "Dumptime", &self.dumptime_text)?;
        line(o, "Hostname", &self.hostname)?;
        line(o, "Version string", self.version_string.trim_end())?;
        line(o, "Panic string", &self.panic_string)
    }
}
