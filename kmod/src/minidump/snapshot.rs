// SPDX-License-Identifier: BSD-2-Clause
//! The private copies: which pages there are, message buffer, dump_avail, upper
//! tables, linked pages, registers; and, of a machine that was stopped, the
//! pages themselves.
//! C: `struct minidumpstate`, and what `minidumpsys` duplicates for a live
//! dump.

use super::Options;
use super::directory::Directory;
use super::freeze::{self, Forecast, Frozen, Prospect};
use super::gather::Gather;
use super::instant::Instant;
use super::kinds::Kinds;
use super::linked::Linked;
use super::plan::{self, Planned};
use super::shared::Unstopped;
use crate::error::{Errno, Result, Stage};
use crate::kpi::{DirectMap, Kpi, Target};
use crate::progress::Progress;
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use memdev::bitset::WORD_BITS;
use memdev::changes::Kind;
use memdev::dump_avail::DumpAvail;

/// Ranges that dump_avail may have: `VM_PHYSSEG_MAX` is 63 or 64.
pub(super) const MAX_RANGES: usize = 66;

/// Everything but the data pages of a machine that runs.
pub(super) struct Snapshot<'a, K: Kpi> {
    pub(super) target: &'a Target,
    pub(super) avail: DumpAvail<'a>,
    /// The bitset in whole pages, nothing but zeros behind its last bit.
    pub(super) words: K::Words,
    pub(super) bits: u64,
    pub(super) directory: Directory<K>,
    pub(super) kinds: Option<Kinds<K>>,
    pub(super) pages: DataPages<K>,
    pub(super) planned: Planned,
}

/// Where what was not copied yet comes from.
pub(super) enum DataPages<K: Kpi> {
    /// The machine, which runs.
    Live(Live<K>),
    /// Copies of one instant.
    Frozen(Frozen<K>),
}

/// What is kept of a machine that runs.
pub(super) struct Live<K: Kpi> {
    linked: Linked<K>,
    instant: Option<Instant<K>>,
    msgbuf: K::Pages,
}

impl<'a, K: Kpi> Snapshot<'a, K> {
    pub(super) fn take(
        kpi: &K,
        target: &'a Target,
        ranges: &'a mut [(u64, u64)],
        options: Options,
        progress: &Progress,
    ) -> Result<Self> {
        progress.stage(Stage::Scan);
        let avail = dump_avail(kpi, target, ranges)?;
        let gather = Gather::allocate(kpi, target, avail, options.stability)?;
        let mut words = kpi.malloc_words(gather.words().len())?;
        let pages = match options.max_pause_ns {
            0 => DataPages::Live(read_live(kpi, &gather, options, progress)?),
            max => {
                let spent_ns = read(kpi, &gather, progress)?;
                copy_words(&gather, &mut words);
                let words = &mut words;
                let from = Prospect { gather: &gather, words, spent_ns };
                DataPages::Frozen(freeze::freeze(kpi, from, max, progress)?)
            }
        };
        copy_words(&gather, &mut words);
        let pmap_pages = gather.directory.pmap_pages();
        let planned =
            plan::plan(target, gather.bits, gather.pages(), pmap_pages)?;
        progress.planned(planned.pages, planned.dumpsize);
        let Gather { bits, directory, kinds, .. } = gather;
        Ok(Self {
            target,
            avail,
            words,
            bits,
            directory,
            kinds,
            pages,
            planned,
        })
    }

    /// What the page of a bit is to the kernel.
    pub(super) fn kind(&self, bit: u64) -> Kind {
        let known = self.kinds.as_ref();
        known.map_or(Kind::DirectMap, |kinds| kinds.of(self.bits, bit))
    }

    /// Registers, where they were asked for.
    pub(super) fn instant(&self) -> Option<&Instant<K>> {
        match &self.pages {
            DataPages::Live(live) => live.instant.as_ref(),
            DataPages::Frozen(frozen) => Some(&frozen.instant),
        }
    }

    /// Page `nth` of the message buffer's text.
    pub(super) fn msgbuf(&self, nth: usize, page: &mut Page) -> Result<()> {
        match &self.pages {
            DataPages::Live(live) => {
                let text = live.msgbuf.get(nth).ok_or(Errno::EINTEGRITY)?;
                page.copy_from_slice(text);
                Ok(())
            }
            DataPages::Frozen(frozen) => frozen.copied.msgbuf(nth, page),
        }
    }

    /// Page `i` of the pmap section.
    pub(super) fn table(
        &self,
        kpi: &K,
        i: usize,
        page: &mut Page,
    ) -> Result<()> {
        let memory = kpi.direct_map();
        self.directory.page(i, page, |pa, page| match &self.pages {
            DataPages::Live(_) => memory.read_page(pa, page),
            DataPages::Frozen(frozen) => frozen.copied.table(i, page),
        })
    }
}

