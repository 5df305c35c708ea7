// SPDX-License-Identifier: BSD-2-Clause
//! Lines that fit a terminal.

use std::io::{self, Write};

/// Columns of a line.
pub(super) const COLUMNS: usize = 80;

/// Writes words, a blank between two, with `first` before them and lines that
/// continue indented as far as `first` is.
pub(super) fn wrapped<'w>(
    out: &mut dyn Write,
    first: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> io::Result<()> {
    let indent = first.len() - first.trim_start().len();
    let indent = " ".repeat(indent + 2);
    let mut line = first.to_string();
    let mut is_empty = first.trim_end().is_empty();
    for word in words {
        let length = line.chars().count() + 1 + word.chars().count();
        if length > COLUMNS && !is_empty {
            writeln!(out, "{}", line.trim_end())?;
            line.clone_from(&indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(first: &str, words: &[&str]) -> Vec<String> {
        let mut out = Vec::new();
        wrapped(&mut out, first, words.iter().copied()).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(String::from).collect()
    }

    #[test]
    fn no_line_is_longer_than_a_terminal_unless_a_word_is() {
        let word = "x".repeat(38);
        let lines = of("  a", &[&word, &word, &word]);
        assert_eq!(lines[0], format!("  a {word}"));
        assert_eq!(lines[1], format!("    {word}"));
        assert_eq!(lines[2], format!("    {word}"));
        let word = "x".repeat(100);
        assert_eq!(
            of("  a", &[&word]),
            ["  a".to_string(), "    ".to_string() + &word]
        );
        assert_eq!(of("", &["a", "b"]), ["a b"]);
    }
}
