// SPDX-License-Identifier: BSD-2-Clause
//! info.N, held against what savecore(8) writes (C: `printheader`) and
//! against the dump beside it: with the fields of the text the kernel dump
//! header is made once more, and its parity must be the one in the text.

use memdev::kerneldump::{
    Compression, HEADER_SIZE, KernelDumpHeader, Magic, VERSION, parity_field,
};
use std::collections::BTreeMap;

const LABELS: [&str; 13] = [
    "Architecture",
    "Architecture Version",
    "Dump Length",
    "Blocksize",
    "Compression",
    "Dumptime",
    "Hostname",
    "Magic",
    "Version String",
    "Panic String",
    "Dump Parity",
    "Bounds",
    "Dump Status",
];

/// Fields in which two dumps of one machine differ. The status is held against
/// what the guest expects of the dump, by [`check`].
const VARYING: [&str; 5] =
    ["Dump Length", "Dumptime", "Dump Parity", "Bounds", "Dump Status"];

type Fields = BTreeMap<&'static str, String>;

/// The text's fields, if they are savecore(8)'s, in its order and layout.
fn parse(text: &str) -> Result<Fields, String> {
    let mut rest = text
        .strip_prefix("Dump header from device: ")
        .filter(|rest| rest.starts_with("/dev/") || rest.starts_with("qemu:"))
        .and_then(|rest| rest.split_once('\n'))
        .map(|(_, rest)| rest)
        .ok_or("no line that names the device")?;
    let mut fields = Fields::new();
    for (i, label) in LABELS.into_iter().enumerate() {
        let start = format!("  {label}: ");
        let value = rest
            .strip_prefix(&start)
            .ok_or_else(|| format!("no {label:?} at {rest:?}"))?;
        // The version has lines of its own.
        let end = match LABELS.get(i + 1) {
            Some(next) => value.find(&format!("\n  {next}: ")),
            None => value.find('\n'),
        };
        let end = end.ok_or_else(|| format!("no end of {label:?}"))?;
        fields.insert(label, value[..end].into());
        rest = &value[end + 1..];
    }
    match rest.lines().find(|line| !is_ours(line)) {
        None => Ok(fields),
        Some(line) => Err(format!("{line:?} at its end")),
    }
}

/// Ours names its digests in one more line, and of what instant it is.
fn is_ours(line: &str) -> bool {
    let Some((label, value)) = line.split_once(": ") else { return false };
    match label {
        "  Seal" => value
            .strip_prefix("seal.")
            .is_some_and(|n| n.parse::<u32>().is_ok()),
        "  Instant" => value.contains(" up "),
        "  Paused" => {
            value.contains("budget") || value.contains("from outside")
        }
        "  Registers" => value.ends_with("threads"),
        _ => false,
    }
}

/// Does the text describe a dump of this many bytes, and uncompressed of
/// `extent`, with this status?
pub(crate) fn check(
    (text, status): (&str, &str),
    length: u64,
    extent: u64,
    compression: Compression,
) -> Result<(), String> {
    let fields = parse(text)?;
    let field = |label| fields.get(label).map_or("", String::as_str);
    let number = |label| {
        field(label)
            .parse::<u32>()
            .map_err(|_| format!("{label} is {:?}", field(label)))
    };
    let version = format!("{}\n", field("Version String"));
    let header = KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: field("Architecture").as_bytes(),
        version: VERSION,
        architecture_version: number("Architecture Version")?,
        dumplength: length,
        dumptime: seconds(field("Dumptime"))
            .ok_or_else(|| format!("Dumptime is {:?}", field("Dumptime")))?,
        dumpkeysize: 0,
        blocksize: number("Blocksize")?,
        hostname: field("Hostname").as_bytes(),
        versionstring: version.as_bytes(),
        panicstring: field("Panic String").as_bytes(),
        compression,
        dumpextent: extent,
    };
    let mut bytes = [0; HEADER_SIZE];
    header.encode(&mut bytes);
    for (label, want) in [
        ("Dump Length", length.to_string()),
        ("Compression", compression.name().into()),
        ("Magic", "FreeBSD Kernel Dump".into()),
        ("Dump Parity", parity_field(&bytes).to_string()),
        ("Dump Status", status.into()),
    ] {
        if field(label) != want {
            return Err(format!("{label} is {:?}, not {want}", field(label)));
        }
    }
    Ok(())
}

