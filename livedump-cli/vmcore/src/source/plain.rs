// SPDX-License-Identifier: BSD-2-Clause
//! A file as it is, up to where its dump ends.

use super::{Check, Source, SourceError, Stored};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes `[0, end)` of a file.
#[derive(Clone, Debug)]
pub struct Plain {
    file: Arc<dyn Stored>,
    end: u64,
}

/// One read of [`Source::check`].
const CHECK_BYTES: usize = 1 << 20;
/// Smaller holes behind data are read: a read costs less than to ask for each.
const SMALL_HOLE: u64 = 64 << 10;

impl Plain {
    /// The first `end` bytes of `file`.
    #[must_use]
    pub fn new(file: Arc<dyn Stored>, end: u64) -> Self {
        Self { file, end }
    }

    /// Reads what is not a hole of the part at `at`, up to the first error.
    /// `data` is what was found last, from one hole to the next: whoever reads
    /// on in it need not ask again.
    fn check_part(
        &self,
        at: u64,
        buf: &mut [u8],
        data: &mut Range<u64>,
    ) -> Result<(), SourceError> {
        let end = at.saturating_add(buf.len() as u64).min(self.end);
        let mut at = at;
        while at < end {
            if at >= data.end {
                let start = self.next_data(at);
                // A file that changes meanwhile may have a hole there now.
                let least = start.saturating_add(SMALL_HOLE);
                *data = start..self.file.next_hole(start).max(least);
            }
            at = at.max(data.start);
            let stop = data.end.min(end);
            let n = stop.saturating_sub(at) as usize;
            let part = buf.get_mut(..n).unwrap_or_default();
            self.read_at(at, part)?;
            at = stop;
        }
        Ok(())
    }
}

/// Reads until `buf` is full or the file ends.
pub(super) fn read_full(
    file: &dyn Stored,
    at: u64,
    buf: &mut [u8],
) -> Result<usize, SourceError> {
    let mut done = 0usize;
    while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
        let offset = at.saturating_add(done as u64);
        match file.read_at(rest, offset) {
            Ok(0) => break,
            Ok(n) => done = done.saturating_add(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(SourceError::Io { offset, source }),
        }
    }
    Ok(done)
}

impl Source for Plain {
    fn known_len(&self) -> Option<u64> {
        Some(self.end)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let left = self.end.saturating_sub(at);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        match buf.get_mut(..n) {
            Some(part) if n > 0 => read_full(self.file.as_ref(), at, part),
            _ => Ok(0),
        }
    }

    fn next_data(&self, at: u64) -> u64 {
        self.file.next_data(at).min(self.end).max(at)
    }

    // There is no checksum to compare with: this finds what the disk cannot
    // read. Holes are skipped, and what is read was not unpacked, so that the
    // limit does not matter.
    fn check(&self, threads: usize, _: u64) -> Result<Check, SourceError> {
        let next = AtomicU64::new(0);
        let one = || {
            let mut bad = Check::default();
            let mut buf = vec![0; CHECK_BYTES];
            let mut data = 0..0;
            loop {
                let at = next.fetch_add(CHECK_BYTES as u64, Ordering::Relaxed);
                if at >= self.end {
                    return bad;
                }
                if let Err(e) = self.check_part(at, &mut buf, &mut data) {
                    bad.add_bad(e);
                }
            }
        };
        let mut all = Check { bytes: self.end, ..Check::default() };
        std::thread::scope(|s| {
            let workers: Vec<_> =
                (0..threads.max(1)).map(|_| s.spawn(one)).collect();
            for w in workers {
                let found = super::joined(w);
                all.bad_units = all.bad_units.saturating_add(found.bad_units);
                all.bad.extend(found.bad);
            }
        });
        all.bad.truncate(super::MAX_BAD);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};
    use std::sync::Mutex;

