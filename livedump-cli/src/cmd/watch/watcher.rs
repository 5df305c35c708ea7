// SPDX-License-Identifier: BSD-2-Clause
//! One iteration: take a dump, remove old ones, run the command. Nothing is
//! removed before the new dump is on disk. A failure is reported, and the next
//! dump is taken.

use super::Args;
use super::event::WatchEvent;
use super::exec::{self, CommandStatus};
use crate::cmd::capture::captured::Captured;
use crate::cmd::capture::{self, Prepared, once};
use crate::crashdir::{CrashDir, Pruned};
use crate::device::{self, Device, MachineSpec};
use crate::error::Error;
use crate::kernel_files::image_facts;
use crate::outcome::Outcome;
use crate::report::{Report, complain, human, inform, note, show, time_zone};
use crate::signals::Signals;
use jiff::Timestamp;
use livedump_vmcore::chain;
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::time::SystemTime;

/// How a round ended.
#[derive(Debug)]
pub(super) enum Iteration {
    Done,
    Stopped(Signal),
}

/// What a watch has and has done.
pub(super) struct Watcher<'a> {
    args: &'a Args,
    capture_args: capture::Args,
    directory: &'a CrashDir,
    device: Box<dyn Device>,
    /// What was opened before everything else was given up; `None` where it
    /// was not.
    prepared: Option<Prepared>,
    taken: u64,
    failed: u64,
    /// Objects of `--json` that could not be written.
    unreported: u64,
    kept: usize,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(
        args: &'a Args,
        capture_args: capture::Args,
        directory: &'a CrashDir,
        device: Box<dyn Device>,
        prepared: Option<Prepared>,
    ) -> Self {
        let (taken, failed, unreported, kept) = (0, 0, 0, 0);
        Self {
            args,
            capture_args,
            directory,
            device,
            prepared,
            taken,
            failed,
            unreported,
            kept,
        }
    }

    /// Dumps that were taken or could not be.
    pub(super) fn taken(&self) -> u64 {
        self.taken + self.failed
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.args.quiet
    }

    /// [`Outcome::Finding`] if a dump or a report failed.
    pub(super) fn outcome(&self) -> Outcome {
        match self.failed + self.unreported {
            0 => Outcome::Clean,
            _ => Outcome::Finding,
        }
    }

    /// Prints the numbers of dumps and the time of the next one.
    pub(super) fn print_status(&self, next: Option<SystemTime>) {
        let next = match next.map(Timestamp::try_from) {
            Some(Ok(next)) => show(&next.to_zoned(time_zone())),
            _ => "on a change".into(),
        };
        inform(format_args!(
            "{} taken, {} failed, {} kept; next: {next}",
            self.taken, self.failed, self.kept
        ));
    }

    pub(super) fn iterate(
        &mut self,
        signals: &mut Signals,
    ) -> Result<Iteration, Error> {
        let captured = match self.capture(signals) {
            Err(capture::Error::Stopped(signal)) => {
                return Ok(Iteration::Stopped(signal));
            }
            captured => captured,
        };
        match &captured {
            Ok(it) => {
                self.taken += 1;
                for problem in &it.problems {
                    note(problem);
                }
                if !self.args.quiet {
                    inform(it.summary());
                }
            }
            Err(e) => {
                self.failed += 1;
                complain(chain(e));
            }
        }
        let pruned = self.prune();
        let printed = match self.args.json {
            true => {
                let captured = captured.as_ref().map_err(|e| chain(e));
                WatchEvent::new(captured, &pruned).print(true)
            }
            false => Ok(()),
        };
        let iteration = match (&self.args.exec, &captured) {
            (Some(command), Ok(it)) => self.exec(command, it, signals),
            _ => Iteration::Done,
        };
        match printed {
            // Nobody reads any more, which is how a pipe ends a program.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(e.into()),
            // A full disk, perhaps: dumps continue.
            Err(e) => {
                self.unreported += 1;
                complain(format_args!("writing to standard output: {e}"));
                Ok(iteration)
            }
            Ok(()) => Ok(iteration),
        }
    }

    fn capture(
        &mut self,
        signals: &mut Signals,
    ) -> Result<Captured, capture::Error> {
        let confined = self.prepared.is_some();
        if self.args.machine == MachineSpec::Kernel && !confined {
            // The module may have come or gone since.
            self.device = device::open(
                &self.args.machine,
                self.args.kernel.as_deref(),
                &image_facts,
                &|| false,
            )?;
        }
        let (device, prepared) = (self.device.as_ref(), self.prepared.as_ref());
        once(&self.capture_args, device, self.directory, prepared, signals)
    }

    /// Lets go what is too much.
    pub(super) fn prune(&mut self) -> Pruned {
        let retention = self.args.limits.retention();
        let now = SystemTime::now();
        match self.directory.prune(&retention, now, false) {
            Ok(pruned) => {
                for problem in &pruned.problems {
                    note(chain(problem));
                }
                for (dump, reason) in &pruned.removed {
                    if !self.args.quiet {
                        let path = self.directory.path(&dump.name);
                        let size = human(dump.disk_bytes);
                        let path = path.display();
                        inform(format_args!(
                            "removed {path} ({size}): {reason}"
                        ));
                    }
                }
                self.kept = pruned.kept.len();
                pruned
            }
            Err(e) => {
                note(chain(&e));
                Pruned::default()
            }
        }
    }

    fn exec(
        &self,
        command: &str,
        it: &Captured,
        signals: &Signals,
    ) -> Iteration {
        match exec::run(command, it, signals) {
            Ok(CommandStatus::Success) => {}
            Ok(CommandStatus::Failure(how)) => {
                note(format_args!("{command}: {how}"))
            }
            Ok(CommandStatus::Stopped(signal)) => {
                return Iteration::Stopped(signal);
            }
            Err(e) => note(format_args!("running {command}: {e}")),
        }
        Iteration::Done
    }
}
