// SPDX-License-Identifier: BSD-2-Clause
//! A dump that goes through a pipe to what this process makes of it: no byte of
//! it is in a file before that. The machine waits where that is slow.

use super::check::{self, Checked};
use super::dumped::Dumped;
use super::progress::Progress;
use super::request::Asking;
use super::room::Budget;
use super::tail::Tail;
use super::watch::watched;
use super::{Error, captured, dump, lists};
use crate::device::catch;
use crate::outcome::Outcome;
use crate::report::note;
use crate::signals::Signals;
use memdev::errno::Errno;
use memdev::ioctl::FLAG_STREAM;
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What is asked for of a pipe, where the system lets it be asked for.
#[cfg(target_os = "linux")]
const PIPE_BYTES: i32 = 1 << 20;

/// What a dump is taken with.
#[derive(Clone, Copy)]
pub(super) struct Flow<'a> {
    stop: &'a AtomicBool,
    /// Bytes that the dump has before compression, by the estimate.
    pub(super) dumpextent: u64,
}

impl<'a> Flow<'a> {
    /// Of a thread that is asked to stop by this.
    pub(super) fn of(stop: &'a AtomicBool) -> Self {
        Self { stop, dumpextent: 0 }
    }

    /// Whether anybody still waits for the dump.
    ///
    /// # Errors
    /// `Interrupted` when nobody does.
    pub(super) fn go_on(&self) -> io::Result<()> {
        match self.stop.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
}

/// A dump that was taken.
pub(super) struct Streamed<T> {
    pub(super) dumped: Dumped,
    pub(super) checked: Checked,
    /// What was made of it.
    pub(super) taken: T,
}

impl<T> Streamed<T> {
    /// What is known of it, although nobody looked into it: what its header
    /// says, what of the machine it lacks, and which CPUs.
    pub(super) fn outcome(&self) -> Outcome {
        let unread = lists::skipped("it was streamed");
        let verdict = dump::verdict(&self.dumped, &self.checked, &unread);
        if !verdict.is_sound() {
            note(&verdict);
        }
        if let Some(cpus) = self.dumped.missing_cpus.as_deref()
            && !cpus.is_empty()
        {
            let cpus = captured::numbers(cpus);
            note(format_args!("CPU {cpus} did not answer"));
        }
        Outcome::from(&verdict)
    }
}

/// The thread that takes the dump. It may be in a call that does not return.
#[derive(Default)]
struct Waiting {
    thread: Mutex<Option<usize>>,
    stop: AtomicBool,
}

impl Waiting {
    fn set(&self, thread: Option<usize>) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread;
    }

    /// Ends its call.
    fn interrupt(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = *thread {
            // It cannot leave while the lock is held.
            let _ = pthread_kill(thread as Pthread, Signal::SIGURG);
        }
    }
}

/// To be called before anything is given up.
pub(super) fn prepare() {
    catch(Signal::SIGURG);
}

fn pipe() -> io::Result<(File, File)> {
    let (reader, writer) = io::pipe()?;
    let file = |fd: OwnedFd| File::from(fd);
    let (reader, writer) = (file(reader.into()), file(writer.into()));
    // It is only faster.
    #[cfg(target_os = "linux")]
    let _ = nix::fcntl::fcntl(
        &writer,
        nix::fcntl::FcntlArg::F_SETPIPE_SZ(PIPE_BYTES),
    );
    Ok((reader, writer))
}

impl Asking<'_> {
    /// Has `taker` take a dump, on a thread of its own. It reads to the end, or
    /// until it cannot go on, and looks whether it is to stop when a call was
    /// interrupted. What it has made of the dump is to be given up where
    /// reading ended in an error. `room` is asked how much may be written, once
    /// it is known how much it would be.
    pub(super) fn streamed<T: Send>(
        &self,
        signals: &mut Signals,
        room: impl FnOnce(Option<u64>) -> Result<Option<Budget>, Error>,
        taker: impl FnOnce(&mut dyn BufRead, Flow<'_>) -> Result<T, Error> + Send,
    ) -> Result<Streamed<T>, Error> {
        let mut progress = Progress::new(self.args.quiet, self.args.verbose);
        let mut request = self.request();
        let estimated = self.estimate(&request, signals, &mut progress)?;
        if !estimated.ours {
            return Err(Error::NoStream);
        }
        let budget = room(estimated.dumpextent)?.map(|budget| budget.bytes);
        request.arg.flags |= FLAG_STREAM;
        let (reader, writer) = pipe().map_err(Error::Pipe)?;
        let waiting = Waiting::default();
        let interrupt = || waiting.interrupt();
        let dumpextent = estimated.dumpextent.unwrap_or(0);
        let flow = Flow { stop: &waiting.stop, dumpextent };
        let work = || {
            thread::scope(|scope| {
                let take = scope.spawn(|| {
                    waiting.set(Some(pthread_self() as usize));
                    let mut tail = Tail::new(reader);
                    let taken = taker(&mut tail, flow);
                    let end = (tail.taken(), tail.close());
                    waiting.set(None);
                    (taken, end)
                });
                let answer = request.send(self.device, Some(&writer));
                drop(writer);
                (answer, take.join())
            })
        };
        let ((answer, took), stop) = watched(
            self.device,
            signals,
            &mut progress,
            budget,
            &interrupt,
            work,
        );
        self.stopped(stop)?;
        let Ok((taken, (length, header))) = took else {
            return Err(Error::Taking(io::ErrorKind::Other.into()));
        };
        // That the dump ended in its middle has a reason on its own side; that
        // the pipe broke has one on this side.
        let taken = match (answer, taken) {
            (Ok(()), taken) => taken?,
            (Err(Errno::EPIPE), Err(e)) => return Err(e),
            (Err(source), _) => return Err(self.refused(source)),
        };
        let header = header.unwrap_or([0; _]);
        let wanted = self.compression();
        let checked =
            check::header_of_stream(&header, length, wanted, self.args.force)?;
        let dumped = self.dumped(&request);
        Ok(Streamed { dumped, checked, taken })
    }
}
