// SPDX-License-Identifier: BSD-2-Clause
//! Reports pages that a command read and that changed during the dump.

use crate::report::{ReadChanged, note};
use livedump_vmcore::Vmcore;
use livedump_vmcore::chain;
use livedump_vmcore::changes::{Changes, ChangesFile};

/// What a command changed_pages from here on.
#[derive(Debug)]
pub(super) struct ChangedPages<'a> {
    core: &'a Vmcore,
    changes: Option<&'a Changes>,
}

/// Looks into a list. One that cannot be read is none: the dump is what
/// counts.
pub(super) fn read_list(changes: Option<ChangesFile>) -> Option<Changes> {
    changes?.read().map_err(|e| note(chain(&e))).ok()
}

impl<'a> ChangedPages<'a> {
    pub(super) fn of(core: &'a Vmcore, changes: Option<&'a Changes>) -> Self {
        if changes.is_some() {
            core.remember_reads();
        }
        Self { core, changes }
    }

    /// Says so on standard error, and for programs.
    pub(super) fn warn(&self) -> Option<ReadChanged> {
        let (checked, pages) = self.core.changed_reads(self.changes?);
        if pages > 0 {
            note(format_args!(
                "{pages} of the {checked} pages read changed while the dump \
                 was written"
            ));
        }
        Some(ReadChanged { checked, pages })
    }
}
