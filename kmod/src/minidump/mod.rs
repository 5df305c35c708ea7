// SPDX-License-Identifier: BSD-2-Clause
//! What goes into a dump. C: `minidumpsys`, `cpu_minidumpsys`,
//! minidump_machdep.c.
//!
//! Before the first byte is out, everything that other parts of the file
//! depend on is copied: bitset, message buffer, dump_avail, the upper page
//! tables, and the pages through which processes are linked. From then on the live kernel can only change what pages
//! contain, never how many there are or which: there is nothing to retry when
//! its map grows (the stock facility begins again, up to
//! `machdep.dump_retry_count` times).

mod directory;
mod emit;
mod frozen;
mod plan;
mod scan;
mod snapshot;

pub use plan::Planned;

use crate::dumper::{self, Output};
use crate::error::{Result, Stage};
use crate::kpi::Kpi;
use crate::progress::Progress;
use snapshot::{MAX_RANGES, Snapshot};

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// As planned.
    pub planned: Planned,
    /// Data pages that hold only zeros.
    pub zero_pages: u64,
    /// Bytes of the dump in the file.
    pub dumplength: u64,
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
    Ok(Snapshot::take(kpi, &target, &mut ranges, progress)?.planned)
}

/// Scan, plan, emit.
///
/// # Errors
/// As [`estimate`], and whatever writing met; the file is then empty again,
/// as far as the file system let us.
pub fn minidumpsys<K: Kpi>(
    kpi: &K,
    output: &Output<'_, K>,
    progress: &Progress,
) -> Result<Written> {
    // A kilobyte, and kernel stacks are small.
    let mut ranges = kpi.malloc_array(MAX_RANGES, |_| Ok((0, 0)))?;
    let target = kpi.target();
    let snapshot = Snapshot::take(kpi, &target, &mut ranges, progress)?;
    let planned = snapshot.planned;
    let target = &target;
    // Everything is allocated when the closure runs; then comes the first
    // thing that cannot be undone.
    dumper::run(kpi, output, planned.dumpsize, progress, |dumper| {
        progress.stage(Stage::Truncate);
        kpi.vn_truncate(output.file)?;
        let result = emit::emit(kpi, &snapshot, dumper, progress)
            .and_then(|()| dumper.dump_finish(target));
        let dumplength = result.inspect_err(|_| {
            // Half a dump must not be taken for one. What went wrong first
            // is what the caller needs to know.
            let _ = kpi.vn_truncate(output.file);
        })?;
        let zero_pages = dumper.zero_pages();
        Ok(Written { planned, zero_pages, dumplength })
    })
}
