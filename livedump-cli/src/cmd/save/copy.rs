// SPDX-License-Identifier: BSD-2-Clause
//! One dump, from the device to its name, and only then cleared.

use super::saved::{Saved, of_headers};
use super::{Args, Error};
use crate::cmd::write_seal;
use crate::crashdir::{
    Basename, Companion, CrashDir, Finished, Step, Temp, info_text,
};
use crate::dumpdev::{self, DumpDev, LocatedDump};
use crate::report::{human, note};
use crate::seal::Begun;
use crate::signals::Signals;
use indicatif::{ProgressBar, ProgressStyle};
use livedump_vmcore::chain;
use livedump_vmcore::path::escape_path;
use memdev::kerneldump::Compression;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where zeros become holes: in units of what file systems have as blocks.
const HOLE: usize = 4096;

pub(super) struct Save<'a> {
    pub(super) args: &'a Args,
    pub(super) device: &'a DumpDev,
    pub(super) directory: &'a CrashDir,
    pub(super) found: &'a LocatedDump,
}

impl Save<'_> {
    pub(super) fn run(&self, signals: &Signals) -> Result<Saved, Error> {
        let found = self.found;
        let (stem, compression) = (self.stem(), found.compression());
        let key_companion = found.key().map(|_| Companion::Key);
        let seal_companion = (!self.args.no_seal).then_some(Companion::Seal);
        let names: Vec<_> =
            key_companion.into_iter().chain(seal_companion).collect();
        let (mut dump, key) = {
            let _lock = self.directory.lock()?;
            self.directory.remove_stale()?;
            self.directory.check_names(
                self.args.maxdumps,
                stem,
                compression,
                &names,
            )?;
            let key = match key_companion {
                Some(_) => Some(self.directory.temp()?),
                None => None,
            };
            (self.directory.temp()?, key)
        };
        self.room()?;
        let begun = self.copy(&mut dump, signals)?;
        let mut companions = Vec::new();
        if let (Some(mut temp), Some(key)) = (key, found.key()) {
            temp.write_all(key)?;
            companions.push((Companion::Key, temp));
        }
        let mut unsealed = None;
        if seal_companion.is_some() {
            match write_seal::seal(self.directory, &dump, begun, signals)? {
                Ok(temp) => companions.push((Companion::Seal, temp)),
                Err(why) => unsealed = Some(why),
            }
        }
        let sealed = unsealed.is_none() && seal_companion.is_some();
        // By its headers, as savecore(8) does: the rest is for `verify`.
        let verdict = of_headers(found);
        let device = escape_path(&self.args.device);
        let info = |number| {
            let header = found.header();
            let mut text = info_text(header, &device, number, &verdict)
                .unwrap_or_else(|e| format!("{e}\n"));
            if sealed {
                text.push_str(&write_seal::line(number));
            }
            text
        };
        let it = Finished {
            dump,
            stem,
            companions,
            compression,
            sound: true,
            maxdumps: self.args.maxdumps,
            info: &info,
        };
        let mut stop = None;
        let finished = self.directory.finish_by_steps(it, &mut |step| {
            if step <= Step::Dump {
                stop = stop.or_else(|| signals.stopped());
            }
            match stop {
                Some(_) => Err(io::ErrorKind::Interrupted.into()),
                None => Ok(()),
            }
        });
        let finished = match (finished, stop) {
            (Ok(finished), _) => finished,
            (Err(_), Some(signal)) => return Err(Error::Stopped(signal)),
            (Err(e), None) => return Err(e.into()),
        };
        let mut saved = Saved::from_located(self.args, found);
        saved.named(self.directory, &finished);
        if let Some(why) = unsealed {
            saved.problem(why);
        }
        if let Some(e) = &finished.bounds {
            note(format_args!(
                "{}: saved as number {}",
                chain(e),
                finished.number
            ));
        }
        // A dump whose key, or whose place on disk, is not certain is still
        // needed where it is. Without links and the like it is not: it would
        // be saved again at every boot.
        if finished.durable && !self.args.keep && self.args.offset.is_none() {
            match self.device.clear(found) {
                Ok(()) => saved.cleared = true,
                Err(dumpdev::Error::Cleared { .. }) => {
                    saved.cleared = true;
                    saved.problem(format!(
                        "the dump on {} was saved by another process as well",
                        self.device.path().display()
                    ));
                }
                Err(e) => saved.problem(chain(&e)),
            }
        }
        Ok(saved)
    }

    fn stem(&self) -> Basename {
        if self.found.is_text() {
            Basename::Textdump
        } else if self.found.key().is_some() {
            Basename::VmcoreEncrypted
        } else {
            Basename::Vmcore
        }
    }

    fn room(&self) -> Result<(), Error> {
        if self.args.force {
            return Ok(());
        }
        let free = self.directory.free_bytes()?;
        // No reason to lose the dump of a panic; savecore(8) takes it for 0.
        let minfree = self.directory.minfree_bytes().unwrap_or_else(|e| {
            note(format_args!("{}: using 0", chain(&e)));
            0
        });
        let key = self.found.key().map_or(0, <[u8]>::len);
        let need = self.found.dumplength().saturating_add(key as u64);
        if need > free.saturating_sub(minfree) {
            let directory = self.args.directory.clone();
            return Err(Error::Room { directory, need, free, minfree });
        }
        Ok(())
    }

    /// Copies it, and begins its checksums.
    fn copy(
        &self,
        dump: &mut Temp<'_>,
        signals: &Signals,
    ) -> Result<Option<Begun>, Error> {
        let length = self.found.dumplength();
        let bar = self.bar(length);
        // What is compressed, encrypted or text has no holes worth it.
        let plain = self.found.compression() == Compression::None
            && self.found.key().is_none()
            && !self.found.is_text();
        let growing = match self.args.no_seal {
            true => None,
            false => write_seal::growing(dump),
        };
        let done = AtomicU64::new(0);
        let written = || done.load(Ordering::Acquire);
        let copy = || {
            self.device.contents(self.found, |piece| {
                if let Some(signal) = signals.stopped() {
                    return Err(Error::Stopped(signal));
                }
                if plain {
                    sparse(dump, piece)?;
                } else {
                    dump.write_all(piece)?;
                }
                let n = piece.len() as u64;
                done.fetch_add(n, Ordering::Release);
                bar.inc(n);
                Ok(())
            })
        };
        let (copied, begun) = Begun::during(growing, length, 1, &written, copy);
        bar.finish_and_clear();
        copied?;
        // A hole at the end has to be part of the file, too.
        dump.truncate(length)?;
        Ok(begun)
    }

    fn bar(&self, length: u64) -> ProgressBar {
        if self.args.quiet {
            return ProgressBar::hidden();
        }
        // Draws nothing where standard error is no terminal.
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template(
            "[{bar:30}] {percent}% {msg}, {binary_bytes_per_sec}, eta {eta}",
        ) {
            bar.set_style(style);
        }
        bar.set_message(format!("of {}", human(length)));
        bar
    }
}

