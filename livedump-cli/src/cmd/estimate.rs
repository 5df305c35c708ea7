// SPDX-License-Identifier: BSD-2-Clause
//! `livedump estimate`: how large a dump would be, and whether it has room.
//! The plain size is the kernel's own answer; what compression leaves of it
//! is measured on the beginning of a real dump, which is then thrown away.

mod estimated;
mod sample;

use super::compression_level::CompressionLevel;
use super::max_pause::MaxPause;
use crate::cmd::capture::{Error as CaptureError, NOT_RUNNING};
use crate::cmd::machine_options::MachineOptions;
use crate::cmd::suggested::{self, MACHINES};
use crate::crashdir::CrashDir;
use crate::device::{self, Device, MachineSpec, OpenError, Request};
use crate::error::Error;
use crate::kernel_files::image_facts;
use crate::outcome::Outcome;
use crate::quantity;
use crate::report::Report;
use crate::sandbox::{self, Purpose, Role};
use crate::signals::Signals;
use clap::ValueHint;
use estimated::{Codec, Estimate, Freeze};
use memdev::addr::PAGE_SIZE;
use memdev::errno::Errno;
use memdev::ioctl::{FLAG_ESTIMATE, FLAG_WAIT, MemMinidumpArg};
use memdev::kerneldump::{Compression, HEADER_SIZE};
use sample::{MOST_IN_MEMORY, Sampling, Scratch, memory};
use std::path::PathBuf;

/// Arguments of `estimate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Crash directory
    #[arg(
        value_name = "DIRECTORY",
        default_value = ".",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
    /// Estimate a gzip dump
    #[arg(short = 'z', long, conflicts_with = "zstd")]
    pub gzip: bool,
    /// Estimate a zstd dump
    #[arg(short = 'Z', long)]
    pub zstd: bool,
    /// Amount of memory to compress as a sample; 0 for none
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256M",
        value_parser = quantity::size,
        value_hint = ValueHint::Other
    )]
    pub sample: u64,
    /// kernel, model, image:FILE, qemu:SOCKET, ...
    #[arg(
        long,
        value_name = "MACHINE",
        default_value = "kernel",
        hide_possible_values = true,
        value_parser = suggested::values::<MachineSpec>(MACHINES)
    )]
    pub machine: MachineSpec,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: MachineOptions,
    /// Kernel of an image or a guest
    #[arg(short, long, value_name = "KERNEL", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub level: CompressionLevel,
    /// Estimate the pause and the memory that --freeze takes
    #[arg(long)]
    pub freeze: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub pause: MaxPause,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Estimates. What would not fit is outcome 1.
///
/// # Errors
/// There is no machine or no directory, or the kernel refuses.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    check_usage(args)?;
    let mut signals = Signals::take();
    let directory = CrashDir::open(&args.directory)?;
    let kernel = args.kernel.as_deref();
    let machine = args.options.apply(&args.machine);
    let stop = &|| signals.stopped().is_some();
    let device = machine
        .and_then(|it| device::open(&it, kernel, &image_facts, stop))
        .map_err(CaptureError::from)?;
    // Cannot be asked for once we are confined.
    let wired = device.wired_bytes();
    let mut files = vec![(directory.descriptor(), Purpose::Directory)];
    files.extend(device.descriptors());
    // Where the kernel cannot confine, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Writer, &files);
    let machine = (device.as_ref(), wired);
    let it = estimate(args, machine, &directory, &mut signals)?;
    it.print(args.json)?;
    let room = match it.fits {
        Some(true) => Outcome::Clean,
        Some(false) => Outcome::Finding,
        None => Outcome::Undetermined,
    };
    let paused_too_long = it.freeze.as_ref().is_some_and(|it| !it.fits);
    Ok(match paused_too_long {
        true => room.and(Outcome::Finding),
        false => room,
    })
}

fn check_usage(args: &Args) -> Result<(), Error> {
    if args.freeze && !args.machine.runs() {
        return Err(Error::Usage(NOT_RUNNING));
    }
    args.level.check(args.gzip, args.zstd).map_err(Error::Usage)
}

