// SPDX-License-Identifier: BSD-2-Clause
//! `info.N`: the kernel dump header as text, in savecore(8)'s layout. It is
//! all that is left of the header once a dump is stripped, and crashinfo(8)
//! and people read it. Mirrors `printheader` of savecore.c.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use livedump_vmcore::verdict::Verdict;
use memdev::kerneldump::{
    HEADER_SIZE, HeaderError, KernelDumpHeader, parity_field,
};
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

/// A verdict in savecore(8)'s words, as info.N has it. C: `STATUS_GOOD`,
/// `STATUS_BAD`, `STATUS_UNKNOWN`.
#[must_use]
pub fn dump_status(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Sound => "good",
        Verdict::Damaged(_) => "bad",
        Verdict::Undetermined(_) => "unknown",
    }
}

/// The text of `info.N`.
///
/// # Errors
/// `header` is none.
pub fn info_text(
    header: &[u8; HEADER_SIZE],
    device: &str,
    number: u32,
    verdict: &Verdict,
) -> Result<String, HeaderError> {
    let h = KernelDumpHeader::decode(header)?;
    let mut text = format!("Dump header from device: {device}\n");
    let mut line = |label: &str, value: &str| {
        let newline = if value.ends_with('\n') { "" } else { "\n" };
        // Writing to a String does not fail.
        let _ = write!(text, "  {label}: {value}{newline}");
    };
    line("Architecture", &one_line(h.architecture));
    line("Architecture Version", &h.architecture_version.to_string());
    line("Dump Length", &h.dumplength.to_string());
    line("Blocksize", &h.blocksize.to_string());
    line("Compression", h.compression.name());
    line("Dumptime", &dumptime(h.dumptime, &crate::report::time_zone()));
    line("Hostname", &one_line(h.hostname));
    line("Magic", &one_line(h.magic.text()));
    line("Version String", &lines(h.versionstring));
    line("Panic String", &one_line(h.panicstring));
    line("Dump Parity", &parity_field(header).to_string());
    line("Bounds", &number.to_string());
    line("Dump Status", dump_status(verdict));
    Ok(text)
}

/// C: strftime(3) with "%F %T %z".
fn dumptime(seconds: u64, zone: &TimeZone) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok());
    match time {
        Some(t) => t
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S %z")
            .to_string(),
        None => format!("{seconds} seconds after 1970"),
    }
}

/// A field that must not look like several lines of this file.
fn one_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// A field of several lines; all but the first are set in by four blanks, as
/// the kernel's own version is, so that none can pass for another field.
fn lines(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (i, line) in bytes.trim_ascii_end().split(|&b| b == b'\n').enumerate() {
        if i > 0 {
            out.push_str("\n    ");
        }
        out.push_str(one_line(line).trim_start());
    }
    out
}

/// What an `info.N` says, whoever wrote it. Nothing of it is relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InfoText {
    pub architecture: Option<String>,
    pub architecture_version: Option<u32>,
    pub compression: Option<String>,
    pub dumplength: Option<u64>,
    /// Unix seconds.
    pub dumptime: Option<u64>,
    pub hostname: Option<String>,
    /// The first line of it.
    pub version: Option<String>,
    pub panic: Option<String>,
    pub status: Option<String>,
    /// What is wrong with it, as `livedump receive` found.
    pub problem: Option<String>,
    /// Which bytes of it never arrived.
    pub missing: Vec<Range<u64>>,
    /// For how long user processes were suspended, in words.
    pub quiesced: Option<String>,
    /// How many threads' registers the dump has, in words.
    pub registers: Option<String>,
    /// What was dumped.
    pub device: Option<String>,
}

/// As long as an info.N may be.
const MOST_BYTES: u64 = 64 << 10;

impl InfoText {
    /// Reads one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes))
    }

    /// Whether the dump is of memory without a kernel, as that of the machine
    /// `raw:FILE`.
    #[must_use]
    pub fn is_of_no_kernel(&self) -> bool {
        self.version.as_deref() == Some("FreeBSD (none: raw memory)")
    }

    /// Whether the dump was made of an image of memory.
    #[must_use]
    pub fn is_of_image(&self) -> bool {
        self.device.as_ref().is_some_and(|device| device.starts_with("image:"))
    }

    /// Takes what it knows; what is missing or odd is `None`.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut info = Self::default();
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines() {
            if let Some(device) = line.strip_prefix("Dump header from device: ")
            {
                info.device = Some(device.trim().into());
            }
            // Lines of a version go on after four blanks.
            let Some(line) = line.strip_prefix("  ") else { continue };
            let Some((name, value)) = line.split_once(": ") else { continue };
            let value = value.trim();
            let text = (!value.is_empty()).then(|| String::from(value));
            match name {
                "Architecture" => info.architecture = text,
                "Architecture Version" => {
                    info.architecture_version = value.parse().ok();
                }
                "Compression" => info.compression = text,
                "Dump Length" => info.dumplength = value.parse().ok(),
                "Dumptime" => {
                    let zone = crate::report::time_zone();
                    info.dumptime = parse_dumptime(value, &zone);
                }
                "Hostname" => info.hostname = text,
                "Version String" => info.version = text,
                "Panic String" => info.panic = text,
                "Dump Status" => info.status = text,
                "Problem" => info.problem = info.problem.take().or(text),
                "Missing" => info.missing.extend(parse_missing(value)),
                "Quiesced" => info.quiesced = text,
                "Registers" => info.registers = text,
                _ => {}
            }
        }
        info
    }
}

