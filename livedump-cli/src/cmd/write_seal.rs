// SPDX-License-Identifier: BSD-2-Clause
//! A new dump gets its seal before it gets its name: while its bytes are
//! still in memory, and while they are being synced to disk.

use crate::crashdir::{self, CrashDir, Temp};
use crate::seal::{Seal, Stopped};
use crate::signals::Signals;
use livedump_vmcore::chain;
use nix::sys::signal::Signal;
use std::thread::{available_parallelism, scope};

/// Why the dump does not get its name.
#[derive(Debug)]
pub(super) enum Fault {
    /// A signal.
    Stopped(Signal),
    /// It cannot be synced.
    CrashDir(crashdir::Error),
}

/// Seals a dump, and syncs it. Without a seal, which is a pity and no more,
/// there is the reason for it.
pub(super) fn seal<'d>(
    directory: &'d CrashDir,
    dump: &Temp<'_>,
    signals: &Signals,
) -> Result<Result<Temp<'d>, String>, Fault> {
    let threads = available_parallelism().map_or(1, |n| n.get().min(16));
    let mut stop = None;
    let (sealed, synced) = scope(|scope| {
        let sync = scope.spawn(|| dump.sync());
        let sealed = Seal::of(dump.file(), threads, &mut || {
            stop = stop.or_else(|| signals.stopped());
            stop.is_some()
        });
        // It does not panic; if it did, the dump is synced once more.
        (sealed, sync.join().unwrap_or(Ok(())))
    });
    if let Some(signal) = stop {
        return Err(Fault::Stopped(signal));
    }
    synced.map_err(Fault::CrashDir)?;
    let why = |e: &dyn std::error::Error| {
        Ok(Err(format!("no checksums written: {}", chain(e))))
    };
    let text = match sealed {
        Ok(seal) => seal.text(),
        Err(Stopped::Read(e)) => return why(&e),
        Err(e) => return why(&e),
    };
    let written = directory.temp().and_then(|mut temp| {
        temp.write_all(text.as_bytes())?;
        Ok(temp)
    });
    match written {
        Ok(temp) => Ok(Ok(temp)),
        Err(e) => why(&e),
    }
}

/// The name of the checksum file in info.N.
pub(super) fn line(number: u32) -> String {
    format!("  Seal: seal.{number}\n")
}
