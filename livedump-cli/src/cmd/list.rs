// SPDX-License-Identifier: BSD-2-Clause
//! `livedump list`: the dumps in a crash directory, those of a panic too, and
//! the verdict on each, which is that of `verify`. To read all of a large dump
//! takes a while: of what is not read here the verdict is that it cannot be
//! told, unless what is read is damaged.

use super::capture::lists::{self, KernelFile};
use crate::crashdir::{CrashDir, SavedDump, compression_in};
use crate::error::Error;
use crate::examine::{self, RelatedFiles};
use crate::kernel_files;
use crate::outcome::Outcome;
use crate::report::{Instant, Report, Table, escape, human, note, time_zone};
use crate::sandbox::{self, Purpose, Role};
use crate::seal::Comparison;
use clap::ValueHint;
use jiff::Timestamp;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::FilePath;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{OpenError, Opened, Vmcore};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::UNIX_EPOCH;

/// Bytes of dumps, unpacked, that are read; the newest first.
const BUDGET: u64 = 1 << 30;

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
    /// Read all of each dump, as verify does
    #[arg(short, long)]
    pub full: bool,
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
    /// "info", or "file" where that does not say and it is the file's.
    time_from: &'static str,
    hostname: Option<String>,
    architecture: Option<String>,
    version: Option<String>,
    panic: Option<String>,
    compression: &'static str,
    dumplength: u64,
    /// Bytes before compression; null where only unpacking all would tell.
    dumpextent: Option<u64>,
    disk_bytes: u64,
    /// The instant that all its pages are of.
    instant: Option<Instant>,
    verdict: Verdict,
    /// What is damaged, or why it cannot be told.
    reason: Option<String>,
}

/// Lists them.
///
/// # Errors
/// The directory cannot be read.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let directory = CrashDir::open(&args.directory)?;
    let open = |path: &PathBuf| {
        let file = Kernel::open_file(path).map_err(|e| chain(&e));
        (path.clone(), file)
    };
    let kernels: Vec<KernelFile> = match &args.kernel {
        Some(path) => {
            let path = kernel_files::path::named(path);
            let file = Kernel::open_file(&path)?;
            vec![(path, Ok(file))]
        }
        None => kernel_files::installed().iter().map(open).collect(),
    };
    let mut files = vec![(directory.descriptor(), Purpose::Listing)];
    for file in kernels.iter().filter_map(|(_, file)| file.as_ref().ok()) {
        files.push((file.as_fd(), Purpose::Read));
    }
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Writer, &files);
    if args.kernel.is_some() {
        lists::check_usable(&kernels)?;
    }
    let mut examiner = Examiner {
        directory: &directory,
        kernels: &kernels,
        kernel_named: args.kernel.is_some(),
        budget: if args.full { u64::MAX } else { BUDGET },
        threads: available_parallelism().map_or(1, |n| n.get().min(16)),
    };
    let dumps = directory.dumps()?;
    let mut dumps: Vec<_> =
        dumps.iter().map(|dump| examiner.listed(dump)).collect();
    dumps.reverse();
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
    Ok(examine::outcome(list.dumps.iter().map(|dump| &dump.verdict)))
}

struct Examiner<'a> {
    directory: &'a CrashDir,
    kernels: &'a [KernelFile],
    /// They are one that was named.
    kernel_named: bool,
    /// What may still be read.
    budget: u64,
    threads: usize,
}

