// SPDX-License-Identifier: BSD-2-Clause
//! Ranges of a device that is read by physical address, such as /dev/mem: the
//! memory of another kernel on the same machine. Nothing but the ranges is
//! read: reading a device's registers may have side effects, or never end.
//!
//! A page within a range that the device refuses is missing. Which are is found
//! out once, [`GRANULE`] bytes at a time, where somebody asks.

#[cfg(test)]
mod tests;

use super::{Claims, Format, MemoryImage, Run};
use crate::MemoryError;
use crate::source::{Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

const PAGE: u64 = PAGE_SIZE as u64;
/// What is looked at together.
const GRANULE: u64 = 512 * PAGE;
/// One read of that.
const PIECE: usize = 128 << 10;
/// Physical addresses have 52 bits at most on amd64 and arm64.
const MAX_PADDR: u64 = 1 << 52;
/// What a device says of an address where it has nothing.
const MISSING: [i32; 3] = [nix::libc::EFAULT, nix::libc::EIO, nix::libc::ENXIO];

/// Pages of one range there, one bit each; `None` where all are.
type Granule = Option<[u64; 8]>;

/// A part of a device, and where its kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first byte, in the device.
    pub start: u64,
    /// After the last byte, in the device.
    pub end: u64,
    /// What the kernel in it calls the first byte.
    pub address: u64,
}

impl Range {
    fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// After its last address.
    fn address_end(&self) -> u64 {
        self.address.saturating_add(self.len())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.end)?;
        match self.address == self.start {
            true => Ok(()),
            false => write!(f, "@{:#x}", self.address),
        }
    }
}

/// Why ranges cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// There is none.
    #[error("no range is named")]
    None,
    /// It has no byte.
    #[error("range {0} is empty")]
    Empty(Range),
    /// It ends before it starts.
    #[error("range {0} ends before it starts")]
    Backwards(Range),
    /// Not whole pages.
    #[error("range {0}: {1:#x} is not a multiple of 4096")]
    Unaligned(Range, u64),
    /// No machine has such addresses.
    #[error("range {0} ends after the last physical address, {MAX_PADDR:#x}")]
    Large(Range),
    /// Two have the same part of the device.
    #[error("ranges {0} and {1} overlap")]
    Overlap(Range, Range),
    /// Two have the same addresses.
    #[error("ranges {0} and {1} have the same addresses of the other kernel")]
    Twice(Range, Range),
    /// The device does not have it.
    #[error("range {range}: nothing can be read at {at:#x}")]
    Read {
        /// Which.
        range: Range,
        /// Where in the device.
        at: u64,
        /// What it said.
        source: SourceError,
    },
    /// It ends before.
    #[error("range {range}: there is nothing at {at:#x}")]
    End {
        /// Which.
        range: Range,
        /// Where in the device.
        at: u64,
    },
}

/// Memory in ranges of a device.
#[derive(Debug)]
pub struct Ranges {
    source: Arc<dyn Source>,
    /// In the order of their addresses.
    ranges: Vec<Range>,
    /// What was found out, by range and granule.
    granules: Mutex<HashMap<(u64, u64), Granule>>,
    claims: Claims,
}

impl Ranges {
    /// Memory in `ranges` of `source`, whose offsets are positions in the
    /// device. The first and the last page of each have to be there.
    ///
    /// # Errors
    /// Which range cannot be used.
    pub fn new(
        source: Arc<dyn Source>,
        ranges: &[Range],
    ) -> Result<Self, RangeError> {
        let ranges = checked(ranges)?;
        for &range in &ranges {
            for at in [range.start, range.end.saturating_sub(PAGE)] {
                let mut page = [0; PAGE_SIZE];
                match source.read_at(at, &mut page) {
                    Ok(PAGE_SIZE) => {}
                    Ok(_) => return Err(RangeError::End { range, at }),
                    Err(source) => {
                        return Err(RangeError::Read { range, at, source });
                    }
                }
            }
        }
        let granules = Mutex::new(HashMap::new());
        Ok(Self { source, ranges, granules, claims: Claims::default() })
    }

    /// The range that has an address, or the first one after it.
    fn at_or_after(&self, pa: u64) -> Option<Range> {
        let ranges = &self.ranges;
        let i = ranges.partition_point(|range| range.address_end() <= pa);
        ranges.get(i).copied()
    }

