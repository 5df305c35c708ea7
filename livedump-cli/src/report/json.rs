// SPDX-License-Identifier: BSD-2-Clause
//! One JSON object and a newline, or nothing at all.

use livedump_vmcore::path::is_control;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// An address: a string, because not every reader of JSON keeps 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Escapes more than JSON has to be: all that a terminal may obey.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_control) {
            let (plain, tail) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let mut tail = tail.chars();
            for unit in tail.next().into_iter().flat_map(|c| {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).to_vec()
            }) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = tail.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// Writes it at once, when it is complete.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut text = Vec::new();
    let mut json = serde_json::Serializer::with_formatter(&mut text, Escaping);
    value.serialize(&mut json).map_err(io::Error::from)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// The same, as a text.
///
/// # Errors
/// A key or a path in it is no text.
pub fn json_text<T: Serialize + ?Sized>(value: &T) -> io::Result<String> {
    let mut text = Vec::new();
    write(value, &mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

/// Writes it piece by piece: what is too large to be complete in memory.
pub(super) fn stream<T: Serialize + ?Sized>(
    value: &T,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut json = serde_json::Serializer::with_formatter(&mut *out, Escaping);
    value.serialize(&mut json).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn written<T: Serialize>(value: &T) -> String {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_address_is_a_string() {
        assert_eq!(written(&Hex(u64::MAX)), "\"0xffffffffffffffff\"\n");
    }

    #[test]
    fn no_character_is_left_that_a_terminal_obeys() {
        let text = "a\u{1b}\u{7f}\u{9b}\u{202e}\u{e9}\n";
        let json = written(&text);
        assert_eq!(json, "\"a\\u001b\\u007f\\u009b\\u202e\u{e9}\\n\"\n");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn what_cannot_be_written_whole_is_not_written() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
        let mut out = Vec::new();
        assert!(write(&("half", path), &mut out).is_err());
        assert!(out.is_empty());
    }
}
