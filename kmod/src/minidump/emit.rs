// SPDX-License-Identifier: BSD-2-Clause
//! The sections, in file order. Everything but page contents comes from the
//! private copies.

use super::snapshot::Snapshot;
use crate::dumper::Dumper;
use crate::error::{Errno, Result, Stage};
use crate::kpi::Kpi;
use crate::progress::Progress;
use memdev::addr::PAGE_SIZE;
use memdev::bitset::Bitset;
use memdev::dump_avail;

/// Pages between two looks at whether the dump still is what it should be.
const PAGES_BETWEEN_CHECKS: usize = 64;

const WORDS_IN_PAGE: usize = PAGE_SIZE / 8;

pub(super) fn emit<K: Kpi>(
    kpi: &K,
    from: &Snapshot<'_, K>,
    dumper: &mut Dumper<'_, K>,
    still: &dyn Fn() -> Result<()>,
    progress: &Progress,
) -> Result<()> {
    progress.stage(Stage::Header);
    let header = from.planned.header(from.target);
    dumper.append_page(|page| {
        header.encode(page);
        Ok(())
    })?;

    progress.stage(Stage::Msgbuf);
    for text in from.msgbuf.iter() {
        dumper.append_page(|page| {
            page.copy_from_slice(text);
            Ok(())
        })?;
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
        dumper.append_page(|page| from.directory.page(kpi, i, page))?;
    }

    progress.stage(Stage::Pages);
    let set = Bitset::new(&*from.words, from.bits).ok_or(Errno::EINTEGRITY)?;
    for (nth, bit) in set.iter().enumerate() {
        if nth.is_multiple_of(PAGES_BETWEEN_CHECKS) {
            still()?;
        }
        let pa = from.avail.pa_of(bit).ok_or(Errno::EINTEGRITY)?;
        dumper.append_data(pa)?;
    }
    Ok(())
}
