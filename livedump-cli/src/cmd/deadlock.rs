// SPDX-License-Identifier: BSD-2-Clause
//! `livedump deadlock`: which thread waits for what, held by which.
//!
//! ```text
//! $ livedump deadlock -k kernel vmcore
//! deadlock: 2 threads in a cycle
//!   thread 100200 of a (pid 200) waits 15.0 s for sx "beta" at 0x...
//!   held by thread 100201 of b (pid 201)
//! ```

mod live;

use super::changed_pages::ChangedPages;
use super::machine_options::MachineOptions;
use super::max_pause::MaxPause;
use super::session::{KernelArgs, Session};
use crate::analysis::TargetError;
use crate::analysis::stack::Stacks;
use crate::analysis::threads::Threads;
use crate::analysis::waits::Waits;
use crate::cmd::suggested::{self, MACHINES};
use crate::device::MachineSpec;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::report::build::deadlock;
use crate::report::{Report, deadlock_svg, dot, note};
use clap::ValueHint;
use livedump_vmcore::path::escape_path;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// Arguments of `deadlock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write the wait graph for dot(1); -: to stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub dot: Option<PathBuf>,
    /// Draw cycles and chains; -: to stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Take a dump first, and keep it in DIR if given
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        value_hint = ValueHint::DirPath,
        conflicts_with = "file"
    )]
    #[allow(clippy::option_option)]
    pub live: Option<Option<PathBuf>>,
    /// With --live: stop the CPUs, copy every page at once
    #[arg(long, requires = "live")]
    pub freeze: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pause: MaxPause,
    /// Machine to dump with --live
    #[arg(
        long,
        value_name = "MACHINE",
        requires = "live",
        hide_possible_values = true,
        value_parser = suggested::values::<MachineSpec>(MACHINES)
    )]
    pub machine: Option<MachineSpec>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: MachineOptions,
    /// Dump file: plain, gzip or zstd
    #[arg(
        value_name = "FILE",
        required_unless_present = "live",
        value_hint = ValueHint::FilePath
    )]
    pub file: Option<PathBuf>,
}

/// Looks for deadlocks.
///
/// # Errors
/// The files do not belong together or do not tell enough. A cycle without a
/// doubt is [`Outcome::Finding`]; that none is there is [`Outcome::Clean`] only
/// where everything could be read, else it is [`Outcome::Undetermined`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    // clap takes --live for excluded by FILE, and so not for required.
    if args.machine.is_some() && args.live.is_none() {
        return Err(Error::Usage("--machine requires --live"));
    }
    if args.freeze && args.live.is_none() {
        return Err(Error::Usage("--freeze requires --live"));
    }
    let dot_to = args.dot.as_deref().map(Output::open).transpose()?;
    let svg_to = args.svg.as_deref().map(Output::open).transpose()?;
    let outputs: Vec<_> = dot_to.iter().chain(&svg_to).collect();
    let on_stdout = outputs.iter().filter(|output| output.is_stdout()).count();
    if on_stdout + usize::from(args.json) > 1 {
        return Err(Error::Usage(
            "only one of --json, --dot - and --svg - can be written to \
             standard output",
        ));
    }
    if let [a, b] = outputs[..] {
        a.check_distinct(b)?;
    }
    let keep: Vec<_> = outputs.iter().flat_map(|to| to.descriptors()).collect();
    let check_inputs = |inputs: &[BorrowedFd<'_>]| {
        outputs.iter().try_for_each(|to| to.check_no_input(inputs))?;
        Ok(())
    };
    let (file, session) = match (&args.live, &args.file) {
        (None, Some(file)) => {
            let kernel = &args.kernel;
            let session =
                Session::open_with(file, kernel, &[], &keep, check_inputs)?;
            (file.clone(), session)
        }
        (directory, _) => {
            let directory = directory.clone().flatten();
            let taken = live::take(directory, args)?;
            if taken.temporary.is_none() {
                note(format_args!("the dump is {}", taken.file.display()));
            }
            // Open files outlive their directory.
            let session = Session::open_with(
                &taken.file,
                &taken.kernel,
                &[],
                &keep,
                |inputs| {
                    drop(taken.temporary);
                    check_inputs(inputs)
                },
            )?;
            (taken.file, session)
        }
    };
    let target = session.target()?;
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    let threads = Threads::walk(&target)?;
    let waits = Waits::new(&target, &threads).map_err(TargetError::from)?;
    let stacks = Stacks::new(&target);
    let mut report = deadlock(&target, &threads, &waits, &stacks);
    report.file = escape_path(&file);
    report.changed = changed_pages.warn();
    let instead = on_stdout > 0;
    // The text has them.
    if instead || args.json {
        report.reasons.iter().for_each(note);
    }
    if let Some(to) = dot_to {
        to.write(&dot(&report))?;
    }
    if let Some(to) = svg_to {
        to.write(&deadlock_svg(&report))?;
    }
    if !instead {
        report.print(args.json)?;
    }
    Ok(Outcome::from(&report.verdict))
}
