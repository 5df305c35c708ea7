// SPDX-License-Identifier: BSD-2-Clause
//! Digests of a file's parts, made by several threads, each a part at a time.

use super::digester::Digester;
use super::{Begun, Growing, Seal, Sum, part_size};
use livedump_vmcore::source::{Plain, SourceError, Stored};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often is asked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why there are no digests.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The caller cancelled it.
    #[error("stopped")]
    Asked,
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] SourceError),
}

/// Parts whose checksums do not match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The length, where it is another: what it is now.
    pub length: Option<u64>,
    /// Bytes that have another digest now; neighbours are one.
    pub parts: Vec<Range<u64>>,
}

impl Damage {
    /// Whether everything is as it was.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.length.is_none() && self.parts.is_empty()
    }
}

impl Seal {
    /// Seals a file that was just written, with up to `threads` threads; `stop`
    /// is asked now and then whether to give up.
    ///
    /// # Errors
    /// Why there are no checksums.
    pub fn of(
        file: &File,
        threads: usize,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Stopped> {
        Self::completed(None, file, &Arc::default(), threads, stop)
    }

    /// The same of a file of which digests were made while it was written, and
    /// which is on disk once `synced` is true.
    ///
    /// # Errors
    /// As [`Seal::of`].
    pub fn completed(
        begun: Option<Begun>,
        file: &File,
        synced: &Arc<AtomicBool>,
        threads: usize,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Stopped> {
        let size = length(file)?;
        let begun = begun.and_then(|begun| begun.of_size(size));
        let (part, mut all) = begun.unwrap_or((part_size(size), Vec::new()));
        let first = all.len() as u64;
        let file = Growing::until(duplicate(file)?, Arc::clone(synced));
        all.extend(sums(file, size, part, first, threads, stop)?);
        Ok(Self { size, part, sums: all })
    }

    /// Holds a file against its seal.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn check(
        &self,
        file: &File,
        threads: usize,
    ) -> Result<Damage, Stopped> {
        let size = length(file)?;
        let mut damage = Damage::default();
        if size != self.size {
            damage.length = Some(size);
        }
        // Missing parts were already reported.
        let there = size.min(self.size);
        let file = duplicate(file)?;
        let now = sums(file, there, self.part, 0, threads, &mut || false)?;
        for (nth, (then, now)) in (0u64..).zip(self.sums.iter().zip(&now)) {
            let start = nth.saturating_mul(self.part);
            let end = start.saturating_add(self.part).min(self.size);
            if then == now || end > there {
                continue;
            }
            match damage.parts.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => damage.parts.push(start..end),
            }
        }
        Ok(damage)
    }
}

fn length(file: &File) -> Result<u64, SourceError> {
    let meta = file.metadata();
    let failed = |source| SourceError::Io { offset: 0, source };
    meta.map(|meta| meta.len()).map_err(failed)
}

fn duplicate(file: &File) -> Result<File, SourceError> {
    let failed = |source| SourceError::Io { offset: 0, source };
    file.try_clone().map_err(failed)
}

/// The digests of the parts of the first `size` bytes, from the `first` on.
fn sums(
    file: impl Stored + 'static,
    size: u64,
    part: u64,
    first: u64,
    threads: usize,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Vec<Sum>, Stopped> {
    let count = size.div_ceil(part);
    let file = Plain::new(Arc::new(file), size);
    let (next, quit) = (AtomicU64::new(first), AtomicBool::new(false));
    let (done, results) = channel();
    let worker = |done: Sender<(u64, Result<Sum, SourceError>)>| {
        let mut digester = Digester::new(part);
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= count || quit.load(Ordering::Relaxed) {
                return;
            }
            let range = nth * part..((nth + 1) * part).min(size);
            let quit = || quit.load(Ordering::Relaxed);
            let sum = digester.sum(&file, range, &quit);
            // Nobody listens any more where another part has failed.
            let Some(sum) = sum.transpose() else { return };
            let _ = done.send((nth, sum));
        }
    };
    let worker = &worker;
    std::thread::scope(|scope| {
        let mut left = count.saturating_sub(first);
        let threads = threads.clamp(1, 16).min(left.max(1) as usize);
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(move || worker(done));
        }
        drop(done);
        let mut sums = vec![Sum::default(); left as usize];
        while left > 0 {
            if stop() {
                quit.store(true, Ordering::Relaxed);
                return Err(Stopped::Asked);
            }
            match results.recv_timeout(LOOK_EVERY) {
                Ok((nth, Ok(sum))) => {
                    if let Some(place) = sums.get_mut((nth - first) as usize) {
                        *place = sum;
                    }
                    left -= 1;
                }
                Ok((_, Err(e))) => {
                    quit.store(true, Ordering::Relaxed);
                    return Err(e.into());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(sums)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use xxhash_rust::xxh3::xxh3_128;

    const PART: u64 = 4 << 20;

    fn sealed() -> (File, Seal) {
        let file = tempfile::tempfile().unwrap();
        // Data, three parts of a hole, data, and a short part of a hole.
        file.write_all_at(&[1; 5000], 1000).unwrap();
        file.write_all_at(&[2; 5000], 4 * PART + 9000).unwrap();
        file.set_len(5 * PART + 100).unwrap();
        let seal = Seal::of(&file, 3, &mut || false).unwrap();
        (file, seal)
    }

    #[test]
    fn holes_have_the_digest_of_zeros() {
        let (file, seal) = sealed();
        let mut bytes = vec![0; (5 * PART + 100) as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let want = bytes.chunks(PART as usize).map(xxh3_128);
        let want: Vec<Sum> = want.collect();
        assert_eq!(seal.sums, want);
        assert_eq!(seal.check(&file, 2).unwrap(), Damage::default());
    }

    #[test]
    fn damage_is_found_in_its_part() {
        let (file, seal) = sealed();
        let parts = |at: &[u64]| {
            for at in at {
                file.write_all_at(b"x", *at).unwrap();
            }
            let found = seal.check(&file, 2).unwrap();
            for at in at {
                file.write_all_at(&[0], *at).unwrap();
            }
            assert!(!found.is_none() && found.length.is_none());
            found.parts
        };
        let only = |range: Range<u64>| vec![range];
        assert_eq!(parts(&[0]), only(0..PART));
        assert_eq!(parts(&[2 * PART, 3 * PART - 1]), only(2 * PART..3 * PART));
        assert_eq!(parts(&[5 * PART + 99]), only(5 * PART..5 * PART + 100));
        assert_eq!(
            parts(&[0, 2 * PART, 3 * PART]),
            [0..PART, 2 * PART..4 * PART]
        );
    }

    #[test]
    fn a_file_that_is_shorter_or_longer_is_not_what_was_sealed() {
        let (file, seal) = sealed();
        for len in [0, PART, PART + 1, 5 * PART, 6 * PART] {
            file.set_len(len).unwrap();
            let found = seal.check(&file, 2).unwrap();
            assert_eq!(found.length, Some(len));
            assert!(found.parts.is_empty(), "{found:?}");
            file.set_len(5 * PART + 100).unwrap();
            file.write_all_at(&[1; 5000], 1000).unwrap();
            file.write_all_at(&[2; 5000], 4 * PART + 9000).unwrap();
        }
    }

    #[test]
    fn whoever_asks_can_stop_it() {
        let (file, _) = sealed();
        let stopped = Seal::of(&file, 1, &mut || true);
        assert!(matches!(stopped, Err(Stopped::Asked)));
    }
}
