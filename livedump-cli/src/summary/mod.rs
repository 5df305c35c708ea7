// SPDX-License-Identifier: BSD-2-Clause
//! What crashinfo(8) makes of a dump, of a live one and on any system: one
//! text with a section for each thing that matters.
//!
//! ```text
//!  sources    what all sections are made from, each thing read once
//!  sections   a file for each, and a line in SECTIONS
//!  content    facts, tables and lines: what a section consists of
//!  text       as crashinfo(8) writes it: core.txt.N
//!  html       one page without anything outside it
//!  json       one object, a key for each section
//! ```
//!
//! A section that cannot be had stays, with the reason. A value that cannot be
//! read is unknown and stands as such.

mod content;
mod html;
mod json;
mod sections;
mod sources;
mod text;

pub use content::{Block, Cell, Column, Content, Fact};
pub use sections::SECTIONS;
pub use sources::{Input, Known, Sources};

use crate::analysis::Unavailable;
use crate::report::ReadChanged;
use livedump_vmcore::chain;
use livedump_vmcore::verdict::Verdict;

/// A form that it is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Text.
    #[default]
    Text,
    /// A page.
    Html,
    /// One object.
    Json,
}

/// A report of a whole dump.
#[derive(Debug)]
pub struct Summary {
    /// As the file was named.
    pub file: String,
    /// Its kernel, if that is known.
    pub kernel: Option<String>,
    /// The debug file of that.
    pub debug: Option<String>,
    /// Damaged where the dump is, or threads are stuck; undetermined where
    /// something could not be read.
    pub verdict: Verdict,
    /// The first section that something was found in, and what.
    pub finding: Option<(&'static str, String)>,
    /// In the order of [`SECTIONS`].
    pub sections: Vec<Section>,
    /// What of it changed, if that was looked at.
    pub changed: Option<ReadChanged>,
}

/// One section.
#[derive(Debug)]
pub struct Section {
    /// What programs know it by.
    pub id: &'static str,
    /// What people do.
    pub title: &'static str,
    /// What it has; none where it is absent.
    pub blocks: Vec<Block>,
    /// Why it has none.
    pub absent: Option<Absent>,
    /// What may be missing in it, or wrong.
    pub problems: Vec<String>,
    /// What has to be known to read it.
    pub notes: Vec<String>,
    /// What is wrong with the dump, or with the system in it.
    pub finding: Option<String>,
}

/// Why there is no section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The system had none of it.
    None(String),
    /// It is not known.
    Unknown(String),
}

impl Absent {
    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::None(why) | Self::Unknown(why) => why,
        }
    }

    fn none(why: impl Into<String>) -> Self {
        Self::None(why.into())
    }

    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }
}

impl From<Unavailable> for Absent {
    fn from(e: Unavailable) -> Self {
        Self::Unknown(chain(&e))
    }
}

/// What a section is made of, when it can be had.
#[derive(Debug, Default)]
pub struct Body {
    blocks: Vec<Block>,
    problems: Vec<String>,
    notes: Vec<String>,
    finding: Option<String>,
    undetermined: Option<String>,
}

impl Body {
    fn of(key: &'static str, content: Content) -> Self {
        Self::default().and(key, content)
    }

    fn and(mut self, key: &'static str, content: Content) -> Self {
        self.blocks.push(Block { key, content });
        self
    }

    fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn problems(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.problems.extend(more);
        self
    }

    fn notes(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(more);
        self
    }

    /// Why something is not known that is said in the section itself.
    fn undetermined(mut self, why: Option<String>) -> Self {
        self.undetermined = why;
        self
    }

    /// What is wrong with the dump, or with the system in it.
    fn finding(mut self, what: Option<String>) -> Self {
        self.finding = what;
        self
    }
}

/// What makes a section.
pub type Make = fn(&Sources<'_>) -> Result<Body, Absent>;

/// A section, before it is made.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What programs know it by: a key of the JSON object.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    make: Make,
}

impl Kind {
    const fn new(id: &'static str, title: &'static str, make: Make) -> Self {
        Self { id, title, make }
    }
}

impl Summary {
    /// Makes all sections.
    #[must_use]
    pub fn new(file: String, sources: &Sources<'_>) -> Self {
        let target = sources.known.as_ref().ok().map(|known| known.target);
        let mut verdict = Verdict::Sound;
        let mut add = |more: Verdict| {
            verdict = std::mem::replace(&mut verdict, Verdict::Sound).and(more);
        };
        let mut sections = Vec::new();
        let mut finding: Option<(&str, String)> = None;
        for Kind { id, title, make } in SECTIONS {
            let undetermined =
                |why: &str| Verdict::Undetermined(format!("{id}: {why}"));
            let made = make(sources);
            let absent = made.as_ref().err().cloned();
            if let Some(Absent::Unknown(why)) = &absent {
                add(undetermined(why));
            }
            let body = made.unwrap_or_default();
            if let Some(what) = &body.finding {
                finding.get_or_insert_with(|| (id, what.clone()));
                add(Verdict::Damaged(format!("{id}: {what}")));
            }
            let first = body.problems.first().or(body.undetermined.as_ref());
            if let Some(first) = first {
                add(undetermined(first));
            }
            let Body { blocks, problems, notes, finding, .. } = body;
            sections.push(Section {
                id,
                title,
                blocks,
                absent,
                problems,
                notes,
                finding,
            });
        }
        Self {
            file,
            kernel: target.map(|t| t.kernel.path().to_string()),
            debug: target.and_then(|t| Some(t.debug?.path().to_string())),
            verdict,
            finding,
            sections,
            changed: None,
        }
    }

    /// The verdict in one word, and why. A dump with a deadlock in it, or with
    /// threads that are stuck, is not damaged for that.
    #[must_use]
    pub fn conclusion(&self) -> (&'static str, Option<&str>) {
        let deadlock = self.sections.iter().find(|s| s.id == "deadlock");
        let deadlock = deadlock.and_then(|s| s.finding.as_deref());
        match (&self.finding, deadlock) {
            (Some(("explain" | "deadlock", _)), Some(what)) => {
                ("deadlock", Some(what))
            }
            (Some(("explain", what)), None) => ("stuck", Some(what)),
            _ => (self.verdict.word(), self.verdict.reason()),
        }
    }

    /// Written in a form.
    #[must_use]
    pub fn write(&self, form: Form) -> String {
        match form {
            Form::Text => text::write(self),
            Form::Html => html::write(self),
            Form::Json => json::write(self),
        }
    }
}
