// SPDX-License-Identifier: BSD-2-Clause
//! livedump(8): parse, run, report errors, exit.

use livedump_cli::args::{Cli, usage_error};
use livedump_cli::netdump::broker;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if broker::is_asked(std::env::args_os()) {
        broker::serve(std::env::args_os());
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::parse_from_args(std::env::args_os()) {
        Ok(cli) => cli,
        // --help and --version exit with 0, and have nothing of the caller's.
        Err(e) if !e.use_stderr() => e.exit(),
        // Usage errors exit with 2, and show arguments, which may be names
        // of files that another user chose.
        Err(e) => {
            let text = usage_error(&e, std::env::args_os());
            let _ = std::io::stderr().write_all(text.as_bytes());
            return ExitCode::from(2);
        }
    };
    livedump_cli::sandbox::arm();
    match cli.run() {
        Ok(outcome) => outcome.into(),
        Err(e) => {
            e.report();
            e.exit_code()
        }
    }
}
