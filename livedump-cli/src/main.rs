// SPDX-License-Identifier: BSD-2-Clause
//! livedump(8): parse, run, say what went wrong, exit.

use livedump_cli::args::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::parse_from_args(std::env::args_os()) {
        Ok(cli) => cli,
        // Usage errors exit with 2; --help and --version with 0.
        Err(e) => e.exit(),
    };
    livedump_cli::sandbox::arm();
    match livedump_cli::cmd::run(cli) {
        Ok(outcome) => outcome.into(),
        Err(e) => {
            e.report();
            e.exit_code()
        }
    }
}
