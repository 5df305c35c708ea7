// SPDX-License-Identifier: BSD-2-Clause
//! A dump into a file, of our request or, where there is no module, of the
//! kernel's own facility.

use super::Error;
use super::dump::Capture;
use super::dumped::Dumped;
use super::limit::{FileSizeLimit, is_reached};
use super::progress::Progress;
use super::watch::watched;
use crate::crashdir::Temp;
use crate::signals::Signals;
use memdev::errno::Errno;
use memdev::ioctl::MemLivedumpArg;

impl Capture<'_> {
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
        let (answer, stop) =
            watched(self.device, signals, &mut progress, bytes, &|| {}, || {
                let (device, file) = (self.device, temp.file());
                match changes {
                    _ if !ours => device.kerneldump(&mut stock, file),
                    Some(list) => device.minidump_listing(
                        &mut request.arg,
                        file,
                        list.file(),
                    ),
                    None => request.send(device, Some(file)),
                }
            });
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
            Ok(()) if ours => Ok(asking.dumped(&request)),
            Ok(()) => Ok(Dumped::default()),
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