impl<K: Kpi> DataPages<K> {
    /// Data pages from the nth on, which are adjacent, as they were before any
    /// overlay.
    pub(super) fn read<M: DirectMap>(
        &self,
        memory: &M,
        nth: usize,
        start: Paddr,
        pages: &mut [Page],
    ) -> Result<()> {
        match self {
            Self::Live(live) => {
                memory.read_pages(start, pages)?;
                live.linked.overlay(start, pages);
                Ok(())
            }
            Self::Frozen(frozen) => frozen.copied.pages(nth, pages),
        }
    }
}

/// What a dump of one instant would take.
#[inline(never)] // Its stack is not everyone's.
pub(super) fn forecast<K: Kpi>(
    kpi: &K,
    target: &Target,
    ranges: &mut [(u64, u64)],
    progress: &Progress,
) -> Result<(Planned, Forecast)> {
    progress.stage(Stage::Scan);
    let avail = dump_avail(kpi, target, ranges)?;
    let gather = Gather::allocate(kpi, target, avail, false)?;
    let spent_ns = read(kpi, &gather, progress)?;
    let mut words = kpi.malloc_words(gather.words().len())?;
    copy_words(&gather, &mut words);
    let words = &mut words;
    let mut from = Prospect { gather: &gather, words, spent_ns };
    let forecast = freeze::forecast(kpi, &mut from)?;
    let pmap_pages = gather.directory.pmap_pages();
    let planned = plan::plan(target, gather.bits, gather.pages(), pmap_pages)?;
    progress.planned(planned.pages, planned.dumpsize);
    Ok((planned, forecast))
}

/// The ranges that give bits their meaning: the kernel's, or, where bits are
/// absolute page numbers, one range from 0.
fn dump_avail<'a, K: Kpi>(
    kpi: &K,
    target: &Target,
    ranges: &'a mut [(u64, u64)],
) -> Result<DumpAvail<'a>> {
    let n = if target.machine.has_dump_avail(target.minidump_version) {
        kpi.dump_avail(ranges)
    } else {
        let end = target.bitset_bits.checked_mul(PAGE_SIZE as u64);
        let whole = (0, end.ok_or(Errno::EINTEGRITY)?);
        *ranges.first_mut().ok_or(Errno::EINTEGRITY)? = whole;
        1
    };
    let ranges = ranges.get(..n).ok_or(Errno::EINTEGRITY)?;
    let avail = DumpAvail::new(ranges).map_err(|_| Errno::EINTEGRITY)?;
    // With fewer bits than pages the copy would read past the bitset.
    let has = target.bitset_bits.next_multiple_of(WORD_BITS);
    if avail.bits() == 0 || avail.bits() > has {
        return Err(Errno::EINTEGRITY);
    }
    Ok(avail)
}

/// Which pages there are, of a machine that runs; how long that took.
fn read<K: Kpi>(
    kpi: &K,
    gather: &Gather<'_, K>,
    progress: &Progress,
) -> Result<u64> {
    let pace = Unstopped::new(kpi);
    gather.read(kpi.direct_map(), &pace, false)?;
    progress.stage(Stage::Plan);
    gather.sift(kpi.direct_map(), &pace)?;
    Ok(pace.spent_ns())
}

/// The same, with what is copied of a machine that runs.
#[inline(never)] // Its stack is not everyone's.
fn read_live<K: Kpi>(
    kpi: &K,
    gather: &Gather<'_, K>,
    options: Options,
    progress: &Progress,
) -> Result<Live<K>> {
    let pace = Unstopped::new(kpi);
    gather.read(kpi.direct_map(), &pace, false)?;
    let mut instant = match options.registers {
        true => Some(Instant::take(kpi, gather.target)?),
        false => None,
    };
    let linked = Linked::take(kpi, gather.avail, gather.set()?)?;
    if let Some(instant) = &mut instant {
        instant.clear_late_oncpu(kpi, &linked)?;
    }
    let msgbuf = msgbuf(kpi, gather.target)?;
    progress.stage(Stage::Plan);
    gather.sift(kpi.direct_map(), &pace)?;
    Ok(Live { linked, instant, msgbuf })
}

fn copy_words<K: Kpi>(gather: &Gather<'_, K>, words: &mut K::Words) {
    for (to, from) in words.iter_mut().zip(gather.words()) {
        *to = from.load(core::sync::atomic::Ordering::Relaxed);
    }
}

fn msgbuf<K: Kpi>(kpi: &K, target: &Target) -> Result<K::Pages> {
    let len = target.msgbuf_bytes as usize;
    let mut pages = kpi.malloc_pages(len.div_ceil(PAGE_SIZE))?;
    if let Some(text) = pages.as_flattened_mut().get_mut(..len) {
        kpi.copy_msgbuf(text);
    }
    Ok(pages)
}
