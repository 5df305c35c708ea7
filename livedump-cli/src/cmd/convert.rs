// SPDX-License-Identifier: BSD-2-Clause
//! `livedump convert`: a dump's memory in the format of another program.
//!
//! ```text
//! $ livedump convert livecore.0.zst --to elf livecore.elf
//! $ lldb -s livecore.elf.lldb
//! ```

mod elf;
mod minidump;

use super::session::KernelArgs;
use crate::convert::elf::Debugger;
use crate::convert::kdump::{self, Codec, Facts};
use crate::convert::tables::WithTables;
use crate::convert::{self, Job, Progress, Sink};
use crate::error::Error;
use crate::kernel_files::{DebugFile, KernelFiles, Misfit};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::report::note;
use crate::sandbox::{self, Purpose, Role};
use crate::signals::Signals;
use clap::{ValueEnum, ValueHint};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::MemoryImage;
use livedump_vmcore::{Opened, PagesError, Vmcore, chain};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

/// A format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// Physical memory, a byte's offset is its address
    Raw,
    /// LiME version 1
    Lime,
    /// KDUMP, as makedumpfile(8) writes it
    Kdump,
    /// ELF core with threads, and a script, for lldb(1) or gdb(1)
    Elf,
    /// Minidump, as the kernel in the memory would write it
    Minidump,
}

/// Arguments of `convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Format to write: elf, kdump, lime, minidump or raw
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub to: To,
    /// Debugger that --to elf is for: lldb or gdb [default: lldb]
    #[arg(
        long = "for",
        value_name = "DEBUGGER",
        default_value = "lldb",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub debugger: Debugger,
    /// Compression of --to kdump: zstd or zlib [default: zstd]
    #[arg(
        long,
        value_name = "CODEC",
        default_value = "zstd",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub codec: Codec,
    /// Dump or memory image, of any format that is read
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// File to write; -: to stdout
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

/// A dump whose pages cannot be found.
#[derive(Debug, thiserror::Error)]
#[error("pages cannot be found: {0}")]
struct NoPages(String);

impl NoPages {
    fn of(e: &PagesError) -> Error {
        Error::of_command(Self(chain(e)))
    }
}

/// Physical memory, and what is known about its kernel.
struct Memory {
    /// The dump, or the view of an image with a kernel.
    core: Option<Vmcore>,
    /// The image.
    image: Option<Arc<dyn MemoryImage>>,
    kernel: Option<Kernel>,
}

impl Memory {
    /// Finds the memory of an open file, and its kernel where one is named,
    /// nothing else says that the file is memory, or `kernel_wanted`.
    fn new(
        opened: Opened,
        kernels: KernelFiles,
        named: bool,
        kernel_wanted: bool,
    ) -> Result<Self, Error> {
        let with = |core: Vmcore, kernel: Option<Kernel>| {
            let image = core.image().map(|found| Arc::clone(found.image()));
            Self { core: Some(core), image, kernel }
        };
        let image = match opened {
            Opened::Minidump(core) => {
                let kernel = match kernels.choose_if_any(&core)? {
                    Ok(kernel) => kernel,
                    Err(Misfit(why)) => {
                        note(why);
                        None
                    }
                };
                return Ok(with(*core, kernel));
            }
            Opened::Image(image) => image,
        };
        let memory = Arc::clone(image.image());
        let needed = named || image.is_unknown();
        let any = kernels.files().next().is_some();
        if needed || kernel_wanted && any {
            match kernels.choose_in(image) {
                Ok((core, found)) => return Ok(with(core, Some(found.kernel))),
                Err(e) if needed => return Err(e.into()),
                Err(e) => note(chain(&e)),
            }
        }
        Ok(Self { core: None, image: Some(memory), kernel: None })
    }

    fn image(&self) -> Result<&dyn MemoryImage, Error> {
        match &self.image {
            Some(image) => Ok(image.as_ref()),
            None => Err(Error::of_command(NoPages("no memory".into()))),
        }
    }

