// SPDX-License-Identifier: BSD-2-Clause
//! Points at which large gzip members are entered, so that none of what they
//! unpack to has to be kept: a byte is had by unpacking from the point before
//! it.

use super::cache::Cache;
use super::member::Point;
use super::sequential::copy_from;
use super::unit::{Step, Units};
use super::{SourceError, Stored};
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// Points are at least so far from each other in what is unpacked, twice as far
/// whenever there are too many.
const MIN_SPAN: u64 = 1 << 20;
/// With 32 KB each if nothing of them can be compressed.
const MAX_POINTS: usize = 2048;
/// A block of more than this is not gzip(1)'s: its blocks have at most 8 MB.
const MAX_BLOCK: u64 = 256 << 20;
/// What is unpacked at a time, and kept in the cache.
const PIECE: u64 = 256 << 10;
const STEP_BYTES: usize = 32 << 10;

/// What was found on the way through a file, from a member on.
#[derive(Debug)]
pub(super) struct Points {
    /// Where that member starts, in the file and unpacked.
    start: (u64, u64),
    /// Unpacked so far, from the start of the dump on; and of the last point.
    len: u64,
    last: u64,
    span: u64,
    most: usize,
    points: Vec<(u64, Entrance)>,
    /// The piece that is not whole yet: who reads on wants it.
    piece: Vec<u8>,
}

