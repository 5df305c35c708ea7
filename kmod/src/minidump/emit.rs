// SPDX-License-Identifier: BSD-2-Clause
//! The sections, in file order. Everything but page contents comes from the
//! private copies.

use super::Records;
use super::snapshot::Snapshot;
use crate::dumper::Dumper;
use crate::error::{Errno, Result, Stage};
use crate::kpi::Kpi;
use crate::progress::Progress;
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use memdev::bitset::Bitset;
use memdev::dump_avail::{self, DumpAvail};

/// Pages between two looks at whether the dump still is what it should be.
const PAGES_BETWEEN_CHECKS: usize = 64;

const WORDS_IN_PAGE: usize = PAGE_SIZE / 8;

pub(super) fn emit<K: Kpi>(
    kpi: &K,
    from: &Snapshot<'_, K>,
    records: &Records,
    dumper: &mut Dumper<'_, K>,
    check: &dyn Fn() -> Result<()>,
    progress: &Progress,
) -> Result<()> {
    progress.stage(Stage::Header);
    let header = from.planned.header(from.target);
    dumper.append_page(|page| {
        header.encode(page);
        if let Some(instant) = &records.instant {
            instant.encode(page);
        }
        if let Some(keys) = &records.keys {
            keys.encode(page);
        }
        Ok(())
    })?;

    progress.stage(Stage::Msgbuf);
    let text = from.target.msgbuf_bytes as usize;
    for nth in 0..text.div_ceil(PAGE_SIZE) {
        dumper.append_page(|page| from.msgbuf(nth, page))?;
    }

    progress.stage(Stage::DumpAvail);
    for i in 0..from.planned.dumpavailsize as usize / PAGE_SIZE {
        // The ranges fit one page; were the kernel's array larger, what is
        // behind them would be zero as there.
        let ranges = if i == 0 { from.avail.ranges() } else { &[] };
        dumper.append_page(|page| {
            dump_avail::encode(ranges, page);
            Ok(())
        })?;
    }

    progress.stage(Stage::Bitmap);
    for words in from.words.chunks(WORDS_IN_PAGE) {
        dumper.append_page(|page| {
            page.fill(0);
            for (out, word) in page.chunks_exact_mut(8).zip(words) {
                out.copy_from_slice(&word.to_le_bytes());
            }
            Ok(())
        })?;
    }

    progress.stage(Stage::Pmap);
    for i in 0..from.planned.pmapsize as usize / PAGE_SIZE {
        dumper.append_page(|page| from.table(kpi, i, page))?;
    }

    progress.stage(Stage::Pages);
    let set = Bitset::new(&*from.words, from.bits).ok_or(Errno::EINTEGRITY)?;
    for (nth, bit) in set.iter().enumerate() {
        if nth.is_multiple_of(PAGES_BETWEEN_CHECKS) {
            check()?;
        }
        dumper.append_data(bit)?;
    }
    Ok(())
}

/// Copies the data pages from `bit` on that fit into `pages`, adjacent ones in
/// one go: `copy` is told where among `pages` they are to be, and their
/// address.
pub(super) fn data_pages(
    set: Bitset<&[u64]>,
    avail: DumpAvail<'_>,
    bit: u64,
    pages: &mut [Page],
    copy: impl Fn(usize, Paddr, &mut [Page]) -> Result<()>,
) -> Result<()> {
    let address = |bit| avail.pa_of(bit).ok_or(Errno::EINTEGRITY);
    let mut next = Some(bit);
    let mut at = 0;
    while at < pages.len() {
        let first = next.ok_or(Errno::EINTEGRITY)?;
        let start = address(first)?;
        let mut end = start.0;
        let from = at;
        while at < pages.len()
            && let Some(bit) = next
            && address(bit)?.0 == end
        {
            at += 1;
            end += PAGE_SIZE as u64;
            next = set.next(bit + 1);
        }
        copy(from, start, pages.get_mut(from..at).ok_or(Errno::E2BIG)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::vec;
    use std::vec::Vec;

    /// Where the pages of bits 1, 2, 4, 5 and 7 come from, in one go each;
    /// bits 0 to 3 are one range of memory, 4 and 5 the adjacent one, and 6
    /// and 7 lie elsewhere.
    fn runs(bit: u64, pages: usize) -> Result<Vec<(usize, u64, usize)>> {
        let ranges = [(0x1000, 0x5000), (0x5000, 0x7000), (0x9000, 0xb000)];
        let words = [0b1011_0110];
        let set = Bitset::new(&words[..], 8).unwrap();
        let avail = DumpAvail::new(&ranges).unwrap();
        let seen = RefCell::new(vec![]);
        let mut pages = vec![[0; PAGE_SIZE]; pages];
        data_pages(set, avail, bit, &mut pages, |at, start, pages| {
            seen.borrow_mut().push((at, start.0, pages.len()));
            Ok(())
        })?;
        Ok(seen.into_inner())
    }

    #[test]
    fn adjacent_pages_are_copied_in_one_go() {
        let all = [(0, 0x2000, 2), (2, 0x5000, 2), (4, 0xa000, 1)];
        assert_eq!(runs(1, 5).unwrap(), all);
        assert_eq!(runs(1, 3).unwrap(), [(0, 0x2000, 2), (2, 0x5000, 1)]);
        assert_eq!(runs(5, 2).unwrap(), [(0, 0x6000, 1), (1, 0xa000, 1)]);
    }

    #[test]
    fn pages_that_are_not_there_are_an_error() {
        assert_eq!(runs(5, 3), Err(Errno::EINTEGRITY));
        assert_eq!(runs(8, 1), Err(Errno::EINTEGRITY));
    }
}
