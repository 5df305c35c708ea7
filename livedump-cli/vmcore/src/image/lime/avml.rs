// SPDX-License-Identifier: BSD-2-Clause
//! AVML version 2: after each header, the range as framed snappy, and then
//! eight bytes with the length of that.
//!
//! The blocks one after the other are a file of memory; this is that file.
//! The lengths let the blocks be found from the file's end, without a look at
//! what they are made of, so that damage to one costs that one. Where that
//! fails, since the file is cut or longer than it was, they are found from
//! its start, chunk by chunk. A frame's chunks unpack to 64 KiB each, and one
//! of them is unpacked to read a page.

use super::{Found, HEADER, Kind, MAX_RANGES, Range, header};
use crate::image::ImageError;
use crate::image::fields;
use crate::image::segments::Extents;
use crate::source::{Cache, Check, Source, SourceError};
use snap::read::FrameDecoder;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

const TRAILER: u64 = 8;
const CHUNK_HEADER: u64 = 4;
pub(super) const STREAM_ID: &[u8] = b"\xff\x06\0\0sNaPpY";
/// What a chunk unpacks to at most.
const MAX_CHUNK: u64 = 64 << 10;
/// What one is stored in at most: more than snappy needs for that.
const MAX_STORED: u64 = 2 * MAX_CHUNK;
/// Chunks that unpack to less than a page, of a block: a file of nothing
/// else would take long.
const MAX_SHORT: u32 = 1 << 16;
const SHORT: u64 = 4096;
/// Chunks between two whose place is kept in memory.
const STRIDE: u64 = 32;
/// Blocks whose chunks are kept.
const TABLES: usize = 16;
/// Unpacked chunks that are kept.
const CACHE_BYTES: usize = 4 << 20;

/// A block.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Where it starts, unpacked.
    start: u64,
    /// What it unpacks to.
    len: u64,
    /// Its frame.
    stored: u64,
    stored_len: u64,
}

/// A chunk that has data.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// Offset in the unpacked block.
    start: u64,
    len: u64,
    /// Its header's offset in the file.
    stored: u64,
    stored_len: u64,
}

/// Offsets of every [`STRIDE`]th chunk of a block: unpacked, in the file.
type Table = Arc<Vec<(u64, u64)>>;

/// Why chunks end before they should, and where.
#[derive(Debug)]
struct Broken {
    at: u64,
    /// What is before, unpacked.
    len: u64,
    why: String,
}

/// The file, unpacked.
#[derive(Debug)]
pub(super) struct Blocks {
    source: Arc<dyn Source>,
    blocks: Vec<Block>,
    tables: Mutex<VecDeque<(usize, Table)>>,
    chunks: Cache,
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// What the chunk at `at` unpacks to, 0 for one without data, and where the
/// next one is.
fn chunk(
    source: &dyn Source,
    at: u64,
) -> Result<Result<(u64, u64), String>, SourceError> {
    // The header, a checksum, and the length that compressed data begin with.
    let mut bytes = [0; 13];
    let got = source.read_at(at, &mut bytes)?;
    let bytes = bytes.get(..got).unwrap_or_default();
    let word = fields::u32(bytes, 0);
    let (kind, len) = (word & 0xff, u64::from(word >> 8));
    let next = at.saturating_add(CHUNK_HEADER).saturating_add(len);
    if got < CHUNK_HEADER as usize {
        return Ok(Err("the file ends before it".into()));
    }
    let unpacked = match kind {
        0x00 | 0x01 if !(4..=MAX_STORED).contains(&len) => None,
        0x00 => {
            let rest = bytes.get(8..).unwrap_or_default();
            snap::raw::decompress_len(rest).ok().map(|n| n as u64)
        }
        0x01 => Some(len.saturating_sub(4)),
        0xff if !bytes.starts_with(STREAM_ID) => None,
        0x80..=0xff => Some(0),
        _ => None,
    };
    Ok(match unpacked {
        Some(n) if n <= MAX_CHUNK => match source.known_len() {
            Some(end) if end < next => Err("the file ends inside it".into()),
            _ => Ok((n, next)),
        },
        _ => Err(format!("it has type {kind:#x} and {len} bytes")),
    })
}

/// Calls `f` with the chunks at `at` that have data, until they unpack to
/// `len`; where the last one ends.
fn walk(
    source: &dyn Source,
    at: u64,
    len: u64,
    mut f: impl FnMut(Chunk) -> bool,
) -> Result<Result<u64, Broken>, SourceError> {
    let (mut at, mut done, mut short) = (at, 0u64, 0u32);
    while done < len {
        let broken = |why| Ok(Err(Broken { at, len: done, why }));
        let (n, next) = match chunk(source, at)? {
            Ok(chunk) => chunk,
            Err(why) => return broken(why),
        };
        if n > len.saturating_sub(done) {
            return broken("more unpacks than its range has".into());
        }
        short = short.saturating_add((n < SHORT).into());
        if short > MAX_SHORT {
            return broken("there are too many that are short".into());
        }
        let stored_len = next.saturating_sub(at);
        if n > 0 && !f(Chunk { start: done, len: n, stored: at, stored_len }) {
            return Ok(Ok(at));
        }
        done = done.saturating_add(n);
        at = next;
    }
    Ok(Ok(at))
}

impl Blocks {
    /// Finds the blocks, and says where their memory is.
    pub(super) fn index(
        source: Arc<dyn Source>,
        extents: &mut Extents,
        notes: &mut Vec<String>,
    ) -> Result<Self, ImageError> {
        let found = match from_end(source.as_ref())? {
            Some(found) => found,
            None => from_start(source.as_ref(), notes)?,
        };
        let mut start = 0u64;
        let mut blocks = Vec::with_capacity(found.len());
        for (range, block) in found {
            let end = range.start.saturating_add(block.len);
            let end = if block.len < range.len() { end & !0xfff } else { end };
            extents.add(range.start, end, start);
            blocks.push(Block { start, ..block });
            start = start.saturating_add(block.len);
        }
        Ok(Self {
            source,
            blocks,
            tables: Mutex::default(),
            chunks: Cache::new(CACHE_BYTES),
        })
    }