impl Examiner<'_> {
    fn listed(&mut self, dump: &SavedDump) -> Listed {
        let core = match self.directory.open_dump(dump) {
            Err(e @ OpenError::NeedsKernel { .. }) => self.image(dump, e),
            core => core,
        };
        let verdict = self.verdict(dump, &core);
        let core = core.ok().filter(|core| core.image().is_none());
        let extent = core.as_ref().and_then(Vmcore::expected_len);
        let instant = core.as_ref().and_then(|core| core.instant().ok()?);
        let instant = instant.map(Instant::of_record);
        let info = dump.info.clone().unwrap_or_default();
        let clean = |text: Option<String>| text.map(|t| escape(t.as_bytes()));
        let time = dump.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let reason = verdict.reason().map(|text| escape(text.as_bytes()));
        Listed {
            number: dump.number,
            file: self.directory.path(&dump.name).into(),
            kind: if dump.live { "live" } else { "panic" },
            time: time.as_secs(),
            time_from: if dump.time_recorded { "info" } else { "file" },
            hostname: clean(info.hostname),
            architecture: clean(info.architecture),
            version: clean(info.version),
            panic: clean(info.panic),
            compression: compression_in(&dump.name).name(),
            dumplength: dump.length,
            dumpextent: extent,
            disk_bytes: dump.disk_bytes,
            instant,
            verdict,
            reason,
        }
    }

    /// A full dump, as the minidump of the kernel in it; or that none is.
    fn image(
        &self,
        dump: &SavedDump,
        none: OpenError,
    ) -> Result<Vmcore, OpenError> {
        let Ok(Some(file)) = self.directory.open_plain(&dump.name) else {
            return Err(none);
        };
        let path = self.directory.path(&dump.name);
        let Opened::Image(image) = Opened::new(file, &path)? else {
            return Err(none);
        };
        let kept = self.kept_kernel(dump);
        let mut all = kept.iter().chain(self.kernels);
        let core = all.find_map(|file| {
            let kernel = lists::read(file).ok()?;
            image.with_kernel(&kernel).ok()
        });
        core.ok_or(none)
    }

    /// The kernel beside it.
    fn kept_kernel(&self, dump: &SavedDump) -> Option<KernelFile> {
        let name = format!("kernel.{}", dump.number);
        let kept = self.open_companion(dump, "kernel")?;
        Some((self.directory.path(&name), kept))
    }

    fn verdict(
        &mut self,
        dump: &SavedDump,
        core: &Result<Vmcore, OpenError>,
    ) -> Verdict {
        // What damage its structure has is found at once.
        let structure = self.directory.judge(dump);
        let extent = core.as_ref().ok().and_then(Vmcore::expected_len);
        let cost = extent.unwrap_or(0).max(dump.length);
        match self.budget.checked_sub(cost) {
            Some(left) => self.budget = left,
            None => {
                return structure.and(Verdict::Undetermined(format!(
                    "{} not read: run livedump verify",
                    human(cost)
                )));
            }
        }
        let seal = self.open_companion(dump, "seal");
        let file = self.directory.open_plain(&dump.name).ok().flatten();
        let seal = file.zip(seal).map(|(file, seal)| match seal {
            Ok(seal) => Comparison::of(&file, &seal, self.threads),
            Err(why) => Comparison::unreadable(why),
        });
        let (kernel, misfit) = match self.kernel_of(dump, core) {
            Ok(kernel) => (kernel, None),
            Err(why) => (None, Some(why)),
        };
        let info = self.open_companion(dump, "info");
        let related = RelatedFiles {
            seal,
            info: dump.info.clone(),
            info_error: info.and_then(Result::err),
            misfit,
            length: Some(dump.length),
            compression: Some(compression_in(&dump.name)),
        };
        let found = examine::examine(
            core.as_ref(),
            kernel.as_ref(),
            &related,
            self.threads,
        );
        let found = found.verdict();
        // What could not be read again for it counts for nothing.
        if structure.is_damaged() { found.and(structure) } else { found }
    }

    /// A file with the dump's number, if there is one, or why it cannot be
    /// opened.
    fn open_companion(
        &self,
        dump: &SavedDump,
        what: &str,
    ) -> Option<Result<File, String>> {
        let name = format!("{what}.{}", dump.number);
        if !dump.companions.contains(&name) {
            return None;
        }
        match self.directory.open_plain(&name) {
            Ok(file) => file.map(Ok),
            Err(e) => Some(Err(chain(&e))),
        }
    }

    /// That beside it or one of this host, if it is its own. The error: one
    /// that was named or is beside it is not.
    fn kernel_of(
        &self,
        dump: &SavedDump,
        core: &Result<Vmcore, OpenError>,
    ) -> Result<Option<Kernel>, String> {
        let Ok(core) = core else { return Ok(None) };
        let kept = self.kept_kernel(dump);
        let all: Vec<_> = kept.iter().chain(self.kernels).collect();
        match lists::choose(core, &all) {
            Ok(kernel) => Ok(Some(kernel)),
            Err(why) if kept.is_some() || self.kernel_named => Err(why),
            Err(_) => Ok(None),
        }
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

    /// `14.0-RELEASE` of a longer text; what the hosted machines have instead
    /// starts with a parenthesis.
    fn release(&self) -> String {
        let version = self.version.as_deref().unwrap_or("-");
        let version = version.strip_prefix("FreeBSD ").unwrap_or(version);
        let word = version.split_whitespace().next();
        let word = word.filter(|word| !word.starts_with('(')).unwrap_or("-");
        word.chars().take(24).collect()
    }

    /// One column for both: what it is of matters more than how it was named.
    fn kind(&self) -> &'static str {
        match self.instant {
            Some(_) => "frozen",
            None => self.kind,
        }
    }

    /// With what is damaged, or why it cannot be told.
    fn verdict(&self) -> String {
        match &self.reason {
            Some(why) => format!("{}: {why}", self.verdict.word()),
            None => self.verdict.word().into(),
        }
    }

    /// A time that is only the file's is marked.
    fn time(&self) -> String {
        let mark = if self.time_from == "info" { "" } else { "*" };
        format!("{}{mark}", local_minute(self.time))
    }
}

impl Report for List {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(&[
            ">N", "TIME", "HOST", "VERSION", "KIND", ">SIZE", ">RATIO",
            "VERDICT",
        ]);
        for dump in &self.dumps {
            table.row(vec![
                dump.number.to_string(),
                dump.time(),
                dump.hostname.clone().unwrap_or_else(|| "-".into()),
                dump.release(),
                dump.kind().into(),
                human(dump.dumplength),
                dump.ratio(),
                dump.verdict(),
            ]);
        }
        table.write(out)?;
        if self.dumps.iter().any(|dump| dump.time_from == "file") {
            writeln!(
                out,
                "* modification time of the file: info.N has no time"
            )?;
        }
        Ok(())
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
