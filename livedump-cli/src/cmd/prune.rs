// SPDX-License-Identifier: BSD-2-Clause
//! `livedump prune`: removes the live dumps that are too many, too large or
//! too old, and never the newest sound one, or one that cannot be read.

use crate::crashdir::{CrashDir, Pruned, Retention};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::quantity;
use crate::report::{Report, escape, human, note};
use crate::sandbox::{self, Purpose, Role};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::path::FilePath;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What is to stay, for `prune` and `watch`.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Limits {
    /// LIMIT: keep at most N dumps
    #[arg(
        long,
        value_name = "N",
        value_parser = quantity::number::<u32>(1..=100_000)
    )]
    pub keep: Option<u32>,
    /// LIMIT: keep at most SIZE on disk, such as 20G
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = quantity::size,
        value_hint = ValueHint::Other
    )]
    pub max_bytes: Option<u64>,
    /// LIMIT: remove dumps older than AGE, such as 7d
    #[arg(
        long,
        value_name = "AGE",
        value_parser = quantity::age,
        value_hint = ValueHint::Other
    )]
    pub max_age: Option<Duration>,
}

impl Limits {
    /// As the crash directory wants them.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            keep: self.keep,
            max_bytes: self.max_bytes,
            max_age: self.max_age,
        }
    }
}

/// Arguments of `prune`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which dumps to keep
    #[command(flatten)]
    pub limits: Limits,
    /// Print what would be removed, remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Crash directory
    #[arg(
        value_name = "DIRECTORY",
        default_value = ".",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
}

/// Removes them.
///
/// # Errors
/// Why nothing was removed.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let retention = args.limits.retention();
    let directory = CrashDir::open(&args.directory)?;
    // Where the kernel cannot, `livedump doctor` says so.
    let files = [(directory.descriptor(), Purpose::Directory)];
    let _ = sandbox::enter(Role::Writer, &files);
    let pruned =
        directory.prune(&retention, SystemTime::now(), args.dry_run)?;
    for problem in &pruned.problems {
        note(chain(problem));
    }
    for (number, why) in &pruned.undetermined {
        let text = format!("dump {number} kept: undetermined: {why}");
        note(escape(text.as_bytes()));
    }
    Removal::new(&directory, &pruned, args.dry_run).print(args.json)?;
    Ok(if !pruned.problems.is_empty() {
        Outcome::Finding
    } else if !pruned.undetermined.is_empty() {
        Outcome::Undetermined
    } else {
        Outcome::Clean
    })
}

/// What was removed, for `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
pub(super) struct Removal {
    directory: FilePath,
    dry_run: bool,
    /// Oldest first.
    removed: Vec<Removed>,
    /// Numbers, oldest first.
    kept: Vec<u32>,
    /// Bytes of disk that those take.
    kept_bytes: u64,
    /// The number of the newest sound one.
    newest_sound: Option<u32>,
    /// The limit that the newest sound one exceeds by itself.
    #[serde(skip)]
    exceeds: Option<&'static str>,
    /// Those of the kept ones of which it cannot be told whether they are.
    undetermined: Vec<Undetermined>,
}

/// A dump that stays whatever the limits say.
#[derive(Debug, Serialize)]
struct Undetermined {
    number: u32,
    reason: String,
}

/// One dump.
#[derive(Debug, Serialize)]
struct Removed {
    number: u32,
    file: FilePath,
    disk_bytes: u64,
    reason: String,
}

impl Removal {
    pub(super) fn new(
        directory: &CrashDir,
        pruned: &Pruned,
        dry_run: bool,
    ) -> Self {
        let removed = pruned.removed.iter().map(|(dump, reason)| Removed {
            number: dump.number,
            file: directory.path(&dump.name).into(),
            disk_bytes: dump.disk_bytes,
            reason: reason.clone(),
        });
        Self {
            directory: directory
                .path(".")
                .components()
                .collect::<PathBuf>()
                .into(),
            dry_run,
            removed: removed.collect(),
            kept: pruned.kept.iter().rev().map(|dump| dump.number).collect(),
            kept_bytes: pruned.kept.iter().map(|dump| dump.disk_bytes).sum(),
            newest_sound: pruned.protected,
            exceeds: pruned.exceeds,
            undetermined: pruned
                .undetermined
                .iter()
                .map(|(number, why)| Undetermined {
                    number: *number,
                    reason: why.clone(),
                })
                .collect(),
        }
    }
}

impl Report for Removal {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for it in &self.removed {
            writeln!(
                out,
                "{verb}: {} ({}): {}",
                it.file,
                human(it.disk_bytes),
                it.reason
            )?;
        }
        let kept = self.kept.len();
        let dumps = if kept == 1 { "live dump" } else { "live dumps" };
        write!(out, "{kept} {dumps} kept, {}", human(self.kept_bytes))?;
        if let (Some(limit), Some(n)) = (self.exceeds, self.newest_sound) {
            write!(out, ": dump {n}, the newest sound one, exceeds {limit}")?;
        }
        writeln!(out)
    }
}
