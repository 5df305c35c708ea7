// SPDX-License-Identifier: BSD-2-Clause
//! A file as it is, up to where its dump ends.

use super::{Check, Source, SourceError, Stored};
use std::io;
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

impl Plain {
    /// The first `end` bytes of `file`.
    #[must_use]
    pub fn new(file: Arc<dyn Stored>, end: u64) -> Self {
        Self { file, end }
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
        let step = CHECK_BYTES as u64;
        let one = || {
            let mut bad = Check::default();
            let mut buf = vec![0; CHECK_BYTES];
            loop {
                let at = next.fetch_add(step, Ordering::Relaxed);
                if at >= self.end {
                    return bad;
                }
                if self.next_data(at) >= at.saturating_add(step) {
                    continue;
                }
                if let Err(e) = self.read_at(at, &mut buf) {
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
        assert_eq!(p.check(2, 0).unwrap().bad_units, 0);
    }
}
