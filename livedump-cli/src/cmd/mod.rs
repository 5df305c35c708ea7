// SPDX-License-Identifier: BSD-2-Clause
//! One file per command: its `Args`, its `run`, its `Error`.

pub mod bt;
pub mod capture;
mod changed_pages;
pub mod completions;
pub mod deadlock;
pub mod dmesg;
pub mod doctor;
pub mod estimate;
pub mod info;
mod inputs;
pub mod list;
pub mod prune;
pub mod ps;
pub mod read;
pub mod save;
pub mod session;
mod suggested;
pub mod verify;
pub mod watch;
mod write_seal;

use crate::args::{Cli, Command};
use crate::error::Error;
use crate::outcome::Outcome;

pub use inputs::{Inputs, WhichKernel};

/// Runs what the command line asks for.
///
/// # Errors
/// Why it could not run.
pub fn run(cli: Cli) -> Result<Outcome, Error> {
    match cli.command {
        Command::Capture(args) => Ok(capture::run(&args)?),
        Command::Save(args) => Ok(save::run(&args)?),
        Command::Estimate(args) => estimate::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::List(args) => list::run(&args),
        Command::Prune(args) => prune::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Dmesg(args) => dmesg::run(&args),
        Command::Read(args) => read::run(&args),
        Command::Ps(args) => ps::run(&args),
        Command::Bt(args) => bt::run(&args),
        Command::Deadlock(args) => deadlock::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
