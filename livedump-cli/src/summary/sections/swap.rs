// SPDX-License-Identifier: BSD-2-Clause
//! Devices that were swapped to, as pstat -s shows them.

use crate::analysis::memory::Memory;
use crate::analysis::swap::{Swap, SwapDevice};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("device", "DEVICE"),
    Column::right("bytes", "SIZE"),
    Column::right("used_bytes", "USED"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let t = s.target()?;
    let swap = Swap::new(t)?;
    if swap.list.is_empty() {
        return Err(match swap.problem {
            Some(why) => Absent::unknown(why),
            None => Absent::none("there was no swap device"),
        });
    }
    let page = Memory::new(t).ok().and_then(|memory| memory.page_size);
    let bytes = |pages: Option<u64>| {
        let bytes = pages.zip(page).and_then(|(n, page)| n.checked_mul(page));
        Cell::bytes(bytes)
    };
    let row = |it: &SwapDevice| {
        vec![Cell::maybe(it.name.as_deref()), bytes(it.pages), bytes(it.used)]
    };
    let rows = swap.list.iter().map(row).collect();
    let body = Body::of("devices", Content::Table(COLUMNS, rows));
    Ok(body.problems(swap.problem))
}
