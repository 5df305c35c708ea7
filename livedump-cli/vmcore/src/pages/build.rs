// SPDX-License-Identifier: BSD-2-Clause
//! The index is made by reading dump_avail and counting the bitset once.

use super::super::source::Source;
use super::rank::{CountError, RankedBits};
use super::{PAGE, Pages, PagesError};
use memdev::dump_avail::{self, DumpAvail};
use memdev::minidump::{Layout, MinidumpHeader};

/// What of a dump_avail section is looked at: 4096 ranges. Kernels have 128
/// entries in one page.
const MAX_DUMP_AVAIL: u64 = 64 << 10;

impl Pages {
    /// Reads dump_avail and counts the bitset once.
    pub(in super::super) fn new(
        source: &dyn Source,
        header: &MinidumpHeader,
    ) -> Result<Self, PagesError> {
        let layout = header.layout();
        let capacity = u64::from(header.bitmapsize).saturating_mul(8);
        let ranges = if header.has_dump_avail() {
            read_ranges(source, header, &layout)?
        } else {
            vec![(0, capacity.saturating_mul(PAGE))]
        };
        let avail = DumpAvail::new(&ranges).map_err(|source| {
            PagesError::DumpAvail { offset: layout.dump_avail, source }
        })?;
        let bits = avail.bits();
        let set = RankedBits::count(source, layout.bitmap, layout.pmap, bits);
        let set = set.map_err(|e| match e {
            CountError::Truncated(end) => PagesError::Truncated {
                section: "bitmap",
                offset: layout.bitmap,
                section_end: layout.pmap,
                end,
            },
            CountError::Source(e) => e.into(),
        })?;
        Ok(Self { bits, capacity, first_page: layout.pages, set, ranges })
    }
}

fn read_ranges(
    source: &dyn Source,
    header: &MinidumpHeader,
    layout: &Layout,
) -> Result<Vec<(u64, u64)>, PagesError> {
    let size = u64::from(header.dumpavailsize).min(MAX_DUMP_AVAIL);
    let mut section = vec![0; size as usize];
    let got = source.read_at(layout.dump_avail, &mut section)?;
    if got < section.len() {
        let end = layout.dump_avail.saturating_add(got as u64);
        return Err(PagesError::Truncated {
            section: "dump_avail",
            offset: layout.dump_avail,
            section_end: layout.bitmap,
            end: source.known_len().unwrap_or(end).min(end),
        });
    }
    let mut ranges = vec![(0, 0); section.len() / 16];
    let n = dump_avail::decode(&section, &mut ranges);
    ranges.truncate(n);
    Ok(ranges)
}
