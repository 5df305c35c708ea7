// SPDX-License-Identifier: BSD-2-Clause
//! One object, with the sections in their order.

use super::{Section, Summary};
use crate::report::json_text;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub(super) fn write(summary: &Summary) -> String {
    // All of its keys are strings.
    json_text(summary).unwrap_or_default()
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("kernel", &self.kernel)?;
        map.serialize_entry("debug", &self.debug)?;
        let (verdict, reason) = self.conclusion();
        map.serialize_entry("verdict", verdict)?;
        map.serialize_entry("reason", &reason)?;
        map.serialize_entry("changed", &self.changed)?;
        map.serialize_entry("sections", &Sections(&self.sections))?;
        map.end()
    }
}

struct Sections<'s>(&'s [Section]);

impl Serialize for Sections<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|section| (section.id, section)))
    }
}

impl Serialize for Section {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        let absent = self.absent.as_ref();
        map.serialize_entry("title", self.title)?;
        map.serialize_entry("absent", &absent.map(super::Absent::reason))?;
        map.serialize_entry("problems", &self.problems)?;
        map.serialize_entry("notes", &self.notes)?;
        for block in &self.blocks {
            map.serialize_entry(block.key, &block.content)?;
        }
        map.end()
    }
}
