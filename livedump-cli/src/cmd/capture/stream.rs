// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture -`: a dump for a pipe. It goes there as it is made, and is
//! in no file; nor can it be looked at again.
//!
//! Where the machine cannot do that it is taken into a file without a name, in
//! the directory for temporary files, is checked, and goes from there.

use super::check::Checked;
use super::dump::{Capture, verdict};
use super::dumped::Dumped;
use super::encrypted::with_key;
use super::prepare::Prepared;
use super::request::Asking;
use super::streamed::{self, Flow};
use super::{Args, Error, confine};
use crate::crashdir::{self, CrashDir};
use crate::device::{self, Device};
use crate::ekcd::Encrypting;
use crate::kernel_files::image_facts;
use crate::outcome::Outcome;
use crate::report::{human, note};
use crate::signals::Signals;
use livedump_vmcore::path::escape_path;
use memdev::addr::PAGE_SIZE;
use memdev::kerneldump::Compression;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;

/// What is copied at a time.
const PIECE: usize = 1 << 20;
/// How long nobody reads before it is looked whether anybody still waits.
const LOOK_MS: u16 = 200;

/// Takes a dump and writes it to standard output.
pub(super) fn run(args: &Args) -> Result<Outcome, Error> {
    super::check_usage(args)?;
    check_usage(args)?;
    let mut signals = Signals::take();
    streamed::prepare();
    let machine = args.options.apply(&args.machine)?;
    let stop = &|| signals.stopped().is_some();
    let device =
        device::open(&machine, args.kernel.as_deref(), &image_facts, stop)?;
    let device = device.as_ref();
    match why_not(args, device) {
        None => direct(args, device, &mut signals),
        Some(why) if args.encryption.encrypt.is_some() => {
            Err(Error::NoPlainFile(why))
        }
        Some(why) => spooled(args, device, signals, why),
    }
}

/// Why a dump cannot go to a reader that may be slow, if it cannot.
fn why_not(args: &Args, device: &dyn Device) -> Option<&'static str> {
    if args.quiesce {
        Some("who reads it may be suspended")
    } else if device.stands_still() {
        Some("the machine stands still meanwhile")
    } else if !device.can_stream() {
        Some("this kernel writes dumps into files only")
    } else {
        None
    }
}

fn direct(
    args: &Args,
    device: &dyn Device,
    signals: &mut Signals,
) -> Result<Outcome, Error> {
    let prepared = Prepared::gather(args, device)?;
    confine(args, device, None, &prepared, &[]);
    prepared.check_named()?;
    let asking = Asking { args, device };
    let room = |_| Ok(None);
    let encryption = prepared.encryption()?;
    let streamed = match &encryption {
        None => asking.streamed(signals, room, to_stdout),
        Some(encryption) => {
            let (key, encryptor) =
                (encryption.key_block()?, encryption.encryptor());
            asking.streamed(signals, room, |from, flow| {
                let it = Encrypting::new(from, encryptor);
                to_stdout(&mut it.framed(key, PAGE_SIZE), flow)
            })
        }
    };
    device.release();
    let streamed = streamed?;
    let outcome = streamed.outcome();
    if encryption.is_some() {
        // Without it the stream is not complete.
        let header = with_key(&streamed.checked.bytes);
        let never = AtomicBool::new(false);
        to_stdout(&mut header.as_slice(), Flow::of(&never))?;
    }
    let (checked, written) = (&streamed.checked, streamed.taken);
    said(args, written, checked, &streamed.dumped, ", not checked");
    Ok(outcome)
}

fn spooled(
    args: &Args,
    device: &dyn Device,
    mut signals: Signals,
    why: &str,
) -> Result<Outcome, Error> {
    let place = std::env::temp_dir();
    let directory = CrashDir::open(&place).map_err(|e| match e {
        crashdir::Error::Io { source, .. } => {
            Error::Temporary { directory: escape_path(&place), source }
        }
        e => e.into(),
    })?;
    if !args.quiet {
        note(format_args!(
            "{why}: the dump goes through a file in {} (TMPDIR)",
            escape_path(&place)
        ));
    }
    let prepared = Prepared::gather(args, device)?;
    confine(args, device, Some(&directory), &prepared, &[]);
    prepared.check_named()?;
    let mut dump = directory.temp()?;
    dump.unlink()?;
    let directory = &directory;
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
    said(args, checked.dumplength, &checked, &dumped, "");
    Ok(Outcome::from(&verdict))
}

fn said(
    args: &Args,
    bytes: u64,
    checked: &Checked,
    dumped: &Dumped,
    how: &str,
) {
    if args.quiet {
        return;
    }
    note(format_args!(
        "{} to standard output{}{how}",
        human(bytes),
        match checked.compression {
            Compression::None => String::new(),
            codec => format!(" ({})", codec.name()),
        }
    ));
    if let Some(instant) = dumped.instant() {
        note(format_args!("paused {}", instant.pause()));
    }
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

/// Writes a dump as it comes.
fn to_stdout(from: &mut dyn BufRead, flow: Flow<'_>) -> Result<u64, Error> {
    let out = io::stdout();
    let mut written = 0u64;
    loop {
        let piece = from.fill_buf().map_err(Error::Taking)?;
        if piece.is_empty() {
            return Ok(written);
        }
        match nix::unistd::write(out.as_fd(), piece) {
            Ok(n) => {
                from.consume(n);
                written = written.saturating_add(n as u64);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::from(LOOK_MS));
            }
            Err(e) => return Err(Error::Stream(e.into())),
        }
        flow.go_on().map_err(Error::Taking)?;
    }
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
