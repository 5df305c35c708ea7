// SPDX-License-Identifier: BSD-2-Clause
//! Unpacked data that is too much for memory, in a temporary file that has no
//! name. A dump holds every secret of its kernel: the file is 0600 and gone
//! from its directory before the first byte is written.

use super::SourceError;
use memdev::addr::PAGE_SIZE;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Made while files may still be opened, for a source that is not yet there.
static RESERVED: Mutex<Option<Spool>> = Mutex::new(None);

/// Makes the temporary file that the next source may need, and shows it to
/// who limits what may be done with it. That it cannot be made is said where
/// it is needed.
pub fn reserve<T>(limit: impl FnOnce(Option<BorrowedFd<'_>>) -> T) -> T {
    let spool = Spool::create().ok();
    let limited = limit(spool.as_ref().map(|spool| spool.file.as_fd()));
    *RESERVED.lock().unwrap_or_else(PoisonError::into_inner) = spool;
    limited
}

#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    directory: String,
    len: u64,
}

impl Spool {
    pub(super) fn new() -> Result<Self, SourceError> {
        let mut reserved =
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.take().map_or_else(Self::create, Ok)
    }

    fn create() -> Result<Self, SourceError> {
        let dir = std::env::temp_dir();
        let directory = dir.display().to_string();
        match unnamed(&dir) {
            Ok(file) => Ok(Self { file, directory, len: 0 }),
            Err(source) => Err(SourceError::Spool { directory, source }),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends; pages of zeros become holes.
    pub(super) fn append(&mut self, data: &[u8]) -> Result<(), SourceError> {
        for page in data.chunks(PAGE_SIZE) {
            if page.iter().any(|&b| b != 0) {
                self.file.write_all_at(page, self.len).map_err(|source| {
                    let directory = self.directory.clone();
                    SourceError::Spool { directory, source }
                })?;
            }
            self.len = self.len.saturating_add(page.len() as u64);
        }
        Ok(())
    }

    /// Reads what was appended; what lies behind is not there.
    pub(super) fn read_at(
        &self,
        at: u64,
        buf: &mut [u8],
    ) -> Result<usize, SourceError> {
        let left = self.len.saturating_sub(at);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(part) = buf.get_mut(..n) else { return Ok(0) };
        let got = super::plain::read_full(&self.file, at, part)?;
        // A hole at the end was never written at all.
        if let Some(tail) = part.get_mut(got..) {
            tail.fill(0);
        }
        Ok(n)
    }
}

fn unnamed(dir: &Path) -> io::Result<File> {
    let mut last = io::Error::other("no free name");
    for n in 0..64u32 {
        let name = format!(".livedump.{}.{n}", std::process::id());
        let path = dir.join(name);
        let opened = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => last = e,
            Err(e) => return Err(e),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_come_back_as_zeros_also_at_the_end() {
        let mut s = Spool::new().unwrap();
        s.append(&[7; 5000]).unwrap();
        s.append(&[0; 9000]).unwrap();
        let mut buf = [1; 20000];
        assert_eq!(s.read_at(0, &mut buf).unwrap(), 14000);
        assert!(buf[..5000].iter().all(|&b| b == 7));
        assert!(buf[5000..14000].iter().all(|&b| b == 0));
        assert_eq!(s.read_at(14000, &mut buf).unwrap(), 0);
    }
}
