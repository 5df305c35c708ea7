// SPDX-License-Identifier: BSD-2-Clause
//! A gzip member that can be left between two of its blocks and entered there
//! again: what RFC 1951 needs for that is a position in bits, and the 32 KB
//! that were unpacked before it.

use super::range::Range;
use super::{Codec, SourceError, Stored};
use flate2::Crc;
use flate2::bufread::GzDecoder;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
};
use miniz_oxide::inflate::core::{
    BlockBoundaryState, DecompressorOxide, decompress_with_limit,
};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// How far back a block reaches.
const WINDOW: usize = 32 << 10;
/// A power of two, at which what is unpacked starts over.
const RING: usize = 2 * WINDOW;
/// CRC and length.
const TRAILER: usize = 8;

/// Where a member can be entered.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The first byte of the file that was not taken yet.
    stored: u64,
    /// Of the byte before it, so many bits belong to the next block.
    bits: u8,
    bit_buf: u8,
    /// The bytes that were unpacked before, as a zstd frame: memory of a kernel
    /// is a third of its size.
    window: Box<[u8]>,
}

/// A member that is being unpacked.
pub(super) struct Member {
    range: Range,
    state: Box<DecompressorOxide>,
    ring: Box<[u8]>,
    /// In the ring.
    at: usize,
    /// Of the whole member, where it was unpacked from its start.
    sum: Option<Crc>,
    /// The last byte that was handed out is the last of a block.
    between: bool,
    ended: bool,
}

impl Member {
    /// The one that starts at `range`.
    pub(super) fn new(range: Range) -> io::Result<Self> {
        let mut header = GzDecoder::new(range);
        if header.header().is_none() {
            header.read_exact(&mut [0])?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self::from(header.into_inner(), Box::default(), Some(Crc::new())))
    }

    fn from(
        range: Range,
        state: Box<DecompressorOxide>,
        sum: Option<Crc>,
    ) -> Self {
        Self {
            range,
            state,
            ring: vec![0; RING].into_boxed_slice(),
            at: 0,
            sum,
            between: false,
            ended: false,
        }
    }

    /// Enters a member of the first `end` bytes of `file`.
    pub(super) fn enter(
        file: Arc<dyn Stored>,
        point: &Point,
        end: u64,
    ) -> Result<Self, SourceError> {
        let state = BlockBoundaryState {
            num_bits: point.bits,
            bit_buf: point.bit_buf,
            ..BlockBoundaryState::default()
        };
        let state = DecompressorOxide::from_block_boundary_state(&state);
        let range = Range::new(file, point.stored, end);
        let mut member = Self::from(range, Box::new(state), None);
        let into = member.ring.get_mut(..WINDOW).unwrap_or_default();
        zstd::bulk::decompress_to_buffer(&point.window, into).map_err(|e| {
            SourceError::unpack(Codec::Gzip.unit(), point.stored, e)
        })?;
        member.at = WINDOW;
        Ok(member)
    }

    /// Where it can be entered, if that is here.
    pub(super) fn point(&self) -> Option<io::Result<Point>> {
        if !self.between {
            return None;
        }
        let state = self.state.block_boundary_state()?;
        // The ring from its oldest byte on, of which a half is kept.
        let (new, old) = self.ring.split_at_checked(self.at)?;
        let mut window = [old, new].concat();
        let window =
            zstd::bulk::compress(window.split_off(WINDOW).as_slice(), 1);
        Some(window.map(|window| Point {
            stored: self.range.position(),
            bits: state.num_bits,
            bit_buf: state.bit_buf,
            window: window.into(),
        }))
    }

    /// What is behind it.
    pub(super) fn into_inner(self) -> Range {
        self.range
    }

    /// Compares what was unpacked with what the member says of it.
    fn end(&mut self) -> io::Result<()> {
        let mut trailer = [0; TRAILER];
        self.range.read_exact(&mut trailer)?;
        let Some(sum) = &self.sum else { return Ok(()) };
        let want = u64::from(sum.sum()) | u64::from(sum.amount()) << 32;
        if want != u64::from_le_bytes(trailer) {
            let what = "corrupt gzip stream does not have a matching checksum";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(())
    }
}

impl Read for Member {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while !self.ended {
            if self.at >= RING {
                self.at = 0;
            }
            let have = self.range.fill_buf()?;
            let mut flags = TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
            if !have.is_empty() {
                flags |= TINFL_FLAG_HAS_MORE_INPUT;
            }
            let (status, used, n) = decompress_with_limit(
                &mut self.state,
                have,
                &mut self.ring,
                self.at,
                buf.len(),
                flags,
            );
            self.range.consume(used);
            let new = self.ring.get(self.at..).and_then(|r| r.get(..n));
            let (Some(new), Some(to)) = (new, buf.get_mut(..n)) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            to.copy_from_slice(new);
            if let Some(sum) = &mut self.sum {
                sum.update(new);
            }
            self.at = self.at.saturating_add(n);
            self.between = status == TINFLStatus::BlockBoundary;
            match status {
                TINFLStatus::Done => self.ended = true,
                TINFLStatus::BlockBoundary
                | TINFLStatus::HasMoreOutput
                | TINFLStatus::NeedsMoreInput => {}
                TINFLStatus::FailedCannotMakeProgress => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => {
                    let what = "corrupt deflate stream";
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        what,
                    ));
                }
            }
            if n > 0 {
                return Ok(n);
            }
        }
        self.end()?;
        Ok(0)
    }
}
