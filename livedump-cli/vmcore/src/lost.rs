// SPDX-License-Identifier: BSD-2-Clause
//! Bytes of a dump that are not its own: they never arrived, and read as
//! zeros. Memory in them is not there, as if it had not been dumped.

use super::Vmcore;
use super::pages::PagesError;
use memdev::kerneldump::Compression;
use std::ops::Range;

/// Ranges of offsets, in order, that neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Lost(Vec<Range<u64>>);

impl Lost {
    fn new(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.retain(|r| r.start < r.end);
        ranges.sort_by_key(|r| r.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => {
                    last.end = last.end.max(range.end);
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Whether any byte of a range is lost.
    pub(super) fn has(&self, start: u64, len: u64) -> bool {
        let end = start.saturating_add(len);
        let next = self.0.partition_point(|r| r.end <= start);
        self.0.get(next).is_some_and(|r| r.start < end)
    }
}

impl Vmcore {
    /// These bytes never arrived, as the info.N of `livedump receive` says. Of
    /// a compressed dump nothing is taken from there: it does not unpack.
    pub fn lose(&mut self, missing: Vec<Range<u64>>) {
        if self.compression != Compression::None {
            return;
        }
        self.lost = Lost::new(missing);
        let layout = self.layout;
        for (section, start, end) in [
            ("dump_avail", layout.dump_avail, layout.bitmap),
            ("bitmap", layout.bitmap, layout.pmap),
        ] {
            if self.lost.has(start, end.saturating_sub(start)) {
                self.pages = Err(PagesError::Lost { section, offset: start });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_lost_where_any_byte_of_it_is() {
        let lost = Lost::new(vec![30..40, 10..12, 5..5, 12..20, 35..36]);
        assert_eq!(lost.0, [10..20, 30..40]);
        for (start, len, is_lost) in [
            (0, 10, false),
            (0, 11, true),
            (19, 1, true),
            (20, 10, false),
            (20, 11, true),
            (39, 100, true),
            (40, u64::MAX, false),
            (0, u64::MAX, true),
            (15, 0, true),
        ] {
            assert_eq!(lost.has(start, len), is_lost, "{start}, {len}");
        }
        assert!(!Lost::default().has(0, u64::MAX));
    }
}
