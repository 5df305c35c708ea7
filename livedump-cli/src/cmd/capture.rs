// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture`: estimate, check the room, dump, check the dump, and
//! only then give it its name. Mirrors `DoLiveFile` of savecore.c.

mod check;
mod progress;
mod watch;

pub use check::CheckError;

use crate::crashdir::{self, CrashDir, Finished, Saved, Status, info_text};
use crate::device::{self, Device, MachineSpec};
use crate::error::{Outcome, chain};
use crate::report::{Report, escape, human, note};
use crate::signals::Signals;
use check::Checked;
use memdev::addr::PAGE_SIZE;
use memdev::errno::Errno;
use memdev::ioctl::{FLAG_ESTIMATE, FLAG_WAIT, MemLivedumpArg, MemMinidumpArg};
use memdev::kerneldump::{Compression, HEADER_SIZE, KernelDumpHeader};
use memdev::stage::Stage;
use nix::sys::signal::Signal;
use progress::Progress;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use watch::{Stop, watched};

/// What `capture` is told.
#[derive(Clone, Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub struct Args {
    /// The crash directory
    #[arg(value_name = "DIRECTORY", default_value = ".")]
    pub directory: PathBuf,
    /// Dump even if room is short; keep a dump whose header is odd
    #[arg(short, long)]
    pub force: bool,
    /// Say more
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// Have the dump compressed as gzip
    #[arg(short = 'z', long, conflicts_with = "zstd")]
    pub gzip: bool,
    /// Have the dump compressed as zstd
    #[arg(short = 'Z', long)]
    pub zstd: bool,
    /// Number dumps from 0 to one less than this, then again from 0
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub maxdumps: Option<u32>,
    /// kernel, model[:SIZE|:RECIPE], vmcore:FILE or raw:FILE
    #[arg(long, value_name = "MACHINE", default_value = "kernel")]
    pub machine: MachineSpec,
    /// Also keep a model machine's ELF kernel, as kernel.N
    #[arg(long)]
    pub keep_kernel: bool,
    /// Compression level: 1 to 9 for gzip, 1 to 19 for zstd
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(i16).range(1..=19)
    )]
    pub level: Option<i16>,
    /// Compressing threads, at most 64; as many as CPUs by default
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub workers: Option<u32>,
    /// Describe the dump on standard output, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Why no dump was taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that contradict each other.
    #[error("{0}")]
    Usage(&'static str),
    /// There is no machine.
    #[error(transparent)]
    Device(#[from] device::OpenError),
    /// There is no place.
    #[error(transparent)]
    CrashDir(#[from] crashdir::Error),
    /// There is not enough room.
    #[error(
        "no dump taken: it may have {need} bytes, but of {free} free in {} \
         {minfree} are to stay so (-f dumps nevertheless)",
        directory.display()
    )]
    Room {
        /// Where.
        directory: PathBuf,
        /// Bytes of the dump, or the least there could be.
        need: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that `minfree` wants to stay free.
        minfree: u64,
    },
    /// Room ran out on the way.
    #[error(
        "the dump was stopped at {written} bytes and removed: more would \
         leave less than minfree in {} (-f dumps nevertheless)",
        directory.display()
    )]
    RanOut {
        /// Where.
        directory: PathBuf,
        /// Bytes written until then.
        written: u64,
    },
    /// The kernel has no live dumps.
    #[error(
        "this kernel cannot dump itself while it runs: load the module \
         (kldload livedump)"
    )]
    NoFacility,
    /// The kernel refused, or the dump failed.
    #[error("{doing}")]
    Dump {
        /// What it was doing.
        doing: &'static str,
        /// Why it could not.
        source: Errno,
    },
    /// What it wrote is no dump.
    #[error("the dump was not kept")]
    Check(#[from] CheckError),
    /// A signal.
    #[error("stopped by {0}: no dump was left")]
    Stopped(Signal),
    /// The JSON could not be written; the dump is there.
    #[error("writing to standard output")]
    Output(#[from] io::Error),
}

/// What a dump came to, for `--json`. The keys are documented in
/// livedump(8).
#[derive(Debug, Serialize)]
struct Captured {
    number: u32,
    file: PathBuf,
    info: Option<PathBuf>,
    kernel: Option<PathBuf>,
    machine: String,
    architecture: String,
    hostname: String,
    version: String,
    dumptime: u64,
    compression: &'static str,
    dumplength: u64,
    dumpextent: u64,
    /// Unknown where the kernel's own facility dumped.
    pages: Option<u64>,
    zero_pages: Option<u64>,
    elapsed_ns: u64,
    /// Nothing of it is missing or odd, as far as its shape shows.
    complete: bool,
    problems: Vec<String>,
}

/// Takes a dump.
///
/// # Errors
/// Why there is none.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    check_usage(args)?;
    // Before any thread is started, so that all have them blocked.
    let mut signals = Signals::take();
    let directory = CrashDir::open(&args.directory)?;
    let device = device::open(&args.machine)?;
    let report =
        Capture { args, device: device.as_ref(), directory: &directory }
            .take(&mut signals)?;
    for problem in &report.problems {
        note(problem);
    }
    if !args.quiet {
        note(report.summary());
    }
    if args.json {
        report.print(true)?;
    }
    Ok(if report.complete { Outcome::Sound } else { Outcome::Found })
}

