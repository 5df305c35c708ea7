// SPDX-License-Identifier: BSD-2-Clause
//! `livedump convert --to elf`: with the kernel, its threads and modules, and
//! a script beside the core.

use super::sealed::Sealed;
use super::{Args, NoPages, failed, incomplete, sink};
use crate::analysis::modules::modules;
use crate::analysis::threads::Threads;
use crate::cmd::session::Session;
use crate::convert::elf::{self, Doubts, Threads as CoreThreads};
use crate::convert::modules::ModuleFiles;
use crate::convert::script::{self, Script};
use crate::convert::tables::WithTables;
use crate::convert::{self, Job, Progress};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::report::note;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// Threads that are named in a remark.
const MAX_NAMED: usize = 16;

/// Converts it.
pub(super) fn run(args: &Args, mut sealed: Sealed) -> Result<Outcome, Error> {
    let core_path = absolute(&args.out);
    let script = sealed.out.is_regular();
    let script = script.then(|| script::path(&args.out, args.debugger));
    let script = script.as_deref().map(Output::open).transpose()?;
    if let Some(script) = &script {
        sealed.outputs().try_for_each(|out| out.check_distinct(script))?;
    }
    let files = ModuleFiles::open(
        args.kernel.module_directories(),
        args.kernel.module_files(),
    );
    let directory = absolute(Path::new(""));
    let written = script.iter().flat_map(Output::descriptors);
    let written = sealed.descriptors().chain(written);
    let keep: Vec<_> = written.chain(files.descriptors()).collect();
    let check = |inputs: &[BorrowedFd<'_>]| {
        sealed.check_no_input(inputs)?;
        let mut script = script.iter();
        script.try_for_each(|to| to.check_no_input(inputs))?;
        Ok(())
    };
    let session =
        Session::open_with(&args.file, &args.kernel, &args.part, &keep, check)?;
    drop(keep);
    sealed.check_old(args)?;
    let core = &session.core;
    let own = |text: &&String| Some(text.as_str()) != core.incomplete();
    core.notes().iter().filter(own).for_each(note);
    core.pages().map_err(NoPages::of)?;
    let target = session.target()?;
    let mut outcome = Outcome::Clean;
    let found = Threads::walk(&target).unwrap_or_else(|e| {
        note(livedump_vmcore::chain(&e));
        outcome = Outcome::Undetermined;
        Threads::default()
    });
    for reason in found.incomplete() {
        note(reason);
        outcome = Outcome::Undetermined;
    }
    let (threads, doubts) = CoreThreads::of(&target, &found, args.debugger);
    let remarks = remarks(&doubts);
    remarks.iter().for_each(note);
    let tables = match core.image() {
        None => Some(
            WithTables::new(core, &session.kernel)
                .map_err(Error::of_command)?,
        ),
        Some(_) => None,
    };
    let progress =
        Progress::new(convert::bytes(core).map_err(Error::of_command)?);
    let mut job = Job::new(sealed.signals(), progress);
    let out = &sealed.out;
    let written = sink(out).and_then(|sink| {
        elf::write(core, tables.as_ref(), &threads, sink, &mut job)
    });
    let unfollowed = written.map_err(|e| failed(out, e))?;
    let Job { problems, .. } = job;
    if let Some(script) = script {
        let modules = modules(&target).into_iter().map(|module| {
            let placed = files.find(&module);
            (module.name, module.start, placed)
        });
        let symbols = session.debug.as_ref().unwrap_or(&session.kernel);
        let text = Script {
            core: core_path,
            symbols: directory.join(symbols.path()),
            machine: core.header().machine,
            threads: &threads,
            modules: modules.collect(),
            remarks,
        }
        .text();
        script.write(&text)?;
    }
    outcome = outcome.and(sealed.finish()?);
    if let Some(text) = unfollowed.text() {
        note(text);
        outcome = outcome.and(Outcome::Undetermined);
    }
    problems.text("are not in the output").iter().for_each(note);
    Ok(outcome.and(problems.outcome()).and(incomplete(core.incomplete())))
}

fn absolute(path: &Path) -> PathBuf {
    match path == Path::new("") {
        true => std::env::current_dir().unwrap_or_default(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.into()),
    }
}

/// What is to be known about the registers.
fn remarks(doubts: &Doubts) -> Vec<String> {
    let list = |tids: &[i32]| {
        let shown = tids.iter().take(MAX_NAMED).map(i32::to_string);
        let mut text = shown.collect::<Vec<_>>().join(", ");
        let more = tids.len().saturating_sub(MAX_NAMED);
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        text
    };
    let mut all = Vec::new();
    if !doubts.stale.is_empty() {
        all.push(format!(
            "these threads were running; their registers are those of their \
             last switch: {}",
            list(&doubts.stale)
        ));
    }
    if !doubts.unknown.is_empty() {
        all.push(format!(
            "these threads have no registers in the dump: {}",
            list(&doubts.unknown)
        ));
    }
    all
}
