// SPDX-License-Identifier: BSD-2-Clause
//! The command line, and savecore(8)'s letters for it: `livedump -L` is
//! `livedump capture`.

use crate::cmd;
use crate::error::Error;
use crate::outcome::Outcome;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};
use livedump_vmcore::path::escape_line;
use std::ffi::{OsStr, OsString};

/// Live kernel minidumps for FreeBSD: take, check and read them.
#[derive(Debug, Parser)]
#[command(
    name = "livedump",
    version,
    long_version = crate::version::long(),
    about,
    max_term_width = 80,
    help_template = "{about}\n{usage-heading} {usage}\nCommands:\n\
                     {subcommands}",
    override_usage = "livedump <COMMAND> | --help | --version",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Without the list of arguments, headings and blank lines, so that the help
/// of a command with many options fits a screen.
macro_rules! many_options {
    ($example:literal) => {
        concat!(
            "{about}\n{usage-heading} {usage}\nExample: ",
            $example,
            "\n{options}"
        )
    };
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check whether a dump can be taken here, and print how to fix it
    #[command(after_help = "Example: livedump doctor /var/crash")]
    Doctor(cmd::doctor::Args),
    /// Take a live dump into DIRECTORY, or to standard output (-)
    #[command(
        help_template =
            many_options!("livedump capture -Z -m 5 /var/crash"),
        override_usage = "livedump capture [OPTIONS] [DIRECTORY]",
        mut_arg("gdb", |arg| arg.hide(true)),
        mut_arg("ranges", |arg| arg.hide(true)),
        mut_arg("cipher", |arg| arg.hide(true)),
        mut_arg("sector_size", |arg| arg.hide(true)),
        mut_arg("workers", |arg| arg.hide(true))
    )]
    Capture(cmd::capture::Args),
    /// Save the dump of a panic from a dump device or an image of one
    #[command(after_help = "Example: livedump save /dev/ada0p3 /var/crash")]
    Save(cmd::save::Args),
    /// Receive dumps into DIRECTORY: a server for netdump(4)
    #[command(
        help_template = many_options!(
            "livedump receive --allow 192.0.2.0/24 /var/crash"
        ),
        override_usage = "livedump receive [OPTIONS] <DIRECTORY>"
    )]
    Receive(cmd::receive::Args),
    /// Send a dump to a netdump(4) server
    #[command(after_help = "Example: livedump send vmcore.0.zst dumps.example")]
    Send(cmd::send::Args),
    /// Decrypt an encrypted dump
    #[command(after_help = "Example: livedump decrypt -k private.pem \
                      -d /var/crash 0")]
    Decrypt(cmd::decrypt::Args),
    /// Estimate the size of a dump and compare it with the free space
    #[command(after_help = "Example: livedump estimate -Z /var/crash")]
    Estimate(cmd::estimate::Args),
    /// Take dumps into DIRECTORY repeatedly and remove old ones
    #[command(
        help_template = many_options!(
            "livedump watch -Z --every 1h --keep 24 /var/crash"
        ),
        override_usage = "livedump watch [OPTIONS] WHEN... LIMIT... [DIRECTORY]",
        mut_arg("gdb", |arg| arg.hide(true)),
        mut_arg("ranges", |arg| arg.hide(true)),
        mut_arg("workers", |arg| arg.hide(true)),
        mut_arg("level", |arg| arg.hide(true)),
        mut_arg("cipher", |arg| arg.hide(true))
    )]
    Watch(cmd::watch::Args),
    /// List the dumps in a crash directory
    #[command(after_help = "Example: livedump list /var/crash")]
    List(cmd::list::Args),
    /// Remove live dumps beyond a number, size or age
    #[command(
        override_usage = "livedump prune [OPTIONS] LIMIT... [DIRECTORY]",
        after_help = "Example: livedump prune --keep 5 /var/crash"
    )]
    Prune(cmd::prune::Args),
    /// Print the headers of a dump
    #[command(after_help = "Example: livedump info vmcore.0")]
    Info(cmd::info::Args),
    /// Check a dump for damage
    #[command(after_help = "Example: livedump verify -k /boot/kernel/kernel \
                      livecore.0.zst")]
    Verify(cmd::verify::Args),
    /// Print the message buffer of a dump
    #[command(after_help = "Example: livedump dmesg livecore.0.zst")]
    Dmesg(cmd::dmesg::Args),
    /// Print memory of a dump, by address or symbol
    #[command(after_help = "Example: livedump read -k /boot/kernel/kernel \
                      livecore.0 hz 4")]
    Read(cmd::read::Args),
    /// Print values of a dump, by expressions of C
    #[command(
        help_template = many_options!(
            "livedump print --list p_list --member p_pid,p_comm livecore.0 \
             allproc"
        ),
        override_usage = "livedump print [OPTIONS] <FILE> <EXPRESSION>..."
    )]
    Print(cmd::print::Args),
    /// List symbols of a kernel and its modules
    #[command(
        after_help = "Example: livedump symbols livecore.0.zst vm_page*",
        override_usage = "livedump symbols [OPTIONS] [FILE] <PATTERN>"
    )]
    Symbols(cmd::symbols::Args),
    /// List the processes and threads of a dump
    #[command(after_help = "Example: livedump ps -t livecore.0.zst")]
    Ps(cmd::ps::Args),
    /// Print a thread's stack
    #[command(after_help = "Example: livedump bt livecore.0.zst 100202")]
    Bt(cmd::bt::Args),
    /// Group the threads of a dump by their stacks
    #[command(after_help = "Example: livedump stacks -s sleep livecore.0.zst")]
    Stacks(cmd::stacks::Args),
    /// Find what threads wait for in the end
    #[command(after_help = "Example: livedump explain livecore.0.zst")]
    Explain(cmd::explain::Args),
    /// Find deadlocks and long wait chains
    #[command(
        help_template = many_options!(
            "livedump deadlock --svg hang.svg livecore.0.zst"
        ),
        override_usage = "livedump deadlock [OPTIONS] <FILE | --live[=DIR]>"
    )]
    Deadlock(cmd::deadlock::Args),
    /// Report everything that matters about a dump, as crashinfo(8) does
    #[command(after_help = "Example: livedump report --html -o hang.html \
                      livecore.0.zst")]
    Report(cmd::report::Args),
    /// Write a dump's memory in the format of another program
    #[command(
        after_help = "Example: livedump convert livecore.0.zst --to elf \
                            livecore.elf"
    )]
    Convert(cmd::convert::Args),
    /// Print a completion script for a shell
    #[command(after_help = "Example: livedump completions zsh \
                      >/usr/local/share/zsh/site-functions/_livedump")]
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
            .map_err(without_far_suggestions)
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Why it could not run.
    pub fn run(self) -> Result<Outcome, Error> {
        match self.command {
            Command::Capture(args) => Ok(cmd::capture::run(&args)?),
            Command::Save(args) => Ok(cmd::save::run(&args)?),
            Command::Receive(args) => cmd::receive::run(&args),
            Command::Send(args) => cmd::send::run(&args),
            Command::Decrypt(args) => cmd::decrypt::run(&args),
            Command::Estimate(args) => cmd::estimate::run(&args),
            Command::Watch(args) => cmd::watch::run(&args),
            Command::Doctor(args) => cmd::doctor::run(&args),
            Command::List(args) => cmd::list::run(&args),
            Command::Prune(args) => cmd::prune::run(&args),
            Command::Info(args) => cmd::info::run(&args),
            Command::Verify(args) => cmd::verify::run(&args),
            Command::Dmesg(args) => cmd::dmesg::run(&args),
            Command::Read(args) => cmd::read::run(&args),
            Command::Print(args) => cmd::print::run(&args),
            Command::Symbols(args) => cmd::symbols::run(&args),
            Command::Ps(args) => cmd::ps::run(&args),
            Command::Bt(args) => cmd::bt::run(&args),
            Command::Stacks(args) => cmd::stacks::run(&args),
            Command::Explain(args) => cmd::explain::run(&args),
            Command::Deadlock(args) => cmd::deadlock::run(&args),
            Command::Report(args) => cmd::report::run(&args),
            Command::Convert(args) => cmd::convert::run(&args),
            Command::Completions(args) => {
                cmd::completions::run(&args, Self::command())
            }
        }
    }
}