fn check_usage(args: &Args) -> Result<(), Error> {
    let compressed = args.gzip || args.zstd;
    if !compressed && args.level.is_some() {
        return Err(Error::Usage("--level goes with -z or -Z"));
    }
    if !compressed && args.workers.is_some() {
        return Err(Error::Usage("--workers goes with -z or -Z"));
    }
    if args.gzip && args.level.is_some_and(|level| level > 9) {
        return Err(Error::Usage("--level: gzip has levels 1 to 9"));
    }
    Ok(())
}

/// One capture: what it is told, from where, to where.
struct Capture<'a> {
    args: &'a Args,
    device: &'a dyn Device,
    directory: &'a CrashDir,
}

/// What the request answered.
#[derive(Default)]
struct Dumped {
    pages: Option<u64>,
    zero_pages: Option<u64>,
}

impl Capture<'_> {
    fn take(&self, signals: &mut Signals) -> Result<Captured, Error> {
        let started = Instant::now();
        let elf = self.kernel_elf()?;
        let (dump, mut kernel) = {
            let _lock = self.directory.lock()?;
            for name in self.directory.remove_stale()? {
                let path = self.directory.path(&name);
                self.say(&format!("removed {}, left over", path.display()));
            }
            self.directory.check_names(
                self.args.maxdumps,
                self.compression(),
                elf.is_some(),
            )?;
            let kernel = match elf {
                Some(_) => Some(self.directory.temp()?),
                None => None,
            };
            (self.directory.temp()?, kernel)
        };
        let dumped = self.dump(&dump, signals)?;

        let force = self.args.force;
        let checked = check::header(dump.file(), self.compression(), force)?;
        dump.truncate(checked.dumplength)?;
        let mut problems = checked.problems.clone();
        problems.extend(check::structure(dump.file(), &dump.path(), &checked));
        if let (Some(temp), Some(elf)) = (&mut kernel, &elf) {
            temp.write_all(elf)?;
        }
        // The last moment at which nothing has a name yet.
        if let Some(signal) = signals.stopped() {
            return Err(Error::Stopped(signal));
        }
        let saved = self.finish(dump, kernel, &checked, &problems)?;
        Ok(self.report(saved, &checked, &dumped, problems, started.elapsed()))
    }

    fn kernel_elf(&self) -> Result<Option<Vec<u8>>, Error> {
        if !self.args.keep_kernel {
            return Ok(None);
        }
        self.device.kernel_elf().map(Some).ok_or(Error::Usage(
            "--keep-kernel: only a model machine has its kernel at hand",
        ))
    }

    fn compression(&self) -> Compression {
        if self.args.zstd {
            Compression::Zstd
        } else if self.args.gzip {
            Compression::Gzip
        } else {
            Compression::None
        }
    }

    /// Estimates, checks the room and dumps.
    fn dump(
        &self,
        temp: &crashdir::Temp<'_>,
        signals: &mut Signals,
    ) -> Result<Dumped, Error> {
        let mut progress = Progress::new(self.args.quiet, self.args.verbose);
        let request = MemMinidumpArg {
            flags: FLAG_WAIT,
            compression: self.compression() as u8,
            level: self.args.level.unwrap_or(0),
            workers: self.args.workers.unwrap_or(0),
            ..MemMinidumpArg::new()
        };
        let mut estimate =
            MemMinidumpArg { flags: FLAG_ESTIMATE | FLAG_WAIT, ..request };
        let (answer, stop) =
            watched(self.device, signals, &mut progress, None, || {
                self.device.minidump(&mut estimate, None)
            });
        self.stopped(stop)?;
        let ours = match answer {
            Ok(()) => true,
            Err(Errno::ENOTTY | Errno::ENODEV) => false,
            Err(source) => return Err(self.failed(source)),
        };
        let budget = self.room(ours.then_some(estimate.dumpextent))?;
        let mut ours_arg = request;
        let mut stock = MemLivedumpArg {
            compression: request.compression,
            ..MemLivedumpArg::default()
        };
        let (answer, stop) =
            watched(self.device, signals, &mut progress, budget, || {
                if ours {
                    self.device.minidump(&mut ours_arg, Some(temp.file()))
                } else {
                    self.device.kerneldump(&mut stock, temp.file())
                }
            });
        self.stopped(stop)?;
        match answer {
            Ok(()) if ours => Ok(Dumped {
                pages: Some(ours_arg.pages),
                zero_pages: Some(ours_arg.zero_pages),
            }),
            Ok(()) => Ok(Dumped::default()),
            Err(Errno::ENOTTY | Errno::ENODEV) if !ours => {
                Err(Error::NoFacility)
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Whether a dump of `dumpextent` bytes before compression has room, and
    /// how many bytes may be written.
    fn room(&self, dumpextent: Option<u64>) -> Result<Option<u64>, Error> {
        if self.args.force {
            return Ok(None);
        }
        let free = self.directory.free_bytes()?;
        let minfree = self.directory.minfree_bytes()?;
        let budget = free.saturating_sub(minfree);
        let block = PAGE_SIZE as u64;
        let need = match dumpextent {
            // How far it compresses is not known: only that there is some
            // room, and `budget` ends the dump when it is used up.
            Some(_) if self.compression() != Compression::None => block,
            Some(extent) => extent
                .checked_next_multiple_of(block)
                .unwrap_or(u64::MAX)
                .saturating_add(HEADER_SIZE as u64),
            None => block,
        };
        match dumpextent {
            Some(extent) => self.say(&format!(
                "{} before compression; {} free, of which {} are to stay so",
                human(extent),
                human(free),
                human(minfree)
            )),
            None => self.say(
                "the kernel's own facility dumps: its size is not known \
                 beforehand, and it cannot be interrupted",
            ),
        }
        if need > budget {
            let directory = self.args.directory.clone();
            return Err(Error::Room { directory, need, free, minfree });
        }
        Ok(Some(budget))
    }

    fn stopped(&self, stop: Option<Stop>) -> Result<(), Error> {
        match stop {
            None => Ok(()),
            Some(Stop::Signal(signal)) => Err(Error::Stopped(signal)),
            Some(Stop::Room(written)) => {
                let directory = self.args.directory.clone();
                Err(Error::RanOut { directory, written })
            }
        }
    }

    /// What the kernel was doing when it said `source`.
    fn failed(&self, source: Errno) -> Error {
        let reached = self.device.status().ok().filter(|status| {
            status.last_pid == self.device.pid()
                && status.last_error == source.0
        });
        let doing = reached
            .and_then(|status| status.last_stage())
            .map_or("asking the kernel for a dump", Stage::doing);
        Error::Dump { doing, source }
    }

    fn finish(
        &self,
        dump: crashdir::Temp<'_>,
        kernel: Option<crashdir::Temp<'_>>,
        checked: &Checked,
        problems: &[String],
    ) -> Result<Saved, Error> {
        let status = match problems {
            [] => Status::Good,
            _ => Status::Bad,
        };
        let info = |number| {
            info_text(&checked.bytes, self.device.name(), number, status)
                .unwrap_or_else(|e| format!("{e}\n"))
        };
        Ok(self.directory.finish(Finished {
            dump,
            kernel,
            compression: checked.compression,
            maxdumps: self.args.maxdumps,
            info: &info,
        })?)
    }

    fn report(
        &self,
        saved: Saved,
        checked: &Checked,
        dumped: &Dumped,
        mut problems: Vec<String>,
        elapsed: Duration,
    ) -> Captured {
        let path = |name: &str| self.directory.path(name);
        problems.extend(saved.problems.iter().map(|e| chain(e)));
        let header = KernelDumpHeader::decode(&checked.bytes).ok();
        let field = |get: fn(&KernelDumpHeader<'_>) -> String| {
            header.as_ref().map(get).unwrap_or_default()
        };
        Captured {
            number: saved.number,
            file: path(&saved.dump),
            info: saved.info.as_deref().map(path),
            kernel: saved.kernel.as_deref().map(path),
            machine: self.device.name().into(),
            architecture: field(|h| clean(h.architecture)),
            hostname: field(|h| clean(h.hostname)),
            version: field(|h| clean(h.versionstring)),
            dumptime: header.as_ref().map_or(0, |h| h.dumptime),
            compression: checked.compression.name(),
            dumplength: checked.dumplength,
            dumpextent: checked.dumpextent,
            pages: dumped.pages,
            zero_pages: dumped.zero_pages,
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            complete: problems.is_empty(),
            problems,
        }
    }

    fn say(&self, text: &str) {
        if self.args.verbose {
            note(text);
        }
    }
}

fn clean(bytes: &[u8]) -> String {
    escape(bytes.trim_ascii_end())
}

impl Captured {
    fn summary(&self) -> String {
        let seconds = Duration::from_nanos(self.elapsed_ns).as_secs_f64();
        let size = human(self.dumplength);
        let of = match self.compression {
            "none" => String::new(),
            codec => {
                let percent = (u128::from(self.dumplength) * 100)
                    .checked_div(u128::from(self.dumpextent))
                    .unwrap_or(100);
                let extent = human(self.dumpextent);
                format!(" of {extent} ({codec}, {percent} %)")
            }
        };
        format!("{}: {size}{of} in {seconds:.2} s", self.file.display())
    }
}

impl Report for Captured {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())
    }
}

#[cfg(test)]
mod tests;
