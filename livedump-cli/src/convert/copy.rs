// SPDX-License-Identifier: BSD-2-Clause
//! Pages as they are, from an image to a sink. A file takes them in any order:
//! several threads read and write, each with a piece in memory. A stream takes
//! one after the other.

use super::{Error, Job, PIECE, Problems, Sink, ZERO_PAGE};
use livedump_vmcore::image::{MemoryImage, Run};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{available_parallelism, scope};

/// Threads that copy: more do not make memory faster.
const MAX_THREADS: usize = 4;

/// After so many bytes the file is synced for the first time: while the rest is
/// copied, the disk is busy already.
const SYNC_EVERY: u64 = 64 << 20;

/// Adjacent pages, and where the file has them.
#[derive(Clone, Copy, Debug)]
struct Piece {
    run: Run,
    at: u64,
}

/// Who copies.
#[derive(Debug)]
pub(super) struct Copier<'a> {
    image: &'a dyn MemoryImage,
    /// `None` for a stream.
    threads: Option<(SyncSender<Piece>, &'a Shared)>,
}

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    quit: AtomicBool,
    done: AtomicU64,
    /// Bytes that nobody was told to sync.
    unsynced: AtomicU64,
    failed: Mutex<Option<Error>>,
    problems: Mutex<Problems>,
}

/// Calls `f` with what copies pages of `image` to the sink.
///
/// # Errors
/// Of `f`, or of writing.
pub(super) fn copy(
    image: &dyn MemoryImage,
    sink: &mut Sink<'_>,
    job: &mut Job<'_>,
    f: impl FnOnce(
        &mut Copier<'_>,
        &mut Sink<'_>,
        &mut Job<'_>,
    ) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(file) = sink.seekable() else {
        return f(&mut Copier { image, threads: None }, sink, job);
    };
    let shared = Shared::default();
    let threads = available_parallelism().map_or(1, |n| n.get());
    let threads = threads.min(MAX_THREADS);
    let (sender, receiver) = sync_channel(threads.saturating_mul(2));
    let receiver = Mutex::new(receiver);
    let (wake, woken) = sync_channel(1);
    let written = scope(|scope| {
        scope.spawn(move || sync(file, &woken));
        for _ in 0..threads {
            let wake = wake.clone();
            let (shared, receiver) = (&shared, &receiver);
            scope.spawn(move || shared.work(image, file, receiver, &wake));
        }
        drop(wake);
        let threads = Some((sender, &shared));
        let mut copier = Copier { image, threads };
        let written = f(&mut copier, sink, job);
        if written.is_err() {
            shared.quit.store(true, Ordering::Relaxed);
        }
        written
    });
    let Shared { failed, problems, .. } = shared;
    let problems =
        problems.into_inner().unwrap_or_else(PoisonError::into_inner);
    job.problems.merge(problems);
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(e) => Err(e),
        None => written,
    }
}

impl Copier<'_> {
    /// Copies the pages of `run` to where the sink is.
    pub(super) fn run(
        &mut self,
        run: Run,
        sink: &mut Sink<'_>,
        job: &mut Job<'_>,
    ) -> Result<(), Error> {
        let Some((sender, shared)) = &self.threads else {
            return job.read(self.image, run, &mut |_, data| {
                Ok(sink.pages(data.unwrap_or(&ZERO_PAGE))?)
            });
        };
        let mut at = run.start;
        while at < run.end {
            job.check()?;
            if shared.quit.load(Ordering::Relaxed) {
                // Why is with the thread that failed.
                return Err(gone());
            }
            // To the next multiple: sources are stored in such pieces.
            let n = PIECE.saturating_sub(at % PIECE);
            let end = at.saturating_add(n).min(run.end);
            let piece = Piece { run: Run { start: at, end }, at: sink.at() };
            sender.send(piece).map_err(|_| gone())?;
            sink.advance(end.saturating_sub(at))?;
            job.progress.add(shared.done.swap(0, Ordering::Relaxed));
            at = end;
        }
        Ok(())
    }
}

/// Syncs what is there of a file, whenever it is told to. Whether that works
/// is seen when all of it is synced.
fn sync(file: &File, woken: &Receiver<()>) {
    // A writer waits for it where fsync(2) locks the file.
    let early = cfg!(target_os = "linux");
    for () in woken.iter().take_while(|()| early) {
        let _ = file.sync_all();
    }
}

fn gone() -> Error {
    std::io::Error::other("a thread ended early").into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Copies pieces until there are no more.
    fn work(
        &self,
        image: &dyn MemoryImage,
        file: &File,
        pieces: &Mutex<Receiver<Piece>>,
        wake: &SyncSender<()>,
    ) {
        let mut buf = vec![0; PIECE as usize];
        loop {
            let next = lock(pieces).recv();
            let Ok(piece) = next else { return };
            // Whoever sends is not to wait.
            if self.quit.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(e) = self.piece(image, file, piece, &mut buf) {
                self.quit.store(true, Ordering::Relaxed);
                lock(&self.failed).get_or_insert(e);
            }
            if self.unsynced.load(Ordering::Relaxed) >= SYNC_EVERY {
                self.unsynced.store(0, Ordering::Relaxed);
                // One that is at work is as good.
                let _ = wake.try_send(());
            }
        }
    }

    fn piece(
        &self,
        image: &dyn MemoryImage,
        file: &File,
        piece: Piece,
        buf: &mut [u8],
    ) -> Result<(), Error> {
        let mut sink = Sink::part(file, piece.at);
        let mut job = Job::default();
        job.piece(image, piece.run, buf, &mut |_, data| {
            Ok(sink.pages(data.unwrap_or(&ZERO_PAGE))?)
        })?;
        let bytes = piece.run.end.saturating_sub(piece.run.start);
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.unsynced.fetch_add(bytes, Ordering::Relaxed);
        if job.problems.pages() > 0 {
            lock(&self.problems).merge(job.problems);
        }
        Ok(())
    }
}
