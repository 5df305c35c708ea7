// SPDX-License-Identifier: BSD-2-Clause
//! `livedump watch`: a dump every so often, and as many kept as the limits
//! say. A loop, flags and the crash directory: what it has to know after a
//! restart are the dumps that lie there.

mod cron;
mod event;
mod exec;
mod schedule;
mod watcher;

use super::compression_level::CompressionLevel;
use super::machine_options::MachineOptions;
use super::max_pause::MaxPause;
use crate::cmd::capture::encrypted::EncryptArgs;
use crate::cmd::capture::{self, Prepared};
use crate::cmd::prune::Limits;
use crate::cmd::suggested::{self, MACHINES, TIMES};
use crate::crashdir::{CrashDir, Instance};
use crate::device::{self, Device, MachineSpec};
use crate::error::Error;
use crate::kernel_files::image_facts;
use crate::outcome::Outcome;
use crate::quantity;
use crate::report::{
    Notes, Priority, inform, known_time_zone, notes_go_to, prepare_time_zone,
};
use crate::sandbox::Purpose;
use crate::signals::{Event, Signals};
use clap::ValueHint;
use cron::Cron;
use schedule::{Change, Reason, Schedule};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime};
use watcher::{Iteration, Watcher};

/// Arguments of `watch`.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("when").required(true).multiple(true)))]
#[allow(clippy::struct_excessive_bools)]
pub struct Args {
    /// Crash directory
    #[arg(
        value_name = "DIRECTORY",
        default_value = ".",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
    /// WHEN: an interval, such as 15m
    #[arg(
        long,
        value_name = "TIME",
        group = "when",
        value_parser = quantity::age,
        value_hint = ValueHint::Other
    )]
    pub every: Option<Duration>,
    /// WHEN: times as in crontab(5), "0 3 * * *" or @daily
    #[arg(
        long,
        value_name = "WHEN",
        group = "when",
        hide_possible_values = true,
        value_parser = suggested::values::<Cron>(TIMES)
    )]
    pub at: Option<Cron>,
    /// WHEN: sysctl=NAME changes; may be repeated
    #[arg(
        long,
        value_name = "CHANGE",
        group = "when",
        hide_possible_values = true,
        value_parser = suggested::values::<Change>(&["sysctl="])
    )]
    pub on_change: Vec<Change>,
    /// Which dumps to keep
    #[command(flatten)]
    pub limits: Limits,
    /// Run COMMAND with sh(1) after each dump
    #[arg(
        long,
        value_name = "COMMAND",
        value_hint = ValueHint::CommandString
    )]
    pub exec: Option<String>,
    /// Exit after N dumps
    #[arg(
        long,
        value_name = "N",
        value_parser = quantity::number::<u64>(0..=u64::MAX)
    )]
    pub count: Option<u64>,
    /// Compress with gzip
    #[arg(short = 'z', long, conflicts_with = "zstd")]
    pub gzip: bool,
    /// Compress with zstd
    #[arg(short = 'Z', long)]
    pub zstd: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub level: CompressionLevel,
    /// Threads that copy [default: CPUs, up to 16]
    #[arg(
        long,
        value_name = "N",
        value_parser = quantity::number::<u32>(1..=64)
    )]
    pub workers: Option<u32>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub encryption: EncryptArgs,
    /// Stop the CPUs and copy every page at one instant
    #[arg(long)]
    pub freeze: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pause: MaxPause,
    /// Kernel to check dumps with [default: running]
    #[arg(short, long, value_name = "KERNEL", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// kernel, model, image:FILE, qemu:SOCKET, ...
    #[arg(
        long,
        value_name = "MACHINE",
        default_value = "kernel",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = suggested::values::<MachineSpec>(MACHINES)
    )]
    pub machine: MachineSpec,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: MachineOptions,
    /// Write a report of each dump to core.txt.N
    #[arg(long)]
    pub report: bool,
    /// Report progress and what was not checked
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object per dump
    #[arg(long)]
    pub json: bool,
    /// Log to syslogd(8) instead of standard error
    #[arg(long)]
    pub syslog: bool,
}

