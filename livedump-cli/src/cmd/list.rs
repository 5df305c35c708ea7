// SPDX-License-Identifier: BSD-2-Clause
//! `livedump list`: the dumps in a crash directory, those of a panic too.

use super::capture::lists::{self, KernelFile};
use crate::crashdir::{CrashDir, SavedDump, Soundness, compression_in};
use crate::error::{Error, chain};
use crate::outcome::Outcome;
use crate::path::FilePath;
use crate::report::{Report, Table, escape, human, note, time_zone};
use crate::sandbox::{self, Purpose, Role};
use crate::vmcore::elf::Kernel;
use clap::ValueHint;
use jiff::Timestamp;
use serde::Serialize;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel to check dumps with that have no kernel.N
    #[arg(
        short,
        long,
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernel: Option<PathBuf>,
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

/// A crash directory, for `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
struct List {
    directory: FilePath,
    /// The number of the next dump.
    next: u32,
    /// Oldest first.
    dumps: Vec<Listed>,
}

/// One dump.
#[derive(Debug, Serialize)]
struct Listed {
    number: u32,
    file: FilePath,
    /// "live" or "panic".
    kind: &'static str,
    /// Unix seconds.
    time: u64,
    hostname: Option<String>,
    architecture: Option<String>,
    version: Option<String>,
    panic: Option<String>,
    compression: &'static str,
    dumplength: u64,
    /// Bytes before compression; null where only unpacking all would tell.
    dumpextent: Option<u64>,
    disk_bytes: u64,
    /// "yes", "whole", "no" or "unknown".
    sound: &'static str,
    /// Why it is not "yes".
    why: Option<String>,
}

/// Shows them.
///
/// # Errors
/// The directory cannot be read.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let directory = CrashDir::open(&args.directory)?;
    let kernel = args.kernel.as_ref().map(|path| {
        let file = Kernel::open_file(path).map_err(|e| chain(&e));
        (path.clone(), file)
    });
    let mut files = vec![(directory.descriptor(), Purpose::Listing)];
    if let Some((_, Ok(file))) = &kernel {
        files.push((file.as_fd(), Purpose::Read));
    }
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Writer, &files);
    let mut dumps: Vec<_> = directory
        .dumps()?
        .iter()
        .map(|dump| listed(&directory, dump, kernel.as_ref()))
        .collect();
    dumps.reverse();
    let wrong = dumps.iter().any(|dump| dump.sound == "no");
    if dumps.is_empty() && !args.json {
        note(format_args!("no dumps in {}", args.directory.display()));
        return Ok(Outcome::Clean);
    }
    let next = directory.next_number()?;
    if let Some(problem) = &next.problem {
        note(chain(problem));
    }
    let next = next.number;
    let list = List { directory: args.directory.as_path().into(), next, dumps };
    list.print(args.json)?;
    Ok(if wrong { Outcome::Finding } else { Outcome::Clean })
}

fn listed(
    directory: &CrashDir,
    dump: &SavedDump,
    kernel: Option<&KernelFile>,
) -> Listed {
    let (sound, why) = match directory.judge(dump) {
        Soundness::Wrong(why) => ("no", Some(why)),
        Soundness::Unknown(why) => ("unknown", Some(why)),
        Soundness::Sound => walked(directory, dump, kernel),
    };
    let core = directory.open_dump(dump).ok();
    let info = dump.info.clone().unwrap_or_default();
    let clean = |text: Option<String>| text.map(|t| escape(t.as_bytes()));
    let time = dump.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Listed {
        number: dump.number,
        file: directory.path(&dump.name).into(),
        kind: if dump.live { "live" } else { "panic" },
        time: time.as_secs(),
        hostname: clean(info.hostname),
        architecture: clean(info.architecture),
        version: clean(info.version),
        panic: clean(info.panic),
        compression: compression_in(&dump.name).name(),
        dumplength: dump.length,
        dumpextent: core.and_then(|core| core.expected_len()),
        disk_bytes: dump.disk_bytes,
        sound,
        why,
    }
}

/// Whole is all that can be said of a dump without its kernel.
fn walked(
    directory: &CrashDir,
    dump: &SavedDump,
    kernel: Option<&KernelFile>,
) -> (&'static str, Option<String>) {
    let name = format!("kernel.{}", dump.number);
    let beside = dump.beside.contains(&name).then(|| {
        let file = directory.open_plain(&name).map_err(|e| chain(&e));
        let file = file.and_then(|file| file.ok_or("it is gone".into()));
        (directory.path(&name), file)
    });
    let Ok(core) = directory.open_dump(dump) else {
        return ("unknown", None);
    };
    let lists = lists::walk_core(&core, beside.as_ref().or(kernel));
    match lists.walked {
        Some(true) => ("yes", None),
        Some(false) => ("no", Some(lists.problems.join("; "))),
        None => ("whole", lists.unchecked.into_iter().next()),
    }
}

impl Listed {
    fn ratio(&self) -> String {
        let percent = self.dumpextent.and_then(|extent| {
            (u128::from(self.dumplength) * 100).checked_div(u128::from(extent))
        });
        match percent {
            Some(percent) if self.compression != "none" => {
                format!("{percent} %")
            }
            _ => "-".into(),
        }
    }

    /// `14.0-RELEASE` of a longer text.
    fn release(&self) -> String {
        let version = self.version.as_deref().unwrap_or("-");
        let version = version.strip_prefix("FreeBSD ").unwrap_or(version);
        let word = version.split_whitespace().next().unwrap_or("-");
        word.chars().take(24).collect()
    }

    fn soundness(&self) -> String {
        match (self.sound, &self.why) {
            ("no" | "unknown", Some(why)) => format!("{}: {why}", self.sound),
            _ => self.sound.into(),
        }
    }
}

impl Report for List {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(&[
            ">N", "TIME", "HOST", "VERSION", "KIND", ">SIZE", ">RATIO", "SOUND",
        ]);
        for dump in &self.dumps {
            table.row(vec![
                dump.number.to_string(),
                local_minute(dump.time),
                dump.hostname.clone().unwrap_or_else(|| "-".into()),
                dump.release(),
                dump.kind.into(),
                human(dump.dumplength),
                dump.ratio(),
                dump.soundness(),
            ]);
        }
        table.write(out)
    }
}

fn local_minute(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|s| Timestamp::from_second(s).ok());
    match time {
        Some(time) => {
            let zoned = time.to_zoned(time_zone());
            zoned.strftime("%Y-%m-%d %H:%M").to_string()
        }
        None => seconds.to_string(),
    }
}
