// SPDX-License-Identifier: BSD-2-Clause
//! Paths, as they are shown. A path is bytes, and whoever may create a file
//! chooses them: text, messages and JSON have them in one encoding.
//!
//! UTF-8 without control characters is unchanged. Every other byte
//! is `\xNN`, and a backslash is `\\`, so that the bytes can be had back. In
//! JSON that is the string, in which JSON escapes the backslash once more.

use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePath(PathBuf);

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl From<&Path> for FilePath {
    fn from(path: &Path) -> Self {
        Self(path.into())
    }
}

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escape_path(&self.0))
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&escape_path(&self.0))
    }
}

/// A path as it is shown.
#[must_use]
pub fn escape_path(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c => push(&mut out, c),
            }
        }
        for byte in chunk.invalid() {
            push_byte(&mut out, *byte);
        }
    }
    out
}

/// One line of a message: text that may have a path in it, or the cause of an
/// error, without what would end the line or what a terminal would obey.
#[must_use]
pub fn escape_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c));
    out
}

fn push(out: &mut String, c: char) {
    if is_control(c) {
        let mut bytes = [0; 4];
        c.encode_utf8(&mut bytes).bytes().for_each(|b| push_byte(out, b));
    } else {
        out.push(c);
    }
}

fn push_byte(out: &mut String, byte: u8) {
    out.push_str(&format!("\\x{byte:02x}"));
}

/// What a terminal may obey: control characters, and what ends a line or
/// turns the direction of text.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn shown(bytes: &[u8]) -> String {
        escape_path(Path::new(OsStr::from_bytes(bytes)))
    }

    /// The bytes that a path was, from what is shown of it.
    fn decoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            rest = match (first, tail) {
                (b'\\', [b'x', high, low, tail @ ..]) => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    out.push(u8::from_str_radix(digits, 16).unwrap());
                    tail
                }
                (b'\\', [b'\\', tail @ ..]) => {
                    out.push(b'\\');
                    tail
                }
                (b'\\', _) => panic!("{text}"),
                (byte, tail) => {
                    out.push(*byte);
                    tail
                }
            };
        }
        out
    }

    #[test]
    fn a_path_is_shown_without_what_a_terminal_obeys_and_can_be_had_back() {
        for (path, text) in [
            (b"/var/crash".as_slice(), "/var/crash"),
            ("caf\u{e9} \u{65e5}".as_bytes(), "caf\u{e9} \u{65e5}"),
            (b"caf\xe9", r"caf\xe9"),
            (b"a\x1b]0;x\x07\n\tb", r"a\x1b]0;x\x07\x0a\x09b"),
            (b"a\\x1bb\\", r"a\\x1bb\\"),
            ("\u{9b}2J\u{202e}".as_bytes(), r"\xc2\x9b2J\xe2\x80\xae"),
            (b"\xe2\x80", r"\xe2\x80"),
            (b"", ""),
        ] {
            assert_eq!(shown(path), text);
            assert_eq!(decoded(text), path, "{text}");
        }
        let all: Vec<u8> = (1..=255).collect();
        assert_eq!(decoded(&shown(&all)), all);
    }

    #[test]
    fn a_message_is_one_line() {
        let path = FilePath::from(Path::new("a\\b\nlivedump: c"));
        let text = escape_line(&format!("{path}: {}\r", path.display()));
        assert_eq!(text, r"a\\b\x0alivedump: c: a\b\x0alivedump: c\x0d");
    }
}