fn estimate(
    args: &Args,
    (device, wired_bytes): (&dyn Device, Option<u64>),
    directory: &CrashDir,
    signals: &mut Signals,
) -> Result<Estimate, Error> {
    let mut arg = MemMinidumpArg {
        flags: FLAG_ESTIMATE | FLAG_WAIT,
        ..MemMinidumpArg::new()
    };
    let known = match device.minidump(&mut arg, None) {
        Ok(()) => true,
        Err(Errno::ENOTTY | Errno::ENODEV) => false,
        Err(source) => {
            return Err(match device.take_failure() {
                Some(why) => {
                    let machine = device.name().into();
                    let source = why.into();
                    let e = OpenError::Hosted { machine, source };
                    CaptureError::from(e).into()
                }
                None => refused(source),
            });
        }
    };
    let freeze = match args.freeze {
        true => Some(freeze(args, device, known)?),
        false => None,
    };
    let (free, minfree) = (directory.free_bytes()?, directory.minfree_bytes()?);
    let room = free.saturating_sub(minfree);
    let mut it = Estimate {
        machine: device.name().into(),
        directory: args.directory.as_path().into(),
        pages: known.then_some(arg.pages),
        dumpextent: known.then_some(arg.dumpextent),
        wired_bytes,
        compression: asked(args).name(),
        codecs: Vec::new(),
        free,
        minfree,
        need: None,
        fits: None,
        freeze,
        paused_ns: device.outside().map(|it| it.record.pause_ns),
    };
    // It is written before it is thrown away; into memory where the directory
    // has no room for it.
    let has_room = args.sample.min(arg.dumpextent) <= room;
    let bytes = match has_room {
        true => args.sample,
        false => args.sample.min(MOST_IN_MEMORY),
    };
    if known && args.sample > 0 {
        for codec in codecs(args) {
            let scratch = match has_room {
                true => {
                    let _lock = directory.lock()?;
                    Some(Scratch::Directory(directory.temp()?))
                }
                false => memory().map(Scratch::Memory),
            };
            let Some(scratch) = scratch else {
                it.codecs.push(Codec::unmeasured(codec));
                continue;
            };
            let sampling = Sampling {
                device,
                scratch: &scratch,
                bytes,
                request: MemMinidumpArg {
                    flags: FLAG_WAIT,
                    compression: codec as u8,
                    level: args.level.requested(),
                    ..MemMinidumpArg::new()
                },
            };
            it.codecs.push(sampling.take(arg.dumpextent, signals)?);
        }
    }
    it.need = need(&it, asked(args));
    let none = room < PAGE_SIZE as u64;
    it.fits = it.need.map(|need| need <= room).or(none.then_some(false));
    Ok(it)
}

/// What stopping the machine would take.
fn freeze(
    args: &Args,
    device: &dyn Device,
    has_module: bool,
) -> Result<Freeze, Error> {
    if !has_module {
        return Err(CaptureError::NeedsModule.into());
    }
    let max_pause_ns = args.pause.ns();
    let mut request = Request::forecast(max_pause_ns, FLAG_WAIT);
    match request.send(device, None) {
        Ok(()) => {}
        Err(Errno::ENOTTY | Errno::ENODEV | Errno::EINVAL) => {
            return Err(CaptureError::OldModule.into());
        }
        Err(source) => return Err(refused(source)),
    }
    let answer = request.freeze.unwrap_or_default();
    Ok(Freeze {
        max_pause_ns,
        pause_ns: answer.pause_ns,
        copy_bytes: answer.copy_bytes,
        pages: answer.pages,
        cpus: answer.cpus,
        fits: answer.pause_ns <= max_pause_ns,
    })
}

/// What the dump takes that the flags ask for.
fn need(it: &Estimate, asked: Compression) -> Option<u64> {
    let bytes = match asked {
        Compression::None => it.dumpextent.or(it.wired_bytes)?,
        codec => {
            let measured: Option<&Codec> =
                it.codecs.iter().find(|c| c.compression == codec.name());
            measured?.bytes?
        }
    };
    let block = bytes.checked_next_multiple_of(PAGE_SIZE as u64)?;
    block.checked_add(HEADER_SIZE as u64)
}

fn asked(args: &Args) -> Compression {
    match (args.gzip, args.zstd) {
        (true, _) => Compression::Gzip,
        (_, true) => Compression::Zstd,
        _ => Compression::None,
    }
}

fn codecs(args: &Args) -> Vec<Compression> {
    match asked(args) {
        Compression::None => vec![Compression::Gzip, Compression::Zstd],
        codec => vec![codec],
    }
}

fn refused(source: Errno) -> Error {
    let doing = "requesting an estimate";
    CaptureError::Dump { doing, source }.into()
}

#[cfg(test)]
mod tests;
