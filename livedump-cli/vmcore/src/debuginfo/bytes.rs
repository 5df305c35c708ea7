// SPDX-License-Identifier: BSD-2-Clause
//! The bytes of a debug section, as gimli reads them. Of a section that is
//! stored as it is only a few pieces are in memory at a time; one that is
//! compressed or relocated is kept.
//!
//! Each read costs steps. When they are used up, reading fails as at the end
//! of a file, so that no file makes a reader go on for ever or allocate what
//! it claims.

use crate::source::{Plain, Source};
use gimli::{Error, LittleEndian, ReaderOffsetId, Result};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Bytes of a piece.
const PIECE: u64 = 8 << 10;
/// Pieces of one section that are kept.
const PIECES: usize = 128;
/// No name and no path is longer.
const MAX_TEXT: usize = 4096;

/// What reading may still cost.
#[derive(Debug)]
pub(super) struct Steps {
    left: Cell<u64>,
    total: Cell<u64>,
}

impl Steps {
    pub(super) fn new(total: u64) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(0), total: Cell::new(total) })
    }

    /// Starts something that may cost this much, and no more than all may.
    pub(super) fn start(&self, steps: u64) {
        self.left.set(steps.min(self.total.get()));
    }

    fn charge(&self, bytes: usize) -> Result<()> {
        let cost = (bytes as u64 / 16).saturating_add(1);
        let left = self.left.get().checked_sub(cost).ok_or(Error::Io)?;
        self.left.set(left);
        self.total.set(self.total.get().saturating_sub(cost));
        Ok(())
    }
}

#[derive(Debug)]
enum Stored {
    File { file: Plain, offset: u64 },
    Memory,
}

/// A piece of a section, and its number.
type Kept = Option<(u64, Rc<[u8]>)>;

/// A section.
pub(super) struct Section {
    stored: Stored,
    len: u64,
    pieces: RefCell<Vec<Kept>>,
    all: Rc<[u8]>,
    steps: Rc<Steps>,
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Section").field("len", &self.len).finish()
    }
}

impl Section {
    /// `len` bytes of a file.
    pub(super) fn of_file(
        file: Plain,
        offset: u64,
        len: u64,
        steps: &Rc<Steps>,
    ) -> Bytes {
        let stored = Stored::File { file, offset };
        Self::bytes(stored, len, Rc::default(), steps)
    }

    /// What is in memory.
    pub(super) fn of_memory(all: Vec<u8>, steps: &Rc<Steps>) -> Bytes {
        let len = all.len() as u64;
        Self::bytes(Stored::Memory, len, all.into(), steps)
    }

    fn bytes(
        stored: Stored,
        len: u64,
        all: Rc<[u8]>,
        steps: &Rc<Steps>,
    ) -> Bytes {
        let pieces = RefCell::new(Vec::new());
        let steps = Rc::clone(steps);
        let section = Self { stored, len, pieces, all, steps };
        Bytes {
            section: Rc::new(section),
            at: 0,
            end: len,
            piece: Rc::default(),
            base: 0,
        }
    }

    /// The piece that has an offset, and where it starts.
    fn piece(&self, at: u64) -> Result<(u64, Rc<[u8]>)> {
        let Stored::File { file, offset } = &self.stored else {
            return Ok((0, Rc::clone(&self.all)));
        };
        let number = at / PIECE;
        let base = number.saturating_mul(PIECE);
        let mut pieces = self.pieces.try_borrow_mut().map_err(|_| Error::Io)?;
        if pieces.is_empty() {
            pieces.resize(PIECES, None);
        }
        let slot = pieces.get_mut(number as usize % PIECES);
        let slot = slot.ok_or(Error::Io)?;
        if let Some((kept, piece)) = slot
            && *kept == number
        {
            return Ok((base, Rc::clone(piece)));
        }
        let n = self.len.saturating_sub(base).min(PIECE) as usize;
        let mut bytes = vec![0; n];
        let got = file.read_at(offset.saturating_add(base), &mut bytes);
        bytes.truncate(got.map_err(|_| Error::Io)?);
        let piece: Rc<[u8]> = bytes.into();
        *slot = Some((number, Rc::clone(&piece)));
        Ok((base, piece))
    }
}

