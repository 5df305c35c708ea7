// SPDX-License-Identifier: BSD-2-Clause
//! `info.N`: the kernel dump header as text, in savecore(8)'s layout. It is
//! all that is left of the header once a dump is stripped, and crashinfo(8)
//! and people read it. Mirrors `printheader` of savecore.c.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use memdev::kerneldump::{
    HEADER_SIZE, HeaderError, KernelDumpHeader, parity_field,
};
use std::fmt::Write;

/// What is known of a dump. C: `STATUS_GOOD`, `STATUS_BAD`,
/// `STATUS_UNKNOWN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Header and structure are right.
    Good,
    /// Something is wrong, and it was kept nevertheless.
    Bad,
    /// It was not looked at.
    Unknown,
}

impl Status {
    /// The word in info.N.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
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
    status: Status,
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
    line("Dump Status", status.name());
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
    pub dumplength: Option<u64>,
    /// Unix seconds.
    pub dumptime: Option<u64>,
    pub hostname: Option<String>,
    /// The first line of it.
    pub version: Option<String>,
    pub panic: Option<String>,
    pub status: Option<String>,
}

impl InfoText {
    /// Takes what it knows; what is missing or odd is `None`.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut info = Self::default();
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines() {
            // Lines of a version go on after four blanks.
            let Some(line) = line.strip_prefix("  ") else { continue };
            let Some((name, value)) = line.split_once(": ") else { continue };
            let value = value.trim();
            let text = (!value.is_empty()).then(|| String::from(value));
            match name {
                "Architecture" => info.architecture = text,
                "Dump Length" => info.dumplength = value.parse().ok(),
                "Dumptime" => info.dumptime = parse_dumptime(value),
                "Hostname" => info.hostname = text,
                "Version String" => info.version = text,
                "Panic String" => info.panic = text,
                "Dump Status" => info.status = text,
                _ => {}
            }
        }
        info
    }
}

fn parse_dumptime(text: &str) -> Option<u64> {
    let time = Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", text).ok()?;
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
        (info_text(&b, "/dev/mem", 3, Status::Good).unwrap(), parity)
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
