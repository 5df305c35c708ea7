// SPDX-License-Identifier: BSD-2-Clause
//! Unpacked data that is too much for memory, in a temporary file that has no
//! name. A dump holds every secret of its kernel: the file is 0600 and gone
//! from its directory before the first byte is written.
//!
//! Once the process is confined no file can be made: the one that was made
//! before goes from each dump that is closed to the next one that is opened.

use super::SourceError;
use memdev::addr::PAGE_SIZE;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Made while files may still be opened, for a source that is not yet there;
/// or why it could not be made, which is not known any more when it is needed.
static RESERVED: Mutex<Option<Result<UnnamedFile, Refused>>> = Mutex::new(None);

/// The directory, and what the system said.
#[derive(Clone, Debug)]
struct Refused {
    directory: Arc<str>,
    kind: io::ErrorKind,
    errno: Option<i32>,
}

impl Refused {
    fn new(directory: &str, e: &io::Error) -> Self {
        let (kind, errno) = (e.kind(), e.raw_os_error());
        Self { directory: directory.into(), kind, errno }
    }

    fn error(&self) -> SourceError {
        let source = match self.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => self.kind.into(),
        };
        SourceError::Spool { directory: self.directory.to_string(), source }
    }
}

/// Makes the temporary file that the next source may need, and shows it to
/// the function that limits what may be done with it. That it cannot be made
/// is an error where it is needed.
pub fn reserve<T>(limit: impl FnOnce(Option<BorrowedFd<'_>>) -> T) -> T {
    let unnamed = UnnamedFile::create();
    let fd = unnamed.as_ref().ok().map(|it| it.file.as_fd());
    let limited = limit(fd);
    *RESERVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(unnamed);
    limited
}

/// A file, and what an earlier source may have left in it.
#[derive(Clone, Debug)]
struct UnnamedFile {
    file: Arc<File>,
    directory: Arc<str>,
    /// Bytes from the start that may not be zeros.
    dirty: u64,
}

impl UnnamedFile {
    fn create() -> Result<Self, Refused> {
        let dir = std::env::temp_dir();
        let directory = dir.display().to_string();
        match create_unnamed(&dir) {
            Ok(file) => Ok(Self {
                file: Arc::new(file),
                directory: directory.into(),
                dirty: 0,
            }),
            Err(e) => Err(Refused::new(&directory, &e)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Spool {
    unnamed: UnnamedFile,
    len: u64,
}

impl Spool {
    pub(super) fn new() -> Result<Self, SourceError> {
        let mut reserved =
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        let unnamed = match reserved.take() {
            Some(Ok(unnamed)) => unnamed,
            Some(Err(refused)) => {
                let error = refused.error();
                *reserved = Some(Err(refused));
                return Err(error);
            }
            None => UnnamedFile::create().map_err(|e| e.error())?,
        };
        Ok(Self { unnamed, len: 0 })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends; pages of zeros become holes.
    pub(super) fn append(&mut self, data: &[u8]) -> Result<(), SourceError> {
        for page in data.chunks(PAGE_SIZE) {
            let used = self.len < self.unnamed.dirty;
            if used || page.iter().any(|&b| b != 0) {
                let written = self.unnamed.file.write_all_at(page, self.len);
                written.map_err(|source| SourceError::Spool {
                    directory: self.unnamed.directory.to_string(),
                    source,
                })?;
            }
            self.len = self.len.saturating_add(page.len() as u64);
        }
        Ok(())
    }

    /// Reads what was appended, and nothing after that.
    pub(super) fn read_at(
        &self,
        at: u64,
        buf: &mut [u8],
    ) -> Result<usize, SourceError> {
        let left = self.len.saturating_sub(at);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(part) = buf.get_mut(..n) else { return Ok(0) };
        let read =
            super::plain::read_full(self.unnamed.file.as_ref(), at, part);
        let got = read.map_err(|e| match e {
            SourceError::Io { source, .. } => {
                let directory = self.unnamed.directory.to_string();
                SourceError::Spool { directory, source }
            }
            e => e,
        })?;
        // A hole at the end was never written at all.
        if let Some(tail) = part.get_mut(got..) {
            tail.fill(0);
        }
        Ok(n)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let mut reserved =
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.is_none() {
            let mut unnamed = self.unnamed.clone();
            // Its room is given back where that is allowed.
            unnamed.dirty = match unnamed.file.set_len(0) {
                Ok(()) => 0,
                Err(_) => unnamed.dirty.max(self.len),
            };
            *reserved = Some(Ok(unnamed));
        }
    }
}

fn create_unnamed(dir: &Path) -> io::Result<File> {
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

    #[test]
    fn nothing_of_an_earlier_dump_is_left() {
        let mut s = Spool::new().unwrap();
        s.append(&[7; 9000]).unwrap();
        // What capability mode does not let us truncate.
        let mut again = Spool { unnamed: s.unnamed.clone(), len: 0 };
        again.unnamed.dirty = s.len;
        again.append(&[0; 5000]).unwrap();
        let mut buf = [1; 5000];
        assert_eq!(again.read_at(0, &mut buf).unwrap(), 5000);
        assert!(buf.iter().all(|&b| b == 0));
    }
}
