// SPDX-License-Identifier: BSD-2-Clause
//! One command that compares: livedump beside other tools, in one run, on the
//! same memory image.
//!
//! ```text
//!  image    the memory: a file that is given, or a made-up one
//!  elfcore  the same as makedumpfile wants it
//!  jobs     who does what with it
//!  timed    one of them, in a process of its own: seconds and memory
//!  qemu     one of them, which is not done when a program ends
//!  libzstd  what the codec alone can do
//!  table    medians
//!  pareto   speed over size: who is ahead at which
//! ```
//! Every job is a process, ours too (this program, once more), so that peak
//! memory means the same for all. Jobs take turns, so that a busy moment of
//! the machine does not hit one of them alone.

#![forbid(unsafe_code)]

mod compare;
mod elfcore;
mod image;
mod jobs;
mod libzstd;
mod pareto;
mod qemu;
mod random;
mod reading;
mod scaling;
mod size;
mod table;
mod timed;

use clap::{Parser, Subcommand};
use livedump_cli::args::Cli;
use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
#[command(
    name = "livedump-bench",
    about = "livedump beside other tools, on the same memory",
    args_conflicts_with_subcommands = true
)]
struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    compare: compare::Args,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Make a memory image and do nothing with it
    Image(image::Args),
    /// What is not done in parallel, by a codec that only takes time
    Scaling(scaling::Args),
    /// One run of one program
    #[command(hide = true)]
    Timed(timed::Args),
    /// A dump of QEMU's
    #[command(hide = true)]
    Qemu(qemu::Args),
    /// The codec alone
    #[command(hide = true)]
    Libzstd(libzstd::Args),
    /// livedump(8)
    #[command(hide = true)]
    Ours {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let bench = Bench::parse();
    let done = match bench.part {
        None => compare::run(&bench.compare),
        Some(Part::Image(args)) => image::run(&args),
        Some(Part::Scaling(args)) => scaling::run(&args),
        Some(Part::Timed(args)) => timed::run(&args),
        Some(Part::Qemu(args)) => qemu::run(&args),
        Some(Part::Libzstd(args)) => libzstd::run(&args),
        Some(Part::Ours { args }) => return ours(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("livedump-bench: {e}");
            ExitCode::from(2)
        }
    }
}

/// What the main function of livedump(8) does.
fn ours(args: Vec<OsString>) -> ExitCode {
    let name = std::iter::once("livedump".into());
    match Cli::parse_from_args(name.chain(args)) {
        Ok(cli) => match cli.run() {
            Ok(outcome) => outcome.into(),
            Err(e) => {
                e.report();
                e.exit_code()
            }
        },
        Err(e) => e.exit(),
    }
}
