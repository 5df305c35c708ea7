// SPDX-License-Identifier: BSD-2-Clause
//! What is asked of the machine, what its answers mean, and the estimate that
//! comes before a dump.

use super::dumped::Dumped;
use super::progress::Progress;
use super::watch::{Stop, watched};
use super::{Args, Error};
use crate::device::{Device, OpenError, Request, Rescue, can_freeze};
use crate::report::note;
use crate::signals::Signals;
use memdev::errno::Errno;
use memdev::freeze::MinidumpFreeze;
use memdev::ioctl::{
    FLAG_ESTIMATE, FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY, FLAG_WAIT,
    MemMinidumpArg, MemMinidumpStatus,
};
use memdev::kerneldump::Compression;
use memdev::stage::Stage;

/// What the estimate told.
pub(super) struct Estimated {
    /// Whether our request is served, and not the kernel's own alone.
    pub(super) ours: bool,
    /// Bytes before compression, where it is.
    pub(super) dumpextent: Option<u64>,
}

/// One capture's requests.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) args: &'a Args,
    pub(super) device: &'a dyn Device,
}

impl Asking<'_> {
    fn flags(&self) -> u32 {
        let flags = [
            (FLAG_QUIESCE, self.args.quiesce),
            (FLAG_REGISTERS, self.args.registers),
            (FLAG_STABILITY, self.args.stability),
        ];
        let wanted = flags.into_iter().filter(|(_, wanted)| *wanted);
        wanted.fold(FLAG_WAIT, |flags, (flag, _)| flags | flag)
    }

    pub(super) fn compression(&self) -> Compression {
        if self.args.zstd {
            Compression::Zstd
        } else if self.args.gzip {
            Compression::Gzip
        } else {
            Compression::None
        }
    }

    /// Our request for a dump.
    pub(super) fn request(&self) -> Request {
        let freeze = self.args.freeze.then(|| MinidumpFreeze {
            max_pause_ns: self.args.pause.ns(),
            ..MinidumpFreeze::default()
        });
        let arg = MemMinidumpArg {
            flags: self.flags(),
            compression: self.compression() as u8,
            level: self.args.level.requested(),
            workers: self.args.workers.unwrap_or(0),
            ..MemMinidumpArg::new()
        };
        Request { arg, freeze }
    }

    /// Estimates. Where only the kernel's own facility is, whether that will
    /// do.
    pub(super) fn estimate(
        &self,
        request: &Request,
        signals: &mut Signals,
        progress: &mut Progress,
    ) -> Result<Estimated, Error> {
        let flags = FLAG_ESTIMATE | FLAG_WAIT;
        let mut estimate = MemMinidumpArg { flags, ..request.arg };
        let (answer, stop) =
            watched(self.device, signals, progress, None, &|| {}, || {
                self.device.minidump(&mut estimate, None)
            });
        self.stopped(stop)?;
        match answer {
            Ok(()) => {
                let dumpextent = Some(estimate.dumpextent);
                return Ok(Estimated { ours: true, dumpextent });
            }
            Err(Errno::ENOTTY | Errno::ENODEV) => {}
            Err(source) => return Err(self.failed(source)),
        }
        if request.arg.flags != FLAG_WAIT
            || request.freeze.is_some()
            || request.arg.level < 0
        {
            return Err(Error::NeedsModule);
        }
        match self.device.rescue() {
            Rescue::Yes(why) => return Err(Error::Rescue(why)),
            Rescue::Undetermined(why) if !self.args.force => {
                return Err(Error::MayRescue(why));
            }
            Rescue::Undetermined(_) | Rescue::No => {}
        }
        Ok(Estimated { ours: false, dumpextent: None })
    }

    /// What our request answered, with what else is known of the machine.
    pub(super) fn dumped(&self, answer: &Request) -> Dumped {
        let mut dumped = Dumped::from_answer(answer);
        dumped.missing = Some(self.device.missing());
        dumped.outside = self.device.outside();
        if let Some(outside) = &dumped.outside {
            dumped.registers = Some(outside.registers);
        }
        dumped
    }

    /// Why our request was not served.
    pub(super) fn refused(&self, source: Errno) -> Error {
        let unknown =
            matches!(source, Errno::ENOTTY | Errno::ENODEV | Errno::EINVAL);
        match unknown && self.args.freeze && !can_freeze(self.device) {
            true => Error::OldModule,
            false => self.failed(source),
        }
    }

    pub(super) fn stopped(&self, stop: Option<Stop>) -> Result<(), Error> {
        match stop {
            None => Ok(()),
            Some(Stop::Signal(signal)) => Err(Error::Stopped(signal)),
            Some(Stop::Room(written)) => Err(self.ran_out(written)),
        }
    }

    pub(super) fn ran_out(&self, written: u64) -> Error {
        Error::RanOut { directory: self.args.directory.clone(), written }
    }

    /// What the kernel was doing when it said `source`.
    pub(super) fn failed(&self, source: Errno) -> Error {
        if let Some(why) = self.device.take_failure() {
            let machine = self.device.name().into();
            return OpenError::Hosted { machine, source: why.into() }.into();
        }
        let reached = self.device.status().ok().filter(|status| {
            status.last_pid == self.device.pid()
                && status.last_error == source.0
        });
        if let Some(status) = reached.filter(|_| self.args.freeze)
            && let Some(error) = self.not_frozen(&status, source)
        {
            return error;
        }
        // Before anything is begun: by what the request asks for.
        let level = self.args.level.requested();
        if source == Errno::EINVAL && reached.is_none() && level < 0 {
            return Error::OldLevels(self.args.level);
        }
        let doing = reached
            .and_then(|status| status.last_stage())
            .map_or("requesting a dump", Stage::doing);
        Error::Dump { doing, source }
    }

    /// Why the machine was not copied while it was stopped.
    fn not_frozen(
        &self,
        status: &MemMinidumpStatus,
        source: Errno,
    ) -> Option<Error> {
        let (needs, has) = (status.last_needs, status.last_has);
        let max_ns = self.args.pause.ns();
        match (source, status.last_stage()?) {
            (Errno::ENOMEM, Stage::Prepare) if needs > 0 => {
                Some(Error::CopyMemory { needs, has })
            }
            (Errno::ETIMEDOUT, Stage::Prepare) => {
                Some(Error::PauseTooLong { needs_ns: needs, max_ns })
            }
            (Errno::ETIMEDOUT, Stage::Freeze) => {
                Some(Error::PauseExceeded { max_ns })
            }
            (Errno::EAGAIN, Stage::Freeze) => Some(Error::ChangedTooFast),
            (Errno::EOPNOTSUPP, Stage::Freeze) => Some(Error::Timers),
            _ => None,
        }
    }

    pub(super) fn say(&self, text: &str) {
        if self.args.verbose {
            note(text);
        }
    }
}
