// SPDX-License-Identifier: BSD-2-Clause
//! `livedump convert`: a dump's memory in the format of another program.
//!
//! ```text
//! $ livedump convert livecore.0.zst --to elf livecore.elf
//! $ lldb -s livecore.elf.lldb
//! ```

mod elf;
mod minidump;
mod sealed;

use super::dump_file::DumpFile;
use super::session::KernelArgs;
use crate::convert::elf::Debugger;
use crate::convert::kdump::{self, Codec, Facts};
use crate::convert::tables::WithTables;
use crate::convert::{self, Job, Progress, Sink};
use crate::error::Error;
use crate::kernel_files::{DebugFile, Found, KernelFiles, Misfit};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::report::note;
use crate::sandbox::{self, Purpose, Role};
use clap::{ValueEnum, ValueHint};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::MemoryImage;
use livedump_vmcore::image::bhyve::CheckpointFile;
use livedump_vmcore::{Opened, PagesError, Vmcore, chain};
use sealed::Sealed;
use std::fs::File;
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
    /// Do not write checksums to OUT.seal
    #[arg(long)]
    pub no_seal: bool,
    /// Another part of a split kdump; one for each
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub part: Vec<PathBuf>,
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
    /// Of an image.
    debug: Option<Kernel>,
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
            Self { core: Some(core), image, kernel, debug: None }
        };
        let mut image = match opened {
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
        let unknown = image.is_unknown();
        let needed = named || unknown;
        let any = kernels.files().next().is_some();
        let tried = (needed || kernel_wanted && any)
            .then(|| kernels.choose_in(&mut image));
        let failed = match tried {
            Some(Ok((core, Found { kernel, debug, .. }))) => {
                return Ok(Self { debug, ..with(core, Some(kernel)) });
            }
            Some(Err(e)) if named => return Err(e.into()),
            Some(Err(e)) => Some(e),
            None => None,
        };
        // Its kernel may have written where everything is.
        let page = match kernel_wanted {
            true => image.with_page_or_refused(),
            false if unknown => image.with_page_at_hand(),
            false => Err(None),
        };
        match page {
            Ok(core) => return Ok(with(core, None)),
            Err(refused) => refused.iter().for_each(note),
        }
        match failed {
            Some(e) if needed => return Err(e.into()),
            Some(e) => note(chain(&e)),
            None => {}
        }
        let image = Some(memory);
        Ok(Self { core: None, image, kernel: None, debug: None })
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

    /// That pages are in parts which are not here.
    fn incomplete(&self) -> Option<&str> {
        let image = self.image.as_ref();
        image.and_then(|image| image.claims().incomplete.as_deref())
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
    let mut sealed = Sealed::open(args)?;
    if args.to == To::Elf {
        return elf::run(args, sealed);
    }
    let unnamed = match args.to {
        To::Minidump => minidump::unnamed(&sealed)?,
        _ => None,
    };
    let memory = open(args, &mut sealed, unnamed.as_ref())?;
    memory.notes().iter().for_each(note);
    if args.to == To::Minidump {
        return minidump::run(memory, sealed, unnamed);
    }
    let tables = memory.tables()?;
    tables.iter().filter_map(WithTables::text).for_each(note);
    let image = match &tables {
        Some(tables) => tables,
        None => memory.image()?,
    };
    let progress =
        Progress::new(convert::bytes(image).map_err(Error::of_command)?);
    let mut job = Job::new(sealed.signals(), progress);
    let out = &sealed.out;
    let written = sink(out).and_then(|sink| match args.to {
        To::Raw => convert::raw::write(image, sink, &mut job),
        To::Lime => convert::lime::write(image, sink, &mut job),
        To::Kdump => {
            let (facts, codec) = (memory.facts(image), args.codec);
            let threads = available_parallelism().map_or(1, |n| n.get());
            kdump::write(image, &facts, codec, threads, sink, &mut job)
        }
        To::Elf | To::Minidump => Ok(()),
    });
    written.map_err(|e| failed(out, e))?;
    let Job { problems, .. } = job;
    let outcome = sealed.finish()?.and(incomplete(memory.incomplete()));
    let became = match args.to {
        To::Kdump => "are not in the output",
        _ => "are zeros in the output",
    };
    problems.text(became).iter().for_each(note);
    Ok(outcome.and(problems.outcome()))
}

/// What it comes to that pages are in parts which are not here, which has
/// been reported.
fn incomplete(why: Option<&str>) -> Outcome {
    why.map_or(Outcome::Clean, |_| Outcome::Undetermined)
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
        // Half of it is of no use: that the reader of a pipe has gone is an
        // error here.
        convert::Error::Io(e) => Error::of_command(out.error(e)),
        e => Error::of_command(e),
    }
}

/// Opens the other parts of a split dump.
pub(super) fn parts(paths: &[PathBuf]) -> Result<Vec<File>, Error> {
    let files = paths.iter().map(|path| Vmcore::open_file(path));
    Ok(files.collect::<Result<_, _>>()?)
}

/// Opens everything, gives all else up, and looks into it.
fn open(
    args: &Args,
    sealed: &mut Sealed,
    unnamed: Option<&File>,
) -> Result<Memory, Error> {
    let meta = CheckpointFile::beside(&args.file);
    let dump = DumpFile::open(&args.file, &args.kernel.keys)?;
    let named = args.kernel.kernel();
    let debug = match (&args.kernel.debug, args.to) {
        (Some(path), To::Minidump) => DebugFile::Named(path),
        (None, To::Minidump) => DebugFile::Search,
        _ => DebugFile::Unwanted,
    };
    let kernels = KernelFiles::open(&args.file, named, debug)?;
    let parts = parts(&args.part)?;
    let described = meta.iter().map(AsRef::as_ref);
    let all =
        kernels.files().chain(dump.files()).chain(&parts).chain(described);
    let inputs: Vec<_> = all.map(AsFd::as_fd).collect();
    sealed.check_no_input(&inputs)?;
    let inputs = inputs.into_iter().map(|fd| (fd, Purpose::Read));
    let unnamed = unnamed.map(|file| (file.as_fd(), Purpose::Update));
    let written = sealed.descriptors().chain(unnamed);
    let files: Vec<_> = inputs.chain(written).collect();
    // Where the kernel cannot, `livedump doctor` says so.
    let _ = sandbox::enter(Role::Reader, &files);
    sealed.check_old(args)?;
    let parts = parts.into_iter().zip(args.part.iter().map(PathBuf::as_path));
    let opened =
        dump.read(&args.file)?.with_checkpoint(meta)?.with_parts(parts)?;
    let wanted = matches!(args.to, To::Kdump | To::Minidump);
    Memory::new(opened, kernels, named.is_some(), wanted)
}
