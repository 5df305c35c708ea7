// SPDX-License-Identifier: BSD-2-Clause
//! What a section consists of. All text in it is without what a terminal would
//! obey: whoever puts it here has escaped what is another machine's.

use crate::report::{Report, escape, human};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
    /// A number of a process or of a thread.
    Id(i32),
    /// A number of bytes.
    Bytes(u64),
    /// A time.
    Seconds(f64),
    /// An address.
    Address(u64),
    /// Words.
    Words(Vec<&'static str>),
    /// Yes or no.
    Flag(bool),
    /// There is none.
    None,
    /// It is not known.
    Unknown,
}

impl Cell {
    /// Bytes of another machine's, escaped.
    #[must_use]
    pub fn escaped(text: &[u8]) -> Self {
        Self::Text(escape(text))
    }

    /// The same, if they are known.
    #[must_use]
    pub fn maybe(text: Option<&[u8]>) -> Self {
        text.map_or(Self::Unknown, Self::escaped)
    }

    /// A number, if it is known.
    #[must_use]
    pub fn number(n: Option<u64>) -> Self {
        n.map_or(Self::Unknown, Self::Number)
    }

    /// A number of bytes, if it is known.
    #[must_use]
    pub fn bytes(n: Option<u64>) -> Self {
        n.map_or(Self::Unknown, Self::Bytes)
    }

    /// A text, if there is one.
    #[must_use]
    pub fn text(text: Option<&str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.to_string()))
    }

    /// For people.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(n) => n.to_string(),
            Self::Id(n) => n.to_string(),
            Self::Bytes(n) => human(*n),
            Self::Seconds(s) => format!("{s:.1} s"),
            Self::Address(at) => format!("{at:#x}"),
            Self::Words(words) => words.join(", "),
            Self::Flag(true) => "yes".into(),
            Self::Flag(false) => "no".into(),
            Self::None => "-".into(),
            Self::Unknown => "unknown".into(),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => s.serialize_str(text),
            Self::Number(n) | Self::Bytes(n) => s.serialize_u64(*n),
            Self::Id(n) => s.serialize_i32(*n),
            Self::Seconds(n) => s.serialize_f64(*n),
            Self::Address(at) => s.collect_str(&format_args!("{at:#x}")),
            Self::Words(words) => words.serialize(s),
            Self::Flag(flag) => s.serialize_bool(*flag),
            Self::None | Self::Unknown => s.serialize_none(),
        }
    }
}

/// A named value.
#[derive(Clone, Debug)]
pub struct Fact {
    /// For programs.
    pub key: &'static str,
    /// For people; none where it repeats another.
    pub label: Option<String>,
    /// What it is.
    pub value: Cell,
}

impl Fact {
    /// One that only programs need.
    #[must_use]
    pub fn hidden(key: &'static str, value: Cell) -> Self {
        Self { key, label: None, value }
    }

    /// What people are shown.
    #[must_use]
    pub fn shown(&self) -> Option<(&str, &Cell)> {
        Some((self.label.as_deref()?, &self.value))
    }

    /// One.
    #[must_use]
    pub fn new(key: &'static str, label: &str, value: Cell) -> Self {
        Self { key, label: Some(label.into()), value }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// For programs.
    pub key: &'static str,
    /// For people.
    pub head: &'static str,
    /// Figures.
    pub right: bool,
}

impl Column {
    /// Of text.
    #[must_use]
    pub const fn left(key: &'static str, head: &'static str) -> Self {
        Self { key, head, right: false }
    }

    /// Of figures.
    #[must_use]
    pub const fn right(key: &'static str, head: &'static str) -> Self {
        Self { key, head, right: true }
    }
}

/// One of the forms that facts have.
#[derive(Debug)]
pub enum Content {
    /// Named values.
    Facts(Vec<Fact>),
    /// Rows, with a cell for each column.
    Table(&'static [Column], Vec<Vec<Cell>>),
    /// Lines as they are.
    Lines(Vec<String>),
    /// What another command prints, and its JSON object.
    Report(Vec<String>, serde_json::Value),
}

impl Content {
    /// What another command prints.
    #[must_use]
    pub fn report(report: &impl Report) -> Self {
        let mut text = Vec::new();
        // A vector takes everything.
        let _ = report.text(&mut text);
        let text = String::from_utf8_lossy(&text);
        let lines = text.trim_end().lines().map(String::from).collect();
        let json = serde_json::to_value(report).unwrap_or_default();
        Self::Report(lines, json)
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Facts(facts) => {
                let mut map = s.serialize_map(Some(facts.len()))?;
                for fact in facts {
                    map.serialize_entry(fact.key, &fact.value)?;
                }
                map.end()
            }
            Self::Table(columns, rows) => {
                let mut list = s.serialize_seq(Some(rows.len()))?;
                for row in rows {
                    list.serialize_element(&Row(columns, row))?;
                }
                list.end()
            }
            Self::Lines(lines) => lines.serialize(s),
            Self::Report(_, json) => json.serialize(s),
        }
    }
}

/// A row, as an object.
struct Row<'r>(&'static [Column], &'r [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().zip(self.1).map(|(c, v)| (c.key, v)))
    }
}

/// A part of a section.
#[derive(Debug)]
pub struct Block {
    /// For programs: a key of the section's object.
    pub key: &'static str,
    /// What it has.
    pub content: Content,
}
