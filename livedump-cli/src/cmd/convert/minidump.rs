// SPDX-License-Identifier: BSD-2-Clause
//! `convert --to minidump`: the engine that runs in the kernel writes it, from
//! the memory it is given. The dump has what that kernel would dump: of an
//! image, no memory of user processes.

use super::sealed::Sealed;
use super::{Memory, failed};
use crate::analysis::facts;
use crate::convert::Error as ConvertError;
use crate::device::{Device, HostedDevice};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::report::note;
use crate::signals::{Event, Signals};
use livedump_vmcore::Vmcore;
use livedump_vmcore::image::kernel::ImageFacts;
use livedump_vmcore::path::escape_path;
use memdev::addr::PAGE_SIZE;
use memdev::errno::Errno;
use memdev::ioctl::MemMinidumpArg;
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::thread;

/// Nothing can be found in the memory without its kernel.
#[derive(Debug, thiserror::Error)]
#[error("--to minidump: no kernel file was found for this memory: use -k")]
struct NoKernel;

/// The engine could not write it.
#[derive(Debug, thiserror::Error)]
#[error("writing the minidump: {0}")]
struct Failed(&'static str);

/// The temporary directory takes no file.
#[derive(Debug, thiserror::Error)]
#[error("temporary directory {directory} (TMPDIR)")]
struct NoTemporary {
    directory: String,
    source: io::Error,
}

/// Where the engine writes to, which takes a regular file, when the output is
/// none: a file without a name. The minidump goes from there.
pub(super) fn unnamed(sealed: &Sealed) -> Result<Option<File>, Error> {
    if sealed.out.is_regular() {
        return Ok(None);
    }
    tempfile::tempfile().map(Some).map_err(|source| {
        let directory = escape_path(&std::env::temp_dir());
        Error::of_command(NoTemporary { directory, source })
    })
}

pub(super) fn run(
    memory: Memory,
    sealed: Sealed,
    unnamed: Option<File>,
) -> Result<Outcome, Error> {
    let Some(core) = memory.core else {
        return Err(Error::of_command(NoKernel));
    };
    let out = &sealed.out;
    let cut = cut(&core);
    let facts = match &memory.kernel {
        Some(kernel) => facts::of_image(&core, kernel, memory.debug.as_ref()),
        None => core
            .image()
            .and_then(|memory| memory.page_facts())
            .unwrap_or_else(ImageFacts::default),
    };
    let device =
        HostedDevice::of_dump(core, facts).map_err(Error::of_command)?;
    out.clear().map_err(|e| out.error(e))?;
    let Some(file) = unnamed.as_ref().or_else(|| out.file()) else {
        return Err(Error::of_command(NoKernel));
    };
    let mut arg = MemMinidumpArg::new();
    let written = match sealed.signals() {
        Some(signals) => {
            let (written, stopped) = write(&device, &mut arg, file, signals);
            if let Some(signal) = stopped {
                let e = ConvertError::Stopped(signal);
                return Err(Error::of_command(e));
            }
            written
        }
        None => device.minidump(&mut arg, Some(file)),
    };
    written.map_err(|e| Error::of_command(Failed(e.text())))?;
    // Without the kernel dump header, as savecore(8) leaves it.
    let length = arg.dumplength;
    if let Some(file) = &unnamed {
        let copied = copy(file, length, out);
        copied.map_err(|e| failed(out, ConvertError::Io(e)))?;
    } else {
        file.set_len(length).map_err(|e| out.error(e))?;
    }
    let outcome = sealed.finish()?;
    if cut == 0 {
        return Ok(outcome);
    }
    note(format_args!(
        "{cut} pages are after the end of the file and are not in the output"
    ));
    Ok(outcome.and(Outcome::Finding))
}

/// Pages that a file which is cut off has bits of. The engine takes them for
/// pages that were not dumped.
fn cut(core: &Vmcore) -> u64 {
    let (None, Ok(pages)) = (core.image(), core.pages()) else { return 0 };
    let Some(len) = core.source().known_len() else { return 0 };
    let data = len.saturating_sub(core.layout().pages);
    // The page that the file ends in is there.
    pages.count_set().saturating_sub(data.div_ceil(PAGE_SIZE as u64))
}

/// Copies the first `length` bytes to a stream.
fn copy(mut file: &File, length: u64, out: &Output) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut dump = file.take(length);
    match out.file() {
        Some(mut to) => io::copy(&mut dump, &mut to)?,
        None => io::copy(&mut dump, &mut io::stdout().lock())?,
    };
    Ok(())
}

/// Writes it; the signal that ended it.
fn write(
    device: &HostedDevice,
    arg: &mut MemMinidumpArg,
    file: &File,
    signals: &Signals,
) -> (Result<(), Errno>, Option<Signal>) {
    let mut stopped = None;
    let written = thread::scope(|scope| {
        let done = signals.sender();
        let engine = scope.spawn(move || {
            let result = device.minidump(arg, Some(file));
            // Nobody listens any more when the receiver is gone.
            let _ = done.send(Event::Done);
            result
        });
        while let Ok(event) = signals.events().recv() {
            match event {
                Event::Stop(signal) => {
                    stopped = Some(signal);
                    device.interrupt();
                }
                Event::Info => {}
                Event::Done => break,
            }
        }
        engine.join().unwrap_or(Err(Errno::EIO))
    });
    (written, stopped)
}
