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

mod directory;
mod emit;
mod frozen;
mod instant;
mod kextract;
mod kinds;
mod overlay;
mod plan;
mod scan;
mod snapshot;
mod stability;

pub use plan::Planned;

use crate::dumper::{self, Output};
use crate::error::{Errno, Result, Stage};
use crate::kpi::{DirectMap, Kpi};
use crate::progress::Progress;
use memdev::addr::Page;
use memdev::bitset::Bitset;
use memdev::changes::Header;
use snapshot::{MAX_RANGES, Snapshot};
use stability::Stability;

/// What a dump is to have besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What every CPU was doing at the start.
    pub registers: bool,
    /// A look at which pages changed.
    pub stability: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// As planned.
    pub planned: Planned,
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
}

/// Scan and plan, nothing else.
///
/// # Errors
/// `ENOMEM`, `EINTR`, `E2BIG`; `EINTEGRITY` where the kernel contradicts
/// itself.
pub fn estimate<K: Kpi>(kpi: &K, progress: &Progress) -> Result<Planned> {
    // A kilobyte, and kernel stacks are small.
    let mut ranges = kpi.malloc_array(MAX_RANGES, |_| Ok((0, 0)))?;
    let target = kpi.target();
    let options = Options::default();
    let snapshot =
        Snapshot::take(kpi, &target, &mut ranges, options, progress)?;
    Ok(snapshot.planned)
}

/// Scan, plan, emit; then, where asked for, look again, and write what changed
/// to `list`. `check` says whether the dump is what was asked for so far.
///
/// # Errors
/// As [`estimate`], and whatever writing met, or `check`'s; the files are then
/// empty again, as far as the file system let us.
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
    let target = kpi.target();
    let snapshot =
        Snapshot::take(kpi, &target, &mut ranges, options, progress)?;
    let mut stability = match options.stability {
        true => Some(Stability::new(kpi, &snapshot)?),
        false => None,
    };
    let memory = kpi.direct_map();
    let (words, avail) = (&*snapshot.words, snapshot.avail);
    let source = |nth: usize, bit, pages: &mut [Page]| {
        let set = Bitset::new(words, snapshot.bits);
        let set = set.ok_or(Errno::EINTEGRITY)?;
        emit::data_pages(set, avail, bit, pages, |at, start, pages| {
            memory.read_pages(start, pages)?;
            snapshot.frozen.overlay(start, pages);
            if let Some(stability) = &stability {
                stability.note(nth + at, pages);
            }
            if let Some(instant) = &snapshot.instant {
                instant.overlay.apply(start, pages);
            }
            Ok(())
        })
    };
    let planned = snapshot.planned;
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
            kpi.vn_truncate(output.file)?;
            begun = true;
            emit::emit(kpi, &snapshot, dumper, check, progress)?;
            let dumplength = dumper.dump_finish(&target)?;
            Ok((dumplength, dumper.zero_pages()))
        },
    );
    let result = written.and_then(|(dumplength, zero_pages)| {
        let changes = match &mut stability {
            Some(stability) => {
                stability.compare(kpi, &snapshot, list, progress)?
            }
            None => Header::default(),
        };
        check()?;
        kpi.vn_check(output.file)?;
        if let Some(file) = list {
            kpi.vn_check(file)?;
        }
        let instant = snapshot.instant.as_ref();
        Ok(Written {
            planned,
            zero_pages,
            dumplength,
            registers: instant.map_or(0, |i| i.saved),
            missing_cpus: instant.map_or(0, |i| i.missing),
            changes,
        })
    });
    match result {
        Ok(_) => progress.stage(Stage::Done),
        // Half a dump must not be taken for one. What went wrong first is what
        // the caller needs to know.
        Err(_) if begun => {
            let _ = kpi.vn_truncate(output.file);
            if let Some(file) = list {
                let _ = kpi.vn_truncate(file);
            }
        }
        Err(_) => {}
    }
    result
}
