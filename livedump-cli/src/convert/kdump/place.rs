// SPDX-License-Identifier: BSD-2-Clause
//! Bytes at offsets: of a file, or of what a stream of records will be.

use super::super::{Error, PAGE, Sink};

/// C: `struct makedumpfile_header`; big endian.
const SIGNATURE: &[u8; 16] = b"makedumpfile\0\0\0\0";
const TYPE_FLAT: u64 = 1;
const VERSION_FLAT: u64 = 1;
/// The record after the last one.
const END: [u8; 16] = [0xff; 16];
/// What is collected before it is written.
const QUEUE: usize = 1 << 20;

/// What the parts of a KDUMP are put into.
pub(super) struct Place<'s> {
    sink: Sink<'s>,
    end: u64,
}

impl<'s> Place<'s> {
    pub(super) fn new(mut sink: Sink<'s>) -> Result<Self, Error> {
        if !sink.is_seekable() {
            let mut head = SIGNATURE.to_vec();
            head.extend(TYPE_FLAT.to_be_bytes());
            head.extend(VERSION_FLAT.to_be_bytes());
            head.resize(PAGE as usize, 0);
            sink.write(&head)?;
        }
        Ok(Self { sink, end: 0 })
    }

    /// Writes bytes at an offset.
    pub(super) fn put(&mut self, bytes: &[u8], at: u64) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let n = bytes.len() as u64;
        self.end = self.end.max(at.saturating_add(n));
        if self.sink.is_seekable() {
            return Ok(self.sink.write_at(bytes, at)?);
        }
        let mut record = at.to_be_bytes().to_vec();
        record.extend(n.to_be_bytes());
        self.sink.write(&record)?;
        Ok(self.sink.write(bytes)?)
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        match self.sink.is_seekable() {
            true => self.sink.set_end(self.end),
            false => self.sink.write(&END)?,
        }
        self.sink.finish()
    }
}

/// Bytes that follow each other.
pub(super) struct Queue {
    at: u64,
    bytes: Vec<u8>,
}

impl Queue {
    pub(super) fn new(at: u64) -> Self {
        Self { at, bytes: Vec::new() }
    }

    /// Adds bytes, and returns their offset.
    pub(super) fn put(
        &mut self,
        bytes: &[u8],
        place: &mut Place<'_>,
    ) -> Result<u64, Error> {
        let at = self.at.saturating_add(self.bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= QUEUE {
            self.flush(place)?;
        }
        Ok(at)
    }

    pub(super) fn flush(&mut self, place: &mut Place<'_>) -> Result<(), Error> {
        place.put(&self.bytes, self.at)?;
        self.at = self.at.saturating_add(self.bytes.len() as u64);
        self.bytes.clear();
        Ok(())
    }
}