/// In what a text differs from the stock tool's, of the same machine.
pub(crate) fn compare(text: &str, stock: &str) -> Result<(), String> {
    let (ours, theirs) = (parse(text)?, parse(stock)?);
    for label in LABELS {
        if ours[label] != theirs[label] && !VARYING.contains(&label) {
            let (ours, theirs) = (&ours[label], &theirs[label]);
            return Err(format!("{label} is {ours:?}, savecore's {theirs:?}"));
        }
    }
    Ok(())
}

/// strftime(3)'s "%F %T %z", in UTC as the guest has it.
fn seconds(text: &str) -> Option<u64> {
    let time = text.strip_suffix(" +0000")?;
    let numbers: Vec<u64> = time
        .split(['-', ' ', ':'])
        .map(|n| n.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second] = numbers[..] else {
        return None;
    };
    // Years begin in March, so that leap days come last.
    let (year, month) = match month {
        1 | 2 => (year.checked_sub(1)?, month + 9),
        _ => (year, month.checked_sub(3)?),
    };
    let days = 365 * year + year / 4 - year / 100
        + year / 400
        + (153 * month + 2) / 5
        + day;
    // 719,469 days from March 1st of year 0 to 1970.
    Some(((days.checked_sub(719_469)? * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Dump header from device: /dev/mem
  Architecture: amd64
  Architecture Version: 2
  Dump Length: 4096
  Blocksize: 4096
  Compression: none
  Dumptime: 2023-11-14 22:13:20 +0000
  Hostname: h
  Magic: FreeBSD Kernel Dump
  Version String: FreeBSD 15
    root@host
  Panic String: \n  Dump Parity: 7
  Bounds: 0
  Dump Status: good
";

    #[test]
    fn the_time_becomes_seconds_again() {
        for (text, want) in [
            ("1970-01-01 00:00:00 +0000", Some(0)),
            ("2023-11-14 22:13:20 +0000", Some(1_700_000_000)),
            ("2024-02-29 00:00:00 +0000", Some(1_709_164_800)),
            ("2024-03-01 00:00:01 +0000", Some(1_709_251_201)),
            ("2024-03-01 00:00:01 +0100", None),
            ("yesterday +0000", None),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
    }

    #[test]
    fn fields_are_in_savecores_order_and_layout() {
        let fields = parse(TEXT).unwrap();
        assert_eq!(fields["Version String"], "FreeBSD 15\n    root@host");
        assert_eq!(fields["Panic String"], "");
        assert!(parse(&TEXT.replace("  Magic", " Magic")).is_err());
        assert!(parse(&TEXT.replace("  Hostname: h\n", "")).is_err());
        assert!(parse(&format!("{TEXT}more\n")).is_err());
    }

    #[test]
    fn the_parity_is_the_headers() {
        let of = |text: &str, status: &str| {
            check((text, status), 4096, 4096, Compression::None)
        };
        let check = |text: &str| of(text, "good");
        let wrong = check(TEXT).unwrap_err();
        let want = wrong.rsplit(' ').next().unwrap();
        let right = TEXT.replace("Parity: 7", &format!("Parity: {want}"));
        assert_eq!(check(&right), Ok(()));
        let other = right.replace("Hostname: h", "Hostname: i");
        assert!(check(&other).unwrap_err().contains("Parity"));
        let e = of(&right, "unknown").unwrap_err();
        assert!(e.contains("Dump Status"), "{e}");
    }

    #[test]
    fn what_may_differ_between_two_dumps_is_no_difference() {
        let later = TEXT.replace("22:13", "22:14").replace("ds: 0", "ds: 1");
        assert_eq!(compare(&later, TEXT), Ok(()));
        let other = TEXT.replace("Blocksize: 4096", "Blocksize: 512");
        assert!(compare(&other, TEXT).unwrap_err().starts_with("Blocksize"));
    }
}