/// Writes a piece, and leaves out the zeros in it.
fn sparse(dump: &mut Temp<'_>, piece: &[u8]) -> Result<(), Error> {
    let mut rest = piece;
    while !rest.is_empty() {
        let zeros = leading(rest, true);
        let (hole, tail) = rest.split_at_checked(zeros).unwrap_or((rest, &[]));
        dump.skip(hole.len() as u64)?;
        let data = leading(tail, false);
        let (data, tail) = tail.split_at_checked(data).unwrap_or((tail, &[]));
        dump.write_all(data)?;
        rest = tail;
    }
    Ok(())
}

/// How many bytes at the start are in blocks of zeros, or of something else.
fn leading(bytes: &[u8], zeros: bool) -> usize {
    let is_zero = |block: &&[u8]| block.iter().all(|b| *b == 0);
    let blocks = bytes.chunks(HOLE);
    blocks.take_while(|b| is_zero(b) == zeros).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_and_everything_is_where_it_was() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        let mut bytes = vec![0; 9 * HOLE + 100];
        bytes[HOLE] = 1;
        bytes[4 * HOLE - 1] = 2;
        for len in [0, 1, HOLE, 4 * HOLE, bytes.len()] {
            let mut temp = dir.temp().unwrap();
            sparse(&mut temp, &bytes[..len]).unwrap();
            temp.truncate(len as u64).unwrap();
            let written = std::fs::read(temp.path()).unwrap();
            assert!(written == bytes[..len], "{len}");
        }
    }
}
