// SPDX-License-Identifier: BSD-2-Clause
//! Sizes. Once the pages have been counted, the file's every offset is known.

use crate::error::{Errno, Result};
use crate::kpi::Target;
use memdev::addr::{PAGE_SIZE, round_page};
use memdev::bitset::words_for;
use memdev::minidump::MinidumpHeader;

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

/// Sizes of a dump of `pages` data pages.
pub(super) fn plan(
    target: &Target,
    bits: u64,
    pages: u64,
    pmap_pages: u64,
) -> Result<Planned> {
    let bytes = |n: Option<u64>| {
        n.and_then(|n| u32::try_from(n).ok()).ok_or(Errno::E2BIG)
    };
    let bitmap = words_for(bits).checked_mul(8).and_then(round_page);
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
