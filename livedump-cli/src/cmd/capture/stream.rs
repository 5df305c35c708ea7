// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture -`: a dump for a pipe.
//!
//! A kernel writes into plain files only, and nothing is to leave that was
//! not checked. So the dump is taken into a file without a name, in the
//! directory for temporary files, and goes from there.

use super::dump::{Capture, verdict};
use super::prepare::Prepared;
use super::{Args, Error, confine};
use crate::crashdir::{self, CrashDir};
use crate::device;
use crate::kernel_files::image_facts;
use crate::outcome::Outcome;
use crate::report::{human, note};
use crate::signals::Signals;
use livedump_vmcore::path::escape_path;
use memdev::kerneldump::Compression;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileExt;

/// What is copied at a time.
const PIECE: usize = 1 << 20;

/// Takes a dump and writes it to standard output.
pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    super::check_usage(args)?;
    check_usage(args)?;
    let mut signals = Signals::take();
    let place = std::env::temp_dir();
    let directory = CrashDir::open(&place).map_err(|e| match e {
        crashdir::Error::Io { source, .. } => {
            Error::Temporary { directory: escape_path(&place), source }
        }
        e => e.into(),
    })?;
    let machine = args.options.apply(&args.machine)?;
    let stop = &|| signals.stopped().is_some();
    let device =
        device::open(&machine, args.kernel.as_deref(), &image_facts, stop)?;
    let prepared = Prepared::gather(args, device.as_ref())?;
    confine(args, device.as_ref(), &directory, &prepared, &[]);
    prepared.check_named()?;
    let mut dump = directory.temp()?;
    dump.unlink()?;
    let (device, directory) = (device.as_ref(), &directory);
    let capture = Capture { args, device, directory, prepared };
    let (dumped, checked, lists) =
        capture.checked(&dump, None, None, &mut signals)?;
    let verdict = verdict(&dumped, &checked, &lists);
    if !verdict.is_sound() {
        note(&verdict);
    }
    // The file has no name: nothing is left by a signal, which also ends a
    // write to a pipe that nobody reads.
    if let Some(signal) = signals.release() {
        return Err(Error::Stopped(signal));
    }
    copy(dump.file(), checked.dumplength)?;
    if !args.quiet {
        note(format_args!(
            "{} to standard output{}",
            human(checked.dumplength),
            match checked.compression {
                Compression::None => String::new(),
                codec => format!(" ({})", codec.name()),
            }
        ));
        if let Some(instant) = dumped.instant() {
            note(format_args!("paused {}", instant.pause()));
        }
    }
    Ok(Outcome::from(&verdict))
}

fn check_usage(args: &Args) -> Result<(), Error> {
    let beside = args.keep_kernel || args.stability;
    if beside || args.maxdumps.is_some() || args.json {
        return Err(Error::Usage(
            "-m, --json, --keep-kernel and --stability cannot be used with -: \
             only the dump is written",
        ));
    }
    if io::stdout().is_terminal() {
        return Err(Error::Usage(
            "not writing a dump to a terminal: redirect standard output, or \
             name a directory",
        ));
    }
    Ok(())
}

fn copy(dump: &File, length: u64) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let mut buf = vec![0; PIECE];
    let mut at = 0;
    while at < length {
        let n = (length - at).min(PIECE as u64) as usize;
        let piece = buf.get_mut(..n).unwrap_or_default();
        dump.read_exact_at(piece, at)
            .and_then(|()| out.write_all(piece))
            .map_err(Error::Stream)?;
        at += n as u64;
    }
    out.flush().map_err(Error::Stream)
}