    fn table(&self, index: usize, block: &Block) -> Result<Table, SourceError> {
        let lock =
            || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = lock().iter().find(|(i, _)| *i == index) {
            return Ok(Arc::clone(table));
        }
        let mut table = Vec::new();
        let mut count = 0u64;
        let source = self.source.as_ref();
        let end = walk(source, block.stored, block.len, |chunk| {
            if count.is_multiple_of(STRIDE) {
                table.push((chunk.start, chunk.stored));
            }
            count = count.saturating_add(1);
            true
        })?;
        let want = block.stored.saturating_add(block.stored_len);
        let damaged = |why| SourceError::Damaged {
            part: "AVML block",
            offset: block.stored.saturating_sub(HEADER),
            why,
        };
        match end {
            Ok(end) if end == want => {}
            Ok(end) => {
                return Err(damaged(format!(
                    "its range ends at {end:#x}, its data at {want:#x}"
                )));
            }
            Err(Broken { at, why, .. }) => {
                return Err(damaged(format!("chunk at {at:#x}: {why}")));
            }
        }
        let table = Arc::new(table);
        let mut tables = lock();
        tables.push_front((index, Arc::clone(&table)));
        tables.truncate(TABLES);
        Ok(table)
    }

    /// The chunk with the byte at `at` of a block.
    fn find(
        &self,
        index: usize,
        block: &Block,
        at: u64,
    ) -> Result<Option<Chunk>, SourceError> {
        let table = self.table(index, block)?;
        let entry = table.partition_point(|&(start, _)| start <= at);
        let entry = entry.checked_sub(1).and_then(|i| table.get(i));
        let Some(&(start, stored)) = entry else { return Ok(None) };
        let mut found = None;
        let len = block.len.saturating_sub(start);
        let walked = walk(self.source.as_ref(), stored, len, |chunk| {
            let start = chunk.start.saturating_add(start);
            if at.saturating_sub(start) < chunk.len {
                found = Some(Chunk { start, ..chunk });
            }
            found.is_none()
        })?;
        match walked {
            Ok(_) => Ok(found),
            Err(Broken { at, why, .. }) => Err(SourceError::Damaged {
                part: "snappy chunk",
                offset: at,
                why,
            }),
        }
    }

