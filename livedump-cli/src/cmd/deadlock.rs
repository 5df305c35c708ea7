// SPDX-License-Identifier: BSD-2-Clause
//! `livedump deadlock`: who waits for what, held by whom.
//!
//! ```text
//! $ livedump deadlock -k kernel vmcore
//! deadlock: 2 threads in a circle
//!   thread 100200 of a (pid 200) waits 15.0 s for sx "beta" at 0x...
//!   held by thread 100201 of b (pid 201)
//! ```

mod live;
mod output;

use super::subject::{KernelArgs, Subject};
use crate::analysis::Target;
use crate::analysis::stack::Stacks;
use crate::analysis::tangles::Tangles;
use crate::analysis::threads::{State, Thread, Threads};
use crate::analysis::waits::{Edge, To, Waits};
use crate::device::MachineSpec;
use crate::error::{Error, Outcome};
use crate::report::thread::{Call, LockName, Who, calls, shown};
use crate::report::{
    Chain, Cycle, Deadlock, Holder, Last, Report, Wait, dot, note, svg,
};
use output::Output;
pub use output::OutputError;
use std::path::PathBuf;

/// Waits that are shown of one circle or chain.
const MAX_SHOWN: usize = 128;

/// What `deadlock` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Also the graph, for dot(1); `-`: instead of text
    #[arg(long, value_name = "FILE")]
    pub dot: Option<PathBuf>,
    /// Also a picture of its circles and chains; `-`: instead of text
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Dump this machine first, and keep the dump in DIR if that is given
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with = "file"
    )]
    #[allow(clippy::option_option)]
    pub live: Option<Option<PathBuf>>,
    /// With --live: which machine, as capture has it
    #[arg(long, value_name = "MACHINE", requires = "live")]
    pub machine: Option<MachineSpec>,
    /// The dump: raw or stripped, plain, gzip or zstd
    #[arg(value_name = "FILE", required_unless_present = "live")]
    pub file: Option<PathBuf>,
}

/// Looks for deadlocks.
///
/// # Errors
/// The files do not belong together or do not tell enough. A circle that is
/// beyond doubt is [`Outcome::Found`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let dot_to = args.dot.as_deref().map(Output::open).transpose()?;
    let svg_to = args.svg.as_deref().map(Output::open).transpose()?;
    let (file, subject) = match (&args.live, &args.file) {
        (None, Some(file)) => {
            (file.clone(), Subject::open(file, &args.kernel)?)
        }
        (directory, _) => {
            let directory = directory.clone().flatten();
            let taken =
                live::take(directory, args.machine.as_ref(), &args.kernel)?;
            // Open files outlive their directory.
            let subject =
                Subject::open_then(&taken.file, &taken.kernel, || {
                    drop(taken.temporary);
                })?;
            (taken.file, subject)
        }
    };
    let target = subject.target()?;
    let report = analyse(&target, file.display().to_string())?;
    for problem in &report.problems {
        note(problem);
    }
    let instead = [&dot_to, &svg_to]
        .into_iter()
        .flatten()
        .any(|to| matches!(to, Output::Stdout));
    if let Some(to) = dot_to {
        to.write(&dot(&report))?;
    }
    if let Some(to) = svg_to {
        to.write(&svg(&report))?;
    }
    if !instead {
        report.print(args.json)?;
    }
    Ok(match report.deadlocked {
        true => Outcome::Found,
        false => Outcome::Sound,
    })
}

fn analyse(target: &Target<'_>, file: String) -> Result<Deadlock, Error> {
    let threads = Threads::walk(target)?;
    let waits = Waits::new(target, &threads)
        .map_err(crate::analysis::TargetError::from)?;
    let tangles = Tangles::new(&waits);
    let stacks = Stacks::new(target);
    let say = Say { threads: &threads, waits: &waits, stacks: &stacks };
    let problems = threads.problems.iter().map(|p| format!("threads: {p}"));
    let queues = waits.problems.iter().map(|p| format!("queues: {p}"));
    let cycles = tangles.cycles.iter().map(|c| Cycle {
        certain: c.certain,
        waits: say.waits(&c.threads),
        behind: c.behind,
    });
    let chains = tangles.chains.iter().map(|c| Chain {
        waits: say.waits(&c.threads),
        last: c.threads.last().and_then(|&n| say.last(n)),
        behind: c.behind,
    });
    Ok(Deadlock {
        file,
        kernel: target.kernel.path().to_string(),
        deadlocked: tangles.is_deadlocked(),
        threads: threads.list.len(),
        waiting: waits.all().count(),
        cycles: cycles.collect(),
        chains: chains.collect(),
        waits: waits.all().filter_map(|e| say.wait(e, false)).collect(),
        types: target.types.sources().to_vec(),
        problems: problems.chain(queues).collect(),
    })
}