    #[test]
    fn nothing_is_read_behind_the_dump() {
        let mut f = tempfile::tempfile().unwrap();
        f.write_all(b"dumpHEADER").unwrap();
        let p = Plain::new(Arc::new(f), 4);
        let mut buf = [0; 8];
        assert_eq!(p.read_at(1, &mut buf).unwrap(), 3);
        assert_eq!(&buf[..3], b"ump");
        assert_eq!(p.read_at(4, &mut buf).unwrap(), 0);
        assert_eq!(p.read_at(u64::MAX, &mut buf).unwrap(), 0);
    }

    #[test]
    fn holes_are_found_where_the_file_system_has_them() {
        let mut f = tempfile::tempfile().unwrap();
        f.seek(SeekFrom::Start(1 << 20)).unwrap();
        f.write_all(&[1; 4096]).unwrap();
        f.set_len(4 << 20).unwrap();
        let p = Plain::new(Arc::new(f), 4 << 20);
        let first = p.next_data(0);
        assert!(first == 0 || first == 1 << 20, "{first}");
        assert!(p.next_data(2 << 20) <= 4 << 20);
        let check = p.check(2, 0).unwrap();
        assert_eq!((check.bytes, check.bad_units), (4 << 20, 0));
    }

    /// Counts what is read of a file, and fails at one page of it.
    #[derive(Debug)]
    struct Counted(std::fs::File, Mutex<Vec<(u64, usize)>>, u64);

    impl Stored for Counted {
        fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
            if (at..at + buf.len() as u64).contains(&self.2) {
                return Err(io::ErrorKind::Other.into());
            }
            let n = Stored::read_at(&self.0, buf, at)?;
            self.1.lock().unwrap().push((at, n));
            Ok(n)
        }

        fn next_data(&self, at: u64) -> u64 {
            // Data in the first 64 KB of each 256 KB.
            let within = at % (256 << 10);
            let rest = (256 << 10) - within;
            if within < 64 << 10 { at } else { at + rest }
        }

        fn next_hole(&self, at: u64) -> u64 {
            at - at % (256 << 10) + (64 << 10)
        }
    }

    /// Each second page is a hole; counts how often that was asked.
    #[derive(Debug, Default)]
    struct Torn(AtomicU64);

    impl Stored for Torn {
        fn read_at(&self, buf: &mut [u8], _: u64) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn next_data(&self, at: u64) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed);
            if at % 8192 < 4096 { at } else { at.next_multiple_of(8192) }
        }

        fn next_hole(&self, at: u64) -> u64 {
            at - at % 8192 + 4096
        }
    }

    #[test]
    fn a_check_does_not_ask_for_each_small_hole() {
        let torn = Arc::new(Torn::default());
        let p = Plain::new(Arc::clone(&torn) as _, 16 << 20);
        assert_eq!(p.check(1, 0).unwrap().bad_units, 0);
        assert_eq!(torn.0.load(Ordering::Relaxed), (16 << 20) / SMALL_HOLE);
    }

    #[test]
    fn a_check_reads_all_data_once_and_no_hole() {
        let end = (3 << 20) + (32 << 10);
        let file = tempfile::tempfile().unwrap();
        file.set_len(end).unwrap();
        for threads in [1, 3] {
            let file = file.try_clone().unwrap();
            let counted = Counted(file, Mutex::default(), u64::MAX);
            let counted = Arc::new(counted);
            let p = Plain::new(Arc::clone(&counted) as _, end);
            assert_eq!(p.check(threads, 0).unwrap().bad_units, 0);
            let mut read = counted.1.lock().unwrap().clone();
            read.sort_unstable();
            let want = (0..13).map(|n| (n << 18, 64 << 10));
            let mut want: Vec<_> = want.collect();
            want[12].1 = 32 << 10;
            assert_eq!(read, want, "{threads} threads");
        }
        let counted = Counted(file, Mutex::default(), (1 << 20) + 9);
        let p = Plain::new(Arc::new(counted), end);
        let check = p.check(2, 0).unwrap();
        assert_eq!((check.bad_units, check.bad.len()), (1, 1));
    }
}
