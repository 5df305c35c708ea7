// SPDX-License-Identifier: BSD-2-Clause
//! `livedump decrypt`: what is in encrypted dumps, as decryptcore(8) writes it;
//! but nothing is called a dump that is none.
//!
//! ```text
//! $ livedump decrypt -k private.pem -d /var/crash 0
//! ```
//!
//! Everything is opened and every key is unwrapped first, then all else is
//! given up, and only then is anything decrypted but the first four bytes,
//! which tell the suffix of the new name.

mod challenge;
mod copy;
mod decrypted;
mod one;
mod stream;

use crate::ekcd;
use crate::ekcd::PrivateKey;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::report::{Report, note};
use crate::sandbox::{self, Purpose, Role};
use crate::signals::Signals;
use clap::ValueHint;
use decrypted::{All, Decrypted};
use nix::sys::signal::Signal;
use one::One;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Arguments of `decrypt`.
#[derive(Clone, Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub struct Args {
    /// Private key (PEM)
    #[arg(
        short = 'k',
        long,
        value_name = "PEM",
        value_hint = ValueHint::FilePath
    )]
    pub private_key: PathBuf,
    /// Key file of the dump [default: key.N]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
    /// File to write; -: to stdout [default: vmcore.N or livecore.N]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Crash directory of dumps that are named by number
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = ".",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
    /// Replace OUT, and keep a truncated or damaged dump
    #[arg(short, long)]
    pub force: bool,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Check that the private key opens this challenge, and no dump
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = [
            "dumps", "output", "key_file", "directory", "force"
        ]
    )]
    pub challenge: Option<PathBuf>,
    /// Encrypted dump, its number, or - for standard input
    #[arg(
        value_name = "FILE|N",
        required_unless_present = "challenge",
        value_hint = ValueHint::FilePath
    )]
    pub dumps: Vec<PathBuf>,
}

/// Why nothing was decrypted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A dump by number that is not there.
    #[error(
        "no encrypted dump {number} in {}",
        livedump_vmcore::path::escape_path(directory)
    )]
    NoDump {
        /// N.
        number: String,
        /// Where.
        directory: PathBuf,
    },
    /// It comes out, and is no whole dump.
    #[error("{path}: {why} (-f keeps it)")]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// It cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A signal.
    #[error("stopped by {0}: nothing was kept")]
    Stopped(Signal),
}

/// Decrypts them.
///
/// # Errors
/// Why one of them is not decrypted; those before it are there.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    if let Some(file) = &args.challenge {
        return challenge::run(args, file);
    }
    check_usage(args)?;
    let signals = Signals::take();
    let private = PrivateKey::read(&args.private_key)?;
    if args.dumps.iter().all(|dump| dump.as_os_str() == "-") {
        let done = stream::decrypt(args, &private, &signals)?;
        return report(args, vec![done]);
    }
    let mut all = Vec::new();
    for dump in &args.dumps {
        let path = located(args, dump)?;
        all.push(One::open(args, &path, &private)?);
    }
    drop(private);
    for (n, one) in all.iter().enumerate() {
        for other in all.iter().skip(n + 1) {
            one.output.check_distinct(&other.output)?;
        }
    }
    let inputs = all.iter().map(|one| (one.file.as_fd(), Purpose::Read));
    let outputs = all.iter().flat_map(|one| one.output.descriptors());
    let files: Vec<_> = inputs.chain(outputs).collect();
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Reader, &files);
    drop(files);
    let mut done = Vec::new();
    for one in all {
        done.push(one.decrypt(args, &signals)?);
    }
    report(args, done)
}

fn report(args: &Args, dumps: Vec<Decrypted>) -> Result<Outcome, Error> {
    let all = All { dumps };
    if !args.quiet {
        all.dumps.iter().for_each(|it| note(it.summary()));
    }
    if args.json {
        all.print(true)?;
    }
    Ok(all.outcome())
}

fn check_usage(args: &Args) -> Result<(), Error> {
    let stdin = args.dumps.iter().any(|dump| dump.as_os_str() == "-");
    let several = args.dumps.len() > 1;
    if several && (args.output.is_some() || args.key_file.is_some()) {
        return Err(Error::Usage("-o and --key-file are for one dump"));
    }
    if stdin && several {
        return Err(Error::Usage("- cannot be used with other dumps"));
    }
    if stdin && args.key_file.is_some() {
        return Err(Error::Usage(
            "--key-file cannot be used with -: a stream has its key block",
        ));
    }
    if stdin && args.output.is_none() {
        return Err(Error::Usage("- requires -o"));
    }
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    if to_stdout && args.json {
        return Err(Error::Usage("--json cannot be used with -o -"));
    }
    if to_stdout && io::IsTerminal::is_terminal(&io::stdout()) {
        return Err(Error::Usage(
            "not writing a dump to a terminal: redirect standard output, or \
             name a file",
        ));
    }
    Ok(())
}

/// The file of a dump, which may be named by its number.
fn located(args: &Args, dump: &Path) -> Result<PathBuf, Error> {
    let text = dump.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Ok(dump.into());
    }
    const STEMS: [&str; 2] = ["vmcore_encrypted", "livecore_encrypted"];
    let names = STEMS.iter().flat_map(|stem| {
        ["", ".zst", ".gz"].map(|suffix| format!("{stem}.{text}{suffix}"))
    });
    let mut paths = names.map(|name| args.directory.join(name));
    paths.find(|path| path.symlink_metadata().is_ok()).ok_or_else(|| {
        let (number, directory) = (text.into(), args.directory.clone());
        Error::of_command(Failure::NoDump { number, directory })
    })
}

/// Opens what is written.
fn output(args: &Args, path: &Path) -> Result<Output, Error> {
    Ok(match args.force {
        true => Output::open_private(path)?,
        false => Output::open_new(path)?,
    })
}

/// An error of an encrypted file that `-f` does not let pass.
fn unless_forced(
    args: &Args,
    result: Result<(), ekcd::Error>,
) -> Result<Option<String>, Error> {
    match result {
        Ok(()) => Ok(None),
        Err(e) if args.force => Ok(Some(livedump_vmcore::chain(&e))),
        Err(e) => Err(e.into()),
    }
}
