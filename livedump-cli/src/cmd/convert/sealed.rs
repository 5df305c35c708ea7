// SPDX-License-Identifier: BSD-2-Clause
//! The file that a conversion writes, and its checksums: `OUT.seal`, or, where
//! the name is that of a dump in a crash directory, `seal.N`. A pipe or a
//! device has none.
//!
//! The old checksums are removed before the new file gets its name, and the
//! new ones get theirs after it: a run that is killed leaves no file beside
//! the checksums of another.

use super::Args;
use crate::cmd::write_seal::{Fault, sum, unsealed};
use crate::convert;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::{Output, OutputError};
use crate::report::note;
use crate::sandbox::Purpose;
use crate::seal::{Seal, SealError};
use crate::signals::Signals;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{companion, regular};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Checksums would replace what is not theirs.
#[derive(Debug, thiserror::Error)]
#[error("{path} {what}: use another name, or --no-seal")]
struct Taken {
    path: String,
    what: &'static str,
}

impl Taken {
    fn error(path: &Path, what: &'static str) -> Error {
        Error::of_command(Self { path: escape_path(path), what })
    }
}

/// The file for checksums.
#[derive(Debug)]
struct Checksums {
    output: Output,
    /// What has the name.
    before: Option<File>,
    /// Whether new ones are written.
    wanted: bool,
}

/// An output that is sealed.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) out: Output,
    seal: Option<Checksums>,
    /// Why there are no checksums.
    unsealed: Option<String>,
    /// Blocked only while there is a file to be removed: what is written to
    /// a pipe that nobody reads ends with the signal.
    signals: Option<Signals>,
}

/// Whether a path is that of something other than a file.
fn is_stream(path: &Path) -> bool {
    let other = path.metadata().is_ok_and(|meta| !meta.is_file());
    path.as_os_str() == "-" || other
}

impl Sealed {
    /// Opens it, and blocks signals from then on where it is a file. To be
    /// called before any thread is started, so that all have them blocked.
    pub(super) fn open(args: &Args) -> Result<Self, Error> {
        if is_stream(&args.out) {
            let out = Output::open_private(&args.out)?;
            let terminal = match out.file() {
                Some(file) => file.is_terminal(),
                None => std::io::stdout().is_terminal(),
            };
            if terminal {
                return Err(Error::Usage("the output is a terminal"));
            }
            let (seal, unsealed, signals) = (None, None, None);
            return Ok(Self { out, seal, unsealed, signals });
        }
        let signals = Some(Signals::take());
        let out = Output::open_private(&args.out)?;
        let (seal, unsealed) = match Checksums::open(args) {
            Ok(seal) => (seal, None),
            Err(Error::Command(e)) if e.is::<OutputError>() => {
                (None, (!args.no_seal).then(|| unsealed(e.as_ref())))
            }
            Err(e) => return Err(e),
        };
        if let Some(seal) = &seal {
            out.check_distinct(&seal.output)?;
        }
        Ok(Self { out, seal, unsealed, signals })
    }

    /// What signals have arrived.
    pub(super) fn signals(&self) -> Option<&Signals> {
        self.signals.as_ref()
    }

    /// All files that are written.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &Output> {
        let seal = self.seal.iter().map(|seal| &seal.output);
        [&self.out].into_iter().chain(seal)
    }

    /// What has to stay open.
    pub(super) fn descriptors(
        &self,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Purpose)> {
        let before = self.seal.iter().filter_map(|seal| seal.before.as_ref());
        let before = before.map(|file| (file.as_fd(), Purpose::Read));
        self.outputs().flat_map(Output::descriptors).chain(before)
    }

    /// That none of them replaces an input.
    pub(super) fn check_no_input(
        &self,
        inputs: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        self.outputs().try_for_each(|to| to.check_no_input(inputs))?;
        Ok(())
    }

    /// That what has the name of the checksums is checksums: once nothing but
    /// what is open can be reached.
    pub(super) fn check_old(&mut self, args: &Args) -> Result<(), Error> {
        let Some(seal) = &mut self.seal else { return Ok(()) };
        let Some(before) = seal.before.take() else { return Ok(()) };
        match Seal::read(&before) {
            Err(SealError::Long | SealError::Line { line: 1, .. }) => {}
            Ok(_) | Err(_) => return Ok(()),
        }
        if seal.wanted {
            let path = companion::seal(&args.out).unwrap_or_default();
            return Err(Taken::error(&path, "is not a file of checksums"));
        }
        self.seal = None;
        Ok(())
    }

    /// Seals it and gives it its name.
    pub(super) fn finish(self) -> Result<Outcome, Error> {
        let Self { out, seal, unsealed: mut why, signals } = self;
        let Some(signals) = signals else {
            out.finish()?;
            return Ok(Outcome::Clean);
        };
        let mut text = None;
        if let Some(file) = out.file()
            && seal.as_ref().is_some_and(|seal| seal.wanted)
        {
            match sum(file, None, || out.sync(), &signals) {
                Ok(Ok(sums)) => text = Some(sums.text()),
                Ok(Err(e)) => why = Some(e),
                Err(Fault::Sync(e)) => return Err(e.into()),
                Err(Fault::Stopped(signal)) => {
                    let e = convert::Error::Stopped(signal);
                    return Err(Error::of_command(e));
                }
            }
        }
        if let Some(seal) = &seal {
            seal.output.remove_old()?;
        }
        out.finish()?;
        if let (Some(seal), Some(text)) = (seal, text)
            && let Err(e) = seal.output.write(&text)
        {
            why = Some(unsealed(&e));
        }
        why.iter().for_each(note);
        Ok(if why.is_some() { Outcome::Finding } else { Outcome::Clean })
    }
}

impl Checksums {
    /// Opens them; with --no-seal, if there are any that are to be removed.
    fn open(args: &Args) -> Result<Option<Self>, Error> {
        let wanted = !args.no_seal;
        let Some(path) = companion::seal(&args.out) else { return Ok(None) };
        let there = |path: &Path| path.symlink_metadata().is_ok();
        let mut same = companion::same_number(&args.out);
        if let Some(other) = same.find(|path| there(path)) {
            return match wanted {
                true => Err(Taken::error(&other, "has the same number")),
                false => Ok(None),
            };
        }
        if !wanted && !there(&path) {
            return Ok(None);
        }
        let before = match regular::open(&path) {
            Ok(Some(file)) => Some(file),
            Ok(None) if wanted => {
                return Err(Taken::error(&path, "is not a file of checksums"));
            }
            Ok(None) => return Ok(None),
            Err(_) => None,
        };
        let output = Output::open_private(&path)?;
        Ok(Some(Self { output, before, wanted }))
    }
}
