// SPDX-License-Identifier: BSD-2-Clause
//! Memory that is stored as it is, a range of addresses at a time: what ELF
//! cores, LiME and (once unpacked) AVML have in common.
//!
//! Ranges may come in any order and may overlap: of two that have a page, the
//! first one in the file is used. Only whole pages are served.

use super::{Claims, Format, MemoryImage, Run};
use crate::MemoryError;
use crate::source::{Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;

/// Adjacent pages and where the source has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    start: u64,
    end: u64,
    offset: u64,
}

/// Which addresses are stored where.
#[derive(Debug, Default)]
pub(super) struct Extents {
    pieces: Vec<Extent>,
    /// What the pieces cover, adjacent ones joined: this stays small where
    /// ranges overlap many others.
    covered: BTreeMap<u64, u64>,
    /// Whether ranges overlapped.
    pub(super) overlap: bool,
    /// Whether a range began or ended inside a page.
    pub(super) unaligned: bool,
}

impl Extents {
    /// Adds `[start, end)`, which is stored at `offset`: of that, the whole
    /// pages that are not there yet.
    pub(super) fn add(&mut self, start: u64, end: u64, offset: u64) {
        let Some(first) = start.checked_next_multiple_of(PAGE) else { return };
        let last = end.saturating_sub(end % PAGE);
        self.unaligned |= first != start || last != end;
        if first >= last {
            return;
        }
        let touched: Vec<(u64, u64)> = self
            .covered
            .range(..=last)
            .rev()
            .map(|(&s, &e)| (s, e))
            .take_while(|&(_, e)| e >= first)
            .collect();
        let (mut from, mut to, mut next) = (first, last, first);
        let mut piece = |a: u64, b: u64| {
            if a < b {
                let offset = offset.saturating_add(a.saturating_sub(start));
                self.pieces.push(Extent { start: a, end: b, offset });
            }
        };
        for &(s, e) in touched.iter().rev() {
            piece(next, s.min(last));
            self.overlap |= s < last && e > first;
            next = next.max(e);
            (from, to) = (from.min(s), to.max(e));
            self.covered.remove(&s);
        }
        piece(next, last);
        self.covered.insert(from, to);
    }

    /// In order of address; neighbours in memory and in the file joined.
    fn sorted(mut self) -> Vec<Extent> {
        self.pieces.sort_unstable_by_key(|p| p.start);
        self.pieces.dedup_by(|next, kept| {
            let bytes = kept.end.saturating_sub(kept.start);
            let join = next.start == kept.end
                && kept.offset.checked_add(bytes) == Some(next.offset);
            if join {
                kept.end = next.end;
            }
            join
        });
        self.pieces.shrink_to_fit();
        self.pieces
    }
}

/// An image of ranges.
#[derive(Debug)]
pub(super) struct Segments {
    format: Format,
    claims: Claims,
    source: Arc<dyn Source>,
    extents: Vec<Extent>,
}

impl Segments {
    pub(super) fn new(
        format: Format,
        claims: Claims,
        source: Arc<dyn Source>,
        extents: Extents,
    ) -> Self {
        Self { format, claims, source, extents: extents.sorted() }
    }

    /// The extent that has `pa`, or the first one after it.
    fn at_or_after(&self, pa: u64) -> Option<&Extent> {
        let i = self.extents.partition_point(|e| e.end <= pa);
        self.extents.get(i)
    }
}

impl MemoryImage for Segments {
    fn format(&self) -> Format {
        self.format
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        let Some(from) = from.0.checked_next_multiple_of(PAGE) else {
            return Ok(None);
        };
        let run = self
            .at_or_after(from)
            .map(|e| Run { start: e.start.max(from), end: e.end });
        Ok(run)
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let (mut pa, mut rest) = (pa.0, buf);
        while !rest.is_empty() {
            let missing = MemoryError::NotDumped { pa: Paddr(pa) };
            let Some(e) = self.at_or_after(pa).filter(|e| e.start <= pa) else {
                return Err(missing);
            };
            let left = usize::try_from(e.end.saturating_sub(pa));
            let n = left.unwrap_or(usize::MAX).min(rest.len());
            let Some((part, after)) = rest.split_at_mut_checked(n) else {
                return Err(missing);
            };
            let offset = e.offset.saturating_add(pa.saturating_sub(e.start));
            let got = self.source.read_at(offset, part)?;
            if got < n {
                let end = offset.saturating_add(got as u64);
                let pa = Paddr(pa);
                return Err(MemoryError::BeyondEnd { pa, offset, end });
            }
            pa = pa.saturating_add(n as u64);
            rest = after;
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        self.extents.last().map_or(0, |e| e.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(ranges: &[(u64, u64)]) -> (Vec<Extent>, bool, bool) {
        let mut e = Extents::default();
        let mut offset = 0;
        for &(start, end) in ranges {
            e.add(start, end, offset);
            offset += end.saturating_sub(start);
        }
        let (overlap, unaligned) = (e.overlap, e.unaligned);
        (e.sorted(), overlap, unaligned)
    }

    #[test]
    fn of_overlapping_ranges_the_first_has_the_page() {
        // Every way in which small ranges can lie, against an array.
        let mut x = 1u64;
        let mut next = |n: u64| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
            (x >> 33) % n
        };
        for _ in 0..2000 {
            let ranges: Vec<_> = (0..1 + next(6))
                .map(|_| {
                    let start = next(12);
                    (start * PAGE, (start + next(8)) * PAGE)
                })
                .collect();
            let mut want = [None; 24];
            let (mut offset, mut overlap) = (0, false);
            for &(start, end) in &ranges {
                for page in start / PAGE..end / PAGE {
                    let at = offset + page * PAGE - start;
                    let slot: &mut Option<u64> = &mut want[page as usize];
                    overlap |= slot.is_some();
                    slot.get_or_insert(at);
                }
                offset += end - start;
            }
            let (found, overlapped, unaligned) = extents(&ranges);
            assert_eq!((overlapped, unaligned), (overlap, false), "{ranges:?}");
            let mut have = [None; 24];
            let mut last = 0;
            for e in &found {
                assert!(e.start >= last && e.start < e.end, "{found:?}");
                last = e.end;
                for page in e.start / PAGE..e.end / PAGE {
                    let at = e.offset + page * PAGE - e.start;
                    have[page as usize] = Some(at);
                }
            }
            assert_eq!(have, want, "{ranges:?}");
        }
    }

    #[test]
    fn parts_of_pages_are_left_out() {
        let (found, _, unaligned) = extents(&[(0x0800, 0x3400)]);
        let e = Extent { start: 0x1000, end: 0x3000, offset: 0x800 };
        assert_eq!((found.as_slice(), unaligned), ([e].as_slice(), true));
        assert!(extents(&[(0x800, 0x1800)]).0.is_empty());
        assert!(extents(&[(u64::MAX - 5, u64::MAX)]).0.is_empty());
    }

    #[test]
    fn many_ranges_in_one_large_one_take_little_time() {
        let n = 200_000;
        let mut ranges: Vec<_> =
            (0..n).map(|i| (2 * i * PAGE, (2 * i + 1) * PAGE)).collect();
        ranges.extend((0..n).map(|i| (i * PAGE, 2 * n * PAGE)));
        let (found, overlap, _) = extents(&ranges);
        assert!(overlap);
        let bytes: u64 = found.iter().map(|e| e.end - e.start).sum();
        assert_eq!(bytes, 2 * n * PAGE);
    }
}
