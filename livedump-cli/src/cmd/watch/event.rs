// SPDX-License-Identifier: BSD-2-Clause
//! What happened in one round, for `--json`: one object in one line. The keys
//! are documented in livedump(8).

use crate::cmd::capture::captured::Captured;
use crate::crashdir::Pruned;
use crate::report::Report;
use serde::Serialize;
use std::io::{self, Write};

/// One round.
#[derive(Debug, Serialize)]
pub(super) struct WatchEvent<'a> {
    /// The object of `capture --json`, or null.
    pub(super) captured: Option<&'a Captured>,
    /// Why there is none.
    pub(super) error: Option<String>,
    /// Numbers of the dumps that went, oldest first.
    pub(super) removed: Vec<u32>,
    /// Numbers of those that are there, oldest first.
    pub(super) kept: Vec<u32>,
    /// Bytes of disk that they take.
    pub(super) kept_bytes: u64,
}

impl<'a> WatchEvent<'a> {
    pub(super) fn new(
        captured: Result<&'a Captured, String>,
        pruned: &Pruned,
    ) -> Self {
        let (captured, error) = match captured {
            Ok(captured) => (Some(captured), None),
            Err(e) => (None, Some(e)),
        };
        let removed = pruned.removed.iter().map(|(dump, _)| dump.number);
        Self {
            captured,
            error,
            removed: removed.collect(),
            kept: pruned.kept.iter().rev().map(|d| d.number).collect(),
            kept_bytes: pruned.kept.iter().map(|d| d.disk_bytes).sum(),
        }
    }
}

impl Report for WatchEvent<'_> {
    fn text(&self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
