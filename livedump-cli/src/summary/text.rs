// SPDX-License-Identifier: BSD-2-Clause
//! As crashinfo(8) writes it: a line of dashes and a heading for each section.

use super::{Content, Section, Summary};
use crate::report::Table;
use std::fmt::Write;

const RULE: usize = 72;

pub(super) fn write(summary: &Summary) -> String {
    let mut out = format!("livedump report: {}\n", summary.file);
    let (verdict, reason) = summary.conclusion();
    let _ = match reason {
        Some(why) => writeln!(out, "verdict: {verdict}: {why}"),
        None => writeln!(out, "verdict: {verdict}"),
    };
    for section in &summary.sections {
        out.push('\n');
        out.push_str(&"-".repeat(RULE));
        let _ = write!(out, "\n{}\n\n", section.title);
        section.text(&mut out);
    }
    out
}

impl Section {
    fn text(&self, out: &mut String) {
        if let Some(absent) = &self.absent {
            let _ = writeln!(out, "{}", absent.sentence());
        }
        for (n, block) in self.blocks.iter().enumerate() {
            if n > 0 {
                out.push('\n');
            }
            block.content.text(out);
        }
        let notes = self.notes.iter().map(|note| ("note", note));
        let problems = self.problems.iter().map(|it| ("incomplete", it));
        let mut first = true;
        for (word, text) in notes.chain(problems) {
            if std::mem::take(&mut first) && !self.blocks.is_empty() {
                out.push('\n');
            }
            let _ = writeln!(out, "{word}: {text}");
        }
    }
}

impl super::Absent {
    /// For people.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::None(why) => format!("none: {why}"),
            Self::Unknown(why) => format!("unknown: {why}"),
        }
    }
}

impl Content {
    fn text(&self, out: &mut String) {
        match self {
            Self::Facts(facts) => {
                let shown = || facts.iter().filter_map(super::Fact::shown);
                let width = shown().map(|(label, _)| label.len()).max();
                let width = width.unwrap_or(0).saturating_add(1);
                for (label, value) in shown() {
                    let label = format!("{label}:");
                    let value = value.shown();
                    let line = format!("{label:<width$} {value}");
                    let _ = writeln!(out, "{}", line.trim_end());
                }
            }
            Self::Table(columns, rows) => {
                let heads: Vec<String> = columns
                    .iter()
                    .map(|c| match c.right {
                        true => format!(">{}", c.head),
                        false => c.head.to_string(),
                    })
                    .collect();
                let heads: Vec<_> = heads.iter().map(String::as_str).collect();
                let mut table = Table::new(&heads);
                for row in rows {
                    table.row(row.iter().map(super::Cell::shown).collect());
                }
                let mut text = Vec::new();
                let _ = table.write(&mut text);
                out.push_str(&String::from_utf8_lossy(&text));
            }
            Self::Lines(lines) | Self::Report(lines, _) => {
                for line in lines {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
    }
}
