// SPDX-License-Identifier: BSD-2-Clause
//! zstd frames with the seek table that [`memdev::seekable`] describes: one
//! frame is unpacked to read one page.
//!
//! Of the table, which has an entry for every 256 KB of a dump, only every
//! 64th running total stays in memory; the entries in between are read again
//! when they are needed, and the last of them kept.

use super::cache::Cache;
use super::plain::read_full;
use super::sequential::copy_from;
use super::{Check, MAX_UNIT, Source, SourceError, Stored};
use lru::LruCache;
use memdev::seekable::{
    ENTRY_SIZE, FOOTER_SIZE, HEADER_SIZE, SKIPPABLE_MAGIC, SeekEntry,
    decode_footer,
};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use zstd::bulk::Decompressor;

/// The largest block that a dump may be filled up to.
const MAX_PADDING: u64 = 64 << 10;
/// Frames between two totals kept in memory.
const STRIDE: u64 = 64;
/// Groups of as many that are kept: the frames of 4 GB.
const KEPT: usize = 256;

/// One frame, stored and unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    stored: u64,
    stored_len: u64,
    start: u64,
    len: u64,
}

/// Frames with a seek table.
#[derive(Debug)]
pub struct Seekable {
    file: Arc<dyn Stored>,
    /// Where the table's entries start.
    entries: u64,
    entry_size: u64,
    frames: u64,
    /// (stored, unpacked) offset of every [`STRIDE`]th frame.
    totals: Vec<(u64, u64)>,
    groups: Mutex<LruCache<u64, Arc<[Frame]>>>,
    len: u64,
    cache: Cache,
    idle: Mutex<Vec<Unpacker>>,
}

