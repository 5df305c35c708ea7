// SPDX-License-Identifier: BSD-2-Clause
//! Columns of text, each as wide as its widest word.

use std::io::{self, Write};

/// Rows under a head. Columns of figures are aligned to the right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// With these heads; `>` in front of one has its column to the right.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        let right = heads.iter().map(|h| h.starts_with('>')).collect();
        let heads = heads.iter().map(|h| h.trim_start_matches('>').into());
        Self { rows: vec![heads.collect()], right }
    }

    /// One more row, with a word for each head.
    pub fn row(&mut self, words: Vec<String>) {
        self.rows.push(words);
    }

    /// Writes it, no line with blanks at its end.
    ///
    /// # Errors
    /// `out` does not take it.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |column: usize| {
            let words = self.rows.iter().filter_map(|row| row.get(column));
            words.map(|word| word.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((word, width), right) in
                row.iter().zip(&widths).zip(&self.right)
            {
                let blanks = " ".repeat(width - word.chars().count());
                if *right {
                    line.push_str(&blanks);
                }
                line.push_str(word);
                if !right {
                    line.push_str(&blanks);
                }
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_to_the_right_and_lines_end_with_a_word() {
        let mut table = Table::new(&[">N", "NAME", ">SIZE"]);
        table.row(vec!["7".into(), "a".into(), "10".into()]);
        table.row(vec!["12".into(), "longer".into(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            " N  NAME    SIZE\n 7  a         10\n12  longer\n"
        );
    }
}
