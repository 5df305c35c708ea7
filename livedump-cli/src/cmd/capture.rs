// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture`: estimate, check the room, dump, check the dump, and
//! only then give it its name. Mirrors `DoLiveFile` of savecore.c.

pub(super) mod captured;
mod check;
mod dump;
mod dumped;
pub(super) mod encrypted;
mod limit;
pub(super) mod lists;
mod prepare;
mod progress;
mod report_file;
mod request;
mod room;
mod stream;
mod streamed;
mod tail;
mod to_device;
mod to_file;
mod to_netdump;
pub(super) mod watch;

pub use check::CheckError;

use super::compression_level::CompressionLevel;
use super::machine_options::MachineOptions;
use super::max_pause::MaxPause;
use super::write_seal::Fault;
use crate::cmd::suggested::{self, MACHINES};
use crate::crashdir::{self, CrashDir};
use crate::device::{self, Device, MachineSpec};
use crate::dumpdev;
use crate::kernel_files;
use crate::kernel_files::image_facts;
use crate::netdump::client::SendError;
use crate::outcome::Outcome;
use crate::quantity;
use crate::report::{Report, and_minfree, human, milliseconds, note};
use crate::sandbox::{self, Entered, Purpose, Role};
use crate::signals::Signals;
use captured::Captured;
use clap::ValueHint;
use dump::Capture;
use encrypted::EncryptArgs;
use memdev::errno::Errno;
use nix::sys::signal::Signal;
pub(super) use prepare::Prepared;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// Arguments of `capture`.
#[derive(Clone, Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub struct Args {
    /// Crash directory, - for standard output, or netdump://HOST[/PATH]
    #[arg(
        value_name = "DIRECTORY",
        default_value = ".",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
    /// Write to the end of a dump device instead
    #[arg(
        long,
        value_name = "DEVICE",
        conflicts_with = "directory",
        value_hint = ValueHint::FilePath
    )]
    pub to_device: Option<PathBuf>,
    /// Sector size of an image: 512 or 4096
    #[arg(
        long,
        value_name = "BYTES",
        requires = "to_device",
        value_parser = quantity::number::<usize>(512..=4096)
    )]
    pub sector_size: Option<usize>,
    /// Ignore minfree and bad headers; overwrite a device
    #[arg(short, long)]
    pub force: bool,
    /// Report progress and what was not checked
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Compress with gzip
    #[arg(short = 'z', long, conflicts_with = "zstd")]
    pub gzip: bool,
    /// Compress with zstd
    #[arg(short = 'Z', long)]
    pub zstd: bool,
    /// Number dumps from 0 to N-1, then start again at 0
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = quantity::number::<u32>(1..=100_000)
    )]
    pub maxdumps: Option<u32>,
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
    /// Save the kernel as kernel.N
    #[arg(long)]
    pub keep_kernel: bool,
    /// Kernel to check dumps with [default: running]
    #[arg(short, long, value_name = "KERNEL", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
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
    /// Do not write checksums to seal.N
    #[arg(long)]
    pub no_seal: bool,
    /// Suspend user processes during the dump
    #[arg(long)]
    pub quiesce: bool,
    /// Record the registers of running threads
    #[arg(long)]
    pub registers: bool,
    /// Stop the CPUs and copy every page at one instant
    #[arg(long)]
    pub freeze: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pause: MaxPause,
    /// List pages that changed in changed.N
    #[arg(long)]
    pub stability: bool,
    /// Write a report of the dump to core.txt.N
    #[arg(long)]
    pub report: bool,
    /// Print one JSON object
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
    /// The kernel that was named is none.
    #[error(transparent)]
    Kernel(#[from] kernel_files::Error),
    /// There is no place for a dump to standard output.
    #[error("temporary directory {directory} (TMPDIR)")]
    Temporary {
        /// Where.
        directory: String,
        /// Why not.
        source: io::Error,
    },
    /// There is no place.
    #[error(transparent)]
    CrashDir(#[from] crashdir::Error),
    /// There is not enough room.
    #[error(
        "no dump taken: needs {}{}, {} free in {}{}: {}-f to try anyway",
        if *compressed { "at least " } else { "up to " },
        human(*need), human(*free), directory.display(), and_minfree(*minfree),
        if *compressed { "" } else { "use -Z, or " }
    )]
    Room {
        /// Where.
        directory: PathBuf,
        /// Bytes of the dump, or the least there could be.
        need: u64,
        /// Whether it was to be compressed.
        compressed: bool,
        /// Bytes free.
        free: u64,
        /// Bytes that `minfree` wants to stay free.
        minfree: u64,
    },
    /// Room ran out on the way.
    #[error(
        "the dump reached {} and was removed: more would leave less than \
         minfree in {}: -f to try anyway",
        human(*written), directory.display()
    )]
    RanOut {
        /// Where.
        directory: PathBuf,
        /// Bytes written until then.
        written: u64,
    },
    /// The kernel has no live dumps.
    #[error(
        "this kernel has no live dumps: load the module (kldload livedump)"
    )]
    NoFacility,
    /// The kernel's own facility would not dump, but start another kernel.
    #[error(
        "no dump taken: the kernel's own live dump would start the rescue \
         kernel and not return ({0}): load the module (kldload livedump)"
    )]
    Rescue(String),
    /// It might.
    #[error(
        "no dump taken: whether the kernel's own live dump would start a \
         rescue kernel is undetermined ({0}): load the module (kldload \
         livedump), or -f to try anyway"
    )]
    MayRescue(String),
    /// The kernel's own facility can do no more.
    #[error(
        "--freeze, --quiesce, --registers, --stability and zstd levels below 1 \
         need the module (kldload livedump)"
    )]
    NeedsModule,
    /// The module that is loaded is from before --freeze.
    #[error(
        "--freeze needs a newer module than the one that is loaded: kldunload \
         livedump, install this version's, kldload livedump"
    )]
    OldModule,
    /// It knows no level below 1, or its kernel has no zstd.
    #[error(
        "{0} was refused: it needs zstd in the kernel, and a module that has \
         levels below 1 (livedump doctor)"
    )]
    OldLevels(CompressionLevel),
    /// There is no memory for the copy.
    #[error(
        "no dump taken, no CPU was stopped: --freeze needs {} of memory for \
         the copy, {} free",
        human(*needs), human(*has)
    )]
    CopyMemory {
        /// Bytes that it needs.
        needs: u64,
        /// Bytes that may be taken.
        has: u64,
    },
    /// The pause would be longer than allowed.
    #[error(
        "no dump taken, no CPU was stopped: the pause would take {}, \
         --max-pause is {}",
        milliseconds(*needs_ns), milliseconds(*max_ns)
    )]
    PauseTooLong {
        /// Nanoseconds that it would take.
        needs_ns: u64,
        /// Nanoseconds allowed.
        max_ns: u64,
    },
    /// Time was up while CPUs were stopped.
    #[error(
        "no dump taken: a CPU did not stop in time, or the copy was not \
         complete within --max-pause, which is {}",
        milliseconds(*max_ns)
    )]
    PauseExceeded {
        /// Nanoseconds allowed.
        max_ns: u64,
    },
    /// Each time, more pages came into use than there was room for.
    #[error(
        "no dump taken: memory changed too fast: each time CPUs were stopped \
         there were more pages than there was room for"
    )]
    ChangedTooFast,
    /// One CPU has the timer of all: they cannot be stopped together. Or the
    /// clock would be wrong afterwards.
    #[error(
        "no dump taken: the event timer is not one for each CPU, or the \
         timecounter wraps around in less than twice --max-pause; see \
         kern.eventtimer.timer in eventtimers(4) and \
         kern.timecounter.hardware in timecounters(4)"
    )]
    Timers,
    /// The kernel refused, or the dump failed.
    #[error("{doing}")]
    Dump {
        /// What it was doing.
        doing: &'static str,
        /// Why it could not.
        source: Errno,
    },
    /// The public key, or that there is no place for plain text.
    #[error(transparent)]
    Ekcd(#[from] crate::ekcd::Error),
    /// The machine's dump would have to be in a file first.
    #[error(
        "--encrypt to standard output: {0}, and plain text is not written to a \
         file: name a directory"
    )]
    NoPlainFile(&'static str),
    /// What it wrote is no dump.
    #[error("the dump was not kept")]
    Check(#[from] CheckError),
    /// The machine's dumps go to files only.
    #[error(
        "this kernel writes dumps into files only: load the module (kldload \
         livedump)"
    )]
    NoStream,
    /// It is no place for a dump.
    #[error(transparent)]
    DumpDev(#[from] dumpdev::Error),
    /// A dump did not get onto a device.
    #[error(
        "{}, which {}", path.display(),
        if *began { "has no dump now" } else { "was not written to" }
    )]
    ToDevice {
        /// Which.
        path: PathBuf,
        /// Whether what was there was given up.
        began: bool,
        /// Why.
        source: dumpdev::write::WriteError,
    },
    /// There is no pipe to be had.
    #[error("making a pipe")]
    Pipe(#[source] io::Error),
    /// A signal.
    #[error("stopped by {0}: no dump was kept")]
    Stopped(Signal),
    /// The dump did not come to its end.
    #[error("reading the dump while it is taken")]
    Taking(#[source] io::Error),
    /// The dump could not be written.
    #[error("writing the dump to standard output")]
    Stream(#[source] io::Error),
    /// The dump could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A server that nobody knows.
    #[error("looking up the server")]
    Lookup(#[source] io::Error),
    /// The JSON could not be written; the dump is there.
    #[error("writing to standard output")]
    Output(#[from] io::Error),
}

impl From<Error> for crate::error::Error {
    fn from(e: Error) -> Self {
        match e {
            // That nobody listens is no failure of the dump.
            Error::Output(e) => match e.kind() {
                io::ErrorKind::BrokenPipe => Self::Output(e),
                _ => Self::KeptUnreported(e),
            },
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

impl Args {
    /// A plain dump without many words, for those who want it read at once.
    #[must_use]
    pub fn quiet(
        directory: PathBuf,
        machine: MachineSpec,
        keep_kernel: bool,
    ) -> Self {
        Self {
            directory,
            to_device: None,
            sector_size: None,
            machine,
            options: MachineOptions::default(),
            keep_kernel,
            kernel: None,
            quiet: true,
            force: false,
            verbose: false,
            gzip: false,
            zstd: false,
            maxdumps: None,
            level: CompressionLevel::default(),
            workers: None,
            encryption: EncryptArgs::default(),
            quiesce: false,
            registers: false,
            freeze: false,
            pause: MaxPause::default(),
            stability: false,
            no_seal: true,
            report: false,
            json: false,
        }
    }
}

/// A dump that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Its file.
    pub file: PathBuf,
    /// Its kernel, where that was kept, too.
    pub kernel: Option<PathBuf>,
}

/// Takes a dump.
///
/// # Errors
/// Why there is none.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    if let Some(path) = &args.to_device {
        return to_device::run(args, path);
    }
    if args.directory.as_os_str() == "-" {
        return stream::run(args);
    }
    if let Some(place) = to_netdump::place(&args.directory) {
        return to_netdump::run(args, &place?);
    }
    let report = captured(args, true)?;
    if !args.quiet {
        note(report.summary());
    }
    if args.json {
        report.print(true)?;
    }
    Ok(report.outcome())
}

/// Takes a dump for a command that goes on with it.
///
/// # Errors
/// Why there is none.
pub fn take(args: &Args) -> Result<Taken, Error> {
    let report = captured(args, false)?;
    let kernel = report.kernel.map(|path| path.to_path_buf());
    Ok(Taken { file: report.file.to_path_buf(), kernel })
}

/// Takes it, and says what is odd about it. `alone`: nothing else will be
/// opened, so that everything else can be given up.
fn captured(args: &Args, alone: bool) -> Result<Captured, Error> {
    check_usage(args)?;
    // Before any thread is started, so that all have them blocked.
    let mut signals = Signals::take();
    if args.encryption.encrypt.is_some() {
        streamed::prepare();
    }
    let directory = CrashDir::open(&args.directory)?;
    let machine = args.options.apply(&args.machine)?;
    let stop = &|| signals.stopped().is_some();
    let device =
        device::open(&machine, args.kernel.as_deref(), &image_facts, stop)?;
    if let Some(remark) = device.remark().filter(|_| !args.quiet) {
        note(remark);
    }
    let prepared = Prepared::gather(args, device.as_ref())?;
    if alone {
        confine(args, device.as_ref(), Some(&directory), &prepared, &[]);
    }
    prepared.check_named()?;
    let (device, directory) = (device.as_ref(), &directory);
    let report =
        Capture { args, device, directory, prepared }.take(&mut signals)?;
    for problem in &report.problems {
        note(problem);
    }
    Ok(report)
}

/// One dump, of a device and into a directory that are open. What is prepared
/// was opened before, or is now.
pub(super) fn once(
    args: &Args,
    device: &dyn Device,
    directory: &CrashDir,
    prepared: Option<&Prepared>,
    signals: &mut Signals,
) -> Result<Captured, Error> {
    let prepared = match prepared {
        Some(prepared) => prepared.again(),
        None => Prepared::gather(args, device)?,
    };
    Capture { args, device, directory, prepared }.take(signals)
}

/// From here on only the node, the directory and what is in it, the kernel's
/// file, and `more`.
pub(super) fn confine(
    args: &Args,
    device: &dyn Device,
    directory: Option<&CrashDir>,
    prepared: &Prepared,
    more: &[(BorrowedFd<'_>, Purpose)],
) {
    let mut files = Vec::new();
    files.extend(directory.map(|it| (it.descriptor(), Purpose::Directory)));
    files.extend(prepared.descriptors().map(|fd| (fd, Purpose::Read)));
    files.extend(prepared.module_directories());
    files.extend_from_slice(more);
    files.extend(device.descriptors());
    if let Entered::Not(why) = sandbox::enter(Role::Writer, &files)
        && args.verbose
    {
        note(why);
    }
}

/// Why --freeze is refused.
pub(super) const NOT_RUNNING: &str =
    "--freeze requires a machine that runs: kernel or model";

pub(super) fn check_usage(args: &Args) -> Result<(), Error> {
    if args.freeze && (args.quiesce || args.stability) {
        return Err(Error::Usage(
            "--freeze cannot be used with --quiesce or --stability: nothing \
             runs while the pages are copied, and none of them changes",
        ));
    }
    if args.freeze && !args.machine.runs() {
        return Err(Error::Usage(NOT_RUNNING));
    }
    args.encryption.check_usage(args)?;
    report_file::check_usage(args)?;
    args.level.check(args.gzip, args.zstd).map_err(Error::Usage)
}

#[cfg(test)]
mod tests;