#[derive(Default)]
struct Unpacker {
    context: Option<Decompressor<'static>>,
    stored: Vec<u8>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Seekable {
    /// Opens the first `end` bytes of `file`. `Ok(Err(why))` where they have
    /// no table, or one that cannot be used.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(
        file: Arc<dyn Stored>,
        end: u64,
    ) -> Result<Result<Self, &'static str>, SourceError> {
        let no = |why| Ok(Err(why));
        let end = without_padding(file.as_ref(), end)?;
        let footer_at = end.saturating_sub(FOOTER_SIZE as u64);
        let mut footer = [0; FOOTER_SIZE];
        read_full(file.as_ref(), footer_at, &mut footer)?;
        let Some(footer) = decode_footer(&footer) else {
            return no("it has no seek table");
        };
        let Some(table) = end.checked_sub(footer.table_size()) else {
            return no("its seek table is larger than the file");
        };
        let mut head = [0; HEADER_SIZE];
        read_full(file.as_ref(), table, &mut head)?;
        let size = footer.table_size().saturating_sub(HEADER_SIZE as u64);
        let mut want = [0; HEADER_SIZE];
        for (to, from) in want.iter_mut().zip(
            SKIPPABLE_MAGIC
                .to_le_bytes()
                .into_iter()
                .chain((size as u32).to_le_bytes()),
        ) {
            *to = from;
        }
        if head != want {
            return no("its seek table has no skippable frame around it");
        }
        let mut s = Self {
            file,
            entries: table.saturating_add(HEADER_SIZE as u64),
            entry_size: footer.entry_size as u64,
            frames: u64::from(footer.frames),
            totals: Vec::new(),
            groups: Mutex::new(LruCache::unbounded()),
            len: 0,
            cache: Cache::default(),
            idle: Mutex::default(),
        };
        match s.add_up(table)? {
            None => Ok(Ok(s)),
            Some(why) => no(why),
        }
    }

    /// Runs through the table once: its frames must fill the file exactly.
    fn add_up(
        &mut self,
        table: u64,
    ) -> Result<Option<&'static str>, SourceError> {
        let (mut stored, mut start) = (0u64, 0u64);
        let mut totals = Vec::new();
        let mut large = false;
        let mut group = 0;
        while group < self.frames {
            totals.push((stored, start));
            for e in self.group(group)? {
                stored = stored.saturating_add(u64::from(e.compressed));
                start = start.saturating_add(u64::from(e.decompressed));
                large |= e.decompressed as usize > MAX_UNIT
                    || e.compressed as usize > 2 * MAX_UNIT;
            }
            if stored > table {
                break;
            }
            group = group.saturating_add(STRIDE);
        }
        self.totals = totals;
        self.len = start;
        Ok(if stored != table {
            Some("its seek table does not match the length of the file")
        } else if large {
            Some("some of its frames are larger than 4 MiB")
        } else {
            None
        })
    }

    /// The entries of the frames from `first` on, [`STRIDE`] at most.
    fn group(
        &self,
        first: u64,
    ) -> Result<impl Iterator<Item = SeekEntry> + use<>, SourceError> {
        let n = self.frames.saturating_sub(first).min(STRIDE);
        let size = self.entry_size as usize;
        let mut raw = vec![0; (n as usize).saturating_mul(size)];
        let at = first.saturating_mul(self.entry_size);
        read_full(
            self.file.as_ref(),
            self.entries.saturating_add(at),
            &mut raw,
        )?;
        debug_assert!(size >= ENTRY_SIZE);
        Ok((0..n as usize).map(move |i| {
            let at = i.saturating_mul(size);
            SeekEntry::decode(raw.get(at..).unwrap_or_default())
        }))
    }

    /// The frames of one group, with their places.
    fn places(
        &self,
        index: u64,
    ) -> Result<impl Iterator<Item = Frame> + use<>, SourceError> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let (mut stored, mut start) =
            self.totals.get(at).copied().unwrap_or((0, self.len));
        let entries = self.group(index.saturating_mul(STRIDE))?;
        Ok(entries.map(move |e| {
            let (stored_len, len) =
                (u64::from(e.compressed), u64::from(e.decompressed));
            let f = Frame { stored, stored_len, start, len };
            stored = stored.saturating_add(stored_len);
            start = start.saturating_add(len);
            f
        }))
    }

    fn find(&self, at: u64) -> Result<Option<Frame>, SourceError> {
        let after = self.totals.partition_point(|&(_, start)| start <= at);
        let Some(group) = after.checked_sub(1) else { return Ok(None) };
        let frames = self.kept_places(group as u64)?;
        let ends = |f: &Frame| f.start.saturating_add(f.len) <= at;
        Ok(frames.get(frames.partition_point(ends)).copied())
    }

    /// The same as [`Self::places`], read once as long as it is kept.
    fn kept_places(&self, index: u64) -> Result<Arc<[Frame]>, SourceError> {
        let groups =
            || self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(frames) = groups().get(&index) {
            return Ok(Arc::clone(frames));
        }
        let frames: Arc<[Frame]> = self.places(index)?.collect();
        let mut groups = groups();
        groups.put(index, Arc::clone(&frames));
        if groups.len() > KEPT {
            groups.pop_lru();
        }
        Ok(frames)
    }

    fn unpack(&self, f: Frame) -> Result<Vec<u8>, SourceError> {
        let mut u = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default();
        let data = self.unpack_with(&mut u, f);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < 8 {
            idle.push(u);
        }
        data
    }

    fn unpack_with(
        &self,
        u: &mut Unpacker,
        f: Frame,
    ) -> Result<Vec<u8>, SourceError> {
        let bad = |source| SourceError::unpack("zstd frame", f.stored, source);
        u.stored.resize(f.stored_len as usize, 0);
        let got = read_full(self.file.as_ref(), f.stored, &mut u.stored)?;
        if got < u.stored.len() {
            return Err(bad(io::ErrorKind::UnexpectedEof.into()));
        }
        let context = match &mut u.context {
            Some(c) => c,
            none => none.insert(Decompressor::new().map_err(bad)?),
        };
        let data =
            context.decompress(&u.stored, f.len as usize).map_err(bad)?;
        if data.len() as u64 != f.len {
            return Err(SourceError::FrameSize {
                offset: f.stored,
                expected: f.len,
                found: data.len() as u64,
            });
        }
        Ok(data)
    }

    fn frame(&self, f: Frame) -> Result<Arc<[u8]>, SourceError> {
        if let Some(data) = self.cache.get(f.start) {
            return Ok(data);
        }
        let data: Arc<[u8]> = self.unpack(f)?.into();
        self.cache.put(f.start, Arc::clone(&data));
        Ok(data)
    }

    /// Checks groups of frames until none is left.
    fn check_groups(
        &self,
        next: &AtomicU64,
        limit: u64,
    ) -> Result<Check, SourceError> {
        let mut check = Check::default();
        let mut unpacker = Unpacker::default();
        loop {
            let group = next.fetch_add(1, Ordering::Relaxed);
            if group >= self.totals.len() as u64 {
                return Ok(check);
            }
            for f in self.places(group)? {
                if f.start >= limit {
                    check.limited = true;
                    return Ok(check);
                }
                check.units = check.units.saturating_add(1);
                match self.unpack_with(&mut unpacker, f) {
                    Ok(data) => {
                        let n = data.len() as u64;
                        check.bytes = check.bytes.saturating_add(n);
                        let sums = unpacker.stored.get(4);
                        let sums = sums.is_some_and(|d| d & 4 != 0);
                        check.checked =
                            check.checked.saturating_add(u64::from(sums));
                    }
                    Err(e) if e.is_environment() => return Err(e),
                    Err(e) => check.add_bad(e),
                }
            }
        }
    }
}

impl Source for Seekable {
    fn known_len(&self) -> Option<u64> {
        Some(self.len)
    }

    fn parts(&self) -> Option<u64> {
        Some(self.frames)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = at.saturating_add(done as u64);
            let Some(f) = self.find(at)? else { break };
            let data = self.frame(f)?;
            let n = copy_from(&data, at.saturating_sub(f.start), rest);
            if n == 0 {
                break;
            }
            done = done.saturating_add(n);
        }
        Ok(done)
    }

    fn check(&self, threads: usize, limit: u64) -> Result<Check, SourceError> {
        let next = AtomicU64::new(0);
        let mut all = Check::default();
        let found: Vec<_> = std::thread::scope(|s| {
            let workers: Vec<_> = (0..threads.max(1))
                .map(|_| s.spawn(|| self.check_groups(&next, limit)))
                .collect();
            workers.into_iter().map(super::joined).collect()
        });
        for part in found {
            all.add(part?);
        }
        Ok(all)
    }
}

/// Where the data before the zeros at the end of a file end, where those are
/// as few as fill a block. The last byte of a seek table is not zero.
fn without_padding(file: &dyn Stored, end: u64) -> Result<u64, SourceError> {
    let from = end.saturating_sub(MAX_PADDING);
    let mut tail = vec![0; end.saturating_sub(from) as usize];
    read_full(file, from, &mut tail)?;
    let last = tail.iter().rposition(|&b| b != 0);
    Ok(last.map_or(end, |at| from.saturating_add(at as u64).saturating_add(1)))
}
