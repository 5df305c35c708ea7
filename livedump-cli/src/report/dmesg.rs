// SPDX-License-Identifier: BSD-2-Clause
//! The message buffer's text as dmesg(8) shows it.

use super::{Report, escape, local_time};
use serde::Serialize;
use std::io::{self, Write};

/// Facility bits of a priority. C: `LOG_FACMASK`, <sys/syslog.h>; the
/// kernel's own is 0.
const LOG_FACMASK: u32 = 0x03f8;

/// The text.
#[derive(Debug, Serialize)]
pub struct Dmesg {
    /// As the file was named.
    pub file: String,
    /// "section" for the dump's own copy, "msgbufp" for the kernel's memory.
    pub source: &'static str,
    /// Whether the oldest byte is known to come first.
    pub ordered: bool,
    /// When the machine was booted, in seconds since 1970, if that was asked
    /// for and is known.
    pub boot_time: Option<u64>,
    /// Its lines, bytes that are not printable as `\xNN`.
    pub lines: Vec<String>,
}

/// Lines of a message buffer. Without `all`, those that syslog(3) put there
/// are left out and the kernel's lose their `<n>`, as dmesg(8) has it.
#[must_use]
pub fn lines(text: &[u8], all: bool) -> Vec<String> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&b| b == b'\n')
        .filter_map(|line| match priority(line) {
            _ if all => Some(line),
            Some((p, _)) if p & LOG_FACMASK != 0 => None,
            Some((_, rest)) => Some(rest),
            None => Some(line),
        })
        .map(one_line)
        .collect()
}

/// Puts the time in place of the uptime that lines start with; whether any
/// did. C: `kern.msgbuf_show_timestamp`, subr_prf.c: `[12] ` or
/// `[12.345678] `, after the priority.
pub fn timed(lines: &mut [String], boot: u64) -> bool {
    let mut any = false;
    for line in lines {
        let Some((before, seconds, rest)) = uptime(line) else { continue };
        let Some(time) = boot.checked_add(seconds) else { continue };
        *line = format!("{before}[{}] {rest}", local_time(time));
        any = true;
    }
    any
}

/// What is before the uptime of a line, its seconds, and what follows it.
fn uptime(line: &str) -> Option<(&str, u64, &str)> {
    let after = match priority(line.as_bytes()) {
        Some((_, rest)) => line.len().checked_sub(rest.len())?,
        None => 0,
    };
    let (before, stamp) = line.split_at_checked(after)?;
    let (stamp, rest) = stamp.strip_prefix('[')?.split_once("] ")?;
    let (seconds, micros) = stamp.split_once('.').unwrap_or((stamp, "0"));
    let digits =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let valid = digits(seconds) && digits(micros);
    Some((before, seconds.parse().ok().filter(|_| valid)?, rest))
}

/// A line. Tabs are what drivers write columns with.
fn one_line(line: &[u8]) -> String {
    let parts: Vec<_> = line.split(|&b| b == b'\t').map(escape).collect();
    parts.join("\t")
}

/// The number of `<n>` in front of a line, and what follows.
fn priority(line: &[u8]) -> Option<(u32, &[u8])> {
    let rest = line.strip_prefix(b"<")?;
    let end = rest.iter().position(|&b| b == b'>')?;
    let (digits, rest) = rest.split_at_checked(end)?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((n, rest.strip_prefix(b">")?))
}

impl Report for Dmesg {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"boot\n<2>panic?\n<38>sshd: hi\n<x>y\n<>\n<1\n";

    #[test]
    fn the_kernels_lines_lose_their_priority_and_syslogs_go() {
        assert_eq!(lines(TEXT, false), ["boot", "panic?", "<x>y", "<>", "<1"]);
        assert_eq!(lines(TEXT, true)[2], "<38>sshd: hi");
        assert_eq!(lines(TEXT, true).len(), 6);
        assert!(lines(b"", false).is_empty());
    }

    #[test]
    fn only_an_uptime_becomes_a_time() {
        let boot = 1_700_000_000;
        let mut all: Vec<String> = [
            "[12] a: b",
            "<6>[12.345678] c",
            "[x] d",
            "[1.] e",
            "[-1] f",
            "[99999999999999999999] g",
            "[18446744073709551615] h",
            "no [12] i",
            "[12]",
        ]
        .map(String::from)
        .to_vec();
        let same = all.clone();
        assert!(timed(&mut all, boot));
        let time = local_time(boot + 12);
        assert_eq!(all[0], format!("[{time}] a: b"));
        assert_eq!(all[1], format!("<6>[{time}] c"));
        assert_eq!(all[2..], same[2..]);
        assert!(!timed(&mut all[2..], boot));
    }

    #[test]
    fn a_priority_that_is_no_number_stays() {
        assert_eq!(lines(b"<99999999999>x", false), ["<99999999999>x"]);
    }
}
