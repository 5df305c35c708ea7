// SPDX-License-Identifier: BSD-2-Clause
//! `livedump explain`: what threads wait for in the end.
//!
//! ```text
//! $ livedump explain -k kernel vmcore
//! 4 of 60 threads wait behind device da0: thread 100200 of sh (pid 200) has
//! waited 41.0 s for a read of 16384 bytes from da0.
//! ```

use super::changed_pages::ChangedPages;
use super::session::{KernelArgs, Session};
use crate::analysis::TargetError;
use crate::analysis::explain::{Explanation, LIMIT_SECONDS};
use crate::analysis::stack::Stacks;
use crate::analysis::threads::Threads;
use crate::analysis::waits::Waits;
use crate::convert::modules::ModuleFiles;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::report::build::Explained;
use crate::report::{Report, explain_svg, note};
use clap::ValueHint;
use livedump_vmcore::path::escape_path;
use std::path::PathBuf;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Seconds from which on a wait is long
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = LIMIT_SECONDS as u32,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub limit: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Draw the waits; -: to stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Explains it.
///
/// # Errors
/// The files do not belong together, or do not tell enough. Something that is
/// stuck is [`Outcome::Finding`]; that nothing is, is [`Outcome::Clean`] only
/// where everything could be read, else it is [`Outcome::Undetermined`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let svg_to = args.svg.as_deref().map(Output::open).transpose()?;
    let instead = svg_to.as_ref().is_some_and(Output::is_stdout);
    if instead && args.json {
        return Err(Error::Usage(
            "only one of --json and --svg - can be written to standard output",
        ));
    }
    let (file, kernel) = (&args.file, &args.kernel);
    let files =
        ModuleFiles::open(kernel.module_directories(), kernel.module_files());
    let outputs = svg_to.iter().flat_map(Output::descriptors);
    let keep: Vec<_> = outputs.chain(files.descriptors()).collect();
    let session = Session::open_with(file, kernel, &[], &keep, |inputs| {
        svg_to.iter().try_for_each(|to| to.check_no_input(inputs))?;
        Ok(())
    })?;
    let target = session.target()?;
    let changed_pages =
        ChangedPages::of(&session.core, session.changes.as_ref());
    let threads = Threads::walk(&target)?;
    let waits = Waits::new(&target, &threads).map_err(TargetError::from)?;
    let stacks = Stacks::new(&target);
    let modules = files.load(stacks.modules());
    let stacks = stacks.with_debug_info(&modules);
    let limit = f64::from(args.limit);
    let explanation =
        Explanation::new(&target, &threads, &waits, &stacks, limit)
            .map_err(TargetError::from)?;
    let explained = Explained {
        target: &target,
        threads: &threads,
        waits: &waits,
        stacks: &stacks,
        explanation: &explanation,
        limit,
    };
    let mut report = explained.report(escape_path(&args.file));
    report.changed = changed_pages.warn();
    // The text has them.
    if args.json || instead {
        report.reasons.iter().for_each(note);
    }
    if let Some(to) = svg_to {
        to.write(&explain_svg(&report))?;
    }
    if !instead {
        report.print(args.json)?;
    }
    Ok(Outcome::from(&report.verdict))
}
