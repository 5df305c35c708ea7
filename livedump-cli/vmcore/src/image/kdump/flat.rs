// SPDX-License-Identifier: BSD-2-Clause
//! The flattened form, as it goes through a pipe: records of {offset, size,
//! data}, big-endian, in the order in which they were written. QEMU's are
//! always so before 8.2.
//!
//! Records that follow one another, in the file and in what they make up, are
//! a chain: only where it begins is kept in memory, and its headers are read
//! again to find one of its records. Later records overwrite earlier ones;
//! what none has is zero.

use super::super::ImageError;
use crate::source::{Check, Source, SourceError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The start record has it, and fills 4096 bytes.
pub(super) const SIGNATURE: &[u8] = b"makedumpfile\0\0\0\0";
const START_BYTES: u64 = 4096;
const HEADER_BYTES: u64 = 16;
/// Records of a chain: as many headers are read to find a byte.
const MAX_CHAIN: u32 = 32;
/// Chains, which have some 40 bytes of memory each. QEMU writes three for 680
/// pages, and so a guest of 1 TiB has 1.2 million.
const MAX_CHAINS: usize = 1 << 21;
/// Records shorter than [`SHORT`]: a file of nothing else would take as long
/// as one that is much larger.
const MAX_SHORT: u32 = 1 << 20;
const SHORT: u64 = 256;
/// Headers near one another are read at once.
const WINDOW: usize = 4096;

/// Bytes `[start, end)` are in a chain.
#[derive(Clone, Copy, Debug)]
struct Chain {
    start: u64,
    end: u64,
    first: Record,
}

/// A record: what of the whole it has, and where its header is.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    offset: u64,
    header: u64,
}

/// A flattened file, put together again.
#[derive(Debug)]
pub(super) struct Flat {
    source: Arc<dyn Source>,
    chains: Vec<Chain>,
    /// Records that were found last, by chain.
    last: Mutex<[(usize, Record); 16]>,
}

/// Headers of records, read through a window.
struct Headers<'a> {
    source: &'a dyn Source,
    at: u64,
    window: Vec<u8>,
}

impl Headers<'_> {
    /// Offset and size; `None` where the file ends.
    fn read(&mut self, at: u64) -> Result<Option<(i64, i64)>, SourceError> {
        let skip = at.checked_sub(self.at).map(usize::try_from);
        let header = match skip {
            Some(Ok(n)) => self.window.get(n..).and_then(|w| w.get(..16)),
            _ => None,
        };
        let header = match header {
            Some(header) => header,
            None => {
                self.window.resize(WINDOW, 0);
                self.at = at;
                let got = self.source.read_at(at, &mut self.window)?;
                self.window.truncate(got);
                match self.window.get(..16) {
                    Some(header) => header,
                    None => return Ok(None),
                }
            }
        };
        Ok(decode(header))
    }
}

fn decode(header: &[u8]) -> Option<(i64, i64)> {
    let (offset, size) = header.split_first_chunk()?;
    let size = size.first_chunk()?;
    Some((i64::from_be_bytes(*offset), i64::from_be_bytes(*size)))
}

/// The index, as it grows.
#[derive(Default)]
struct Builder {
    chains: BTreeMap<u64, (u64, Record)>,
    /// Where the last chain starts and its last record ends, and how many it
    /// has.
    open: Option<(u64, u64, u32)>,
}

impl Builder {
    /// Makes room for `[from, to)`.
    fn cut(&mut self, from: u64, to: u64) {
        let hit: Vec<_> = self
            .chains
            .range(..to)
            .rev()
            .map(|(&start, &(end, first))| (start, end, first))
            .take_while(|&(_, end, _)| end > from)
            .collect();
        for (start, end, first) in hit {
            self.chains.remove(&start);
            if start < from {
                self.chains.insert(start, (from, first));
            }
            if end > to {
                self.chains.insert(to, (end, first));
            }
        }
    }

    /// Adds a record of `size` bytes whose predecessor in the file may be
    /// continued.
    fn add(&mut self, record: Record, size: u64) {
        let end = record.offset.saturating_add(size);
        self.cut(record.offset, end);
        if let Some((start, open_end, count)) = self.open
            && count < MAX_CHAIN
            && open_end == record.offset
            && let Some(chain) = self.chains.get_mut(&start)
        {
            chain.0 = end;
            self.open = Some((start, end, count.saturating_add(1)));
            return;
        }
        self.chains.insert(record.offset, (end, record));
        self.open = Some((record.offset, end, 1));
    }
}