/// A part of a section.
#[derive(Clone)]
pub(super) struct Bytes {
    section: Rc<Section>,
    at: u64,
    end: u64,
    piece: Rc<[u8]>,
    base: u64,
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.at, self.end)
    }
}

impl Bytes {
    fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    fn eof(&self) -> Error {
        Error::UnexpectedEof(ReaderOffsetId(self.at))
    }

    /// The rest of the piece that the next byte is in.
    fn next(&mut self) -> Result<&[u8]> {
        let inside = self.at.checked_sub(self.base);
        let inside = inside.filter(|&n| n < self.piece.len() as u64);
        let inside = match inside {
            Some(n) => n,
            None => {
                (self.base, self.piece) = self.section.piece(self.at)?;
                self.at.saturating_sub(self.base)
            }
        };
        let rest = self.piece.get(inside as usize..).unwrap_or_default();
        let left = self.left() as usize;
        let rest = rest.get(..left).unwrap_or(rest);
        if rest.is_empty() {
            return Err(Error::UnexpectedEof(ReaderOffsetId(self.at)));
        }
        Ok(rest)
    }

    /// All of it, if it is no longer than text is.
    fn text(&self) -> Result<Vec<u8>> {
        let n = self.left() as usize;
        if n > MAX_TEXT {
            return Err(Error::BadLength);
        }
        let mut out = vec![0; n];
        gimli::Reader::read_slice(&mut self.clone(), &mut out)?;
        Ok(out)
    }
}

impl gimli::Reader for Bytes {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        self.left() as usize
    }

    fn empty(&mut self) {
        self.at = self.end;
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        if len as u64 > self.left() {
            return Err(self.eof());
        }
        self.end = self.at.saturating_add(len as u64);
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.at.saturating_sub(base.at) as usize
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(self.at)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let inside = (self.at..=self.end).contains(&id.0);
        inside.then(|| id.0.saturating_sub(self.at) as usize)
    }

    fn find(&self, byte: u8) -> Result<usize> {
        let mut from = self.clone();
        loop {
            let rest = from.next()?;
            let found = rest.iter().position(|&b| b == byte);
            let n = rest.len();
            self.section.steps.charge(n)?;
            if let Some(found) = found {
                from.at = from.at.saturating_add(found as u64);
                return Ok(from.offset_from(self));
            }
            from.at = from.at.saturating_add(n as u64);
        }
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        if len as u64 > self.left() {
            return Err(self.eof());
        }
        self.at = self.at.saturating_add(len as u64);
        Ok(())
    }

    fn split(&mut self, len: usize) -> Result<Self> {
        let mut part = self.clone();
        part.truncate(len)?;
        self.skip(len)?;
        Ok(part)
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        Ok(self.text()?.into())
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        let text = String::from_utf8(self.text()?);
        Ok(text.map_err(|_| Error::BadUtf8)?.into())
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        let text = self.text()?;
        Ok(String::from_utf8_lossy(&text).into_owned().into())
    }

    fn read_slice(&mut self, buf: &mut [u8]) -> Result<()> {
        self.section.steps.charge(buf.len())?;
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let from = self.next()?;
            let n = from.len().min(rest.len());
            for (to, &byte) in rest.iter_mut().zip(from) {
                *to = byte;
            }
            done = done.saturating_add(n);
            self.at = self.at.saturating_add(n as u64);
        }
        Ok(())
    }

    fn read_u8(&mut self) -> Result<u8> {
        self.section.steps.charge(1)?;
        let byte = self.next()?.first().copied();
        self.at = self.at.saturating_add(1);
        byte.ok_or_else(|| self.eof())
    }
}
