// SPDX-License-Identifier: BSD-2-Clause
//! Bytes, sizes and foreign text for a terminal.

use std::fmt;
use std::io::{self, Write};

const ROW: usize = 16;

/// hexdump(1) -C with the address of each row, fed in pieces. Rows that
/// repeat the one before them are a single `*`.
#[derive(Debug, Default)]
pub struct Hexdump {
    at: u64,
    row: Vec<u8>,
    last: Option<Vec<u8>>,
    starred: bool,
}

impl Hexdump {
    /// Starts at an address.
    #[must_use]
    pub fn new(at: u64) -> Self {
        Self { at, ..Self::default() }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// `out` does not take them.
    pub fn push(&mut self, data: &[u8], out: &mut dyn Write) -> io::Result<()> {
        for &byte in data {
            self.row.push(byte);
            if self.row.len() == ROW {
                self.end_row(out)?;
            }
        }
        Ok(())
    }

    /// Writes what is left, and the address behind the last byte, if any.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if !self.row.is_empty() {
            self.last = None;
            self.end_row(out)?;
        }
        match self.last {
            Some(_) => writeln!(out, "{:016x}", self.at),
            None => Ok(()),
        }
    }

    fn end_row(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let row = std::mem::take(&mut self.row);
        if self.last.as_ref() == Some(&row) {
            if !self.starred {
                writeln!(out, "*")?;
            }
            self.starred = true;
        } else {
            writeln!(out, "{:016x}  {}", self.at, Row(&row))?;
            self.starred = false;
        }
        self.at = self.at.wrapping_add(row.len() as u64);
        self.last = Some(row);
        Ok(())
    }
}

struct Row<'a>(&'a [u8]);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for i in 0..ROW {
            match self.0.get(i) {
                Some(b) => write!(f, "{b:02x} ")?,
                None => f.write_str("   ")?,
            }
            if i == 7 {
                f.write_str(" ")?;
            }
        }
        f.write_str(" |")?;
        for &b in self.0 {
            let c = if (0x20..0x7f).contains(&b) { b } else { b'.' };
            write!(f, "{}", c as char)?;
        }
        f.write_str("|")
    }
}

/// Text of another machine, in one line and without what a terminal would
/// obey: printable ASCII as it is, every other byte as `\xNN`, so that a name
/// cannot pretend to be a row or a column of its own.
#[must_use]
pub fn escape(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &b in text {
        match b {
            0x20..0x7f => out.push(b as char),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out
}

/// A size with a unit, for people: `512 B`, `53.9 MiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in ["MiB", "GiB", "TiB", "PiB", "EiB"] {
        // What would be rounded to 1024.0.
        if size < 1023.95 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.1} {unit}")
}

/// What must stay free, for a message about what is: nothing where nothing
/// must.
#[must_use]
pub fn and_minfree(minfree: u64) -> String {
    match minfree {
        0 => String::new(),
        bytes => format!(", minfree: {}", human(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(at: u64, data: &[u8]) -> String {
        let mut out = Vec::new();
        let mut h = Hexdump::new(at);
        h.push(data, &mut out).unwrap();
        h.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_looks_like_hexdumps() {
        let row = |at, bytes, text| format!("{at}  {bytes:<49} |{text}|\n");
        assert_eq!(
            dump(0xffff_ffff_81cd_4c0c, &[0x64, 0, 0, 0]),
            row("ffffffff81cd4c0c", "64 00 00 00", "d...")
                + "ffffffff81cd4c10\n"
        );
        let full = "30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66";
        assert_eq!(
            dump(0x1000, b"0123456789abcdefX"),
            row("0000000000001000", full, "0123456789abcdef")
                + &row("0000000000001010", "58", "X")
                + "0000000000001011\n"
        );
    }

    #[test]
    fn rows_that_repeat_are_a_star() {
        let text = dump(0, &[0; 64]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], "*");
        assert_eq!(lines[2], "0000000000000040");
    }

    #[test]
    fn no_byte_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(
            escape(b"a\tb\n\x1b[2J\x9b\xff"),
            "a\\x09b\\x0a\\x1b[2J\\x9b\\xff"
        );
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(512), "512 B");
        assert_eq!(human(1024), "1.0 KiB");
        assert_eq!(human(101_685_248), "97.0 MiB");
        assert_eq!(human((1 << 30) - 1), "1.0 GiB");
        assert_eq!(human(1 << 40), "1.0 TiB");
        assert_eq!(human(u64::MAX), "16.0 EiB");
    }
}
