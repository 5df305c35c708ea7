// SPDX-License-Identifier: BSD-2-Clause
//! Where a conversion is written to: a regular file, in which zeros are holes
//! and everything has an offset, or a stream, which takes one byte after the
//! other.

use super::{Error, Job, is_zero};
use memdev::addr::PAGE_SIZE;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// What is written to a stream at a time where there is nothing.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What is written to a file at a time. Linux takes three times as long for
/// a megabyte at once: it looks for as much adjacent memory first.
const WRITE: usize = 256 << 10;

enum To<'a> {
    File(&'a File),
    Stream(Box<dyn Write + 'a>),
}

/// An output with a position.
pub struct Sink<'a> {
    to: To<'a>,
    at: u64,
}

impl std::fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seekable = self.is_seekable();
        write!(f, "Sink {{ seekable: {seekable}, at: {} }}", self.at)
    }
}

impl<'a> Sink<'a> {
    /// A regular file, which is empty, or else a stream.
    ///
    /// # Errors
    /// Which it is cannot be told.
    pub fn file(file: &'a File) -> io::Result<Self> {
        Ok(match file.metadata()?.is_file() {
            true => Self { to: To::File(file), at: 0 },
            false => Self::stream(file),
        })
    }

    /// Anything else.
    pub fn stream(out: impl Write + 'a) -> Self {
        Self { to: To::Stream(Box::new(out)), at: 0 }
    }

    /// Whether bytes can be written in any order.
    #[must_use]
    pub fn is_seekable(&self) -> bool {
        matches!(self.to, To::File(_))
    }

    /// The file that takes bytes in any order.
    pub(super) fn seekable(&self) -> Option<&'a File> {
        match &self.to {
            To::File(file) => Some(file),
            To::Stream(_) => None,
        }
    }

    /// A part of a file that others write other parts of.
    pub(super) fn part(file: &'a File, at: u64) -> Self {
        Self { to: To::File(file), at }
    }

    /// Goes on behind bytes of a file that another sink writes.
    pub(super) fn advance(&mut self, n: u64) -> Result<(), Error> {
        self.at = self.at.checked_add(n).ok_or_else(too_large)?;
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Writes all of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.to {
            To::File(file) => file.write_all_at(bytes, self.at)?,
            To::Stream(out) => out.write_all(bytes)?,
        }
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Writes pages; those of zeros are holes where that is possible.
    pub(super) fn pages(&mut self, bytes: &[u8]) -> io::Result<()> {
        let To::File(file) = &self.to else { return self.write(bytes) };
        let mut start = 0usize;
        let mut end = 0usize;
        let put = |start: usize, end: usize| {
            let mut at = self.at.saturating_add(start as u64);
            for part in bytes.get(start..end).unwrap_or_default().chunks(WRITE)
            {
                file.write_all_at(part, at)?;
                at = at.saturating_add(part.len() as u64);
            }
            io::Result::Ok(())
        };
        for page in bytes.chunks(PAGE_SIZE) {
            let next = end.saturating_add(page.len());
            if is_zero(page) {
                put(start, end)?;
                start = next;
            }
            end = next;
        }
        put(start, end)?;
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Bytes of zeros; a hole where that is possible.
    pub(super) fn skip(&mut self, n: u64, job: &Job<'_>) -> Result<(), Error> {
        let To::Stream(out) = &mut self.to else {
            return self.advance(n);
        };
        let mut left = n;
        while left > 0 {
            job.check()?;
            let n = left.min(ZEROS.len() as u64);
            out.write_all(ZEROS.get(..n as usize).unwrap_or_default())?;
            left = left.saturating_sub(n);
        }
        self.at = self.at.saturating_add(n);
        Ok(())
    }

    /// Zeros up to an offset.
    pub(super) fn skip_to(
        &mut self,
        at: u64,
        job: &Job<'_>,
    ) -> Result<(), Error> {
        self.skip(at.saturating_sub(self.at), job)
    }

    /// Writes at another place of a file.
    pub(super) fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        match &self.to {
            To::File(file) => file.write_all_at(bytes, at),
            To::Stream(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }

    /// Where a file ends that was not written in order.
    pub(super) fn set_end(&mut self, end: u64) {
        self.at = end;
    }

    /// Makes the file as long as all that was written and skipped.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        match &mut self.to {
            To::File(file) => file.set_len(self.at)?,
            To::Stream(out) => out.flush()?,
        }
        Ok(())
    }
}

fn too_large() -> Error {
    Error::TooLarge("an offset does not fit into 64 bits".into())
}
