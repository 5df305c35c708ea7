// SPDX-License-Identifier: BSD-2-Clause
//! A compressed stream without an index: unpacked from its start as far as it
//! is asked for, once.
//!
//! Where it consists of many small frames or members, the offsets found on
//! the way become an index and nothing else is kept. Of a gzip member that is
//! larger than [`MAX_UNIT`] (the kernel's own compressor makes one of a whole
//! dump), and of everything behind it, there are [`Points`]. A zstd frame cannot
//! be entered in its middle: one so large, and everything behind it, goes into a
//! [`Spool`].

use super::cache::Cache;
use super::points::{Before, Between, Points};
use super::spool::Spool;
use super::unit::{Codec, Step, Units};
use super::{Check, MAX_UNIT, Source, SourceError, Stored, shares};
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Small units are indexed together until they unpack to this much, so that
/// the index stays small whatever the file is made of; the more there is, the
/// more each entry covers.
const GROUP_BYTES: u64 = 256 << 10;
const MAX_GROUP_BYTES: u64 = 1 << 20;
const GROUPS: u64 = 32 << 10;
const STEP_BYTES: usize = 128 << 10;

/// Units `[stored, stored_end)` of the file, which unpack to `[start, end)`.
#[derive(Clone, Copy, Debug)]
struct Group {
    stored: u64,
    stored_end: u64,
    start: u64,
    end: u64,
}

/// A stream of gzip members or zstd frames.
#[derive(Debug)]
pub struct Sequential {
    codec: Codec,
    file: Arc<dyn Stored>,
    end: u64,
    state: Mutex<State>,
    cache: Cache,
    between: Between,
}

#[derive(Debug)]
struct State {
    units: Units,
    buf: Box<[u8]>,
    groups: Vec<Group>,
    /// Where what is not in a group starts: in the file, and unpacked.
    tail_at: (u64, u64),
    tail: Tail,
    done: Option<Result<(), Failure>>,
}

/// What was unpacked behind the last group.
#[derive(Debug)]
enum Tail {
    /// The open group.
    Memory(Vec<u8>, Result<Spool, Failure>),
    /// Everything from there on: a unit was too large.
    File(Spool),
    /// A member was.
    Points(Points),
}

