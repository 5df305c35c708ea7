// SPDX-License-Identifier: BSD-2-Clause
//! Digests of a file's first parts, made while the rest is being written: a
//! thread reads behind the writer, so that less is left to be read when the
//! file is finished.
//!
//! A part is read once all of it is final: the writer says how far that is,
//! and the file is that long, which it is not yet where a hole is at its end.
//! Where the file will end is not known then. Parts that reach beyond that are
//! dropped, and all of them where they are too many for a seal.

use super::digester::Digester;
use super::growing::Growing;
use super::{MAX_PARTS, Sum, part_size};
use livedump_vmcore::source::Plain;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread::{Builder, available_parallelism, scope};
use std::time::Duration;

/// How often the writer is asked. Soon after it was written a part is still in
/// a cache of the CPU's.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Digests of a file's first parts.
#[derive(Debug)]
pub struct Begun {
    part: u64,
    sums: Vec<Sum>,
}

impl Begun {
    /// Does `work`, which writes a file: no more than `at_most` bytes, as far
    /// as is known, and `busy` threads are busy with it. `written` answers how
    /// many bytes from the start are final. There are no digests without
    /// `file`, nor where no CPU is left: reading all of it afterwards takes as
    /// long, by all CPUs.
    pub fn during<T>(
        file: Option<Growing>,
        at_most: u64,
        busy: usize,
        written: &(dyn Fn() -> u64 + Sync),
        work: impl FnOnce() -> T,
    ) -> (T, Option<Self>) {
        let cpus = available_parallelism().map_or(1, usize::from);
        let Some(file) = file.filter(|_| cpus > busy) else {
            return (work(), None);
        };
        let (done, begun) = Self::behind(file, at_most, written, work);
        (done, Some(begun))
    }

    fn behind<T>(
        file: Growing,
        at_most: u64,
        written: &(dyn Fn() -> u64 + Sync),
        work: impl FnOnce() -> T,
    ) -> (T, Self) {
        let mut begun = Self { part: part_size(at_most), sums: Vec::new() };
        let done = scope(|scope| {
            let (going, ended) = channel();
            let follow = || begun.follow(file, written, ended);
            // Without it all is read afterwards.
            let follower = Builder::new().spawn_scoped(scope, follow);
            let done = work();
            drop(going);
            if let Ok(follower) = follower {
                // It does not panic; if it did, what it has made is right.
                let _ = follower.join();
            }
            done
        });
        (done, begun)
    }

