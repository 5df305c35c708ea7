// SPDX-License-Identifier: BSD-2-Clause
//! `livedump completions`: what a shell needs to complete our command lines,
//! made from the same definitions that parse them.

use crate::args::Cli;
use crate::error::Error;
use crate::outcome::Outcome;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::{self, Write};

/// What `completions` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Writes them to standard output.
///
/// # Errors
/// Standard output does not take them.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    // Generating panics where it cannot write, so not into a pipe.
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "livedump", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Outcome::Clean)
}