    /// A minidump with the page tables that it lacks.
    fn tables(&self) -> Result<Option<WithTables<'_>>, Error> {
        let (Some(core), None) = (&self.core, &self.image) else {
            return Ok(None);
        };
        core.pages().map_err(NoPages::of)?;
        Ok(Some(match &self.kernel {
            Some(kernel) => {
                WithTables::new(core, kernel).map_err(Error::of_command)?
            }
            None => WithTables::none(core),
        }))
    }

    /// What a KDUMP says about it.
    fn facts(&self, image: &dyn MemoryImage) -> Facts {
        match &self.core {
            Some(core) => Facts::of_dump(core, self.kernel.as_ref()),
            None => Facts::of_image(image),
        }
    }

    /// What is odd about the file.
    fn notes(&self) -> &[String] {
        match (&self.core, &self.image) {
            (Some(core), _) => core.notes(),
            (None, Some(image)) => &image.claims().notes,
            (None, None) => &[],
        }
    }
}

/// Converts it.
///
/// # Errors
/// The file is no dump, or the output cannot be written. A page that cannot
/// be read is [`Outcome::Finding`], or [`Outcome::Undetermined`] where this
/// host is to blame; the rest is written.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    // Before any thread is started, so that all have them blocked.
    let signals = Signals::take();
    let out = Output::open_private(&args.out)?;
    refuse_terminal(&out)?;
    if args.to == To::Elf {
        return elf::run(args, out, &signals);
    }
    let memory = open(args, &out)?;
    memory.notes().iter().for_each(note);
    if args.to == To::Minidump {
        return minidump::run(memory, out, &signals);
    }
    let tables = memory.tables()?;
    tables.iter().filter_map(WithTables::text).for_each(note);
    let image = match &tables {
        Some(tables) => tables,
        None => memory.image()?,
    };
    let progress =
        Progress::new(convert::bytes(image).map_err(Error::of_command)?);
    let mut job = Job::new(Some(&signals), progress);
    let written = sink(&out).and_then(|sink| match args.to {
        To::Raw => convert::raw::write(image, sink, &mut job),
        To::Lime => convert::lime::write(image, sink, &mut job),
        To::Kdump => {
            let (facts, codec) = (memory.facts(image), args.codec);
            let threads = available_parallelism().map_or(1, |n| n.get());
            kdump::write(image, &facts, codec, threads, sink, &mut job)
        }
        To::Elf | To::Minidump => Ok(()),
    });
    written.map_err(|e| failed(&out, e))?;
    out.finish()?;
    let Job { problems, .. } = job;
    let became = match args.to {
        To::Kdump => "are not in the output",
        _ => "are zeros in the output",
    };
    problems.text(became).iter().for_each(note);
    Ok(problems.outcome())
}

/// What to write to.
fn sink(out: &Output) -> Result<Sink<'_>, convert::Error> {
    out.clear()?;
    Ok(match out.file() {
        Some(file) => Sink::file(file)?,
        None => Sink::stream(std::io::stdout().lock()),
    })
}

fn failed(out: &Output, e: convert::Error) -> Error {
    match e {
        convert::Error::Io(e) => out.error(e).into(),
        e => Error::of_command(e),
    }
}

fn refuse_terminal(out: &Output) -> Result<(), Error> {
    let terminal = match out.file() {
        Some(file) => file.is_terminal(),
        None => std::io::stdout().is_terminal(),
    };
    match terminal {
        true => Err(Error::Usage("the output is a terminal")),
        false => Ok(()),
    }
}

/// Opens everything, gives all else up, and looks into it.
fn open(args: &Args, out: &Output) -> Result<Memory, Error> {
    let dump = Vmcore::open_file(&args.file)?;
    let named = args.kernel.kernel();
    let kernels = KernelFiles::open(&args.file, named, DebugFile::Unwanted)?;
    let inputs: Vec<_> =
        kernels.files().chain([&dump]).map(AsFd::as_fd).collect();
    out.check_no_input(&inputs)?;
    let inputs = inputs.into_iter().map(|fd| (fd, Purpose::Read));
    let files: Vec<_> = inputs.chain(out.descriptors()).collect();
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Reader, &files);
    let opened = Opened::new(dump, &args.file)?;
    let wanted = matches!(args.to, To::Kdump | To::Minidump);
    Memory::new(opened, kernels, named.is_some(), wanted)
}
