// SPDX-License-Identifier: BSD-2-Clause
//! A measurement: a dump is begun with the kernel's own compressor and level,
//! and stopped after so many pages. How many bytes those became is read from
//! the status request while it runs, between the first page and the last, so
//! that neither what stands before the pages nor what is on its way through
//! the compressor counts. What was written is removed.
//!
//! Pages come in the order of their addresses, so it is the beginning of
//! memory that is measured. What is said about it says so.

use super::estimated::Codec;
use super::refused;
use crate::cmd::capture::Error as CaptureError;
use crate::cmd::capture::watch::own_status;
use crate::crashdir::Temp;
use crate::device::Device;
use crate::error::Error;
use crate::signals::{Event, Signals};
use memdev::addr::PAGE_SIZE;
use memdev::errno::Errno;
use memdev::ioctl::{MemMinidumpArg, MemMinidumpStatus};
use memdev::kerneldump::Compression;
use memdev::stage::Stage;
use nix::sys::signal::Signal;
use std::fs::File;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Less than this says nothing.
const MIN_PAGES: u64 = 64;

/// What of a machine's memory is compressed into memory at most.
pub(super) const MOST_IN_MEMORY: u64 = 64 << 20;

/// Where a sample is written to.
pub(super) enum Scratch<'a> {
    /// A file in the crash directory.
    Directory(Temp<'a>),
    /// Memory, where that has no room. A kernel that dumps itself takes no
    /// such file, a machine that runs in this process does.
    Memory(File),
}

impl Scratch<'_> {
    fn file(&self) -> &File {
        match self {
            Self::Directory(temp) => temp.file(),
            Self::Memory(file) => file,
        }
    }

    fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

/// A file that is nowhere but in memory, where the system has such files.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
pub(super) fn memory() -> Option<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let fd = memfd_create("livedump", MFdFlags::MFD_CLOEXEC).ok()?;
    Some(File::from(fd))
}

/// A file that is nowhere but in memory, where the system has such files.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
pub(super) fn memory() -> Option<File> {
    None
}

/// One measurement.
pub(super) struct Sampling<'a> {
    pub(super) device: &'a dyn Device,
    pub(super) scratch: &'a Scratch<'a>,
    /// As much memory as is compressed.
    pub(super) bytes: u64,
    pub(super) request: MemMinidumpArg,
}

/// What was seen of a dump while it ran.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SampleProgress {
    /// Pages done and bytes written when the first pages were done.
    pub(super) first: Option<(u64, u64)>,
    /// The same at the end.
    pub(super) last: (u64, u64),
    pub(super) stopped: Option<Signal>,
}

impl Sampling<'_> {
    pub(super) fn take(
        &self,
        dumpextent: u64,
        signals: &mut Signals,
    ) -> Result<Codec, Error> {
        let file = self.scratch.file();
        let started = Instant::now();
        let limit = self.bytes / PAGE_SIZE as u64;
        let mut arg = self.request;
        let done = signals.sender();
        let events = signals.events_mut();
        let (answer, progress) = thread::scope(|scope| {
            let watcher =
                scope.spawn(|| poll_progress(self.device, events, limit));
            let answer = self.device.minidump(&mut arg, Some(file));
            // Cannot fail: the receiver is ours until `watcher` has returned.
            let _ = done.send(Event::Done);
            (answer, watcher.join().unwrap_or_default())
        });
        if let Some(signal) = progress.stopped {
            return Err(CaptureError::Stopped(signal).into());
        }
        let elapsed = started.elapsed();
        let codec = Compression::from_u8(self.request.compression);
        let mut it = Codec {
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            ..Codec::unmeasured(codec.unwrap_or(Compression::None))
        };
        match answer {
            Ok(()) => {
                it.bytes = Some(arg.dumplength);
                it.exact = true;
                it.sampled_pages = arg.pages;
                it.sampled_bytes = arg.dumplength;
            }
            Err(Errno::EINTR) => extrapolate(&mut it, &progress, dumpextent),
            // A compressor that the kernel does not have.
            Err(Errno::EINVAL) => {}
            // The kernel dumps into files only.
            Err(Errno::EBADF) if self.scratch.is_memory() => {}
            Err(source) => return Err(refused(source)),
        }
        Ok(it)
    }
}

/// From what was seen to all of it.
pub(super) fn extrapolate(
    it: &mut Codec,
    progress: &SampleProgress,
    dumpextent: u64,
) {
    let Some(first) = progress.first else { return };
    let pages = progress.last.0.saturating_sub(first.0);
    let bytes = progress.last.1.saturating_sub(first.1);
    if pages < MIN_PAGES {
        return;
    }
    it.sampled_pages = pages;
    it.sampled_bytes = bytes;
    let all = u128::from(dumpextent) * u128::from(bytes)
        / (u128::from(pages) * PAGE_SIZE as u128);
    it.bytes = u64::try_from(all).ok();
}

fn poll_progress(
    device: &dyn Device,
    events: &mut Receiver<Event>,
    limit: u64,
) -> SampleProgress {
    let mut progress = SampleProgress::default();
    let mut reached = false;
    loop {
        match events.recv_timeout(POLL_INTERVAL) {
            Ok(Event::Done) | Err(RecvTimeoutError::Disconnected) => {
                return progress;
            }
            Ok(Event::Stop(signal)) => {
                progress.stopped = progress.stopped.or(Some(signal));
            }
            Ok(Event::Info) | Err(RecvTimeoutError::Timeout) => {}
        }
        if !reached && let Some(status) = own_status(device) {
            reached = progress.add(&status, limit);
        }
        if reached || progress.stopped.is_some() {
            // Again and again: the first may have come too early.
            device.interrupt();
        }
    }
}

impl SampleProgress {
    /// Whether that was enough.
    fn add(&mut self, status: &MemMinidumpStatus, limit: u64) -> bool {
        if status.stage() != Some(Stage::Pages) || status.pages_done == 0 {
            return false;
        }
        let now = (status.pages_done, status.bytes_out);
        self.first = self.first.or(Some(now));
        self.last = now;
        status.pages_done >= limit
    }
}
