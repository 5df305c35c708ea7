// SPDX-License-Identifier: BSD-2-Clause
//! What goes into a dump. C: `minidumpsys`, `cpu_minidumpsys`,
//! minidump_machdep.c.
//!
//! Before the first byte is out, everything that other parts of the file
//! depend on is copied: bitset, message buffer, dump_avail, the upper page
//! tables, the pages through which processes are linked, and, where asked for,
//! what every CPU was doing. From then on the live kernel can only change what
//! pages contain, never how many there are or which: there is nothing to retry
//! when its map grows (the stock facility begins again, up to
//! `machdep.dump_retry_count` times).

mod copied;
mod directory;
mod emit;
mod freeze;
mod gather;
mod instant;
mod kextract;
mod keys;
mod kinds;
mod linked;
mod overlay;
mod plan;
mod scan;
mod shared;
mod snapshot;
mod stability;

pub use plan::Planned;

use crate::dumper::{self, Output};
use crate::error::{Errno, Result, Stage};
use crate::kpi::{Kpi, Target};
use crate::progress::Progress;
use keys::Keys;
use memdev::addr::Page;
use memdev::arch::Machine;
use memdev::bitset::Bitset;
use memdev::changes::Header;
use memdev::freeze::{FreezeRecord, MinidumpFreeze};
use memdev::keys::KeysRecord;
use snapshot::{DataPages, MAX_RANGES, Snapshot};
use stability::Stability;

/// C: `pmap_growkernel` takes 2 MB at a time.
const MORE_ADDRESSES: u64 = 64 << 20;

/// What a dump says of itself, where there is anything to say.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    instant: Option<FreezeRecord>,
    keys: Option<KeysRecord>,
}

/// What a dump is to have besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What every CPU was doing at the start.
    pub registers: bool,
    /// A look at which pages changed.
    pub stability: bool,
    /// Every page of one instant: CPUs may be stopped for so long. 0 where the
    /// machine runs.
    pub max_pause_ns: u64,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// As planned.
    pub planned: Planned,
    /// The compression level of most of it; 0 where nothing is compressed.
    pub level: i32,
    /// Data pages that hold only zeros.
    pub zero_pages: u64,
    /// Bytes of the dump in the file.
    pub dumplength: u64,
    /// Threads whose registers were saved.
    pub registers: u32,
    /// CPUs that did not come in time, as the request answers it.
    pub missing_cpus: u64,
    /// What changed; nothing where nobody looked.
    pub changes: Header,
    /// How the machine was stopped; zeros where it ran.
    pub freeze: MinidumpFreeze,
}

/// What is dumped. Where all of it is to be of one instant, with addresses that
/// the kernel map may grow by until then: they map nothing, or are in use.
/// (amd64's map ends after the kernel itself, and never grows.)
fn target<K: Kpi>(kpi: &K, freeze: bool) -> Target {
    let mut target = kpi.target();
    if freeze && target.machine == Machine::Arm64 {
        target.kva_end.0 = target.kva_end.0.saturating_add(MORE_ADDRESSES);
    }
    target
}

/// Scan and plan, nothing else; with `freeze`, also what it would take to stop
/// the machine.
///
/// # Errors
/// `ENOMEM`, `EINTR`, `E2BIG`; `EINTEGRITY` where the kernel contradicts
/// itself.
#[inline(never)] // Its stack is not everyone's.
pub fn estimate<K: Kpi>(
    kpi: &K,
    freeze: bool,
    progress: &Progress,
) -> Result<(Planned, MinidumpFreeze)> {
    // A kilobyte, and kernel stacks are small.
    let mut ranges = kpi.malloc_array(MAX_RANGES, |_| Ok((0, 0)))?;
    let target = target(kpi, freeze);
    if freeze {
        let (planned, forecast) =
            snapshot::forecast(kpi, &target, &mut ranges, progress)?;
        let answer = MinidumpFreeze {
            pause_ns: forecast.pause_ns,
            copy_bytes: forecast.copy_bytes,
            pages: planned.pages,
            cpus: u32::try_from(kpi.cpus()).unwrap_or(u32::MAX),
            ..MinidumpFreeze::default()
        };
        return Ok((planned, answer));
    }
    let options = Options::default();
    let snapshot =
        Snapshot::take(kpi, &target, &mut ranges, options, progress)?;
    Ok((snapshot.planned, MinidumpFreeze::default()))
}