/// `1448 bytes at 81920`.
fn parse_missing(text: &str) -> Option<Range<u64>> {
    let (len, at) = text.split_once(" bytes at ")?;
    let at: u64 = at.split(',').next()?.parse().ok()?;
    Some(at..at.checked_add(len.parse().ok()?)?)
}

/// As savecore(8) writes it since 13, and as ctime(3) does: savecore(8) up to
/// 12 and netdumpd(8), in the zone of the machine that wrote it, which is not
/// recorded and taken to be ours.
fn parse_dumptime(text: &str, zone: &TimeZone) -> Option<u64> {
    let zoned = Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", text).ok();
    let time = match zoned {
        Some(time) => time,
        None => {
            // The day of the week tells nothing.
            let (_, rest) = text.split_once(' ')?;
            let time = DateTime::strptime("%b %e %H:%M:%S %Y", rest).ok()?;
            time.to_zoned(zone.clone()).ok()?.timestamp()
        }
    };
    u64::try_from(time.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use memdev::kerneldump::{Compression, Magic};

    fn header() -> KernelDumpHeader<'static> {
        KernelDumpHeader {
            magic: Magic::Kernel,
            architecture: b"amd64",
            version: 4,
            architecture_version: 2,
            dumplength: 107_388_928,
            dumptime: 1_700_000_000,
            dumpkeysize: 0,
            blocksize: 4096,
            hostname: b"crash.example.org",
            versionstring: b"FreeBSD 14.0-RELEASE #0\n    root@host:/usr/obj\n",
            panicstring: b"",
            compression: Compression::Zstd,
            dumpextent: 107_388_928,
        }
    }

    fn text(h: &KernelDumpHeader<'_>) -> (String, u32) {
        let mut b = [0; HEADER_SIZE];
        h.encode(&mut b);
        let parity = u32::from_le_bytes([b[508], b[509], b[510], b[511]]);
        (info_text(&b, "/dev/mem", 3, &Verdict::Sound).unwrap(), parity)
    }

    #[test]
    fn it_has_savecores_lines_in_savecores_order() {
        let (text, parity) = text(&header());
        let time = dumptime(1_700_000_000, &TimeZone::system());
        assert_eq!(
            text,
            format!(
                "Dump header from device: /dev/mem\n\
                 \x20 Architecture: amd64\n\
                 \x20 Architecture Version: 2\n\
                 \x20 Dump Length: 107388928\n\
                 \x20 Blocksize: 4096\n\
                 \x20 Compression: zstd\n\
                 \x20 Dumptime: {time}\n\
                 \x20 Hostname: crash.example.org\n\
                 \x20 Magic: FreeBSD Kernel Dump\n\
                 \x20 Version String: FreeBSD 14.0-RELEASE #0\n\
                 \x20   root@host:/usr/obj\n\
                 \x20 Panic String: \n\
                 \x20 Dump Parity: {parity}\n\
                 \x20 Bounds: 3\n\
                 \x20 Dump Status: good\n"
            )
        );
    }

    #[test]
    fn the_time_has_its_zone() {
        assert_eq!(
            dumptime(1_700_000_000, &TimeZone::UTC),
            "2023-11-14 22:13:20 +0000"
        );
        assert_eq!(
            dumptime(u64::MAX, &TimeZone::UTC),
            "18446744073709551615 seconds after 1970"
        );
    }

    #[test]
    fn the_time_is_read_as_every_savecore_writes_it() {
        let read = |text| parse_dumptime(text, &TimeZone::UTC);
        let then = Some(1_700_000_000);
        assert_eq!(read("2023-11-14 22:13:20 +0000"), then);
        assert_eq!(read("2023-11-15 07:13:20 +0900"), then);
        assert_eq!(read("Tue Nov 14 22:13:20 2023"), then);
        assert_eq!(read("Sun Nov  5 22:13:20 2023"), Some(1_699_222_400));
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let there = parse_dumptime("Wed Nov 15 07:13:20 2023", &tokyo);
        assert_eq!(there, then);
        for none in ["", "now", "Tue Nov 14", "Tue Foo 14 22:13:20 2023"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn the_status_is_the_verdict_in_savecores_words() {
        let why = String::new;
        assert_eq!(dump_status(&Verdict::Sound), "good");
        assert_eq!(dump_status(&Verdict::Damaged(why())), "bad");
        assert_eq!(dump_status(&Verdict::Undetermined(why())), "unknown");
    }

    #[test]
    fn what_was_written_is_read() {
        let (text, _) = text(&header());
        let info = InfoText::parse(text.as_bytes());
        assert_eq!(info.architecture.as_deref(), Some("amd64"));
        assert_eq!(info.dumplength, Some(107_388_928));
        assert_eq!(info.dumptime, Some(1_700_000_000));
        assert_eq!(info.hostname.as_deref(), Some("crash.example.org"));
        assert_eq!(info.version.as_deref(), Some("FreeBSD 14.0-RELEASE #0"));
        assert_eq!((info.panic, info.status.as_deref()), (None, Some("good")));
        let odd = b"\xff\n  Dump Length: -3\n  Dumptime: now\n  Bounds\n: \n";
        assert_eq!(InfoText::parse(odd), InfoText::default());
    }

    #[test]
    fn a_header_cannot_forge_lines() {
        let (text, _) = text(&KernelDumpHeader {
            hostname: b"x\n  Dump Status: bad",
            versionstring: b"v\n  Bounds: 9\n\x1b[2J",
            ..header()
        });
        assert!(text.contains("  Hostname: x?  Dump Status: bad\n"));
        assert!(text.contains("  Version String: v\n    Bounds: 9\n"));
        assert!(!text.contains('\x1b'));
        assert_eq!(text.lines().filter(|l| l.starts_with("  B")).count(), 2);
    }
}
