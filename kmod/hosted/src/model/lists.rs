// SPDX-License-Identifier: BSD-2-Clause
//! Lists in the machine's memory, linked in the order the kernel stores in, so
//! that a reader in between sees what it would see of a real one.
//! C: <sys/queue.h>. `link` is the offset of an element's entry.

use super::memory::Memory;
use livedump_kmod::error::Result;

/// C: `LIST_INSERT_HEAD`.
pub(super) fn list_insert_head(
    mem: &Memory,
    head: u64,
    elm: u64,
    link: u64,
) -> Result<()> {
    let first = mem.load(head)?;
    mem.store(elm + link, first)?;
    if first != 0 {
        mem.store(first + link + 8, elm + link)?;
    }
    mem.store(head, elm)?;
    mem.store(elm + link + 8, head)
}

/// C: `LIST_REMOVE`. The element keeps its links, as a freed one does.
pub(super) fn list_remove(mem: &Memory, elm: u64, link: u64) -> Result<()> {
    let next = mem.load(elm + link)?;
    let prev = mem.load(elm + link + 8)?;
    if next != 0 {
        mem.store(next + link + 8, prev)?;
    }
    mem.store(prev, next)
}

/// C: `TAILQ_INIT`.
pub(super) fn tailq_init(mem: &Memory, head: u64) -> Result<()> {
    mem.store(head, 0)?;
    mem.store(head + 8, head)
}

/// C: `TAILQ_INSERT_TAIL`.
pub(super) fn tailq_insert_tail(
    mem: &Memory,
    head: u64,
    elm: u64,
    link: u64,
) -> Result<()> {
    let last = mem.load(head + 8)?;
    mem.store(elm + link, 0)?;
    mem.store(elm + link + 8, last)?;
    mem.store(last, elm)?;
    mem.store(head + 8, elm + link)
}

/// C: `TAILQ_REMOVE`.
pub(super) fn tailq_remove(
    mem: &Memory,
    head: u64,
    elm: u64,
    link: u64,
) -> Result<()> {
    let next = mem.load(elm + link)?;
    let prev = mem.load(elm + link + 8)?;
    let behind = if next == 0 { head } else { next + link };
    mem.store(behind + 8, prev)?;
    mem.store(prev, next)
}
