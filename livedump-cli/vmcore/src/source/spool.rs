// SPDX-License-Identifier: BSD-2-Clause
//! Unpacked data that is too much for memory, in a temporary file that has no
//! name: in pieces, each a zstd frame, so that it takes a fraction of the room
//! and each can be read alone. A dump holds every secret of its kernel: the file is 0600 and gone
//! from its directory before the first byte is written.
//!
//! Once the process is confined no file can be made: the one that was made
//! before goes from each dump that is closed to the next one that is opened.

use super::cache::Cache;
use super::sequential::copy_from;
use super::{Codec, SourceError};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, mem};

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
}

impl UnnamedFile {
    fn create() -> Result<Self, Refused> {
        let dir = std::env::temp_dir();
        let directory = dir.display().to_string();
        match create_unnamed(&dir) {
            Ok(file) => {
                Ok(Self { file: Arc::new(file), directory: directory.into() })
            }
            Err(e) => Err(Refused::new(&directory, &e)),
        }
    }
}

/// What is one frame.
const PIECE_BITS: u32 = 20;
const PIECE: usize = 1 << PIECE_BITS;
const PIECE_MASK: u64 = PIECE as u64 - 1;
/// The fastest level that still makes it small.
const LEVEL: i32 = -1;
const CACHED: usize = 4 * PIECE;

#[derive(Debug)]
pub(super) struct Spool {
    unnamed: UnnamedFile,
    /// Where each piece is in the file, and how long there; 0 for zeros.
    pieces: Vec<(u64, u32)>,
    /// Bytes in the file.
    stored: u64,
    /// The piece that is not whole yet.
    last: Vec<u8>,
    cache: Cache,
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
        Ok(Self::on(unnamed))
    }

    fn on(unnamed: UnnamedFile) -> Self {
        let (pieces, last) = (Vec::new(), Vec::new());
        let cache = Cache::new(CACHED);
        Self { unnamed, pieces, stored: 0, last, cache }
    }

    pub(super) fn len(&self) -> u64 {
        let whole = (self.pieces.len() as u64).saturating_mul(PIECE as u64);
        whole.saturating_add(self.last.len() as u64)
    }

    /// Appends.
    pub(super) fn append(
        &mut self,
        mut data: &[u8],
    ) -> Result<(), SourceError> {
        while !data.is_empty() {
            let room = PIECE.saturating_sub(self.last.len());
            let (some, rest) = data.split_at(room.min(data.len()));
            self.last.extend_from_slice(some);
            data = rest;
            if self.last.len() >= PIECE {
                self.put()?;
            }
        }
        Ok(())
    }

    /// The piece that is whole, which goes into the file.
    fn put(&mut self) -> Result<(), SourceError> {
        let piece = mem::take(&mut self.last);
        if piece.iter().all(|&b| b == 0) {
            self.pieces.push((0, 0));
            return Ok(());
        }
        let frame =
            zstd::bulk::compress(&piece, LEVEL).map_err(|e| self.failed(e))?;
        let file = &self.unnamed.file;
        file.write_all_at(&frame, self.stored).map_err(|e| self.failed(e))?;
        self.pieces.push((self.stored, frame.len() as u32));
        self.stored = self.stored.saturating_add(frame.len() as u64);
        Ok(())
    }

    fn failed(&self, source: io::Error) -> SourceError {
        let directory = self.unnamed.directory.to_string();
        SourceError::Spool { directory, source }
    }

    /// Reads what was appended, and nothing after that; not always all that
    /// there is room for.
    pub(super) fn read_at(
        &self,
        at: u64,
        buf: &mut [u8],
    ) -> Result<usize, SourceError> {
        let (nth, offset) = (at >> PIECE_BITS, at & PIECE_MASK);
        let index = usize::try_from(nth).unwrap_or(usize::MAX);
        let Some(&(stored, len)) = self.pieces.get(index) else {
            let whole = index == self.pieces.len();
            let last = if whole { self.last.as_slice() } else { &[] };
            return Ok(copy_from(last, offset, buf));
        };
        if len == 0 {
            let left = PIECE.saturating_sub(offset as usize).min(buf.len());
            buf.get_mut(..left).unwrap_or_default().fill(0);
            return Ok(left);
        }
        let data = match self.cache.get(nth) {
            Some(data) => data,
            None => {
                let mut frame = vec![0; len as usize];
                let file = &self.unnamed.file;
                file.read_exact_at(&mut frame, stored)
                    .map_err(|e| self.failed(e))?;
                let data =
                    zstd::bulk::decompress(&frame, PIECE).map_err(|e| {
                        SourceError::unpack(Codec::Zstd.unit(), stored, e)
                    })?;
                let data: Arc<[u8]> = data.into();
                self.cache.put(nth, Arc::clone(&data));
                data
            }
        };
        Ok(copy_from(&data, offset, buf))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let mut reserved =
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.is_none() {
            // Its room is given back where that is allowed.
            let unnamed = self.unnamed.clone();
            let _ = unnamed.file.set_len(0);
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

    fn all(s: &Spool) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = [1; 20000];
        loop {
            match s.read_at(all.len() as u64, &mut buf).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&buf[..n]),
            }
        }
    }

    #[test]
    fn what_was_appended_comes_back() {
        let mut s = Spool::new().unwrap();
        let mut want = Vec::new();
        for (byte, len) in
            [(7, 5000), (0, 9000), (0, 3 * PIECE), (9, 2 * PIECE), (0, 100)]
        {
            s.append(&vec![byte; len]).unwrap();
            want.resize(want.len() + len, byte);
            assert!(all(&s) == want && s.len() == want.len() as u64);
        }
        assert!(s.pieces.iter().any(|(_, len)| *len == 0));
        assert!(s.stored < 10000, "{}", s.stored);
        let mut buf = [1; 5000];
        assert_eq!(s.read_at(100 << 20, &mut buf).unwrap(), 0);
        for at in (0..want.len()).rev().step_by(99_991) {
            let n = s.read_at(at as u64, &mut buf).unwrap();
            assert!(n > 0 && buf[..n] == want[at..at + n]);
        }
    }

    #[test]
    fn nothing_of_an_earlier_dump_is_left() {
        let mut s = Spool::new().unwrap();
        s.append(&vec![7; 3 * PIECE]).unwrap();
        // What capability mode does not let us truncate.
        let mut again = Spool::on(s.unnamed.clone());
        again.append(&[0; 5000]).unwrap();
        assert_eq!(all(&again), [0; 5000]);
        again.append(&vec![0; PIECE]).unwrap();
        assert!(all(&again).iter().all(|&b| b == 0));
    }
}
