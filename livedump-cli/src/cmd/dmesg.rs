// SPDX-License-Identifier: BSD-2-Clause
//! `livedump dmesg`: the dumped machine's message buffer.

use super::dump_file::KeyArgs;
use super::inputs::{Inputs, WhichKernel};
use crate::analysis::times::Times;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::build::message_buffer;
use crate::report::{self, Dmesg, Report, timed};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::path::escape_path;
use std::path::PathBuf;

/// Arguments of `dmesg`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel of the dump, to follow msgbufp
    #[arg(
        short,
        long,
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernel: Option<PathBuf>,
    /// Include records of syslog(3), and print priorities
    #[arg(short, long)]
    pub all: bool,
    /// Print the time of lines that have their uptime
    #[arg(short = 'T', long)]
    pub time: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keys: KeyArgs,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Shows it.
///
/// # Errors
/// The file is no dump, or has no message buffer.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let named = WhichKernel::Any(args.kernel.as_deref());
    let Inputs { core, kernel, .. } =
        Inputs::open(&args.file, named, &args.keys)?;
    let mut outcome = Outcome::Clean;
    let found = message_buffer(&core, kernel.as_ref())?;
    if let Some(e) = &found.problem {
        let why = chain(e);
        report::note(format_args!("{why}; showing the msgbuf section"));
        outcome = match e.is_environment() {
            true => Outcome::Undetermined,
            false => Outcome::Finding,
        };
    }
    let ordered = found.ordered();
    let (source, ring) = (found.source, found.ring);
    if ring.truncated {
        report::note("a part of the message buffer is not in the dump");
        outcome = outcome.and(Outcome::Finding);
    }
    if !ordered {
        report::note(
            "the buffer has wrapped, and its start is known only with the \
             kernel (-k): the oldest lines may follow the newest",
        );
    }
    if !ordered {
        outcome = outcome.and(Outcome::Undetermined);
    }
    if ring.unrolled().is_empty() {
        report::note("the message buffer is empty");
    }
    // What is in another part is not damaged.
    if core.incomplete().is_some() && outcome == Outcome::Finding {
        outcome = Outcome::Undetermined;
    }
    let mut lines = report::lines(&ring.unrolled(), args.all);
    let mut boot = None;
    if args.time {
        let times = kernel.as_ref().and_then(|k| Times::of(&core, k));
        boot = times.map(Times::boot);
        match boot {
            Some(boot) => {
                if !timed(&mut lines, boot) {
                    report::note(
                        "no line has an uptime: kern.msgbuf_show_timestamp \
                         was 0",
                    );
                }
            }
            None => {
                report::note(
                    "when the machine was booted is known only with the \
                     kernel (-k): lines keep their uptime",
                );
                outcome = outcome.and(Outcome::Undetermined);
            }
        }
    }
    let file = escape_path(&args.file);
    let report = Dmesg { file, source, ordered, boot_time: boot, lines };
    report.print(args.json)?;
    Ok(outcome)
}