/// Turns what was found into words.
struct Say<'s, 't, 'a> {
    threads: &'s Threads,
    waits: &'s Waits,
    stacks: &'s Stacks<'t, 'a>,
}

impl Say<'_, '_, '_> {
    fn waits(&self, threads: &[usize]) -> Vec<Wait> {
        let edges = threads.iter().filter_map(|&n| self.waits.of(n));
        edges.filter_map(|e| self.wait(e, true)).take(MAX_SHOWN).collect()
    }

    fn stack(&self, thread: &Thread) -> Vec<Call> {
        calls(&self.stacks.of(thread))
    }

    fn wait(&self, e: &Edge, with_stack: bool) -> Option<Wait> {
        let thread = self.threads.list.get(e.waiter)?;
        Some(Wait {
            who: Who::new(self.threads, thread),
            lock: LockName::new(&e.lock),
            shared: e.shared,
            holder: holder(self.threads, e),
            seconds: e.seconds,
            doubts: e.doubts.clone(),
            stack: match with_stack {
                true => self.stack(thread),
                false => Vec::new(),
            },
        })
    }

    /// What a thread does that waits for no lock.
    fn last(&self, n: usize) -> Option<Last> {
        if self.waits.of(n).is_some() {
            return None;
        }
        let thread = self.threads.list.get(n)?;
        let state = match (thread.state, thread.cpu, shown(&thread.wmesg)) {
            (State::Running, Some(cpu), _) => format!("runs on CPU {cpu}"),
            (State::RunQueue | State::CanRun, ..) => {
                "waits for a CPU".to_string()
            }
            (State::Inhibited(_), _, Some(wmesg)) => {
                format!("sleeps on \"{wmesg}\"")
            }
            (state, ..) => format!("is in state {}", state.word()),
        };
        let who = Who::new(self.threads, thread);
        Some(Last { who, state, stack: self.stack(thread) })
    }
}

/// Who has what a thread waits for.
pub(super) fn holder(threads: &Threads, edge: &Edge) -> Holder {
    let tid = |&n: &usize| threads.list.get(n).map(|t| t.tid);
    let new = |kind, text: String| Holder {
        kind,
        tid: None,
        count: None,
        candidates: Vec::new(),
        text,
    };
    match &edge.to {
        To::Thread(n) => {
            let thread = threads.list.get(*n);
            let who = thread.map(|t| Who::new(threads, t).to_string());
            let text = match *n == edge.waiter {
                true => "itself".to_string(),
                false => who.unwrap_or_default(),
            };
            Holder { tid: tid(n), ..new("thread", text) }
        }
        To::Shared(count, candidates) => {
            let candidates: Vec<_> =
                candidates.iter().filter_map(tid).collect();
            let mut text = match count {
                Some(1) => "1 reader".to_string(),
                Some(n) => format!("{n} readers"),
                None => "readers".to_string(),
            };
            text.push_str(", who are not written down");
            let known: Vec<_> =
                candidates.iter().map(|t| t.to_string()).collect();
            if !known.is_empty() {
                let known = known.join(", ");
                text.push_str(&format!("; perhaps threads {known}"));
            }
            Holder { count: *count, candidates, ..new("shared", text) }
        }
        To::Kernel => new("kernel", "the kernel itself".into()),
        To::Nobody => new("nobody", "nobody".into()),
        To::Stray(at) => {
            new("stray", format!("something at {at} that is no thread"))
        }
    }
}
