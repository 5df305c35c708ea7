// SPDX-License-Identifier: BSD-2-Clause
//! Every page of one instant. While the machine runs: how many pages there are,
//! memory for their copies, how fast copying is. Then all CPUs are stopped,
//! read again which pages there are, and copy them; nothing is from before, and
//! nothing is missing. The machine goes on, and the dump is written from the
//! copies.
//!
//! Nothing is stopped where the memory is not to be had or the pause would be
//! longer than allowed. When time is up while they are stopped, all CPUs go on
//! together, and the copies are no good.

use super::copied::{Copied, Room};
use super::gather::Gather;
use super::instant::Instant;
use super::shared::{InWindow, Pace, Unstopped};
use crate::error::{Errno, Result, Stage};
use crate::kpi::{DirectMap, Kpi, Stopped};
use crate::progress::Progress;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::Machine;
use memdev::bitset::Bitset;

/// Times that there is more room for more pages.
const TRIES: u32 = 4;
/// Times that all CPUs are stopped for as long as is allowed, in vain.
const TIMEOUTS: u32 = 2;
/// Pages that may be added until the CPUs are stopped, besides one in 16.
const MORE_PAGES: usize = 512;
/// Pages that are copied to see how fast that is, in units.
const SAMPLE_UNITS: u64 = 16;
const SAMPLE_UNIT: u64 = 32;
/// CPUs that copy as much faster than one; memory is no faster for more.
const FAST_CPUS: u64 = 8;
/// Until all have come, and until all have gone.
const GATHER_NS: u64 = 300_000;

/// Copies of one instant.
pub(super) struct Frozen<K: Kpi> {
    pub(super) copied: Copied<K>,
    pub(super) instant: Instant<K>,
    pub(super) stopped: Stopped,
    pub(super) late_pages: u64,
    pub(super) copy_bytes: u64,
}

/// What a freeze would take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forecast {
    pub(super) pause_ns: u64,
    pub(super) copy_bytes: u64,
}

/// A set of pages that was read while the machine ran.
pub(super) struct Prospect<'p, 'a, K: Kpi> {
    pub(super) gather: &'p Gather<'a, K>,
    /// The set in words of its own.
    pub(super) words: &'p mut K::Words,
    /// What reading it took.
    pub(super) spent_ns: u64,
}

/// Stops the machine, and copies it. `gather` has been read; it is read again,
/// and `words` are then what it has.
#[inline(never)] // Its stack is not everyone's.
pub(super) fn freeze<K: Kpi>(
    kpi: &K,
    mut from: Prospect<'_, '_, K>,
    max_pause_ns: u64,
    progress: &Progress,
) -> Result<Frozen<K>> {
    let mut instant = Instant::allocate(kpi, 0)?;
    let (mut more, mut timeouts) = (1, 0);
    for nth in 1..=TRIES {
        progress.stage(Stage::Prepare);
        let (copied, room) =
            prepare(kpi, &mut from, more, max_pause_ns, progress)?;
        progress.stage(Stage::Freeze);
        let result =
            window(kpi, from.gather, &copied, &mut instant, max_pause_ns);
        match result {
            Ok(stopped) => {
                instant.fill_overlay(kpi, from.gather.target);
                let late_pages = late_pages(&mut from);
                let copy_bytes = room.bytes();
                return Ok(Frozen {
                    copied,
                    instant,
                    stopped,
                    late_pages,
                    copy_bytes,
                });
            }
            // More pages than there was room for.
            Err(Errno::ENOBUFS) if nth < TRIES => more *= 4,
            Err(Errno::ENOBUFS) => return Err(Errno::EAGAIN),
            // A CPU did not come, or the host took one away.
            Err(Errno::ETIMEDOUT) => {
                timeouts += 1;
                if timeouts == TIMEOUTS {
                    progress.short(0, max_pause_ns);
                    return Err(Errno::ETIMEDOUT);
                }
            }
            Err(e) => return Err(e),
        }
        kpi.sig_intr()?;
        kpi.pause();
    }
    Err(Errno::EAGAIN)
}

/// All CPUs, stopped.
#[inline(never)]
fn window<K: Kpi>(
    kpi: &K,
    gather: &Gather<'_, K>,
    copied: &Copied<K>,
    instant: &mut Instant<K>,
    max_pause_ns: u64,
) -> Result<Stopped> {
    let memory = kpi.direct_map();
    gather.restart();
    copied.restart();
    let work = |deadline_ns| {
        let pace = InWindow { memory, deadline_ns };
        // What fails is kept for all to see.
        let _ = gather
            .read(memory, &pace, true)
            .and_then(|()| gather.sift(memory, &pace))
            .and_then(|()| gather.copy(memory, &pace, copied));
    };
    let stopped = kpi.freeze(instant.contexts(), max_pause_ns, &work)?;
    gather.finished()?;
    Ok(stopped)
}

