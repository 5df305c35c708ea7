// SPDX-License-Identifier: BSD-2-Clause
//! `livedump completions`: a script for a shell that completes command lines,
//! generated from the definitions that parse them.

use crate::error::Error;
use crate::outcome::Outcome;
use clap_complete::Shell;
use std::io::{self, Write};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Writes the script for `command` to standard output.
///
/// # Errors
/// Writing to standard output failed.
pub fn run(args: &Args, mut command: clap::Command) -> Result<Outcome, Error> {
    // The generator panics where it cannot write: not into a pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "livedump", &mut script);
    if args.shell == Shell::Bash {
        let text = String::from_utf8_lossy(&script);
        script = files_where_no_option(&text).into_bytes();
    }
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Outcome::Clean)
}

/// Has a script for bash complete options only after a dash, where a command
/// takes nothing else that is known. bash then completes files; as generated,
/// it would complete options instead.
fn files_where_no_option(script: &str) -> String {
    let mut out = String::with_capacity(script.len());
    let mut options_only = false;
    for line in script.lines() {
        let code = line.trim_start();
        if let Some(words) = code.strip_prefix("opts=\"") {
            let words = words.trim_end_matches('"');
            options_only = !words.is_empty()
                && words.split(' ').all(|word| word.starts_with('-'));
        }
        let indent = &line[..line.len() - code.len()];
        if options_only && code.starts_with("if [[ ${cur} == -* || ") {
            out.push_str(indent);
            out.push_str("if [[ ${cur} == -* ]] ; then");
        } else if options_only
            && indent.len() == 12
            && code.starts_with("COMPREPLY=( $(compgen -W \"${opts}\"")
        {
            continue;
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}
