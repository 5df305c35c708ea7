// SPDX-License-Identifier: BSD-2-Clause
//! The index is made by reading dump_avail and counting the bitset once.

use super::super::source::Source;
use super::{BLOCK_BITS, Pages, PagesError, block};
use memdev::addr::PAGE_SIZE;
use memdev::dump_avail::{self, DumpAvail};
use memdev::minidump::{Layout, MinidumpHeader};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

const PAGE: u64 = PAGE_SIZE as u64;
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
        let mut pages = Self {
            bits: avail.bits(),
            capacity,
            bitmap: layout.bitmap,
            first_page: layout.pages,
            totals: Vec::new(),
            excess: 0,
            last: Mutex::default(),
            read: AtomicU64::new(0),
            ranges,
        };
        pages.count(source, layout.pmap)?;
        Ok(pages)
    }

    fn count(
        &mut self,
        source: &dyn Source,
        section_end: u64,
    ) -> Result<(), PagesError> {
        let truncated = |end| PagesError::Truncated {
            section: "bitmap",
            offset: self.bitmap,
            section_end,
            end,
        };
        // A header may claim 4 GB: look before anything is sized by it.
        if let Some(end) = source.known_len().filter(|&e| e < section_end) {
            return Err(truncated(end));
        }
        let (mut total, mut excess) = (0u64, 0u64);
        let mut totals = Vec::new();
        let mut bytes = vec![0; 16 * PAGE_SIZE];
        let mut at = self.bitmap;
        while at < section_end {
            let left = section_end.saturating_sub(at);
            let n = left.min(bytes.len() as u64);
            let Some(chunk) = bytes.get_mut(..n as usize) else { break };
            let next = at.saturating_add(n);
            if source.next_data(at) >= next {
                let blocks = chunk.len() / PAGE_SIZE;
                totals.extend(std::iter::repeat_n(total, blocks));
                at = next;
                continue;
            }
            let got = source.read_at(at, chunk)?;
            if got < chunk.len() {
                return Err(truncated(at.saturating_add(got as u64)));
            }
            for page in chunk.chunks(PAGE_SIZE) {
                let first = (totals.len() as u64).saturating_mul(BLOCK_BITS);
                totals.push(total);
                let bits = self.bits.saturating_sub(first);
                let all = count_ones(page);
                let counted = if bits >= BLOCK_BITS || all == 0 {
                    all
                } else {
                    block(page, bits).map_or(0, |set| set.count())
                };
                total = total.saturating_add(counted);
                excess = excess.saturating_add(all.saturating_sub(counted));
            }
            at = next;
        }
        totals.push(total);
        self.totals = totals;
        self.excess = excess;
        Ok(())
    }
}

fn count_ones(page: &[u8]) -> u64 {
    let words = page.as_chunks().0.iter();
    words.map(|&b| u64::from(u64::from_ne_bytes(b).count_ones())).sum()
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
        return Err(PagesError::Truncated {
            section: "dump_avail",
            offset: layout.dump_avail,
            section_end: layout.bitmap,
            end: layout.dump_avail.saturating_add(got as u64),
        });
    }
    let mut ranges = vec![(0, 0); section.len() / 16];
    let n = dump_avail::decode(&section, &mut ranges);
    ranges.truncate(n);
    Ok(ranges)
}
