// SPDX-License-Identifier: BSD-2-Clause
//! A new dump gets its seal before it gets its name: while it is written,
//! where that can be, and of the rest while its bytes are still in memory and
//! being synced to disk.

use crate::crashdir::{self, CrashDir, Temp};
use crate::seal::{Begun, Growing, Seal, Stopped};
use crate::signals::Signals;
use livedump_vmcore::chain;
use nix::sys::signal::Signal;
use std::error::Error;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{available_parallelism, scope};

/// Why the dump does not get its name.
#[derive(Debug)]
pub(super) enum Fault<E> {
    /// A signal.
    Stopped(Signal),
    /// It cannot be synced.
    Sync(E),
}

/// Checksums of a file, those that were not begun before computed while it is
/// synced. Without them, which is a pity and no more, there is the reason for
/// it.
pub(super) fn sum<E: Send>(
    file: &File,
    begun: Option<Begun>,
    sync: impl Fn() -> Result<(), E> + Sync,
    signals: &Signals,
) -> Result<Result<Seal, String>, Fault<E>> {
    let threads = available_parallelism().map_or(1, |n| n.get().min(16));
    let mut stop = None;
    let on_disk = Arc::new(AtomicBool::new(false));
    let (sealed, synced) = scope(|scope| {
        let sync = scope.spawn(|| {
            sync()?;
            on_disk.store(true, Ordering::Release);
            Ok(())
        });
        let sealed =
            Seal::completed(begun, file, &on_disk, threads, &mut || {
                stop = stop.or_else(|| signals.stopped());
                stop.is_some()
            });
        // It does not panic; if it did, the file is synced once more.
        (sealed, sync.join().unwrap_or(Ok(())))
    });
    // It may have come while the rest was synced.
    if let Some(signal) = stop.or_else(|| signals.stopped()) {
        return Err(Fault::Stopped(signal));
    }
    synced.map_err(Fault::Sync)?;
    Ok(sealed.map_err(|e| match e {
        Stopped::Read(e) => unsealed(&e),
        e => unsealed(&e),
    }))
}

/// A dump that is about to be written, for checksums of its first parts.
pub(super) fn growing(dump: &Temp<'_>) -> Option<Growing> {
    let file = dump.file().try_clone().ok()?;
    Some(Growing::new(file))
}

/// That there are no checksums.
pub(super) fn unsealed(why: &dyn Error) -> String {
    format!("no checksums written: {}", chain(why))
}

/// Seals a dump, and syncs it.
pub(super) fn seal<'d>(
    directory: &'d CrashDir,
    dump: &Temp<'_>,
    begun: Option<Begun>,
    signals: &Signals,
) -> Result<Result<Temp<'d>, String>, Fault<crashdir::Error>> {
    let text = match sum(dump.file(), begun, || dump.sync(), signals)? {
        Ok(seal) => seal.text(),
        Err(why) => return Ok(Err(why)),
    };
    let written = directory.temp().and_then(|mut temp| {
        temp.write_all(text.as_bytes())?;
        Ok(temp)
    });
    Ok(written.map_err(|e| unsealed(&e)))
}

/// The name of the checksum file in info.N.
pub(super) fn line(number: u32) -> String {
    format!("  Seal: seal.{number}\n")
}
