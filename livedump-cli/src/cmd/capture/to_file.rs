// SPDX-License-Identifier: BSD-2-Clause
//! A dump into a file, of our request or, where there is no module, of the
//! kernel's own facility.

use super::dump::Capture;
use super::dumped::Dumped;
use super::limit::{FileSizeLimit, is_reached};
use super::progress::Progress;
use super::watch::watched;
use super::{Args, Error};
use crate::cmd::write_seal;
use crate::crashdir::Temp;
use crate::report::note;
use crate::seal::{Begun, Growing};
use crate::signals::Signals;
use memdev::errno::Errno;
use memdev::ioctl::MemLivedumpArg;
use memdev::kerneldump::Compression;

/// Threads that compress, where nobody says how many: no more than this.
const DEFAULT_WORKERS: u32 = 16;

/// What the kernel's own facility did not do: its levels cannot be asked for.
pub(super) fn unused_level(args: &Args) -> Option<String> {
    let level = args.level;
    let is_told = level.requested() > 0 && !args.quiet;
    let why = "the kernel's own facility has a level of its own";
    is_told.then(|| format!("{level} was not used: {why}"))
}

impl Capture<'_> {
    /// What checksums are begun of, if any.
    pub(super) fn growing(&self, dump: &Temp<'_>) -> Option<Growing> {
        if self.args.no_seal { None } else { write_seal::growing(dump) }
    }

    /// How many threads a dump keeps busy. Those that only copy memory, or
    /// encrypt it, wait for each other.
    pub(super) fn busy(&self) -> usize {
        let busy = match self.asking().compression() {
            Compression::None => 1,
            _ => self.args.workers.unwrap_or(DEFAULT_WORKERS),
        };
        usize::try_from(busy).unwrap_or(usize::MAX)
    }

    /// About how large a file becomes. The parts of its seal are as large as
    /// that asks for; where it is larger by far, they are made anew.
    pub(super) fn expected(&self, dumpextent: u64) -> u64 {
        match self.asking().compression() {
            Compression::None => dumpextent,
            _ => dumpextent / 4,
        }
    }

    /// Estimates, checks the room and dumps.
    pub(super) fn dump(
        &self,
        temp: &Temp<'_>,
        changes: Option<&Temp<'_>>,
        signals: &mut Signals,
    ) -> Result<Dumped, Error> {
        let asking = self.asking();
        let mut progress = Progress::new(self.args.quiet, self.args.verbose);
        let mut request = asking.request();
        let estimated = asking.estimate(&request, signals, &mut progress)?;
        let ours = estimated.ours;
        let budget = self.room(estimated.dumpextent)?;
        let bytes = budget.map(|b| b.bytes);
        // It does not listen to signals, but to this.
        let limit = bytes.filter(|_| !ours).and_then(FileSizeLimit::set);
        let mut stock = MemLivedumpArg {
            compression: request.arg.compression,
            ..MemLivedumpArg::default()
        };
        let (device, file) = (self.device, temp.file());
        let ask = || match changes {
            _ if !ours => device.kerneldump(&mut stock, file),
            Some(list) => {
                device.minidump_listing(&mut request.arg, file, list.file())
            }
            None => request.send(device, Some(file)),
        };
        let written = || device.readable_bytes().unwrap_or(0);
        let size = self.expected(estimated.dumpextent.unwrap_or(0));
        let growing = match device.readable_bytes() {
            Some(_) => self.growing(temp),
            None => None,
        };
        let busy = self.busy();
        let work = || Begun::during(growing, size, busy, &written, ask);
        let ((answer, begun), stop) =
            watched(device, signals, &mut progress, bytes, &|| {}, work);
        asking.stopped(stop)?;
        let answer = match answer {
            Err(Errno::EIO) if !ours && is_reached(temp.file()) => {
                Err(Errno::EFBIG)
            }
            answer => answer,
        };
        let limited = limit.is_some_and(|limit| limit.is_lowered());
        if answer.is_ok() && bytes.is_some() {
            let written = temp.allocated()?;
            // What was written since the last look counts, too.
            if bytes.is_some_and(|bytes| written > bytes) {
                return Err(asking.ran_out(written));
            }
        }
        match answer {
            Ok(()) if ours => {
                let dumped = asking.dumped(&request);
                Ok(Dumped { begun, ..dumped })
            }
            Ok(()) => {
                if let Some(text) = unused_level(self.args) {
                    note(text);
                }
                Ok(Dumped::default())
            }
            Err(Errno::ENOTTY | Errno::ENODEV) if !ours => {
                Err(Error::NoFacility)
            }
            Err(Errno::EFBIG) if limited => {
                Err(asking.ran_out(bytes.unwrap_or(0)))
            }
            // The disk was full before the next look at what is written.
            Err(Errno::ENOSPC) if budget.is_some_and(|b| b.minfree > 0) => {
                Err(asking.ran_out(temp.allocated()?))
            }
            Err(source) => Err(asking.refused(source)),
        }
    }
}
