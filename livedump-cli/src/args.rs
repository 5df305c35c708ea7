// SPDX-License-Identifier: BSD-2-Clause
//! The command line, and savecore(8)'s letters for it: `livedump -L` is
//! `livedump capture`.

use crate::cmd;
use crate::path::escape_line;
use clap::{Parser, Subcommand};
use std::ffi::{OsStr, OsString};

/// Live kernel minidumps for FreeBSD: capture, check and read them.
#[derive(Debug, Parser)]
#[command(
    name = "livedump",
    version,
    about,
    max_term_width = 80,
    help_template = "{about}\n{usage-heading} {usage}\n\n{all-args}"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// So that the help of a command with many options fits a screen.
const MANY_OPTIONS: &str =
    "{about}\n\n{usage-heading} {usage}\n\nOptions:\n{options}";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell what this host can do, why not, and what would mend it
    Doctor(cmd::doctor::Args),
    /// Take a live dump into DIRECTORY (.), or to standard output (-)
    #[command(help_template = MANY_OPTIONS)]
    Capture(cmd::capture::Args),
    /// Save the dump of a panic from a dump device, or an image of one
    Save(cmd::save::Args),
    /// Tell how large a dump would be, and whether it has room
    Estimate(cmd::estimate::Args),
    /// Take dumps into DIRECTORY (.) again and again, within limits
    #[command(help_template = MANY_OPTIONS)]
    Watch(cmd::watch::Args),
    /// Show the dumps in a crash directory
    List(cmd::list::Args),
    /// Remove live dumps that are too many, too large or too old
    Prune(cmd::prune::Args),
    /// Show what a dump says about itself
    Info(cmd::info::Args),
    /// Check what a dump can prove, and say what it cannot
    Verify(cmd::verify::Args),
    /// Show the message buffer of the dumped machine
    Dmesg(cmd::dmesg::Args),
    /// Show memory of the dumped machine, by address or symbol
    Read(cmd::read::Args),
    /// Show the processes and threads of the dumped machine
    Ps(cmd::ps::Args),
    /// Show the calls that a thread was in
    Bt(cmd::bt::Args),
    /// Find threads that wait for each other, and long chains of them
    Deadlock(cmd::deadlock::Args),
    /// Write what a shell needs to complete our command lines
    Completions(cmd::completions::Args),
}

impl Cli {
    /// Parses a command line, program name first.
    ///
    /// # Errors
    /// A usage error, or the text that --help and --version ask for.
    pub fn parse_from_args(
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(savecore_letters(args.into_iter().collect()))
    }
}

/// The text of a usage error. Arguments may be names of files that somebody
/// else chose, so what a terminal would obey is escaped before they are put
/// into it.
#[must_use]
pub fn usage_error(
    error: &clap::Error,
    args: impl IntoIterator<Item = OsString>,
) -> String {
    let args = args.into_iter().map(|arg| {
        let text = arg.to_string_lossy();
        OsString::from(escape_line(&text))
    });
    let shown = Cli::parse_from_args(args).err();
    let text = match (&shown, error.kind()) {
        (Some(shown), kind) if shown.kind() == kind => shown.render(),
        // Not UTF-8: it shows no argument.
        _ => error.render(),
    };
    let text = text.to_string();
    text.lines().map(|line| escape_line(line) + "\n").collect()
}

/// Turns `-L` among the leading clusters of savecore's letters into the
/// command `capture`. Leaves every other command line alone.
fn savecore_letters(args: Vec<OsString>) -> Vec<OsString> {
    let mut kept: Vec<OsString> = args.iter().take(1).cloned().collect();
    kept.push("capture".into());
    let mut live = false;
    let mut rest = args.iter().skip(1).peekable();
    while let Some(letters) = rest.peek().and_then(|a| cluster(a)) {
        rest.next();
        // As getopt(3): what stands behind m is its value.
        let (flags, value) = match letters.split_once('m') {
            Some((flags, value)) => (flags, Some(value)),
            None => (letters, None),
        };
        live |= flags.contains('L');
        let flags = flags.replace('L', "");
        if !flags.is_empty() {
            kept.push(format!("-{flags}").into());
        }
        match value {
            Some("") => {
                kept.push("-m".into());
                kept.extend(rest.next().cloned());
            }
            Some(value) => kept.push(format!("-m{value}").into()),
            None => {}
        }
    }
    if !live {
        return args;
    }
    kept.extend(rest.cloned());
    kept
}

/// The letters of `-fvL`; `None` when it is anything else.
fn cluster(arg: &OsStr) -> Option<&str> {
    let letters = arg.to_str()?.strip_prefix('-')?;
    let flags = letters.split_once('m').map_or(letters, |(flags, _)| flags);
    let ours =
        !letters.is_empty() && flags.chars().all(|c| "LfvzZ".contains(c));
    ours.then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let out = savecore_letters(args);
        out.iter().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn savecores_letters_become_the_command_capture() {
        for (line, want) in [
            ("livedump -L", "livedump capture"),
            ("livedump -L -vZ dir", "livedump capture -vZ dir"),
            ("livedump -fLz dir", "livedump capture -fz dir"),
            ("livedump -f -L dir", "livedump capture -f dir"),
            ("livedump -Lm 3 dir", "livedump capture -m 3 dir"),
            ("livedump -m 3 -L dir", "livedump capture -m 3 dir"),
            ("livedump -Lm3 -v", "livedump capture -m3 -v"),
            ("livedump -L --json", "livedump capture --json"),
        ] {
            assert_eq!(rewritten(line), want, "{line}");
        }
    }

    #[test]
    fn other_command_lines_stay_as_they_are() {
        for line in [
            "livedump",
            "livedump capture -L",
            "livedump -v capture",
            "livedump -V",
            "livedump --help",
            "livedump -- -L",
            "livedump - -L",
        ] {
            assert_eq!(rewritten(line), line);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
