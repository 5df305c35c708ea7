// SPDX-License-Identifier: BSD-2-Clause
//! `livedump ps`: the processes and threads of the dumped machine.
//!
//! ```text
//! $ livedump ps -k kernel vmcore
//!    PID   PPID   UID  THR CPU STATE     WAIT         WAITED COMMAND
//!    843      1     0    1   0 run       -                 - livedump
//! ```

use super::changed_pages::ChangedPages;
use super::session::{KernelArgs, Session};
use crate::analysis::TargetError;
use crate::analysis::clock::Clock;
use crate::analysis::threads::{State, Threads, check_state};
use crate::analysis::waits::Waits;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::build::{processes, unknown_columns};
use crate::report::{self, Process, Ps, Report, Sort, note};
use clap::ValueHint;
use clap::builder::PossibleValuesParser;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::verdict::Verdict;
use std::path::PathBuf;

/// Arguments of `ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Print each thread, its lock and the holder of that
    #[arg(short = 't', long)]
    pub threads: bool,
    /// Only processes with this name
    #[arg(short, long, value_name = "NAME")]
    pub command: Option<String>,
    /// Only threads in this state
    #[arg(
        short,
        long,
        value_name = "STATE",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(State::WORDS)
    )]
    pub state: Option<String>,
    /// Sort by pid, time (the longest wait first) or name
    #[arg(long, value_name = "KEY", hide_possible_values = true)]
    pub sort: Option<Key>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// What is sorted by.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Key {
    Pid,
    Time,
    Name,
}

impl From<Key> for Sort {
    fn from(key: Key) -> Self {
        match key {
            Key::Pid => Self::Pid,
            Key::Time => Self::Time,
            Key::Name => Self::Name,
        }
    }
}

/// Shows them.
///
/// # Errors
/// The files do not belong together, or have no process list. One that is
/// torn is shown as far as it goes and is [`Outcome::Undetermined`]; that no
/// process is as asked for is [`Outcome::Finding`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let session = Session::open(&args.file, &args.kernel)?;
    let target = session.target()?;
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    let threads = Threads::walk(&target)?;
    if args.state.is_some() {
        check_state(&target).map_err(TargetError::from)?;
    }
    let (waits, mut missing) = match Waits::new(&target, &threads) {
        Ok(waits) => (Some(waits), Vec::new()),
        Err(missing) => {
            note(&missing);
            (None, missing.0)
        }
    };
    missing.extend(unknown_columns(&target));
    let mut reasons = threads.incomplete();
    reasons.iter().for_each(note);
    reasons.extend(session.problem.clone());
    let verdict = match reasons.first() {
        Some(first) => Verdict::Undetermined(first.clone()),
        None => Verdict::Sound,
    };
    let outcome = Outcome::from(&verdict);
    let clock = Clock::new(&target);
    let mut processes = processes(&threads, waits.as_ref(), clock);
    args.select(&mut processes);
    let sort = args.sort.map(Sort::from);
    if let Some(by) = sort {
        report::sort(&mut processes, by);
    }
    let is_empty = processes.is_empty() && args.is_filter();
    let report = Ps {
        file: escape_path(&args.file),
        kernel: target.kernel.path().to_string(),
        reason: verdict.reason().map(String::from),
        verdict,
        processes,
        missing,
        problems: reasons,
        changed: changed_pages.warn(),
        each_thread: args.threads,
        sort,
    };
    report.print(args.json)?;
    if !is_empty {
        return Ok(outcome);
    }
    note("no process matches");
    Ok(outcome.or_none())
}

impl Args {
    fn is_filter(&self) -> bool {
        self.command.is_some() || self.state.is_some()
    }

    /// Leaves what is asked for.
    fn select(&self, processes: &mut Vec<Process>) {
        if let Some(command) = &self.command {
            processes.retain(|p| p.command == *command);
        }
        if let Some(state) = &self.state {
            for p in processes.iter_mut() {
                p.threads.retain(|t| t.state == *state);
            }
            processes.retain(|p| !p.threads.is_empty());
        }
    }
}
