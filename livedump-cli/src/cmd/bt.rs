// SPDX-License-Identifier: BSD-2-Clause
//! `livedump bt`: stacks of threads of the dumped machine.
//!
//! ```text
//! $ livedump bt -k kernel vmcore 100670
//! thread 100670 of livedump (pid 843), took the dump
//!   #0 0xffffffff80200a0c dump_savectx+0x7c at kern_shutdown.c:409
//! ```

use super::changed_pages::ChangedPages;
use super::session::{KernelArgs, Session};
use crate::analysis::stack::Stacks;
use crate::analysis::target::Target;
use crate::analysis::threads::{Thread, Threads};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::thread::ThreadRef;
use crate::report::{Bt, BtAll, Report, ThreadStack, note};
use clap::ValueHint;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::verdict::Verdict;
use std::cell::RefCell;
use std::path::PathBuf;

/// Arguments of `bt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Print the stacks of all threads
    #[arg(short, long)]
    pub all: bool,
    /// Print the arguments of functions
    #[arg(long)]
    pub args: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Thread id, as printed by ps --threads, or id of a process, for all of
    /// its threads
    #[arg(
        value_name = "ID",
        value_parser = id,
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub id: Option<i32>,
}

fn id(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| {
        "not a thread or process id (livedump ps -t FILE prints them); name \
         the kernel with -k"
            .into()
    })
}

/// There is no such thread.
#[derive(Debug, thiserror::Error)]
#[error(
    "the dump has no thread or process {id}{}",
    if *.torn { ", but its process list could not be read to the end" }
    else { "" }
)]
pub struct NoThread {
    /// The number.
    id: i32,
    /// It may be on a part of the list that was not read.
    torn: bool,
}

impl From<NoThread> for Error {
    fn from(e: NoThread) -> Self {
        Self::of_command(e)
    }
}

/// Which threads.
enum Wanted {
    One(usize),
    Many(Vec<usize>),
}

impl Wanted {
    fn new(id: Option<i32>, threads: &Threads) -> Result<Self, NoThread> {
        let Some(id) = id else {
            return Ok(Self::Many((0..threads.list.len()).collect()));
        };
        if let Some(n) = threads.by_tid(id) {
            return Ok(Self::One(n));
        }
        let of = threads.procs.iter().position(|p| p.pid == id);
        let all = threads.list.iter().enumerate();
        let all = all.filter(|(_, td)| Some(td.proc) == of);
        let all: Vec<_> = all.map(|(n, _)| n).collect();
        if all.is_empty() {
            let torn = !threads.incomplete().is_empty();
            return Err(NoThread { id, torn });
        }
        Ok(Self::Many(all))
    }
}

/// Shows it.
///
/// # Errors
/// The files do not belong together, or there is no such thread. A stack that
/// breaks off is shown up to there and is [`Outcome::Undetermined`], and so is
/// one that is of another moment.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let (session, files) =
        Session::open_with_modules(&args.file, &args.kernel)?;
    let target = session.target()?;
    let threads = Threads::walk(&target)?;
    let wanted = Wanted::new(args.id, &threads).map_err(|none| NoThread {
        torn: none.torn || session.problem.is_some(),
        ..none
    })?;
    // Of what was read so far only these threads count.
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    let stacks = Stacks::new(&target);
    let modules = files.load(stacks.modules());
    let stacks = stacks.with_debug_info(&modules).with_arguments(args.args);
    let mut reasons = threads.incomplete();
    reasons.iter().for_each(note);
    reasons.extend(session.problem.clone());
    let lists = reasons.into_iter().next();
    let lists = lists.map_or(Verdict::Sound, Verdict::Undetermined);
    let (file, kernel) =
        (escape_path(&args.file), target.kernel.path().to_string());
    let show = |n: usize| {
        let thread = threads.list.get(n)?;
        Some(stack_of(&target, &threads, &stacks, thread))
    };
    let one = match wanted {
        Wanted::One(n) => show(n),
        Wanted::Many(all) => {
            let verdict = RefCell::new(lists);
            let report = BtAll {
                file,
                kernel,
                threads: RefCell::new(all.into_iter().filter_map(show)),
                verdict: &verdict,
                changed: &|| changed_pages.warn(),
            };
            report.print(args.json)?;
            return Ok(Outcome::from(&*verdict.borrow()));
        }
    };
    let Some(mut stack) = one else {
        let (id, torn) = (args.id.unwrap_or(0), false);
        return Err(NoThread { id, torn }.into());
    };
    stack.verdict = lists.and(stack.verdict);
    stack.reason = stack.verdict.reason().map(String::from);
    let changed = changed_pages.warn();
    let report = Bt { file, kernel, stack, changed };
    let outcome = Outcome::from(&report.stack.verdict);
    if args.json
        && let Some(why) = &report.stack.broken
    {
        note(format_args!("incomplete stack: {why}"));
    }
    report.print(args.json)?;
    Ok(outcome)
}

fn stack_of(
    target: &Target<'_>,
    threads: &Threads,
    stacks: &Stacks<'_, '_>,
    thread: &Thread,
) -> ThreadStack {
    if let Some(pcb) = target.types.field("thread", "td_pcb") {
        let _ = target.get(thread.address, pcb);
    }
    let stack = stacks.of(thread);
    let who = ThreadRef::new(threads, thread);
    let state = match thread.cpu {
        Some(_) => "run",
        None => thread.state.word(),
    };
    ThreadStack::new((who, state), &stack, Verdict::Sound)
}