/// Removes suggested commands that are more than a slip of a key away from
/// what was typed: clap suggests save for show.
fn without_far_suggestions(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(typed)) =
        error.get(ContextKind::InvalidSubcommand)
    else {
        return error;
    };
    let near = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => {
            let mut near = names.clone();
            near.retain(|name| is_near(typed, name));
            near
        }
        _ => return error,
    };
    match near.is_empty() {
        true => {
            // An empty list of other tips would leave a blank line.
            error.remove(ContextKind::Suggested);
            error.remove(ContextKind::SuggestedSubcommand)
        }
        false => error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(near),
        ),
    };
    error
}

/// Whether one is the start of the other, or they differ by one letter that
/// is missing, wrong or exchanged with its neighbour.
fn is_near(typed: &str, name: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) =
        (typed.chars().collect(), name.chars().collect());
    if a.starts_with(&b) || b.starts_with(&a) {
        return true;
    }
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(start..), b.get(start..));
    let (Some(a), Some(b)) = (a, b) else { return false };
    match (a, b) {
        ([x, y, a @ ..], [u, v, b @ ..]) if (x, y) == (v, u) => a == b,
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([_, a @ ..], b) if a == b => true,
        (a, [_, b @ ..]) => a == b,
        _ => false,
    }
}

/// The text of a usage error. An argument may be the name of a file of another
/// user, so control characters are escaped.
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
    // As all other messages start.
    let text = match text.strip_prefix("error: ") {
        Some(text) => format!("livedump: {text}"),
        None => text,
    };
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
        // As getopt(3): what follows m is its value.
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
    fn only_near_commands_are_suggested() {
        for (typed, name) in [
            ("verfy", "verify"),
            ("verifyy", "verify"),
            ("prnue", "prune"),
            ("lisd", "list"),
            ("dead", "deadlock"),
            ("dmesgs", "dmesg"),
        ] {
            assert!(is_near(typed, name), "{typed} {name}");
        }
        for (typed, name) in
            [("point", "prune"), ("show", "save"), ("stat", "list")]
        {
            assert!(!is_near(typed, name), "{typed} {name}");
        }
        let parse = |word: &str| {
            let args = ["livedump", word].map(OsString::from);
            Cli::parse_from_args(args).unwrap_err().to_string()
        };
        assert!(!parse("show").contains("similar"), "{}", parse("show"));
        assert!(parse("verfy").contains("'verify'"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
