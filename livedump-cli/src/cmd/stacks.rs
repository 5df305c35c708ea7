// SPDX-License-Identifier: BSD-2-Clause
//! `livedump stacks`: the threads of the dumped machine by their stacks.
//!
//! ```text
//! $ livedump stacks -k kernel -s sleep vmcore
//! 2 threads, state sleep, longest wait 15.0 s on wait channel "ufs"
//!     #0 sched_switch
//! ```

use super::changed_pages::ChangedPages;
use super::session::{KernelArgs, Session};
use crate::analysis::TargetError;
use crate::analysis::clock::Clock;
use crate::analysis::stack::Stacks;
use crate::analysis::stack_groups::{Filter, StackGroups};
use crate::analysis::threads::{State, Threads, check_state};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::build::{incomplete_stacks, stack_group};
use crate::report::{Report, note};
use clap::ValueHint;
use clap::builder::PossibleValuesParser;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::verdict::Verdict;
use std::path::PathBuf;

/// Arguments of `stacks`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Only stacks with this function
    #[arg(short = 'c', long, value_name = "FUNCTION")]
    pub function: Option<String>,
    /// Only stacks with a frame of this module
    #[arg(short, long, value_name = "MODULE")]
    pub module: Option<String>,
    /// Only threads in this state, as ps prints it
    #[arg(
        short,
        long,
        value_name = "STATE",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(State::WORDS)
    )]
    pub state: Option<String>,
    /// Only threads with this wait message or lock name
    #[arg(short, long, value_name = "WMESG")]
    pub wmesg: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

impl Args {
    fn filter(&self) -> Filter<'_> {
        Filter {
            function: self.function.as_deref(),
            module: self.module.as_deref(),
            state: self.state.as_deref(),
            wmesg: self.wmesg.as_deref(),
        }
    }
}

/// Shows them.
///
/// # Errors
/// The files do not belong together, or do not tell what is asked for. Stacks
/// that break off, or are of another moment, are [`Outcome::Undetermined`];
/// that no thread matches is [`Outcome::Finding`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let (session, files) =
        Session::open_with_modules(&args.file, &args.kernel)?;
    let target = session.target()?;
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    let threads = Threads::walk(&target)?;
    let filter = args.filter();
    let missing = match check_state(&target) {
        Ok(()) => Vec::new(),
        Err(e) if filter.state.is_some() || filter.wmesg.is_some() => {
            return Err(TargetError::from(e).into());
        }
        Err(missing) => {
            note(&missing);
            missing.0
        }
    };
    let stacks = Stacks::new(&target);
    let modules = files.load(stacks.modules());
    let stacks = stacks
        .with_debug_info(&modules)
        .with_inlined(filter.function.is_some());
    let found =
        StackGroups::new(&threads, &stacks, Clock::new(&target), filter);
    let mut problems = threads.incomplete();
    problems.iter().for_each(note);
    problems.extend(session.problem.clone());
    let incomplete = incomplete_stacks(&found);
    incomplete.iter().for_each(note);
    let reason = problems.first().cloned().or(incomplete);
    let verdict = reason.map_or(Verdict::Sound, Verdict::Undetermined);
    let groups = found.groups.iter().map(|group| stack_group(&threads, group));
    let report = crate::report::Stacks {
        file: escape_path(&args.file),
        kernel: target.kernel.path().to_string(),
        reason: verdict.reason().map(String::from),
        threads: threads.list.len(),
        matched: found.groups.iter().map(|g| g.members.len()).sum(),
        groups: groups.collect(),
        missing,
        problems,
        changed: changed_pages.warn(),
        verdict,
    };
    report.print(args.json)?;
    let outcome = Outcome::from(&report.verdict);
    if !report.groups.is_empty() {
        return Ok(outcome);
    }
    note("no thread matches");
    Ok(outcome.or_none())
}