/// Scan, plan, emit; then, where asked for, look again, and write what changed
/// to `list`. `check` says whether the dump is what was asked for so far.
///
/// # Errors
/// As [`estimate`], and whatever writing met, or `check`'s; the files are then
/// empty again, as far as the file system let us.
#[inline(never)] // Nor is this one's.
pub fn minidumpsys<K: Kpi>(
    kpi: &K,
    output: &Output<'_, K>,
    options: Options,
    list: Option<&K::File>,
    check: &dyn Fn() -> Result<()>,
    progress: &Progress,
) -> Result<Written> {
    // A kilobyte, and kernel stacks are small.
    let mut ranges = kpi.malloc_array(MAX_RANGES, |_| Ok((0, 0)))?;
    let target = target(kpi, options.max_pause_ns != 0);
    let mut ranges = Some(&mut *ranges);
    let keys = kpi.malloc_array(1, |_| Keys::find(kpi, &target))?;
    let keys = keys.first().ok_or(Errno::EINTEGRITY)?;
    let snapshot = kpi.malloc_array(1, |_| {
        let ranges = ranges.take().ok_or(Errno::EINTEGRITY)?;
        Snapshot::take(kpi, &target, ranges, options, progress)
    })?;
    let snapshot = snapshot.first().ok_or(Errno::EINTEGRITY)?;
    let mut stability = match options.stability {
        true => Some(Stability::new(kpi, snapshot)?),
        false => None,
    };
    let memory = kpi.direct_map();
    let (words, avail) = (&*snapshot.words, snapshot.avail);
    let source = |nth: usize, bit, pages: &mut [Page]| {
        let set = Bitset::new(words, snapshot.bits);
        let set = set.ok_or(Errno::EINTEGRITY)?;
        emit::data_pages(set, avail, bit, pages, |at, start, pages| {
            snapshot.pages.read(memory, nth + at, start, pages)?;
            if let Some(stability) = &stability {
                stability.note(nth + at, pages);
            }
            if let Some(instant) = snapshot.instant() {
                instant.overlay.apply(start, pages);
            }
            keys.overwrite(start, pages);
            Ok(())
        })
    };
    let planned = snapshot.planned;
    let records = records(kpi, snapshot, keys, options)?;
    let records = records.first().ok_or(Errno::EINTEGRITY)?;
    let at_end = || {
        check()?;
        keys.check(kpi)
    };
    let mut begun = false;
    let written = dumper::run(
        kpi,
        output,
        planned.dumpsize,
        progress,
        &source,
        |dumper| {
            // Everything is allocated now; then comes the first thing that
            // cannot be undone.
            progress.stage(Stage::Truncate);
            output.sink.begin(kpi)?;
            begun = true;
            emit::emit(kpi, snapshot, records, dumper, check, progress)?;
            let dumplength = dumper.dump_finish(&target, &at_end)?;
            Ok((dumplength, dumper.zero_pages(), dumper.level()))
        },
    );
    let result = written.and_then(|(dumplength, zero_pages, level)| {
        let changes = match &mut stability {
            Some(stability) => {
                let changes =
                    stability.compare(kpi, snapshot, list, progress)?;
                check()?;
                changes
            }
            None => Header::default(),
        };
        output.sink.check(kpi)?;
        if let Some(file) = list {
            kpi.vn_check(file)?;
        }
        let instant = snapshot.instant();
        Ok(Written {
            planned,
            level,
            zero_pages,
            dumplength,
            registers: instant.map_or(0, |i| i.saved),
            missing_cpus: instant.map_or(0, |i| i.missing),
            changes,
            freeze: frozen(snapshot, options).unwrap_or_default(),
        })
    });
    match result {
        Ok(_) => progress.stage(Stage::Done),
        // Half a dump must not be taken for one. What went wrong first is what
        // the caller needs to know.
        Err(_) if begun => {
            output.sink.give_up(kpi);
            if let Some(file) = list {
                let _ = kpi.vn_truncate(file);
            }
        }
        Err(_) => {}
    }
    result
}

/// What the dump says of itself.
#[inline(never)] // Its stack is not everyone's.
fn records<K: Kpi>(
    kpi: &K,
    from: &Snapshot<'_, K>,
    keys: &Keys<K>,
    options: Options,
) -> Result<K::Array<Records>> {
    let instant = frozen(from, options).map(|answer| FreezeRecord {
        cpus: answer.cpus,
        uptime_ns: answer.uptime_ns,
        time_ns: answer.time_ns,
        pause_ns: answer.pause_ns,
        max_pause_ns: answer.max_pause_ns,
        pages: answer.pages,
    });
    // What is copied from a dump of one instant stays one.
    let instant = instant.or(from.target.instant);
    let keys = keys.record();
    kpi.malloc_array(1, |_| Ok(Records { instant, keys }))
}

/// What is told of a machine that was stopped.
fn frozen<K: Kpi>(
    from: &Snapshot<'_, K>,
    options: Options,
) -> Option<MinidumpFreeze> {
    let DataPages::Frozen(frozen) = &from.pages else { return None };
    let stopped = &frozen.stopped;
    Some(MinidumpFreeze {
        max_pause_ns: options.max_pause_ns,
        pause_ns: stopped.pause_ns,
        uptime_ns: stopped.uptime_ns,
        time_ns: stopped.time_ns,
        pages: from.planned.pages,
        late_pages: frozen.late_pages,
        copy_bytes: frozen.copy_bytes,
        cpus: stopped.cpus,
        pad: 0,
    })
}
