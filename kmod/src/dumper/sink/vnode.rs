// SPDX-License-Identifier: BSD-2-Clause
//! A regular file. C: `vnode_dump`, kern_vnodedumper.c.

use crate::error::Result;
use crate::kpi::Kpi;

pub(super) fn begin<K: Kpi>(kpi: &K, file: &K::File) -> Result<()> {
    kpi.vn_truncate(file)
}

pub(super) fn write<K: Kpi>(
    kpi: &K,
    file: &K::File,
    offset: u64,
    block: &[u8],
) -> Result<()> {
    kpi.vn_write(file, offset, block)
}

/// What went wrong first is what the caller needs to know.
pub(super) fn give_up<K: Kpi>(kpi: &K, file: &K::File) {
    let _ = kpi.vn_truncate(file);
}
