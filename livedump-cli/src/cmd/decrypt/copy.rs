// SPDX-License-Identifier: BSD-2-Clause
//! Writes what is decrypted.

use super::Failure;
use crate::ekcd::Plaintext;
use crate::error::Error;
use crate::output::Output;
use crate::report::human;
use crate::signals::Signals;
use indicatif::{ProgressBar, ProgressStyle};
use livedump_vmcore::path::escape_path;
use livedump_vmcore::source::Stored;
use memdev::kerneldump::Compression;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// What is decrypted at a time: a multiple of every block.
const PIECE: usize = 1 << 20;
/// Where zeros become holes.
const HOLE: usize = 4096;

/// What a dump is compressed with, by its first four bytes.
pub(super) fn codec_of(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// From where, and what it is.
pub(super) struct Copy<'a> {
    pub(super) bytes: &'a Plaintext,
    pub(super) path: &'a Path,
    pub(super) codec: Compression,
}

impl Copy<'_> {
    /// Writes all of it.
    pub(super) fn run(
        &self,
        to: &Output,
        quiet: bool,
        signals: &Signals,
    ) -> Result<(), Error> {
        let read = |source| {
            let path = escape_path(self.path);
            Error::of_command(Failure::Read { path, source })
        };
        let length = self.bytes.len();
        let bar = bar(quiet, length);
        let sparse = self.codec == Compression::None && to.is_regular();
        let mut sink = Sink::new(to, sparse)?;
        let mut buf = Zeroizing::new(vec![0; PIECE]);
        let mut at = 0u64;
        while at < length {
            if let Some(signal) = signals.stopped() {
                return Err(Error::of_command(Failure::Stopped(signal)));
            }
            let got = self.bytes.read_at(&mut buf, at).map_err(read)?;
            if got == 0 {
                return Err(read(io::ErrorKind::UnexpectedEof.into()));
            }
            sink.write(buf.get(..got).unwrap_or_default())?;
            at = at.saturating_add(got as u64);
            bar.set_position(at);
        }
        bar.finish_and_clear();
        sink.finish()
    }
}

/// Where plain text goes.
pub(super) struct Sink<'a> {
    to: &'a Output,
    sparse: bool,
    length: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(to: &'a Output, sparse: bool) -> Result<Self, Error> {
        to.clear().map_err(|e| to.error(e))?;
        Ok(Self { to, sparse, length: 0 })
    }

    /// Appends.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.length = self.length.saturating_add(data.len() as u64);
        let written =
            match self.to.file() {
                None => io::stdout().lock().write_all(data),
                Some(mut file) if !self.sparse => file.write_all(data),
                Some(mut file) => data.chunks(HOLE).try_for_each(|block| {
                    match block.iter().all(|b| *b == 0) {
                        true => file
                            .seek(SeekFrom::Current(block.len() as i64))
                            .map(drop),
                        false => file.write_all(block),
                    }
                }),
            };
        Ok(written.map_err(|e| self.to.error(e))?)
    }

    /// Flushes, and ends a file where it should end.
    pub(super) fn finish(self) -> Result<(), Error> {
        let done = match self.to.file() {
            None => io::stdout().lock().flush(),
            Some(file) if self.sparse => file.set_len(self.length),
            Some(_) => Ok(()),
        };
        Ok(done.map_err(|e| self.to.error(e))?)
    }
}

pub(super) fn bar(quiet: bool, length: u64) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    // Draws nothing where standard error is no terminal.
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(
        "[{bar:30}] {percent}% {msg}, {binary_bytes_per_sec}, eta {eta}",
    ) {
        bar.set_style(style);
    }
    bar.set_message(format!("of {}", human(length)));
    bar
}
