// SPDX-License-Identifier: BSD-2-Clause
//! A pipe or a socket. Nothing seeks; where the reader is slow, so is the dump.

use crate::error::Result;
use crate::kpi::Kpi;

/// What is written at a time: between two pieces others run, and a signal ends
/// the dump.
const PIECE: usize = 128 << 10;

pub(super) fn write<K: Kpi>(
    kpi: &K,
    file: &K::File,
    block: &[u8],
) -> Result<()> {
    for piece in block.chunks(PIECE) {
        kpi.fo_write(file, piece)?;
        kpi.maybe_yield();
    }
    Ok(())
}
