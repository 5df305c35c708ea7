// SPDX-License-Identifier: BSD-2-Clause
//! Page tables, really in memory. C: `create_pagetables` (amd64),
//! `pmap_bootstrap` (arm64), `pmap_kenter`, `pmap_growkernel`.

use super::memory::Memory;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::{ENTRIES, Entry, Machine, amd64, arm64, span};

/// What lies behind an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prot {
    Text,
    Data,
    Device,
}

// <machine/pmap.h>: PG_RW, PG_A, PG_M, PG_G, PG_W (wired), NX, uncached, and a
// software bit that real kernels have set.
const AMD64_DATA: u64 = 1 << 63 | 0x363;
const AMD64_TEXT: u64 = 0x121;
const AMD64_DEVICE: u64 = 1 << 63 | 0x17b;
const AMD64_SOFTWARE: u64 = 1 << 54;
// <machine/pte.h>: accessed, inner shareable, PXN and UXN, AP read-only,
// wired; device memory.
const ARM64_DATA: u64 = 0x00e0_0000_0000_0700;
const ARM64_TEXT: u64 = 0x0040_0000_0000_0780;
const ARM64_DEVICE: u64 = 0x0060_0000_0000_0404;
const ARM64_SOFTWARE: u64 = 1 << 56;

/// The entry that maps a page or block.
pub(super) fn leaf(machine: Machine, level: u32, pa: u64, prot: Prot) -> u64 {
    match machine {
        Machine::Amd64 => {
            let bits = match prot {
                Prot::Text => AMD64_TEXT,
                Prot::Data => AMD64_DATA,
                Prot::Device => AMD64_DEVICE,
            };
            pa | bits | if level > 0 { amd64::PG_PS } else { 0 }
        }
        Machine::Arm64 => {
            let bits = match prot {
                Prot::Text => ARM64_TEXT,
                Prot::Data => ARM64_DATA,
                Prot::Device => ARM64_DEVICE,
            };
            let kind =
                if level > 0 { arm64::BLOCK } else { arm64::TABLE_OR_PAGE };
            pa | bits | kind
        }
    }
}

/// A bit that only the kernel's software looks at.
pub(super) fn software_bit(machine: Machine) -> u64 {
    match machine {
        Machine::Amd64 => AMD64_SOFTWARE,
        Machine::Arm64 => ARM64_SOFTWARE,
    }
}

/// The entry that leads to a table.
pub(super) fn table(machine: Machine, pa: u64) -> u64 {
    match machine {
        Machine::Amd64 => pa | 0x63,
        Machine::Arm64 => pa | arm64::TABLE_OR_PAGE,
    }
}

/// The tables under one root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    pub(super) machine: Machine,
    pub(super) root: u64,
}

/// Level of the root's entries.
pub(super) const ROOT_LEVEL: u32 = 3;

/// Address of the entry for `va` in a table of `level`.
fn slot(table: u64, level: u32, va: u64) -> u64 {
    table + va / span(level) % ENTRIES * 8
}

impl Tables {
    /// Where the entry of `level` for `va` is; makes the tables above it from
    /// zeroed pages of `page`. `None` when there are none left, or a larger
    /// block is in the way.
    pub(super) fn entry(
        &self,
        mem: &Memory,
        page: &mut dyn FnMut() -> Option<u64>,
        va: u64,
        level: u32,
    ) -> Option<Paddr> {
        let mut at = self.root;
        for above in (level + 1..=ROOT_LEVEL).rev() {
            let entry = Paddr(slot(at, above, va));
            let found = mem.phys.load(entry).ok()?;
            at = match self.machine.decode(above, found) {
                Entry::Table(pa) => pa.0,
                Entry::Mapped(_) => return None,
                Entry::Invalid => {
                    let pa = page()?;
                    mem.fill(pa, None).ok()?;
                    mem.phys.store(entry, table(self.machine, pa)).ok()?;
                    pa
                }
            };
        }
        Some(Paddr(slot(at, level, va)))
    }
}

/// Splits the block of 2 MB in `entry` into 512 pages, mapped by the table
/// page `pt`. C: `pmap_demote_pde`.
pub(super) fn demote(
    mem: &Memory,
    machine: Machine,
    entry: Paddr,
    pt: u64,
) -> livedump_kmod::error::Result<()> {
    let block = mem.phys.load(entry)?;
    let mut entries = [0; PAGE_SIZE];
    for (i, entry) in (0..ENTRIES).zip(entries.as_chunks_mut::<8>().0) {
        *entry = machine.split_block(block, 1, i).to_le_bytes();
    }
    mem.phys.write_page(Paddr(pt), &entries)?;
    mem.phys.store(entry, table(machine, pt))
}
