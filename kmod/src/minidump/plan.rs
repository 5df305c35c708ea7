// SPDX-License-Identifier: BSD-2-Clause
//! Sizes. Bits of pages that do not belong in a dump are cleared, the others
//! counted; after that the file's every offset is known.

use crate::error::{Errno, Result};
use crate::kpi::{Caller, Memory, Target};
use memdev::addr::{PAGE_SIZE, round_page};
use memdev::bitset::{Bitset, words_for};
use memdev::dump_avail::DumpAvail;
use memdev::minidump::MinidumpHeader;

/// Pages between two looks at signals.
const PAGES_BETWEEN_CHECKS: u64 = 1 << 16;

/// What a dump will be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planned {
    /// Version of the minidump header.
    pub version: u32,
    /// Data pages.
    pub pages: u64,
    /// Bytes before compression.
    pub dumpsize: u64,
    pub(super) bitmapsize: u32,
    pub(super) pmapsize: u32,
    pub(super) dumpavailsize: u32,
}

pub(super) fn plan<K: Caller + Memory>(
    kpi: &K,
    target: &Target,
    avail: DumpAvail<'_>,
    mut set: Bitset<&mut [u64]>,
    pmap_pages: u64,
) -> Result<Planned> {
    let pages = keep_dumpable(kpi, avail, &mut set)?;
    let bytes = |n: Option<u64>| {
        n.and_then(|n| u32::try_from(n).ok()).ok_or(Errno::E2BIG)
    };
    let bitmap = words_for(set.bits()).checked_mul(8).and_then(round_page);
    let has_avail = target.machine.has_dump_avail(target.minidump_version);
    let avail_bytes = match has_avail {
        true => round_page(u64::from(target.dump_avail_bytes.max(1))),
        false => Some(0),
    };
    let mut planned = Planned {
        version: target.minidump_version,
        pages,
        dumpsize: 0,
        bitmapsize: bytes(bitmap)?,
        pmapsize: bytes(pmap_pages.checked_mul(PAGE_SIZE as u64))?,
        dumpavailsize: bytes(avail_bytes)?,
    };
    planned.dumpsize =
        planned.header(target).dumpsize(pages).ok_or(Errno::E2BIG)?;
    Ok(planned)
}

/// Clears the bits of pages outside the direct map or marked PG_NODUMP, and
/// counts the rest.
fn keep_dumpable<K: Caller + Memory>(
    kpi: &K,
    avail: DumpAvail<'_>,
    set: &mut Bitset<&mut [u64]>,
) -> Result<u64> {
    let mut kept = 0;
    let mut seen = 0u64;
    let mut from = 0;
    while let Some(bit) = set.next(from) {
        from = bit + 1;
        let belongs = avail.pa_of(bit).is_some_and(|pa| {
            kpi.phys_in_dmap(pa) && kpi.vm_phys_is_dumpable(pa)
        });
        if belongs {
            kept += 1;
        } else {
            set.clear(bit);
        }
        seen += 1;
        if seen.is_multiple_of(PAGES_BETWEEN_CHECKS) {
            kpi.sig_intr()?;
            kpi.maybe_yield();
        }
    }
    Ok(kept)
}

impl Planned {
    /// The header of the dump to be.
    pub(super) fn header(&self, target: &Target) -> MinidumpHeader {
        MinidumpHeader {
            machine: target.machine,
            version: self.version,
            msgbufsize: target.msgbuf_bytes,
            bitmapsize: self.bitmapsize,
            pmapsize: self.pmapsize,
            kernbase: target.kernbase,
            dmapphys: target.dmapphys,
            dmapbase: target.dmapbase,
            dmapend: target.dmapend,
            dumpavailsize: self.dumpavailsize,
            flags: target.minidump_flags,
        }
    }
}
