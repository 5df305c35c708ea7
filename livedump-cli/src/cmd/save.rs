// SPDX-License-Identifier: BSD-2-Clause
//! `livedump save`: what a panic left on a dump device, saved as
//! savecore(8) does. Mirrors `DoFile` of savecore.c.
//!
//! The device is written to only when the dump has its name and is on disk.

mod copy;
mod list;
mod saved;

use super::write_seal::Fault;
use crate::crashdir::{self, CrashDir};
use crate::dumpdev::{self, Claim, DumpDev};
use crate::outcome::Outcome;
use crate::quantity;
use crate::report::{Report, and_minfree, human, note};
use crate::sandbox::{self, Purpose, Role};
use crate::signals::Signals;
use clap::ValueHint;
use copy::Save;
use nix::sys::signal::Signal;
use saved::Saved;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Arguments of `save`.
#[derive(Clone, Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub struct Args {
    /// Exit 0 if an unsaved dump exists, 1 if not; save nothing
    #[arg(short = 'C', long, conflicts_with_all = ["keep", "maxdumps"])]
    pub check: bool,
    /// List every dump that is left on the device; save nothing
    #[arg(
        short,
        long,
        conflicts_with_all = [
            "check", "force", "keep", "maxdumps", "no_seal", "offset"
        ]
    )]
    pub list: bool,
    /// Save the dump at this offset of --list; leave the device as it is
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = quantity::number::<u64>(0..=u64::MAX),
        conflicts_with = "check"
    )]
    pub offset: Option<u64>,
    /// Save a saved or damaged dump, and ignore minfree
    #[arg(short, long)]
    pub force: bool,
    /// Do not mark the dump as saved
    #[arg(short, long)]
    pub keep: bool,
    /// Number dumps from 0 to N-1, then start again at 0
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = quantity::number::<u32>(1..=100_000)
    )]
    pub maxdumps: Option<u32>,
    /// Do not write checksums to seal.N
    #[arg(long)]
    pub no_seal: bool,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump device, or an image of one
    #[arg(value_name = "DEVICE|IMAGE", value_hint = ValueHint::FilePath)]
    pub device: PathBuf,
    /// Crash directory
    #[arg(
        value_name = "DIRECTORY",
        default_value = ".",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no dump, or it is damaged.
    #[error(transparent)]
    DumpDev(#[from] dumpdev::Error),
    /// There is no place.
    #[error(transparent)]
    CrashDir(#[from] crashdir::Error),
    /// There is not enough room.
    #[error(
        "nothing saved: needs {}, {} free in {}{}: -f to try anyway",
        human(*need), human(*free), directory.display(), and_minfree(*minfree)
    )]
    Room {
        /// Where.
        directory: PathBuf,
        /// Bytes of the dump and what belongs to it.
        need: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that `minfree` wants to stay free.
        minfree: u64,
    },
    /// A signal.
    #[error(
        "stopped by {0}: nothing was saved, the dump remains on the device"
    )]
    Stopped(Signal),
    /// The JSON could not be written; the dump is saved.
    #[error("writing to standard output")]
    Output(#[from] io::Error),
}

impl From<Error> for crate::error::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Output(e) => Self::Output(e),
            e => Self::of_command(e),
        }
    }
}

impl From<Fault<crashdir::Error>> for Error {
    fn from(fault: Fault<crashdir::Error>) -> Self {
        match fault {
            Fault::Stopped(signal) => Self::Stopped(signal),
            Fault::Sync(e) => Self::CrashDir(e),
        }
    }
}

/// Saves a dump.
///
/// # Errors
/// Why it is not saved. That there is none is [`Outcome::Finding`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    // Before any thread is started, so that all have them blocked.
    let signals = Signals::take();
    let looks = args.check || args.list;
    let clears = !looks && !args.keep && args.offset.is_none();
    let device = DumpDev::open(&args.device, clears)?;
    // Before the dump is looked for: another process may be saving it.
    let claim = match looks {
        true => None,
        false => Some(device.claim()?),
    };
    let directory = match looks {
        true => None,
        false => Some(CrashDir::open(&args.directory)?),
    };
    let purpose = match clears {
        true => Purpose::Update,
        false => Purpose::Read,
    };
    let mut files = vec![(device.file().as_fd(), purpose)];
    let lock = claim.as_ref().and_then(Claim::descriptor);
    files.extend(lock.map(|fd| (fd, Purpose::Lock)));
    let opened = directory.as_ref().map(CrashDir::descriptor);
    files.extend(opened.map(|fd| (fd, Purpose::Directory)));
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Writer, &files);
    if args.list {
        return list::list(args, &device, &signals);
    }
    let found = match args.offset {
        Some(at) => device.find_at(at),
        None => device.find(args.force),
    };
    let found = match found {
        Ok(found) => found,
        Err(e) if e.is_nothing() => {
            if !args.quiet {
                note(&e);
            }
            if args.json {
                Saved::nothing(args).print(true)?;
            }
            return Ok(Outcome::Finding);
        }
        Err(e) => return Err(e.into()),
    };
    let report = match &directory {
        None => Saved::from_located(args, &found),
        Some(directory) => {
            Save { args, device: &device, directory, found: &found }
                .run(&signals)?
        }
    };
    for problem in &report.problems {
        note(problem);
    }
    if !args.quiet {
        note(report.summary());
    }
    if args.json {
        report.print(true)?;
    }
    Ok(report.outcome())
}
