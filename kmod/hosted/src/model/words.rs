// SPDX-License-Identifier: BSD-2-Clause
//! One line of a recipe as words: cut at blanks, `"..."` kept together,
//! nothing from `#` on. Whatever is wrong is said with its line and word.

use core::ops::RangeInclusive;
use std::vec::{IntoIter, Vec};

/// Why there is no machine to a recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// A word is wrong, or missing behind another.
    #[error("recipe line {line}: \"{word}\": {problem}")]
    Word {
        /// Counted from 1.
        line: usize,
        /// The word.
        word: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Every line is right, but no such machine can be.
    #[error("invalid machine: {0}")]
    Machine(String),
}

impl RecipeError {
    pub(super) fn machine(problem: impl Into<String>) -> Self {
        Self::Machine(problem.into())
    }
}

/// The words of a line behind its first, taken one by one.
#[derive(Debug)]
pub(super) struct Words {
    line: usize,
    last: String,
    rest: IntoIter<String>,
}

impl Words {
    /// Cuts a line; `None` where there is nothing on it. The first word is
    /// returned beside the others.
    pub(super) fn cut(
        line: usize,
        text: &str,
    ) -> Result<Option<(String, Self)>, RecipeError> {
        let mut words = Vec::new();
        let mut left = text.trim_start();
        while let Some(first) = left.chars().next() {
            let (word, behind) = match first {
                '#' => break,
                '"' => quoted(left).ok_or_else(|| RecipeError::Word {
                    line,
                    word: left.to_string(),
                    problem: "the quote does not end".into(),
                })?,
                _ => {
                    let end = left
                        .find(|c: char| c.is_whitespace() || c == '#')
                        .unwrap_or(left.len());
                    let (word, behind) = left.split_at(end);
                    (word.to_string(), behind)
                }
            };
            words.push(word);
            left = behind.trim_start();
        }
        let mut rest = words.into_iter();
        Ok(rest
            .next()
            .map(|name| (name.clone(), Self { line, last: name, rest })))
    }

    /// An error about the word taken last.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> RecipeError {
        RecipeError::Word {
            line: self.line,
            word: self.last.clone(),
            problem: problem.into(),
        }
    }

    /// The next word, if there is one.
    pub(super) fn next(&mut self) -> Option<String> {
        let word = self.rest.next()?;
        self.last.clone_from(&word);
        Some(word)
    }

    /// The next word; `what` is said where there is none.
    pub(super) fn word(&mut self, what: &str) -> Result<String, RecipeError> {
        self.next()
            .ok_or_else(|| self.wrong(format!("{what} is missing after it")))
    }

    /// The next word as a number: decimal or 0x, with K, M, G or T behind it.
    pub(super) fn number(
        &mut self,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, RecipeError> {
        let word = self.word(what)?;
        self.checked(&word, what, range)
    }

    /// As [`Words::number`], where the word may be absent.
    pub(super) fn number_or(
        &mut self,
        default: u64,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, RecipeError> {
        match self.next() {
            Some(word) => self.checked(&word, what, range),
            None => Ok(default),
        }
    }

    /// As [`Words::number`], where there may be none.
    pub(super) fn optional(
        &mut self,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, RecipeError> {
        match self.next() {
            Some(word) => self.checked(&word, what, range).map(Some),
            None => Ok(None),
        }
    }

    fn checked(
        &self,
        word: &str,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, RecipeError> {
        let n = number(word)
            .ok_or_else(|| self.wrong(format!("{what} is not a number")))?;
        if range.contains(&n) {
            return Ok(n);
        }
        let (low, high) = range.into_inner();
        Err(self.wrong(format!(
            "{what} must be from {} to {}",
            amount(low),
            amount(high)
        )))
    }

    /// Nothing may be left.
    pub(super) fn end(mut self) -> Result<(), RecipeError> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.wrong("unexpected word")),
        }
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return text.get(at + 1..).map(|behind| (word, behind)),
            '\\' => word.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            _ => word.push(c),
        }
    }
    None
}

/// Reads a number with its unit; `None` where it is none, or too large.
pub(super) fn number(word: &str) -> Option<u64> {
    if let Some(hex) = word.strip_prefix("0x") {
        return match hex.starts_with('+') {
            true => None,
            false => u64::from_str_radix(hex, 16).ok(),
        };
    }
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match word.get(digits.len()..)?.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A number as a recipe would have it.
pub(super) fn amount(n: u64) -> String {
    for (shift, unit) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
        if n != 0 && n.trailing_zeros() >= shift {
            return format!("{}{unit}", n >> shift);
        }
    }
    if n >= 1 << 32 { format!("{n:#x}") } else { n.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_and_nothing_else() {
        assert_eq!(number("0x9f000"), Some(0x9f000));
        assert_eq!(number("64M"), Some(64 << 20));
        assert_eq!(number("3g"), Some(3 << 30));
        assert_eq!(number("17"), Some(17));
        for bad in ["", "K", "-1", "+1", "0x+1", "1MB", "1.5G", "99999999T"] {
            assert_eq!(number(bad), None, "{bad}");
        }
        assert_eq!(amount(96 << 10), "96K");
        assert_eq!(amount(1000), "1000");
    }

    #[test]
    fn a_line_is_cut_at_blanks_quotes_and_its_comment() {
        let (name, mut w) =
            Words::cut(1, " message \"a # b\\n\" c#d").unwrap().unwrap();
        assert_eq!(name, "message");
        assert_eq!(w.next().as_deref(), Some("a # b\n"));
        assert_eq!(w.next().as_deref(), Some("c"));
        assert_eq!(w.next(), None);
        assert!(Words::cut(1, "  # all of it").unwrap().is_none());
        assert!(Words::cut(1, "").unwrap().is_none());
    }

    #[test]
    fn errors_name_the_line_and_the_word() {
        let (_, mut w) = Words::cut(7, "ram 0 12Q").unwrap().unwrap();
        assert_eq!(w.number("the start", 0..=9), Ok(0));
        assert_eq!(
            w.number("the end", 0..=9).unwrap_err().to_string(),
            "recipe line 7: \"12Q\": the end is not a number"
        );
        assert_eq!(
            w.word("a name").unwrap_err().to_string(),
            "recipe line 7: \"12Q\": a name is missing after it"
        );
        let open = Words::cut(3, "message \"x").unwrap_err();
        assert_eq!(
            open.to_string(),
            "recipe line 3: \"\"x\": the quote does not end"
        );
    }
}
