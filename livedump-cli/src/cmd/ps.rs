// SPDX-License-Identifier: BSD-2-Clause
//! `livedump ps`: the processes and threads of the dumped machine.
//!
//! ```text
//! $ livedump ps -k kernel vmcore
//!    PID    THR CPU STATE     WAIT             COMMAND
//!    843      1   0 run       -                livedump
//! ```

use super::changed_pages::ChangedPages;
use super::deadlock::holder;
use super::session::{KernelArgs, Session};
use crate::analysis::threads::{State, Thread, Threads};
use crate::analysis::waits::Waits;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::thread::{LockName, shown};
use crate::report::{Hex, Process, Ps, Report, ThreadRow, escape, note};
use clap::ValueHint;
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
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Shows them.
///
/// # Errors
/// The files do not belong together, or have no process list. One that is
/// torn is shown as far as it goes and is [`Outcome::Undetermined`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let session = Session::open(&args.file, &args.kernel)?;
    let target = session.target()?;
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    let threads = Threads::walk(&target)?;
    let (waits, missing) = match Waits::new(&target, &threads) {
        Ok(waits) => (Some(waits), Vec::new()),
        Err(missing) => {
            note(&missing);
            (None, missing.0)
        }
    };
    let mut reasons = threads.incomplete();
    reasons.iter().for_each(note);
    reasons.extend(session.problem.clone());
    let verdict = match reasons.first() {
        Some(first) => Verdict::Undetermined(first.clone()),
        None => Verdict::Sound,
    };
    let outcome = Outcome::from(&verdict);
    let report = Ps {
        file: escape_path(&args.file),
        kernel: target.kernel.path().to_string(),
        reason: verdict.reason().map(String::from),
        verdict,
        processes: processes(&threads, waits.as_ref()),
        missing,
        problems: reasons,
        changed: changed_pages.warn(),
        each_thread: args.threads,
    };
    report.print(args.json)?;
    Ok(outcome)
}

fn processes(threads: &Threads, waits: Option<&Waits>) -> Vec<Process> {
    let mut all: Vec<Process> = threads
        .procs
        .iter()
        .map(|p| Process {
            pid: p.pid,
            command: escape(&p.comm),
            threads: Vec::new(),
        })
        .collect();
    for (n, td) in threads.list.iter().enumerate() {
        let row = row(threads, td, n, waits);
        if let Some(p) = all.get_mut(td.proc) {
            p.threads.push(row);
        }
    }
    all
}

fn row(
    threads: &Threads,
    td: &Thread,
    n: usize,
    waits: Option<&Waits>,
) -> ThreadRow {
    let edge = waits.and_then(|w| w.of(n));
    let state = match (td.state, td.cpu) {
        // td_oncpu alone is exported, and tells enough.
        (State::Unknown, Some(_)) => "run",
        (state, _) => state.word(),
    };
    let message = match state {
        "lock" => shown(&td.lockname),
        "sleep" => shown(&td.wmesg),
        _ => None,
    };
    let sleeps = state == "sleep" && td.wchan.0 != 0;
    ThreadRow {
        tid: td.tid,
        name: escape(&td.name),
        address: Hex(td.address.0),
        state,
        cpu: td.cpu,
        wait_message: message,
        wait_channel: sleeps.then_some(Hex(td.wchan.0)),
        lock: edge.map(|e| LockName::new(&e.lock)),
        holder: edge.map(|e| holder(threads, e).text),
    }
}