/// A [`SourceError`] that can be given out again.
#[derive(Clone, Debug)]
enum Failure {
    Unpack(&'static str, u64, io::ErrorKind, String),
    Memory(&'static str, u64, io::ErrorKind, String),
    Io(u64, io::ErrorKind, String),
    Spool(String, io::ErrorKind, String),
}

impl From<SourceError> for Failure {
    fn from(e: SourceError) -> Self {
        match e {
            SourceError::Unpack { unit, offset, source } => {
                Self::Unpack(unit, offset, source.kind(), source.to_string())
            }
            SourceError::Memory { unit, offset, source } => {
                Self::Memory(unit, offset, source.kind(), source.to_string())
            }
            SourceError::Spool { directory, source } => {
                Self::Spool(directory, source.kind(), source.to_string())
            }
            SourceError::Io { offset, source } => {
                Self::Io(offset, source.kind(), source.to_string())
            }
            SourceError::FrameSize { offset, .. }
            | SourceError::Damaged { offset, .. } => {
                let kind = io::ErrorKind::InvalidData;
                Self::Unpack("zstd frame", offset, kind, e.to_string())
            }
            // An image's, which no stream is.
            SourceError::Absent(_) => {
                let kind = io::ErrorKind::NotFound;
                Self::Unpack("stream", 0, kind, e.to_string())
            }
        }
    }
}

impl From<Failure> for SourceError {
    fn from(f: Failure) -> Self {
        match f {
            Failure::Unpack(unit, offset, kind, text) => {
                let source = io::Error::new(kind, text);
                Self::Unpack { unit, offset, source }
            }
            Failure::Memory(unit, offset, kind, text) => {
                let source = io::Error::new(kind, text);
                Self::Memory { unit, offset, source }
            }
            Failure::Spool(directory, kind, text) => {
                let source = io::Error::new(kind, text);
                Self::Spool { directory, source }
            }
            Failure::Io(offset, kind, text) => {
                Self::Io { offset, source: io::Error::new(kind, text) }
            }
        }
    }
}

impl Failure {
    /// The stream just ends: everything before it is good.
    fn is_truncation(&self) -> bool {
        matches!(self, Self::Unpack(_, _, io::ErrorKind::UnexpectedEof, _))
    }
}

impl Sequential {
    /// The units in the first `end` bytes of `file`. The temporary file is
    /// made now, while the process may still open files.
    #[must_use]
    pub fn new(codec: Codec, file: Arc<dyn Stored>, end: u64) -> Self {
        let spool = Spool::new().map_err(Failure::from);
        let state = State {
            units: Units::new(codec, Arc::clone(&file), 0, end),
            buf: vec![0; STEP_BYTES].into_boxed_slice(),
            groups: Vec::new(),
            tail_at: (0, 0),
            tail: Tail::Memory(Vec::new(), spool),
            done: None,
        };
        let state = Mutex::new(state);
        let (cache, between) = (Cache::default(), Between::default());
        Self { codec, file, end, state, cache, between }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn tail_points(&self) -> Option<usize> {
        match &self.state().tail {
            Tail::Points(points) => Some(points.count()),
            _ => None,
        }
    }

    /// Unpacks a group again.
    fn group(&self, g: Group) -> Result<Arc<[u8]>, SourceError> {
        if let Some(data) = self.cache.get(g.start) {
            return Ok(data);
        }
        let file = Arc::clone(&self.file);
        let mut units = Units::new(self.codec, file, g.stored, g.stored_end);
        let want = usize::try_from(g.end.saturating_sub(g.start))
            .unwrap_or(MAX_UNIT)
            .min(MAX_UNIT);
        let mut data = Vec::with_capacity(want);
        let mut buf = vec![0; STEP_BYTES];
        while data.len() < want {
            match units.step(&mut buf)? {
                Step::Bytes(n) => {
                    data.extend_from_slice(buf.get(..n).unwrap_or_default());
                }
                Step::UnitEnd(_) => {}
                Step::End => break,
            }
        }
        // Another size than the first time: the file changes under us.
        data.resize(want, 0);
        let data: Arc<[u8]> = data.into();
        self.cache.put(g.start, Arc::clone(&data));
        Ok(data)
    }
}

impl State {
    fn produced(&self) -> u64 {
        let behind = match &self.tail {
            Tail::Memory(data, _) => data.len() as u64,
            Tail::File(spool) => spool.len(),
            Tail::Points(points) => return points.len(),
        };
        self.tail_at.1.saturating_add(behind)
    }

    /// How far to unpack for what is before `end`.
    fn whole(&self, end: u64) -> u64 {
        match &self.tail {
            Tail::Points(points) => points.piece_end(end),
            _ => end,
        }
    }

    /// Unpacks until `end` bytes are there, or the stream ends.
    fn advance(&mut self, end: u64, cache: &Cache) {
        while self.done.is_none() && self.produced() < self.whole(end) {
            let step = self.units.step(&mut self.buf);
            match step.and_then(|step| self.take(step, cache)) {
                Ok(true) => {}
                Ok(false) => self.done = Some(Ok(())),
                Err(e) => self.done = Some(Err(e.into())),
            }
        }
    }

    /// False at the end.
    fn take(&mut self, step: Step, cache: &Cache) -> Result<bool, SourceError> {
        match step {
            Step::Bytes(n) => {
                let new = self.buf.get(..n).unwrap_or_default();
                match &mut self.tail {
                    Tail::File(spool) => spool.append(new)?,
                    Tail::Points(points) => {
                        points.advance(new, &self.units, cache)?;
                    }
                    Tail::Memory(data, _)
                        if self.units.codec() == Codec::Gzip
                            && data.len().saturating_add(n) > MAX_UNIT =>
                    {
                        // From the start of the group once more.
                        self.units.restart_with_points(self.tail_at.0);
                        self.tail = Tail::Points(Points::new(self.tail_at));
                    }
                    Tail::Memory(data, spool) => {
                        data.extend_from_slice(new);
                        if data.len() > MAX_UNIT {
                            let made = Err(Failure::Io(
                                0,
                                io::ErrorKind::Other,
                                String::new(),
                            ));
                            let mut spool = mem::replace(spool, made)?;
                            spool.append(data)?;
                            self.tail = Tail::File(spool);
                        }
                    }
                }
                Ok(true)
            }
            Step::UnitEnd(stored) => {
                self.end_unit(stored, cache);
                Ok(true)
            }
            Step::End => Ok(false),
        }
    }

    fn end_unit(&mut self, stored_end: u64, cache: &Cache) {
        let end = self.produced();
        let needed =
            (end / GROUPS).clamp(GROUP_BYTES, MAX_GROUP_BYTES) as usize;
        let data = match &mut self.tail {
            Tail::Memory(data, _) => data,
            Tail::Points(points) => return points.end_unit(stored_end),
            Tail::File(_) => return,
        };
        if data.len() < needed {
            return;
        }
        let (stored, start) = self.tail_at;
        cache.put(start, mem::take(data).into());
        self.groups.push(Group { stored, stored_end, start, end });
        self.tail_at = (stored_end, end);
    }

    /// The group of `at`, or what of the tail is there.
    fn find(&self, at: u64, buf: &mut [u8]) -> Result<Located, SourceError> {
        if at < self.tail_at.1 {
            let i = self.groups.partition_point(|g| g.end <= at);
            return Ok(match self.groups.get(i) {
                Some(g) => Located::Group(*g),
                None => Located::Bytes(0),
            });
        }
        let behind = at.saturating_sub(self.tail_at.1);
        Ok(match &self.tail {
            Tail::File(spool) => Located::Bytes(spool.read_at(behind, buf)?),
            Tail::Memory(data, _) => {
                Located::Bytes(copy_from(data, behind, buf))
            }
            Tail::Points(points) => Located::Behind(points.before(at)),
        })
    }
}

enum Located {
    Group(Group),
    Bytes(usize),
    /// This point.
    Behind(Before),
}

/// As much of `data` from `at` on as fits.
pub(crate) fn copy_from(data: &[u8], at: u64, buf: &mut [u8]) -> usize {
    let there = usize::try_from(at).ok().and_then(|at| data.get(at..));
    let there = there.unwrap_or_default();
    let n = there.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..n), there.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}

impl Source for Sequential {
    // How far it was unpacked before something else went wrong is not where
    // it ends.
    fn known_len(&self) -> Option<u64> {
        let state = self.state();
        let ends = match &state.done {
            Some(Ok(())) => true,
            Some(Err(failure)) => failure.is_truncation(),
            None => false,
        };
        ends.then(|| state.produced())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let end = at.saturating_add(buf.len() as u64);
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = at.saturating_add(done as u64);
            let mut state = self.state();
            state.advance(end, &self.cache);
            let found = state.find(at, rest)?;
            let failure = match &state.done {
                Some(Err(f)) if !f.is_truncation() => Some(f.clone()),
                _ => None,
            };
            let known = state.produced();
            drop(state);
            let n = match found {
                Located::Bytes(n) => n,
                Located::Behind(_) if at >= known => 0,
                Located::Behind(point) => self.between.read(
                    (&self.file, self.end),
                    &point,
                    (at, rest),
                    &self.cache,
                )?,
                Located::Group(g) => {
                    let data = self.group(g)?;
                    copy_from(&data, at.saturating_sub(g.start), rest)
                }
            };
            if n == 0 {
                match failure {
                    Some(f) => return Err(f.into()),
                    None => break,
                }
            }
            done = done.saturating_add(n);
        }
        Ok(done)
    }

    fn check(&self, threads: usize, limit: u64) -> Result<Check, SourceError> {
        if self.codec == Codec::Gzip {
            let found = shares::check(&self.file, self.end, threads, limit)?;
            if let Some(check) = found {
                return Ok(check);
            }
        }
        // One thread: where a unit starts is only known once the one before
        // it was unpacked.
        let file = Arc::clone(&self.file);
        let mut units = Units::new(self.codec, file, 0, self.end);
        let mut check = Check::default();
        let bytes = AtomicU64::new(0);
        check_units(&mut units, &mut check, None, &bytes, limit)?;
        Ok(check)
    }
}

/// Checks units up to the first that ends at `until` or behind it, and says
/// where that is; `None` where the stream, its good part or what `bytes` of all
/// threads may come to ends.
pub(super) fn check_units(
    units: &mut Units,
    check: &mut Check,
    until: Option<u64>,
    bytes: &AtomicU64,
    limit: u64,
) -> Result<Option<u64>, SourceError> {
    let mut buf = vec![0; STEP_BYTES];
    loop {
        if bytes.load(Ordering::Relaxed) > limit {
            check.limited = true;
            return Ok(None);
        }
        match units.step(&mut buf) {
            Ok(Step::Bytes(n)) => {
                bytes.fetch_add(n as u64, Ordering::Relaxed);
                check.bytes = check.bytes.saturating_add(n as u64);
            }
            Ok(Step::UnitEnd(at)) => {
                check.units = check.units.saturating_add(1);
                let sums = u64::from(units.has_checksum());
                check.checked = check.checked.saturating_add(sums);
                if until.is_some_and(|until| at >= until) {
                    return Ok(Some(at));
                }
            }
            Ok(Step::End) => {
                check.padding = units.padding();
                return Ok(None);
            }
            Err(e) if e.is_environment() => return Err(e),
            Err(e) => {
                check.add_bad(e);
                return Ok(None);
            }
        }
    }
}
