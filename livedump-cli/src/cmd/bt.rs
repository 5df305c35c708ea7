// SPDX-License-Identifier: BSD-2-Clause
//! `livedump bt`: the calls that a thread of the dumped machine was in.
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
use crate::path::escape_path;
use crate::report::thread::Who;
use crate::report::{Bt, Report, note};
use clap::ValueHint;
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
    #[arg(value_name = "TID")]
    pub tid: i32,
}

/// There is no such thread.
#[derive(Debug, thiserror::Error)]
#[error("no thread of the dump has id {tid}{more}")]
pub struct NoThread {
    tid: i32,
    more: &'static str,
}

/// Shows it.
///
/// # Errors
/// The files do not belong together, or there is no such thread. A stack that
/// breaks off is shown up to there and is [`Outcome::Finding`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let session = Session::open(&args.file, &args.kernel)?;
    let target = session.target()?;
    let threads = Threads::walk(&target)?;
    let found = threads.by_tid(args.tid);
    let Some(thread) = found.and_then(|n| threads.list.get(n)) else {
        let more = match threads.problems.is_empty() {
            true => "",
            false => ", but its lists are torn",
        };
        return Err(NoThread { tid: args.tid, more }.into());
    };
    // Of what was read so far only this thread counts.
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    if let Some(pcb) = target.types.field("thread", "td_pcb") {
        let _ = target.get(thread.address, pcb);
    }
    let stack = Stacks::new(&target).of(thread);
    let who = Who::new(&threads, thread);
    let state = match thread.cpu {
        Some(_) => "run",
        None => thread.state.word(),
    };
    let files = (escape_path(&args.file), target.kernel.path().to_string());
    let changed = changed_pages.warn();
    let report = Bt::new(files, (who, state), &stack, changed);
    let outcome = match &report.broken {
        Some(why) if args.json => {
            note(format_args!("the stack breaks off: {why}"));
            Outcome::Finding
        }
        Some(_) => Outcome::Finding,
        None => Outcome::Clean,
    };
    report.print(args.json)?;
    Ok(outcome)
}
