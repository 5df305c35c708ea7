// SPDX-License-Identifier: BSD-2-Clause
//! `convert --to minidump`: the engine that runs in the kernel writes it, from
//! the memory it is given. The dump has what that kernel would dump: of an
//! image, no memory of user processes.

use super::Memory;
use crate::convert::Error as ConvertError;
use crate::device::{Device, HostedDevice};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::signals::{Event, Signals};
use memdev::errno::Errno;
use memdev::ioctl::MemMinidumpArg;
use std::fs::File;
use std::thread;

/// Nothing can be found in the memory without its kernel.
#[derive(Debug, thiserror::Error)]
#[error("--to minidump: no kernel file was found for this memory: use -k")]
struct NoKernel;

/// The engine could not write it.
#[derive(Debug, thiserror::Error)]
#[error("writing the minidump: {0}")]
struct Failed(&'static str);

pub(super) fn run(
    memory: Memory,
    out: Output,
    signals: &Signals,
) -> Result<Outcome, Error> {
    let Some(core) = memory.core else {
        return Err(Error::of_command(NoKernel));
    };
    let Some(file) = out.file() else {
        return Err(Error::Usage(
            "--to minidump needs a file; for standard output use livedump \
             capture --machine image:FILE -",
        ));
    };
    let device = HostedDevice::of_dump(core).map_err(Error::of_command)?;
    out.clear().map_err(|e| out.error(e))?;
    let (written, stopped) = write(&device, file, signals);
    if let Some(signal) = stopped {
        return Err(Error::of_command(ConvertError::Stopped(signal)));
    }
    let length = written.map_err(|e| Error::of_command(Failed(e.text())))?;
    // Without the kernel dump header, as savecore(8) leaves it.
    file.set_len(length).map_err(|e| out.error(e))?;
    out.finish()?;
    Ok(Outcome::Clean)
}

/// Its length, and the signal that ended it.
fn write(
    device: &HostedDevice,
    file: &File,
    signals: &Signals,
) -> (Result<u64, Errno>, Option<nix::sys::signal::Signal>) {
    let mut stopped = None;
    let written = thread::scope(|scope| {
        let done = signals.sender();
        let engine = scope.spawn(move || {
            let mut arg = MemMinidumpArg::new();
            let result = device.minidump(&mut arg, Some(file));
            // Nobody listens any more when the receiver is gone.
            let _ = done.send(Event::Done);
            result.map(|()| arg.dumplength)
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
