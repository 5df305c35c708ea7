// SPDX-License-Identifier: BSD-2-Clause
//! Text that is broken into lines. Columns are those of a terminal: one of
//! Chinese is two wide.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of a text.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Lines of at most `columns`: broken at blanks, and within a word only where
/// that alone is longer.
pub(super) fn broken(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut rest = word;
        loop {
            let line = lines.last_mut().map_or("", |l| l.as_str());
            let blank = usize::from(!line.is_empty());
            if width(line) + blank + width(rest) <= columns {
                push(&mut lines, rest);
                break;
            }
            if blank == 1 {
                lines.push(String::new());
                continue;
            }
            let (first, after) = rest.split_at(fits(rest, columns));
            push(&mut lines, first);
            lines.push(String::new());
            rest = after;
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn push(lines: &mut [String], word: &str) {
    if let Some(line) = lines.last_mut() {
        if !line.is_empty() && !word.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
}

/// Bytes of `text` that have at most `columns`; one character at least.
fn fits(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns && at > 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_and_no_line_is_too_wide() {
        for text in [
            "",
            "a",
            "waits 15.0 s for sx \"alpha\" at 0xffffffff81234567",
            &"x".repeat(300),
            "漢字".repeat(40).as_str(),
            "a  b",
        ] {
            for columns in [2, 7, 40] {
                let lines = broken(text, columns);
                assert!(lines.iter().all(|l| width(l) <= columns), "{text}");
                let plain = |s: &str| s.replace(' ', "");
                assert_eq!(plain(&lines.concat()), plain(text));
            }
        }
    }

    #[test]
    fn lines_end_at_words() {
        assert_eq!(broken("one two three", 8), ["one two", "three"]);
        assert_eq!(broken("abcdef gh", 4), ["abcd", "ef", "gh"]);
    }
}