impl Points {
    pub(super) fn new(start: (u64, u64)) -> Self {
        let (len, last) = (start.1, start.1);
        let (points, piece) = (Vec::new(), Vec::new());
        Self {
            start,
            len,
            last,
            span: MIN_SPAN,
            most: MAX_POINTS,
            points,
            piece,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.points.len()
    }

    /// Where the piece with the byte at `at` starts.
    fn piece(&self, at: u64) -> u64 {
        let within = at.saturating_sub(self.start.1) & (PIECE - 1);
        at.saturating_sub(within)
    }

    /// Where the piece that `end` is in ends.
    pub(super) fn piece_end(&self, end: u64) -> u64 {
        self.piece(end.saturating_sub(1)).saturating_add(PIECE)
    }

    /// More was unpacked, and this is where that led to.
    pub(super) fn advance(
        &mut self,
        mut new: &[u8],
        units: &Units,
        cache: &Cache,
    ) -> Result<(), SourceError> {
        self.len = self.len.saturating_add(new.len() as u64);
        while !new.is_empty() {
            let room = (PIECE as usize).saturating_sub(self.piece.len());
            let (some, rest) = new.split_at(room.min(new.len()));
            self.piece.extend_from_slice(some);
            new = rest;
            if self.piece.len() as u64 >= PIECE {
                let end = self.len.saturating_sub(new.len() as u64);
                let piece = mem::take(&mut self.piece);
                cache.put(end.saturating_sub(PIECE), piece.into());
            }
        }
        let since = self.len.saturating_sub(self.last);
        if since > self.span.max(MAX_BLOCK) {
            let what = "a block of more than 256 MB";
            return Err(units.error(io::Error::other(what)));
        }
        if since < self.span {
            return Ok(());
        }
        let Some(point) = units.point() else { return Ok(()) };
        let point = point.map_err(|e| units.error(e))?;
        self.add(Entrance::Block(Arc::new(point)));
        Ok(())
    }

    /// A member ended; the next one starts at `stored` of the file. Small ones
    /// have nothing between two blocks.
    pub(super) fn end_unit(&mut self, stored: u64) {
        if self.len.saturating_sub(self.last) >= self.span {
            self.add(Entrance::Member(stored));
        }
    }

    fn add(&mut self, entrance: Entrance) {
        self.points.push((self.len, entrance));
        self.last = self.len;
        if self.points.len() >= self.most {
            let mut nth = 0usize;
            self.points.retain(|_| {
                nth = nth.saturating_add(1);
                nth.is_multiple_of(2)
            });
            self.span = self.span.saturating_mul(2);
        }
    }

    /// Where to start for the piece with the byte at `at`.
    pub(super) fn before(&self, at: u64) -> Before {
        let piece = self.piece(at);
        let want = self.len.saturating_sub(piece).min(PIECE) as usize;
        let after = self.points.partition_point(|(start, _)| *start <= piece);
        let known = after.checked_sub(1).and_then(|i| self.points.get(i));
        let (start, entrance) = known
            .cloned()
            .unwrap_or((self.start.1, Entrance::Member(self.start.0)));
        Before { piece, want, start, entrance }
    }
}

/// Where unpacking begins.
#[derive(Clone, Debug)]
enum Entrance {
    /// Between two blocks of a member.
    Block(Arc<Point>),
    /// At the start of one, which is there in the file.
    Member(u64),
}

/// What [`Points::before`] found.
#[derive(Debug)]
pub(super) struct Before {
    /// Where the piece starts, and how much of it there is.
    piece: u64,
    want: usize,
    /// Where unpacking begins, and how.
    start: u64,
    entrance: Entrance,
}

/// Unpacks between points. One reader's next read is often the next piece: it
/// goes on where it stopped.
#[derive(Debug, Default)]
pub(super) struct Between {
    idle: Mutex<Option<(u64, Units)>>,
}

impl Between {
    /// Reads at `at`, which is in this piece, in the first `end` bytes of
    /// `file`.
    pub(super) fn read(
        &self,
        (file, end): (&Arc<dyn Stored>, u64),
        before: &Before,
        (at, buf): (u64, &mut [u8]),
        cache: &Cache,
    ) -> Result<usize, SourceError> {
        let start = before.piece;
        let offset = at.saturating_sub(start);
        if let Some(data) = cache.get(start)
            && data.len() >= before.want
        {
            return Ok(copy_from(&data, offset, buf));
        }
        let idle =
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let idle = idle.filter(|(at, _)| (before.start..=start).contains(at));
        let (mut position, mut units) = match (idle, &before.entrance) {
            (Some(idle), _) => idle,
            (None, Entrance::Block(point)) => {
                (before.start, Units::enter(Arc::clone(file), point, end)?)
            }
            (None, Entrance::Member(stored)) => {
                let file = Arc::clone(file);
                (before.start, Units::with_points(file, *stored, end))
            }
        };
        let mut data = Vec::with_capacity(before.want);
        let mut step = vec![0; STEP_BYTES];
        let target = start.saturating_add(before.want as u64);
        while position < target {
            // Up to the piece, then it; never beyond its end.
            let next = if position < start { start } else { target };
            let room = next.saturating_sub(position).min(STEP_BYTES as u64);
            let room = step.get_mut(..room as usize).unwrap_or_default();
            match units.step(room)? {
                Step::Bytes(n) => {
                    if position >= start {
                        let new = room.get(..n).unwrap_or_default();
                        data.extend_from_slice(new);
                    }
                    position = position.saturating_add(n as u64);
                }
                Step::UnitEnd(_) => {}
                Step::End => break,
            }
        }
        let idle = Some((position, units));
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = idle;
        let data: Arc<[u8]> = data.into();
        cache.put(start, Arc::clone(&data));
        Ok(copy_from(&data, offset, buf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Codec, Sequential, Source};
    use flate2::{Compression, GzBuilder};
    use std::io::Write;

    /// Words, noise, zeros, in turn.
    fn bytes(len: usize) -> Vec<u8> {
        let mut x = 7u64;
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match (out.len() >> 15) % 4 {
                0 => out.push((x >> 56) as u8),
                1 => out.push(0),
                _ => out.extend_from_slice(
                    ["vnode", "socket", "proc", "thread"][(x >> 62) as usize]
                        .as_bytes(),
                ),
            }
        }
        out.truncate(len);
        out
    }

    fn member(data: &[u8], level: u32) -> Vec<u8> {
        let mut to = GzBuilder::new()
            .filename("vmcore.0")
            .comment("a")
            .extra(vec![1; 70])
            .write(Vec::new(), Compression::new(level));
        to.write_all(data).unwrap();
        to.finish().unwrap()
    }

    fn stream(packed: &[u8]) -> Sequential {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(packed).unwrap();
        let end = packed.len() as u64;
        Sequential::new(Codec::Gzip, Arc::new(file), end)
    }

    fn reads(source: &Sequential, data: &[u8]) {
        let mut x = 3u64;
        let mut buf = vec![0; 100_000];
        for n in 0..300 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (x >> 33) as usize % data.len();
            let len = if n % 10 == 0 { buf.len() } else { 4096 };
            let got = source.read_at(at as u64, &mut buf[..len]).unwrap();
            let want = &data[at..(at + len).min(data.len())];
            assert!(&buf[..got] == want, "{len} bytes at {at}");
        }
    }

