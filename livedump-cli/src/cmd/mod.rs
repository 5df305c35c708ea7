// SPDX-License-Identifier: BSD-2-Clause
//! One file per command: its `Args`, its `run`, its `Error`.

pub mod capture;

use crate::args::{Cli, Command};
use crate::error::{Error, Outcome};

/// Runs what the command line asks for.
///
/// # Errors
/// Why it could not run.
pub fn run(cli: Cli) -> Result<Outcome, Error> {
    match cli.command {
        Command::Capture(args) => Ok(capture::run(&args)?),
    }
}
