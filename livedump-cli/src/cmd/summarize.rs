// SPDX-License-Identifier: BSD-2-Clause
//! A report of a dump that is open, for the commands that make one.

use super::changed_pages::ChangedPages;
use super::session::{Readable, Session};
use crate::convert::modules::ModuleFiles;
use crate::crashdir::InfoText;
use crate::error::Error;
use crate::report::build::{info, info_file};
use crate::report::{Info, note};
use crate::summary::{Input, Summary};
use livedump_vmcore::Vmcore;
use livedump_vmcore::chain;

/// Makes it; `file` is what the dump is called in it.
///
/// # Errors
/// Files that were named do not belong together.
pub(super) fn summarize(
    readable: &Readable,
    modules: &ModuleFiles,
    file: String,
) -> Result<Summary, Error> {
    match readable {
        Readable::Known(session) => known(session, modules, file),
        Readable::Unknown(none) => {
            let info_text = none.info.as_ref();
            let info = about(&none.core, info_text, &file);
            note(&none.why);
            let (core, target) = (&none.core, Err(none.why.clone()));
            let input = Input { file, core, info, info_text, target, modules };
            Ok(input.summary())
        }
    }
}

fn known(
    session: &Session,
    modules: &ModuleFiles,
    file: String,
) -> Result<Summary, Error> {
    let core = &session.core;
    let changed = ChangedPages::of(core, session.changes.as_ref());
    let info_text = session.info.as_ref();
    let info = about(core, info_text, &file);
    let target = match session.target() {
        Err(e) if session.debug_named() => return Err(e),
        target => target,
    };
    let target = target.as_ref().map_err(|e| chain(e));
    let input = Input { file, core, info, info_text, target, modules };
    let mut summary = input.summary();
    summary.changed = changed.warn();
    Ok(summary)
}

fn about(core: &Vmcore, beside: Option<&InfoText>, file: &str) -> Info {
    let mut info = info(core);
    info.file = file.to_string();
    info.info = beside.cloned().map(info_file);
    info
}