    fn ends(source: &Sequential, data: &[u8]) {
        let end = data.len() as u64;
        assert_eq!(source.read_at(end, &mut [0]).unwrap(), 0);
        assert_eq!(source.known_len(), Some(end));
    }

    #[test]
    fn members_of_every_kind_read_anywhere() {
        let data = bytes(21 << 20);
        for level in [0, 1, 6, 9] {
            let source = stream(&member(&data, level));
            reads(&source, &data);
            ends(&source, &data);
        }
        // Small ones before and behind, and zeros at the end.
        let mut packed = member(&data[..1000], 6);
        packed.extend(member(&data[1000..9 << 20], 1));
        for part in data[9 << 20..].chunks(1 << 20) {
            packed.extend(member(part, 6));
        }
        packed.resize(packed.len() + 700, 0);
        let source = stream(&packed);
        reads(&source, &data);
        ends(&source, &data);
    }

    /// A member of one block has no place between two.
    #[test]
    fn small_members_behind_a_large_one_are_points() {
        let data = bytes(9 << 20);
        let mut packed = member(&data[..5 << 20], 6);
        for part in data[5 << 20..].chunks(20_000) {
            packed.extend(member(part, 6));
        }
        let source = stream(&packed);
        ends(&source, &data);
        let state = source.tail_points().unwrap();
        assert!(state >= 8, "{state} points in 9 MiB");
        reads(&source, &data);
        // And where that is more than a block may be.
        let zeros = vec![0; 1 << 20];
        let mut packed = member(&data[..5 << 20], 6);
        let small = member(&zeros, 9);
        for _ in 0..260 {
            packed.extend(&small);
        }
        let source = stream(&packed);
        let end = (265u64) << 20;
        assert_eq!(source.read_at(end, &mut [0]).unwrap(), 0);
        assert_eq!(source.known_len(), Some(end));
    }

    #[test]
    fn what_was_before_the_end_or_the_damage_is_there() {
        let data = bytes(21 << 20);
        let whole = member(&data, 6);
        let last = data.len() as u64 - 1;
        let cut = stream(&whole[..whole.len() / 2]);
        assert_eq!(cut.read_at(last, &mut [0]).unwrap(), 0);
        let len = cut.known_len().unwrap() as usize;
        assert!(len > data.len() / 4 && len < data.len());
        reads(&cut, &data[..len]);
        let mut flipped = whole.clone();
        let at = flipped.len() - 5;
        flipped[at] ^= 1;
        let flipped = stream(&flipped);
        assert!(flipped.read_at(last + 1, &mut [0]).is_err());
        assert_eq!(flipped.known_len(), None);
        reads(&flipped, &data);
        let mut flipped = whole;
        let at = flipped.len() / 2;
        flipped[at] ^= 0x55;
        let flipped = stream(&flipped);
        assert!(flipped.read_at(last + 1, &mut [0]).is_err());
        assert!(flipped.read_at(1 << 20, &mut [0]).is_ok());
    }

    #[test]
    fn many_points_become_half_as_many() {
        let data = bytes(6 << 20);
        let mut file = tempfile::tempfile().unwrap();
        let packed = member(&data, 6);
        file.write_all(&packed).unwrap();
        let (file, end): (Arc<dyn Stored>, _) =
            (Arc::new(file), packed.len() as u64);
        let (cache, between) = (Cache::new(0), Between::default());
        let mut units = Units::with_points(Arc::clone(&file), 0, end);
        let mut points = Points::new((0, 0));
        (points.span, points.most) = (4096, 16);
        let mut buf = vec![0; 1000];
        loop {
            match units.step(&mut buf).unwrap() {
                Step::Bytes(n) => {
                    points.advance(&buf[..n], &units, &cache).unwrap();
                }
                Step::UnitEnd(stored) => points.end_unit(stored),
                Step::End => break,
            }
            assert!(points.points.len() < 16);
        }
        assert!(points.points.len() > 4 && points.span >= 16 << 10);
        for at in (0..data.len()).rev().step_by(70_001) {
            let before = points.before(at as u64);
            let mut buf = [0; 4096];
            let n = between
                .read((&file, end), &before, (at as u64, &mut buf), &cache)
                .unwrap();
            assert!(n > 0 && buf[..n] == data[at..at + n]);
        }
    }
}
