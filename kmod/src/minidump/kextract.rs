// SPDX-License-Identifier: BSD-2-Clause
//! The physical address behind one of the kernel's. C: `pmap_kextract`.

use crate::kpi::{DirectMap, Memory, Target};
use memdev::addr::{Paddr, Vaddr};
use memdev::arch::{ENTRIES, Entry, span};

/// `None` where nothing is mapped.
pub(super) fn kextract<K: Memory>(
    kpi: &K,
    target: &Target,
    va: Vaddr,
) -> Option<Paddr> {
    if (target.dmapbase..target.dmapend).contains(&va) {
        let offset = va.0 - target.dmapbase.0;
        return offset.checked_add(target.dmapphys).map(Paddr);
    }
    let mut table = target.root;
    for level in (0..=target.root_level).rev() {
        if !kpi.phys_in_dmap(table) {
            return None;
        }
        let index = va.0 / span(level) % ENTRIES;
        let raw = kpi.direct_map().load_entry(table, index);
        match target.machine.decode(level, raw) {
            Entry::Invalid => return None,
            Entry::Table(below) => table = below,
            Entry::Mapped(pa) => return Some(Paddr(pa.0 + va.0 % span(level))),
        }
    }
    None
}