/// Memory for the copies, and whether time will do. `more` times the usual
/// slack.
#[inline(never)]
fn prepare<K: Kpi>(
    kpi: &K,
    from: &mut Prospect<'_, '_, K>,
    more: usize,
    max_pause_ns: u64,
    progress: &Progress,
) -> Result<(Copied<K>, Room)> {
    let room = room(kpi, from, more)?;
    let needs = room.bytes().div_ceil(PAGE_SIZE as u64);
    let has = kpi.free_pages() as u64;
    let bytes = PAGE_SIZE as u64;
    // Should it go before it is ours.
    progress.short(needs.saturating_mul(bytes), has.saturating_mul(bytes));
    if needs > has {
        return Err(Errno::ENOMEM);
    }
    let copied = Copied::allocate(kpi, room)?;
    progress.short(0, 0);
    let memory = kpi.direct_map();
    let pause_ns = measure(
        kpi,
        from,
        || copied.restart(),
        |nth, pa| copied.take_page(memory, nth, pa),
    )?;
    copied.restart();
    if pause_ns > max_pause_ns {
        progress.short(pause_ns, max_pause_ns);
        return Err(Errno::ETIMEDOUT);
    }
    Ok((copied, room))
}

/// What stopping the machine would take, without stopping it.
pub(super) fn forecast<K: Kpi>(
    kpi: &K,
    from: &mut Prospect<'_, '_, K>,
) -> Result<Forecast> {
    let room = room(kpi, from, 1)?;
    let mut page = kpi.malloc_pages(1)?;
    let page = page.first_mut().ok_or(Errno::EINTEGRITY)?;
    let memory = kpi.direct_map();
    let pause_ns =
        measure(kpi, from, || {}, |_, pa| memory.read_page(pa, page))?;
    Ok(Forecast { pause_ns, copy_bytes: room.bytes() })
}

/// Counts what there is to copy.
fn room<K: Kpi>(
    kpi: &K,
    from: &Prospect<'_, '_, K>,
    more: usize,
) -> Result<Room> {
    let Prospect { gather, words, .. } = from;
    let memory = kpi.direct_map();
    let pace = Unstopped::new(kpi);
    let set = Bitset::new(&***words, gather.bits).ok_or(Errno::EINTEGRITY)?;
    let (mut pages, mut zeros) = (0usize, 0usize);
    for bit in set.iter() {
        if pages.is_multiple_of(64) {
            pace.check()?;
        }
        pages += 1;
        let pa = gather.avail.pa_of(bit).ok_or(Errno::EINTEGRITY)?;
        if memory.page_is_zero(pa) {
            zeros += 1;
        }
    }
    let slack = (pages / 16 + MORE_PAGES).saturating_mul(more);
    let msgbuf = (gather.target.msgbuf_bytes as usize).div_ceil(PAGE_SIZE);
    let section = usize::try_from(gather.directory.pmap_pages());
    let tables = match gather.target.machine {
        Machine::Amd64 => 0,
        Machine::Arm64 => section.map_err(|_| Errno::ENOMEM)?,
    };
    let used = (0..tables).filter(|&i| gather.directory.elsewhere(i).is_some());
    Ok(Room {
        pages: pages + slack,
        copies: pages - zeros + slack + msgbuf + used.count(),
        tables,
        msgbuf,
    })
}

/// How long all CPUs would be stopped: pages from everywhere are copied, a few
/// at a time, and the fastest few count, since whoever copies them is not
/// stopped.
fn measure<K: Kpi>(
    kpi: &K,
    from: &Prospect<'_, '_, K>,
    restart: impl Fn(),
    mut copy: impl FnMut(usize, Paddr) -> Result<()>,
) -> Result<u64> {
    let pages = from.gather.pages();
    let set = Bitset::new(&**from.words, from.gather.bits);
    let set = set.ok_or(Errno::EINTEGRITY)?;
    let mut best = u64::MAX;
    for unit in 0..SAMPLE_UNITS {
        kpi.sig_intr()?;
        kpi.maybe_yield();
        restart();
        let begun = kpi.nanouptime();
        for nth in 0..SAMPLE_UNIT.min(pages) {
            let at = set.bits() / SAMPLE_UNITS * unit
                + set.bits() / SAMPLE_UNITS / SAMPLE_UNIT * nth;
            let bit = set.next(at).or_else(|| set.next(0));
            let pa = bit.and_then(|bit| from.gather.avail.pa_of(bit));
            let pa: Paddr = pa.ok_or(Errno::EINTEGRITY)?;
            copy(nth as usize, pa)?;
        }
        let took = kpi.nanouptime().saturating_sub(begun);
        best = best.min(took);
    }
    // Half as much again: the caches of a CPU that is interrupted are cold.
    let copying = best.saturating_mul(pages) / SAMPLE_UNIT * 3 / 2;
    let all = copying.saturating_add(from.spent_ns);
    // All of them, however few threads may compress.
    let cpus = (kpi.cpus() as u64).clamp(1, FAST_CPUS);
    Ok(GATHER_NS.saturating_add(all / cpus))
}

/// Pages that are in the set now and were not; takes the set over.
fn late_pages<K: Kpi>(from: &mut Prospect<'_, '_, K>) -> u64 {
    let now = from.gather.words().iter();
    let mut late = 0;
    for (was, now) in from.words.iter_mut().zip(now) {
        let now = now.load(core::sync::atomic::Ordering::Relaxed);
        late += u64::from((now & !*was).count_ones());
        *was = now;
    }
    late
}