/// Takes dumps until a signal stops it.
///
/// # Errors
/// It could not begin. A dump that fails later is reported, and the next one
/// is taken.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    check_usage(args)?;
    if args.at.is_some() {
        known_time_zone()?;
    }
    prepare_time_zone();
    let capture_args = capture_args(args);
    capture::check_usage(&capture_args)?;
    let mut signals = Signals::take();
    let directory = CrashDir::open(&args.directory)?;
    let instance = directory.lock_instance()?;
    let machine = args.options.apply(&args.machine);
    let (kernel, stop) =
        (args.kernel.as_deref(), &|| signals.stopped().is_some());
    let device = machine
        .and_then(|it| device::open(&it, kernel, &image_facts, stop))
        .map_err(capture::Error::from)?;
    let newest = directory.dumps()?.into_iter().find(|dump| dump.live);
    let at = match &args.at {
        Some(cron) => Some((cron, known_time_zone()?)),
        None => None,
    };
    let mut schedule = Schedule::new(
        args.every,
        at,
        &args.on_change,
        newest.map(|dump| dump.time),
        SystemTime::now(),
    )
    .map_err(Error::NoValue)?;
    if args.syslog {
        device::openlog();
    }
    let prepared =
        confine(args, &capture_args, device.as_ref(), &directory, &instance)?;
    // From here on it is a daemon, or the like of one.
    match args.syslog {
        true => {
            let log = Box::new(|priority, line: &str| {
                device::syslog(level(priority), line);
            });
            notes_go_to(Notes::Syslog, Some(log));
        }
        false => notes_go_to(Notes::Timed, None),
    }
    let mut watch =
        Watcher::new(args, capture_args, &directory, device, prepared);
    // Killed between a dump and what was to go for it?
    watch.prune();
    while args.count.is_none_or(|count| watch.taken() < count) {
        let now = SystemTime::now();
        let Some(reason) = schedule.now(now) else {
            match signals.events().recv_timeout(schedule.wait(now)) {
                Ok(Event::Stop(signal)) => {
                    watch.report(format_args!("stopped by {signal}"));
                    return Ok(Outcome::Clean);
                }
                Ok(Event::Info) => watch.print_status(schedule.next(now)),
                Ok(Event::Done) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            continue;
        };
        if let Reason::Change(name) = &reason {
            watch.report(format_args!("{name} has changed"));
        }
        match watch.iterate(&mut signals)? {
            Iteration::Done => schedule.done(now, SystemTime::now()),
            Iteration::Stopped(signal) => {
                watch.report(format_args!("stopped by {signal}"));
                return Ok(Outcome::Clean);
            }
        }
    }
    Ok(watch.outcome())
}

/// Gives up what is not needed. A command that is run may need anything, and
/// values may only be read by whoever may read all: with --exec or
/// --on-change nothing is given up. `None` is that.
fn confine(
    args: &Args,
    capture_args: &capture::Args,
    device: &dyn Device,
    directory: &CrashDir,
    instance: &Instance,
) -> Result<Option<Prepared>, Error> {
    if args.exec.is_some() || !args.on_change.is_empty() {
        if args.kernel.is_some() {
            Prepared::gather(capture_args, device)?.check_named()?;
        }
        return Ok(None);
    }
    let prepared = Prepared::gather(capture_args, device)?;
    let lock = [(instance.descriptor(), Purpose::Lock)];
    capture::confine(capture_args, device, Some(directory), &prepared, &lock);
    prepared.check_named()?;
    Ok(Some(prepared))
}

fn level(priority: Priority) -> i32 {
    match priority {
        Priority::Info => nix::libc::LOG_INFO,
        Priority::Warning => nix::libc::LOG_WARNING,
        Priority::Error => nix::libc::LOG_ERR,
    }
}

fn check_usage(args: &Args) -> Result<(), Error> {
    if args.every == Some(Duration::ZERO) {
        return Err(Error::Usage("--every: the interval must not be 0"));
    }
    Ok(())
}

/// Each dump is one of `capture`.
fn capture_args(args: &Args) -> capture::Args {
    capture::Args {
        to_device: None,
        sector_size: None,
        directory: args.directory.clone(),
        force: false,
        verbose: args.verbose,
        // A bar every quarter of an hour is of no use.
        quiet: !args.verbose,
        gzip: args.gzip,
        zstd: args.zstd,
        maxdumps: None,
        machine: args.machine.clone(),
        options: args.options.clone(),
        keep_kernel: false,
        kernel: args.kernel.clone(),
        level: args.level,
        workers: args.workers,
        encryption: args.encryption.clone(),
        no_seal: false,
        report: args.report,
        quiesce: false,
        registers: false,
        freeze: args.freeze,
        pause: args.pause,
        stability: false,
        json: false,
    }
}

impl Watcher<'_> {
    fn report(&self, text: std::fmt::Arguments<'_>) {
        if !self.is_quiet() {
            inform(text);
        }
    }
}
