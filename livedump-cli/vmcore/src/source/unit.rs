// SPDX-License-Identifier: BSD-2-Clause
//! One zstd frame or gzip member at a time.

use super::member::{Member, Point};
use super::range::Range;
use super::{SourceError, Stored};
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use zstd::stream::read::Decoder as ZstdDecoder;

/// What a stream is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// What its independent parts are called.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Gzip => "gzip member",
            Self::Zstd => "zstd frame",
        }
    }

    fn starts_with_magic(self, b: &[u8]) -> bool {
        match self {
            Self::Gzip => b.starts_with(&[0x1f, 0x8b]),
            Self::Zstd => is_zstd(b),
        }
    }
}

/// A frame's magic, or that of one that is skipped.
pub(crate) fn is_zstd(b: &[u8]) -> bool {
    matches!(
        b,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
    )
}

enum Decoder {
    Gzip(Box<GzDecoder<Range>>),
    Member(Box<Member>),
    Zstd(Box<ZstdDecoder<'static, Range>>),
}

/// What comes next out of a stream of units.
pub(super) enum Step {
    /// So many bytes were put into the buffer.
    Bytes(usize),
    /// A unit ended whole; the next one would start at this offset.
    UnitEnd(u64),
    /// There are no more.
    End,
}

/// Unpacks the units of a part of a file, one behind the other.
pub(super) struct Units {
    codec: Codec,
    /// The stream between two units.
    idle: Option<Range>,
    decoder: Option<Decoder>,
    /// Where the unit being unpacked starts.
    start: u64,
    /// Whether that unit, if zstd, has a checksum.
    checksum: bool,
    /// Zeros after the last one.
    padding: u64,
    /// Whether there was a unit.
    begun: bool,
    /// Whether there are to be points at which members can be entered.
    points: bool,
}

impl std::fmt::Debug for Units {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Units")
            .field("codec", &self.codec)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl Units {
    pub(super) fn new(
        codec: Codec,
        file: Arc<dyn Stored>,
        at: u64,
        end: u64,
    ) -> Self {
        Self {
            codec,
            idle: Some(Range::new(file, at, end)),
            decoder: None,
            start: at,
            checksum: false,
            padding: 0,
            begun: false,
            points: false,
        }
    }

    /// From the end of a unit on, or from the start.
    pub(super) fn behind(
        codec: Codec,
        file: Arc<dyn Stored>,
        at: u64,
        end: u64,
    ) -> Self {
        Self { begun: at > 0, ..Self::new(codec, file, at, end) }
    }

    /// The same of gzip members, with [`Self::point`]; slower.
    pub(super) fn with_points(
        file: Arc<dyn Stored>,
        at: u64,
        end: u64,
    ) -> Self {
        Self { points: true, ..Self::behind(Codec::Gzip, file, at, end) }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// From this offset on, with [`Self::point`].
    pub(super) fn restart_with_points(&mut self, at: u64) {
        let range = match (self.decoder.take(), self.idle.take()) {
            (Some(Decoder::Gzip(d)), _) => Some(d.into_inner()),
            (Some(Decoder::Member(d)), _) => Some(d.into_inner()),
            (_, idle) => idle,
        };
        self.idle = range.map(|range| range.clone_at(at));
        self.points = true;
        self.begun = at > 0;
    }

    /// From within a member on.
    pub(super) fn enter(
        file: Arc<dyn Stored>,
        point: &Point,
        end: u64,
    ) -> Result<Self, SourceError> {
        let member = Member::enter(Arc::clone(&file), point, end)?;
        Ok(Self {
            idle: None,
            decoder: Some(Decoder::Member(Box::new(member))),
            begun: true,
            ..Self::with_points(file, end, end)
        })
    }

    /// Where the member can be entered, if that is here.
    pub(super) fn point(&self) -> Option<io::Result<Point>> {
        match &self.decoder {
            Some(Decoder::Member(member)) => member.point(),
            _ => None,
        }
    }

    /// Zeros after the last unit. The kernel writes whole blocks, and what
    /// receives a dump may keep their ends; gzip(1) ignores them, too.
    pub(super) fn padding(&self) -> u64 {
        self.padding
    }

    /// Whether the unit being unpacked carries a checksum.
    pub(super) fn has_checksum(&self) -> bool {
        self.checksum
    }

    /// The next bytes, or what else there is.
    pub(super) fn step(&mut self, buf: &mut [u8]) -> Result<Step, SourceError> {
        if self.decoder.is_none() && !self.begin()? {
            return Ok(Step::End);
        }
        let read = match &mut self.decoder {
            Some(Decoder::Gzip(d)) => retry(|| d.read(buf)),
            Some(Decoder::Member(d)) => retry(|| d.read(buf)),
            Some(Decoder::Zstd(d)) => retry(|| d.read(buf)),
            None => Ok(0),
        };
        match read {
            Ok(0) => {
                let range = match self.decoder.take() {
                    Some(Decoder::Gzip(d)) => d.into_inner(),
                    Some(Decoder::Member(d)) => d.into_inner(),
                    Some(Decoder::Zstd(d)) => d.finish(),
                    None => return Ok(Step::End),
                };
                let at = range.position();
                self.idle = Some(range);
                Ok(Step::UnitEnd(at))
            }
            Ok(n) => Ok(Step::Bytes(n)),
            Err(source) => {
                // Nothing behind this unit can be found.
                self.decoder = None;
                Err(self.error(source))
            }
        }
    }

    pub(super) fn error(&self, source: io::Error) -> SourceError {
        SourceError::unpack(self.codec.unit(), self.start, source)
    }

    /// Whether nothing but zeros are left.
    fn is_padding(&mut self, range: &mut Range) -> Result<bool, SourceError> {
        let failed = |source| SourceError::Io { offset: self.start, source };
        // No magic starts with one.
        let have = retry(|| range.fill_buf().map(|b| b.first().copied()));
        if have.map_err(failed)? != Some(0) {
            return Ok(false);
        }
        let mut lookahead = range.clone_at(self.start);
        let mut zeros = 0u64;
        loop {
            let n = retry(|| {
                let have = lookahead.fill_buf()?;
                Ok(have.iter().all(|&b| b == 0).then_some(have.len()))
            });
            match n.map_err(failed)? {
                None => return Ok(false),
                Some(0) => break,
                Some(n) => {
                    zeros = zeros.saturating_add(n as u64);
                    lookahead.consume(n);
                }
            }
        }
        self.padding = zeros;
        Ok(true)
    }

    /// Starts the next unit; false at the end of the stream.
    fn begin(&mut self) -> Result<bool, SourceError> {
        let Some(mut range) = self.idle.take() else { return Ok(false) };
        self.start = range.position();
        let head = retry(|| range.fill_buf().map(<[u8]>::len))
            .map_err(|source| SourceError::Io { offset: self.start, source })?;
        if head == 0 {
            return Ok(false);
        }
        if self.begun && self.is_padding(&mut range)? {
            return Ok(false);
        }
        self.begun = true;
        let have = range.fill_buf().unwrap_or_default();
        if !self.codec.starts_with_magic(have) && have.len() >= 4 {
            let what = format!("no {} starts here", self.codec.unit());
            return Err(self.error(io::Error::other(what)));
        }
        // Bit 2 of the frame header descriptor, behind the magic.
        self.checksum = self.codec == Codec::Gzip
            || have.get(4).is_some_and(|d| d & 4 != 0);
        self.decoder = Some(match self.codec {
            Codec::Gzip if self.points => {
                let member = Member::new(range).map_err(|e| self.error(e))?;
                Decoder::Member(Box::new(member))
            }
            Codec::Gzip => Decoder::Gzip(Box::new(GzDecoder::new(range))),
            Codec::Zstd => {
                let d = ZstdDecoder::with_buffer(range)
                    .map_err(|e| self.error(e))?;
                Decoder::Zstd(Box::new(d.single_frame()))
            }
        });
        Ok(true)
    }
}

fn retry<T>(mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match f() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            r => return r,
        }
    }
}