    /// Digests parts as they become final, until the sender that belongs to
    /// `ended` is dropped. What cannot be read is left to who reads the rest.
    fn follow(
        &mut self,
        file: Growing,
        written: &(dyn Fn() -> u64 + Sync),
        ended: Receiver<()>,
    ) {
        let file = Arc::new(file);
        let stop = || !matches!(ended.try_recv(), Err(TryRecvError::Empty));
        let mut digester = Digester::new(self.part);
        while (self.sums.len() as u64) < MAX_PARTS {
            let start = self.sums.len() as u64 * self.part;
            let end = start.saturating_add(self.part);
            while written() < end || file.len() < end {
                match ended.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
            let plain = Plain::new(Arc::clone(&file) as _, end);
            match digester.sum(&plain, start..end, &stop) {
                Ok(Some(sum)) => self.sums.push(sum),
                _ => return,
            }
        }
    }

    /// Whether any were made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The size of parts, and those that a finished file of `size` bytes has;
    /// `None` where they are of no use to its seal.
    pub(super) fn of_size(mut self, size: u64) -> Option<(u64, Vec<Sum>)> {
        if self.sums.is_empty() || size.div_ceil(self.part) > MAX_PARTS {
            return None;
        }
        let whole = usize::try_from(size / self.part).unwrap_or(usize::MAX);
        self.sums.truncate(whole);
        Some((self.part, self.sums))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Seal;
    use super::*;
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::unix::fs::FileExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use tempfile::NamedTempFile;

    const PART: u64 = super::super::MIN_PART;

    /// What is written, and how often that was asked.
    #[derive(Default)]
    struct Writer {
        written: AtomicU64,
        asked: AtomicU64,
    }

    impl Writer {
        fn answer(&self) -> u64 {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.written.load(Ordering::SeqCst)
        }

        /// Until it was asked so often that so many parts are done, if all of
        /// them could be.
        fn wait(&self, parts: u64) {
            let before = self.asked.load(Ordering::SeqCst);
            while self.asked.load(Ordering::SeqCst) < before + parts + 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        fn announce(&self, bytes: u64) {
            self.written.store(bytes, Ordering::SeqCst);
        }
    }

    /// Digests of what `write` does, and the file.
    fn begun(
        at_most: u64,
        write: impl FnOnce(&mut File, &Writer),
    ) -> (File, Begun) {
        let named = NamedTempFile::new().unwrap();
        let mut file = named.reopen().unwrap();
        let growing = Growing::new(file.try_clone().unwrap());
        let writer = Writer::default();
        let written = || writer.answer();
        let work = || write(&mut file, &writer);
        let ((), begun) = Begun::behind(growing, at_most, &written, work);
        (file, begun)
    }

    fn bytes(seed: u64, len: u64) -> Vec<u8> {
        (0..len).map(|n| ((n * (seed + 7)) >> 5) as u8).collect()
    }

    /// Whether the seal is what it is without digests of first parts.
    fn is_right(file: &File, begun: Begun) -> bool {
        let mut never = || false;
        let synced = Arc::default();
        let seal = Seal::completed(Some(begun), file, &synced, 2, &mut never);
        seal.unwrap() == Seal::of(file, 2, &mut || false).unwrap()
    }

    #[test]
    fn digests_made_meanwhile_are_those_of_the_finished_file() {
        let whole = bytes(1, 5 * PART + 1000);
        for waits in [true, false] {
            let (file, begun) = begun(1 << 30, |file, writer| {
                for (nth, piece) in (0..).zip(whole.chunks(1 << 20)) {
                    file.write_all(piece).unwrap();
                    writer.announce((nth << 20) + piece.len() as u64);
                    if waits {
                        writer.wait(1);
                    }
                }
            });
            assert!(!waits || begun.sums.len() == 5, "{}", begun.sums.len());
            assert!(is_right(&file, begun), "{waits}");
        }
    }

    #[test]
    fn they_are_not_made_again() {
        let (file, begun) = begun(1 << 30, |file, writer| {
            file.write_all(&bytes(1, 2 * PART)).unwrap();
            writer.announce(2 * PART);
            writer.wait(2);
        });
        file.write_all_at(b"changed", PART + 7).unwrap();
        assert!(!is_right(&file, begun));
    }

    #[test]
    fn what_is_not_final_is_not_read() {
        let (file, begun) = begun(1 << 30, |file, writer| {
            file.write_all(&bytes(1, 3 * PART)).unwrap();
            writer.announce(2 * PART - 1);
            writer.wait(3);
            file.write_all_at(&bytes(2, 2 * PART), PART).unwrap();
            writer.announce(3 * PART);
            writer.wait(2);
        });
        assert_eq!(begun.sums.len(), 3);
        assert!(is_right(&file, begun));
    }

    #[test]
    fn a_hole_at_the_end_is_waited_for_and_the_writers_offset_is_its_own() {
        let (mut file, begun) = begun(1 << 30, |file, writer| {
            file.write_all(&bytes(1, PART)).unwrap();
            file.seek(SeekFrom::Current(2 * PART as i64)).unwrap();
            writer.announce(3 * PART);
            writer.wait(4);
            file.write_all(&bytes(2, 1000)).unwrap();
            writer.announce(3 * PART + 1000);
            writer.wait(4);
            file.write_all(&bytes(3, PART)).unwrap();
        });
        assert_eq!(begun.sums.len(), 3);
        assert_eq!(file.stream_position().unwrap(), 4 * PART + 1000);
        assert_eq!(file.metadata().unwrap().len(), 4 * PART + 1000);
        let mut end = [0; 1000];
        file.read_exact_at(&mut end, 3 * PART).unwrap();
        assert_eq!(end[..], bytes(2, 1000));
        assert!(is_right(&file, begun));
    }

    #[test]
    fn what_is_cut_off_afterwards_has_no_digest() {
        for left in [0, 1, PART, 2 * PART - 512, 2 * PART, 2 * PART + 1] {
            let (file, begun) = begun(1 << 30, |file, writer| {
                file.write_all(&bytes(1, 3 * PART)).unwrap();
                writer.announce(3 * PART);
                writer.wait(3);
            });
            assert_eq!(begun.sums.len(), 3);
            file.set_len(left).unwrap();
            assert!(is_right(&file, begun), "{left}");
        }
    }

    #[test]
    fn a_file_that_is_larger_than_was_thought_begins_anew() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes(1, PART), PART).unwrap();
        let too_many = |part| Begun { part, sums: vec![1; 4096] };
        assert!(too_many(512).of_size(2 * PART).is_none());
        assert!(is_right(&file, too_many(512)));
        // As many as there may be.
        assert!(too_many(2048).of_size(2 * PART).is_some());
        assert!(!is_right(&file, too_many(2048)));
        let (part, sums) = too_many(4096).of_size(2 * PART).unwrap();
        assert_eq!((part, sums.len()), (4096, 2048));
    }

    #[test]
    fn parts_are_as_large_as_the_largest_file_needs() {
        let size = (1 << 40) / 4096;
        let (file, begun) = begun(1 << 40, |file, writer| {
            file.set_len(size + 1000).unwrap();
            file.write_all(&bytes(1, 1000)).unwrap();
            writer.announce(size + 1000);
            writer.wait(1);
        });
        let (synced, mut never) = (Arc::default(), || false);
        let seal = Seal::completed(Some(begun), &file, &synced, 2, &mut never);
        let seal = seal.unwrap();
        assert_eq!((seal.part, seal.sums.len()), (size, 2));
        assert!(seal.check(&file, 2).unwrap().is_none());
    }

    #[test]
    fn without_a_cpu_for_it_the_work_is_done_all_the_same() {
        let named = NamedTempFile::new().unwrap();
        let growing = || Growing::new(named.reopen().unwrap());
        let none = |file, busy| {
            let never = || unreachable!();
            Begun::during(file, 1, busy, &never, || 7)
        };
        assert!(matches!(none(None, 0), (7, None)));
        assert!(matches!(none(Some(growing()), usize::MAX), (7, None)));
        let some = Begun::during(Some(growing()), 1, 0, &|| 0, || 7);
        assert!(matches!(some, (7, Some(begun)) if begun.sums.is_empty()));
    }

    #[test]
    fn a_writer_that_panics_does_not_wait_for_ever() {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            begun(1, |_, writer| {
                writer.wait(1);
                panic!("as it should");
            })
        }));
        assert!(panicked.is_err());
    }
}
