// SPDX-License-Identifier: BSD-2-Clause
//! The sections, in file order. Everything but page contents comes from the
//! private copies.

use super::snapshot::Snapshot;
use crate::dumper::Dumper;
use crate::error::{Errno, Result, Stage};
use crate::kpi::Kpi;
use crate::progress::Progress;
use memdev::addr::{PAGE_SIZE, Paddr};
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
    let mut pages = Pages { dumper, still, done: 0 };
    let mut run = Run::default();
    let set = Bitset::new(&*from.words, from.bits).ok_or(Errno::EINTEGRITY)?;
    for bit in set.iter() {
        let pa = from.avail.pa_of(bit).ok_or(Errno::EINTEGRITY)?;
        if !run.grows_by(pa) {
            pages.emit(&run)?;
            run = Run { start: pa, pages: 1 };
        }
    }
    pages.emit(&run)
}

/// Adjacent pages, as many as are worth it to take in one go.
#[derive(Default)]
struct Run {
    start: Paddr,
    pages: usize,
}

const MAX_RUN: usize = 256;

impl Run {
    /// Takes `pa` in, if it is the next page.
    fn grows_by(&mut self, pa: Paddr) -> bool {
        let end = self.start.0 + (self.pages * PAGE_SIZE) as u64;
        let next = self.pages < MAX_RUN && pa.0 == end;
        self.pages += usize::from(next);
        next
    }
}

/// The section of page contents.
struct Pages<'a, 'd, K: Kpi> {
    dumper: &'a mut Dumper<'d, K>,
    still: &'a dyn Fn() -> Result<()>,
    /// Pages so far.
    done: usize,
}

impl<K: Kpi> Pages<'_, '_, K> {
    fn emit(&mut self, run: &Run) -> Result<()> {
        let before = self.done;
        self.dumper.append_data(run.start, run.pages)?;
        self.done += run.pages;
        if before / PAGES_BETWEEN_CHECKS == self.done / PAGES_BETWEEN_CHECKS {
            return Ok(());
        }
        (self.still)()
    }
}