    /// Which pages of a granule of `range`, counted from its start, are there.
    fn granule(&self, range: Range, n: u64) -> Result<Granule, SourceError> {
        let key = (range.address, n);
        let known = |it: &Self| {
            let all = it.granules.lock();
            all.unwrap_or_else(PoisonError::into_inner).get(&key).copied()
        };
        if let Some(granule) = known(self) {
            return Ok(granule);
        }
        let start = range.start.saturating_add(n.saturating_mul(GRANULE));
        let end = start.saturating_add(GRANULE).min(range.end);
        let mut buf = vec![0; PIECE];
        let mut pages = [0u64; 8];
        let mut at = start;
        let mut is_whole = true;
        while at < end {
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE);
            let piece = buf.get_mut(..left.min(PIECE)).unwrap_or_default();
            let (size, mut page) = (piece.len(), at);
            let there = self.has(at, piece)?;
            for part in piece.chunks_mut(PAGE_SIZE) {
                let nth = page.saturating_sub(start) / PAGE;
                match there || self.has(page, part)? {
                    false => is_whole = false,
                    true => {
                        let word = pages.get_mut((nth / 64) as usize);
                        if let Some(word) = word {
                            *word |= 1 << (nth % 64);
                        }
                    }
                }
                page = page.saturating_add(PAGE);
            }
            at = at.saturating_add(size as u64);
        }
        let granule = (!is_whole).then_some(pages);
        let all = self.granules.lock();
        all.unwrap_or_else(PoisonError::into_inner).insert(key, granule);
        Ok(granule)
    }

    /// Whether the device has all of that.
    fn has(&self, at: u64, buf: &mut [u8]) -> Result<bool, SourceError> {
        match self.source.read_at(at, buf) {
            Ok(got) => Ok(got == buf.len()),
            Err(SourceError::Io { source, .. })
                if source.raw_os_error().is_some_and(is_missing) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// The first run at or after `from`, which is in `range`, within a granule.
    fn run(
        &self,
        range: Range,
        from: u64,
    ) -> Result<Result<Run, u64>, SourceError> {
        let into = from.saturating_sub(range.address);
        let n = into / GRANULE;
        let base = range.address.saturating_add(n.saturating_mul(GRANULE));
        let end = base.saturating_add(GRANULE).min(range.address_end());
        let Some(pages) = self.granule(range, n)? else {
            return Ok(Ok(Run { start: from, end }));
        };
        let there = |pa: u64| {
            let nth = pa.saturating_sub(base) / PAGE;
            let word = pages.get((nth / 64) as usize).copied().unwrap_or(0);
            word >> (nth % 64) & 1 != 0
        };
        let skip = |mut pa: u64, while_there: bool| {
            while pa < end && there(pa) == while_there {
                pa = pa.saturating_add(PAGE);
            }
            pa
        };
        let start = skip(from, false);
        Ok(match start < end {
            true => Ok(Run { start, end: skip(start, true) }),
            false => Err(end),
        })
    }
}

fn is_missing(errno: i32) -> bool {
    MISSING.contains(&errno)
}

/// In the order of their addresses.
fn checked(ranges: &[Range]) -> Result<Vec<Range>, RangeError> {
    for &range in ranges {
        if range.end < range.start {
            return Err(RangeError::Backwards(range));
        }
        if range.end == range.start {
            return Err(RangeError::Empty(range));
        }
        let all = [range.start, range.end, range.address];
        if let Some(&bad) = all.iter().find(|at| **at % PAGE != 0) {
            return Err(RangeError::Unaligned(range, bad));
        }
        if range.end.max(range.address_end()) > MAX_PADDR {
            return Err(RangeError::Large(range));
        }
    }
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let pairs = |sorted: &[Range]| {
        let next = sorted.iter().skip(1).copied();
        sorted.iter().copied().zip(next).collect::<Vec<_>>()
    };
    for (a, b) in pairs(&sorted) {
        if b.start < a.end {
            return Err(RangeError::Overlap(a, b));
        }
    }
    sorted.sort_by_key(|range| range.address);
    for (a, b) in pairs(&sorted) {
        if b.address < a.address_end() {
            return Err(RangeError::Twice(a, b));
        }
    }
    match sorted.is_empty() {
        true => Err(RangeError::None),
        false => Ok(sorted),
    }
}

impl MemoryImage for Ranges {
    fn format(&self) -> Format {
        Format::Raw
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        let Some(mut at) = from.0.checked_next_multiple_of(PAGE) else {
            return Ok(None);
        };
        while let Some(range) = self.at_or_after(at) {
            match self.run(range, at.max(range.address))? {
                Ok(run) => return Ok(Some(run)),
                Err(end) => at = end,
            }
        }
        Ok(None)
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let (mut at, mut left) = (pa.0, buf);
        while !left.is_empty() {
            let missing = || MemoryError::NotDumped { pa: Paddr(at) };
            let range = self.at_or_after(at).ok_or_else(missing)?;
            let into = at.checked_sub(range.address).ok_or_else(missing)?;
            let n = usize::try_from(range.len().saturating_sub(into));
            let n = n.unwrap_or(usize::MAX).min(left.len());
            let (now, rest) =
                left.split_at_mut_checked(n).ok_or_else(missing)?;
            match self.has(range.start.saturating_add(into), now)? {
                true => {}
                false => return Err(missing()),
            }
            at = at.saturating_add(n as u64);
            left = rest;
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        self.ranges.last().map_or(0, Range::address_end)
    }
}
