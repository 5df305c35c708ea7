// SPDX-License-Identifier: BSD-2-Clause
//! `livedump bt`: the stack of a thread of the dumped machine.
//!
//! ```text
//! $ livedump bt -k kernel vmcore 100670
//! thread 100670 of livedump (pid 843), took the dump
//!   #0 0xffffffff80200a0c dump_savectx+0x7c
//! ```

use super::changed_pages::ChangedPages;
use super::session::{KernelArgs, Session};
use crate::analysis::stack::Stacks;
use crate::analysis::threads::Threads;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::thread::ThreadRef;
use crate::report::{Bt, Report, note};
use clap::ValueHint;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::verdict::Verdict;
use std::path::PathBuf;

/// Arguments of `bt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Thread id, as printed by ps --threads
    #[arg(value_name = "TID", value_parser = tid)]
    pub tid: i32,
}

/// Threads of a process that are named.
const MAX_NAMED: usize = 16;

fn tid(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| {
        "not a thread id (livedump ps -t FILE prints them); name the kernel \
         with -k"
            .into()
    })
}

/// There is no such thread.
#[derive(Debug, thiserror::Error)]
pub enum NoThread {
    /// The number is that of a process.
    #[error("{pid} is a process, with {threads}")]
    Process {
        /// The number.
        pid: i32,
        /// Ids.
        threads: String,
    },
    /// There is nothing of this number.
    #[error(
        "the dump has no thread {tid}{}",
        if *.torn { ", but its process list could not be read to the end" }
        else { "" }
    )]
    Unknown {
        /// The number.
        tid: i32,
        /// It may be on a part of the list that was not read.
        torn: bool,
    },
}

impl From<NoThread> for Error {
    fn from(e: NoThread) -> Self {
        Self::of_command(e)
    }
}

impl NoThread {
    fn new(tid: i32, threads: &Threads) -> Self {
        let of = threads.procs.iter().position(|p| p.pid == tid);
        let all = threads.list.iter().filter(|td| Some(td.proc) == of);
        let ids: Vec<_> = all.map(|td| td.tid.to_string()).collect();
        if ids.is_empty() {
            let torn = !threads.incomplete().is_empty();
            return Self::Unknown { tid, torn };
        }
        let what = if ids.len() == 1 { "thread" } else { "threads" };
        let more = ids.len().saturating_sub(MAX_NAMED);
        let mut text = ids.get(..MAX_NAMED).unwrap_or(&ids).join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        let threads = format!("{what} {text}");
        Self::Process { pid: tid, threads }
    }
}

/// Shows it.
///
/// # Errors
/// The files do not belong together, or there is no such thread. A stack that
/// breaks off is shown up to there and is [`Outcome::Undetermined`], and so is
/// one that is of another moment.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let session = Session::open(&args.file, &args.kernel)?;
    let target = session.target()?;
    let threads = Threads::walk(&target)?;
    let found = threads.by_tid(args.tid);
    let Some(thread) = found.and_then(|n| threads.list.get(n)) else {
        return Err(NoThread::new(args.tid, &threads).into());
    };
    // Of what was read so far only this thread counts.
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    if let Some(pcb) = target.types.field("thread", "td_pcb") {
        let _ = target.get(thread.address, pcb);
    }
    let stack = Stacks::new(&target).of(thread);
    let who = ThreadRef::new(&threads, thread);
    let state = match thread.cpu {
        Some(_) => "run",
        None => thread.state.word(),
    };
    let files = (escape_path(&args.file), target.kernel.path().to_string());
    let changed = changed_pages.warn();
    let reasons = threads.incomplete();
    reasons.iter().for_each(note);
    let verdict = reasons.into_iter().next();
    let verdict = verdict.map_or(Verdict::Sound, Verdict::Undetermined);
    let report = Bt::new(files, (who, state), &stack, verdict, changed);
    let outcome = Outcome::from(&report.verdict);
    if args.json
        && let Some(why) = &report.broken
    {
        note(format_args!("incomplete stack: {why}"));
    }
    report.print(args.json)?;
    Ok(outcome)
}
