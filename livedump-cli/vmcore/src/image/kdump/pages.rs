// SPDX-License-Identifier: BSD-2-Clause
//! Blocks by number: bit, descriptor, data. C: `struct page_desc`. A block is
//! one page, or several.

use super::super::{Claims, Format, ImageError, MemoryImage, Run, fields};
use super::codec::{self, Unpackers};
use super::header::Header;
use crate::MemoryError;
use crate::pages::rank::{CountError, RankedBits};
use crate::source::{Cache, Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use std::num::NonZeroU64;
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;
const DESCRIPTOR_BYTES: u64 = 24;
/// Unpacked blocks that are kept: a caller reads a page a word at a time.
const CACHED: u64 = 64;

/// Where the data of a block are.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    /// Of the descriptor.
    at: u64,
    offset: u64,
    size: u32,
    flags: u32,
}

/// A kdump.
#[derive(Debug)]
pub(super) struct Kdump {
    format: Format,
    claims: Claims,
    source: Arc<dyn Source>,
    block: NonZeroU64,
    set: RankedBits,
    descriptors: u64,
    /// Blocks that this file has the data of, by number.
    part: (u64, u64),
    /// Blocks before those that are in the set.
    before: u64,
    unpackers: Unpackers,
    cache: Cache,
}

impl Kdump {
    pub(super) fn open(
        source: &Arc<dyn Source>,
        format: Format,
        header: &Header,
        claims: Claims,
    ) -> Result<Self, ImageError> {
        let block = header.block;
        let (bitmap, end) = header.bitmap;
        let set = RankedBits::count(source.as_ref(), bitmap, end, header.bits);
        let set = set.map_err(|e| match e {
            CountError::Truncated(end) => {
                ImageError::Truncated { part: "page bitmap", end }
            }
            CountError::Source(e) => e.into(),
        })?;
        let mut kdump = Self {
            format,
            claims,
            source: Arc::clone(source),
            block,
            before: 0,
            descriptors: header.descriptors,
            part: header.part,
            unpackers: Unpackers::default(),
            cache: Cache::new(block.get().saturating_mul(CACHED) as usize),
            set,
        };
        let (first, last) = header.part;
        kdump.before = kdump.rank(first)?.0;
        let after = kdump.rank(last.max(first))?.0;
        let pages = after.saturating_sub(kdump.before);
        kdump.note_truncation(pages)?;
        Ok(kdump)
    }

    fn rank(&self, page: u64) -> Result<(u64, bool), SourceError> {
        self.set.rank(self.source.as_ref(), page)
    }

    /// Whether the file ends before the descriptors of its pages, or the data
    /// of the last page, do.
    fn note_truncation(&mut self, pages: u64) -> Result<(), ImageError> {
        let Some(end) = self.source.known_len() else { return Ok(()) };
        let Some(last) = pages.checked_sub(1) else { return Ok(()) };
        let within = match self.descriptor(last)? {
            Err(_) => "page descriptors",
            Ok(d) if d.offset.saturating_add(d.size.into()) > end => {
                "page data"
            }
            Ok(_) => return Ok(()),
        };
        self.claims.notes.push(format!(
            "truncated: it ends at {end:#x}, inside its {within}"
        ));
        Ok(())
    }

    /// A descriptor by its place; where the file ends instead.
    fn descriptor(
        &self,
        rank: u64,
    ) -> Result<Result<Descriptor, (u64, u64)>, SourceError> {
        let at = self
            .descriptors
            .saturating_add(rank.saturating_mul(DESCRIPTOR_BYTES));
        let mut bytes = [0; DESCRIPTOR_BYTES as usize];
        let got = self.source.read_at(at, &mut bytes)?;
        if got < bytes.len() {
            return Ok(Err((at, at.saturating_add(got as u64))));
        }
        Ok(Ok(Descriptor {
            at,
            offset: fields::u64(&bytes, 0),
            size: fields::u32(&bytes, 8),
            flags: fields::u32(&bytes, 12),
        }))
    }

    /// The block that has `at`.
    fn unpacked(&self, at: u64) -> Result<Arc<[u8]>, MemoryError> {
        let number = at / self.block;
        let pa = Paddr(at.saturating_sub(at % PAGE));
        let missing = MemoryError::NotDumped { pa };
        let (first, last) = self.part;
        if number < first || number >= last {
            return Err(missing);
        }
        if let Some(block) = self.cache.get(number) {
            return Ok(block);
        }
        let (rank, present) = self.rank(number)?;
        if !present {
            return Err(missing);
        }
        let beyond = |offset, end| MemoryError::BeyondEnd { pa, offset, end };
        let d = self.descriptor(rank.saturating_sub(self.before))?;
        let d = d.map_err(|(offset, end)| beyond(offset, end))?;
        if d.offset == 0 && d.size == 0 {
            // An incomplete dump's: the page was not reached.
            return Err(missing);
        }
        check(d, self.block.get())?;
        let mut stored = vec![0; d.size as usize];
        let got = self.source.read_at(d.offset, &mut stored)?;
        if got < stored.len() {
            let end = d.offset.saturating_add(got as u64);
            return Err(beyond(d.offset, end));
        }
        let mut block = vec![0; self.block.get() as usize];
        self.unpackers.unpack(d.flags, &stored, &mut block).map_err(|e| {
            let unit = codec::unit(d.flags);
            SourceError::Unpack { unit, offset: d.offset, source: e }
        })?;
        let block: Arc<[u8]> = block.into();
        self.cache.put(number, Arc::clone(&block));
        Ok(block)
    }
}

/// Whether a descriptor can be right. A block is stored as it is where it would
/// not become smaller; some writers do not look.
fn check(d: Descriptor, block: u64) -> Result<(), SourceError> {
    let size = u64::from(d.size);
    let codec = d.flags & codec::MASK;
    let why = if i64::try_from(d.offset).is_err() {
        format!("its offset is {:#x}", d.offset)
    } else if size == 0 || size / 2 > block {
        format!("its size is {}", d.size)
    } else if codec == 0 && size != block {
        format!("a page that is not compressed has {} bytes", d.size)
    } else if d.flags & !codec::MASK != 0 || codec.count_ones() > 1 {
        format!("its flags are {:#x}", d.flags)
    } else {
        return Ok(());
    };
    Err(SourceError::Damaged { part: "page descriptor", offset: d.at, why })
}

impl MemoryImage for Kdump {
    fn format(&self) -> Format {
        self.format
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        let (first, last) = self.part;
        let Some(from) = from.0.checked_next_multiple_of(PAGE) else {
            return Ok(None);
        };
        let bit = first.max(from / self.block);
        let run = self.set.next_run(self.source.as_ref(), bit)?;
        Ok(run.and_then(|(start, end)| {
            let end = end.min(last);
            (start < end).then(|| Run {
                start: start.saturating_mul(self.block.get()).max(from),
                end: end.saturating_mul(self.block.get()),
            })
        }))
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let (mut at, mut rest) = (pa.0, buf);
        while !rest.is_empty() {
            let block = self.unpacked(at)?;
            let from = (at % self.block) as usize;
            let have = block.get(from..).unwrap_or_default();
            let n = have.len().min(rest.len());
            let Some((part, after)) = rest.split_at_mut_checked(n) else {
                break;
            };
            part.copy_from_slice(have.get(..n).unwrap_or_default());
            at = at.saturating_add(n as u64);
            rest = after;
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        let bits = self.set.bits().min(self.part.1);
        bits.saturating_mul(self.block.get())
    }
}