impl Flat {
    /// Reads all headers once.
    pub(super) fn index(
        source: Arc<dyn Source>,
        notes: &mut Vec<String>,
    ) -> Result<Self, ImageError> {
        let mut start = [0; 32];
        let got = source.read_at(0, &mut start)?;
        let type_and_version = start.get(16..).and_then(decode);
        if got < start.len() || type_and_version != Some((1, 1)) {
            let what = format!(
                "type and version are {:?}, not 1 and 1",
                type_and_version.unwrap_or_default()
            );
            let part = "start record";
            return Err(ImageError::Damaged { part, offset: 16, what });
        }
        let mut headers =
            Headers { source: source.as_ref(), at: 0, window: Vec::new() };
        let mut builder = Builder::default();
        let mut short = 0u32;
        let mut at = START_BYTES;
        let len = source.known_len();
        loop {
            let (offset, size) = match headers.read(at)? {
                Some((-1, -1)) => break,
                Some(header) => header,
                None => {
                    notes.push(format!(
                        "truncated: it ends at {at:#x}, without an end record"
                    ));
                    break;
                }
            };
            let (Ok(offset), Ok(size)) =
                (u64::try_from(offset), u64::try_from(size))
            else {
                notes.push(format!(
                    "the record at {at:#x} has an offset of {offset} and a \
                     size of {size}; what follows it is missing"
                ));
                break;
            };
            let data = at.saturating_add(HEADER_BYTES);
            let next = data.saturating_add(size);
            let there = match len {
                Some(end) => size.min(end.saturating_sub(data)),
                None => size,
            };
            match there {
                0 => builder.open = None,
                _ => builder.add(Record { offset, header: at }, there),
            }
            if there < size {
                notes.push(format!(
                    "truncated: it ends inside the record at {at:#x}"
                ));
                break;
            }
            short = short.saturating_add((size < SHORT).into());
            if short > MAX_SHORT || builder.chains.len() > MAX_CHAINS {
                return Err(ImageError::Unsupported(format!(
                    "it has too many records, short or out of order, before \
                     {at:#x}: makedumpfile -R arranges them"
                )));
            }
            at = next;
        }
        let chains = builder
            .chains
            .into_iter()
            .map(|(start, (end, first))| Chain { start, end, first })
            .collect();
        let last = Mutex::new([(usize::MAX, Record::default()); 16]);
        Ok(Self { source, chains, last })
    }

    /// Where chain `index` has the byte at `at`, and how many bytes follow.
    fn find(&self, index: usize, at: u64) -> Result<(u64, u64), SourceError> {
        let Some(chain) = self.chains.get(index) else { return Ok((0, 0)) };
        let slot = index % 16;
        let mut record = chain.first;
        {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(&(i, found)) = last.get(slot)
                && i == index
                && found.offset <= at
            {
                record = found;
            }
        }
        for _ in 0..=MAX_CHAIN {
            let mut header = [0; HEADER_BYTES as usize];
            self.source.read_at(record.header, &mut header)?;
            let found = decode(&header).and_then(|(offset, size)| {
                Some((u64::try_from(offset).ok()?, u64::try_from(size).ok()?))
            });
            // It was so when it was indexed.
            let Some((offset, size)) =
                found.filter(|(offset, _)| *offset == record.offset)
            else {
                break;
            };
            let data = record.header.saturating_add(HEADER_BYTES);
            let skip = at.saturating_sub(offset);
            if skip < size {
                let mut last =
                    self.last.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(slot) = last.get_mut(slot) {
                    *slot = (index, record);
                }
                let left = size.saturating_sub(skip);
                return Ok((data.saturating_add(skip), left));
            }
            record = Record {
                offset: offset.saturating_add(size),
                header: data.saturating_add(size),
            };
        }
        Err(SourceError::Damaged {
            part: "record",
            offset: record.header,
            why: "it is not what it was when the file was opened".into(),
        })
    }
}

impl Source for Flat {
    fn known_len(&self) -> Option<u64> {
        Some(self.chains.last().map_or(0, |c| c.end))
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = at.saturating_add(done as u64);
            let index = self.chains.partition_point(|c| c.end <= at);
            let Some(chain) = self.chains.get(index) else { break };
            let bounded = |n: u64| {
                usize::try_from(n).unwrap_or(usize::MAX).min(rest.len())
            };
            if let gap @ 1.. = chain.start.saturating_sub(at) {
                let n = bounded(gap);
                rest.get_mut(..n).unwrap_or_default().fill(0);
                done = done.saturating_add(n);
                continue;
            }
            let (data, left) = self.find(index, at)?;
            let n = bounded(left.min(chain.end.saturating_sub(at)));
            let part = rest.get_mut(..n).unwrap_or_default();
            let got = self.source.read_at(data, part)?;
            done = done.saturating_add(got);
            if got < n || n == 0 {
                break;
            }
        }
        Ok(done)
    }

    fn next_data(&self, at: u64) -> u64 {
        let index = self.chains.partition_point(|c| c.end <= at);
        self.chains.get(index).map_or(u64::MAX, |c| c.start.max(at))
    }

    fn check(&self, threads: usize, limit: u64) -> Result<Check, SourceError> {
        self.source.check(threads, limit)
    }
}