    fn unpack(&self, chunk: Chunk) -> Result<Arc<[u8]>, SourceError> {
        if let Some(data) = self.chunks.get(chunk.stored) {
            return Ok(data);
        }
        let broken = |source| SourceError::Unpack {
            unit: "snappy chunk",
            offset: chunk.stored,
            source,
        };
        // A frame of this chunk alone, whose checksum is compared.
        let n = chunk.stored_len.min(MAX_STORED.saturating_add(CHUNK_HEADER));
        let mut stored = vec![0; n as usize];
        let got = self.source.read_at(chunk.stored, &mut stored)?;
        stored.truncate(got);
        let frame = STREAM_ID.chain(stored.as_slice());
        let mut data = vec![0; chunk.len.min(MAX_CHUNK) as usize];
        let mut decoder = FrameDecoder::new(frame);
        decoder.read_exact(&mut data).map_err(broken)?;
        if decoder.read(&mut [0]).map_err(broken)? != 0 {
            return Err(broken(invalid("it unpacks to more than it says")));
        }
        let data: Arc<[u8]> = data.into();
        self.chunks.put(chunk.stored, Arc::clone(&data));
        Ok(data)
    }
}

/// All blocks, by the lengths that are after them; `None` where they do not
/// lead to the start of the file.
fn from_end(
    source: &dyn Source,
) -> Result<Option<Vec<(Range, Block)>>, SourceError> {
    let Some(mut at) = source.known_len() else { return Ok(None) };
    let mut found = Vec::new();
    while at > 0 {
        let Some(trailer) = at.checked_sub(TRAILER) else { return Ok(None) };
        let mut bytes = [0; TRAILER as usize];
        source.read_at(trailer, &mut bytes)?;
        let stored_len = u64::from_le_bytes(bytes);
        let stored = trailer.checked_sub(stored_len);
        let Some((stored, start)) =
            stored.and_then(|s| Some((s, s.checked_sub(HEADER)?)))
        else {
            return Ok(None);
        };
        let Found::Range(range) = header(source, start, Kind::Avml)? else {
            return Ok(None);
        };
        if found.len() >= MAX_RANGES {
            return Ok(None);
        }
        let len = range.len();
        found.push((range, Block { start: 0, len, stored, stored_len }));
        at = start;
    }
    found.reverse();
    Ok(Some(found))
}

/// The blocks up to where the file makes no more sense.
fn from_start(
    source: &dyn Source,
    notes: &mut Vec<String>,
) -> Result<Vec<(Range, Block)>, SourceError> {
    let mut found = Vec::new();
    let mut at = 0u64;
    for _ in 0..MAX_RANGES {
        let range = match header(source, at, Kind::Avml)? {
            Found::Range(range) => range,
            Found::End => return Ok(found),
            Found::Other(what) => {
                notes.push(format!("at {at:#x}, {what}"));
                return Ok(found);
            }
        };
        let stored = at.saturating_add(HEADER);
        let mut block =
            Block { start: 0, len: range.len(), stored, stored_len: 0 };
        let end = match walk(source, stored, range.len(), |_| true)? {
            Ok(end) => end,
            Err(broken) => {
                notes.push(format!(
                    "in the block at {at:#x}, the chunk at {:#x}: {}; what \
                     follows it is missing",
                    broken.at, broken.why
                ));
                block.len = broken.len;
                block.stored_len = broken.at.saturating_sub(stored);
                found.push((range, block));
                return Ok(found);
            }
        };
        block.stored_len = end.saturating_sub(stored);
        found.push((range, block));
        at = end.saturating_add(TRAILER);
    }
    notes.push(format!("blocks after the {MAX_RANGES}th are not read"));
    Ok(found)
}

impl Source for Blocks {
    fn known_len(&self) -> Option<u64> {
        let end = |b: &Block| b.start.saturating_add(b.len);
        Some(self.blocks.last().map_or(0, end))
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = at.saturating_add(done as u64);
            let index = self
                .blocks
                .partition_point(|b| b.start.saturating_add(b.len) <= at);
            let Some(block) = self.blocks.get(index) else { break };
            let at = at.saturating_sub(block.start);
            let Some(chunk) = self.find(index, block, at)? else { break };
            let data = self.unpack(chunk)?;
            let from = at.saturating_sub(chunk.start) as usize;
            let data = data.get(from..).unwrap_or_default();
            let n = data.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..n), data.get(..n)) {
                to.copy_from_slice(from);
            }
            if n == 0 {
                break;
            }
            done = done.saturating_add(n);
        }
        Ok(done)
    }

    fn check(&self, threads: usize, limit: u64) -> Result<Check, SourceError> {
        self.source.check(threads, limit)
    }
}
