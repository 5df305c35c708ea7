// SPDX-License-Identifier: BSD-2-Clause
//! What a dump of a machine at rest must have in it, found by a walk of our
//! own through the machine's memory: nothing of it comes from a dump, and
//! none of it through the engine's own walk.

use livedump_hosted::machine::Machine;
use memdev::addr::{PAGE_SIZE, Paddr};
use std::collections::BTreeSet;

const FRAME: u64 = 0x0000_ffff_ffff_f000;

/// What an entry leads to.
enum Leads {
    Nowhere,
    Table(u64),
    Pages(u64),
}

/// A piece of the kernel map: virtual, physical, bytes.
pub type Mapping = (u64, u64, u64);

/// The pages: those of the bitset and those that the kernel map leads to,
/// without those that are not dumpable.
#[must_use]
pub fn pages(machine: &dyn Machine) -> BTreeSet<u64> {
    let mut set = bitset(machine);
    set.extend(walk(machine).tables);
    for (_, pa, bytes) in mappings(machine) {
        set.extend((pa..pa + bytes).step_by(PAGE_SIZE));
    }
    let known = machine.dump_avail();
    set.retain(|&pa| {
        known.iter().any(|r| r.0 < pa + 4096 && pa < r.1)
            && machine.phys_in_dmap(Paddr(pa))
            && machine.vm_phys_is_dumpable(Paddr(pa))
    });
    set
}

/// The kernel map, by what its entries cover.
#[must_use]
pub fn mappings(machine: &dyn Machine) -> Vec<Mapping> {
    walk(machine).mappings
}

fn walk(machine: &dyn Machine) -> Walk<'_> {
    let mut walk = Walk { machine, mappings: Vec::new(), tables: Vec::new() };
    walk.table(machine.target().root.0, 3, 0);
    walk
}

/// The pages that the machine's own bitset names.
fn bitset(machine: &dyn Machine) -> BTreeSet<u64> {
    let target = machine.target();
    let mut words = vec![0u64; target.bitset_bits.div_ceil(64) as usize];
    machine.copy_bitset(0, &mut words);
    let is_set = |bit: usize| words[bit / 64] >> (bit % 64) & 1 == 1;
    let relative = target.dump_avail_bytes != 0;
    let mut out = BTreeSet::new();
    let mut below = 0;
    for &(start, end) in machine.dump_avail() {
        // A page counts that is in a range with one byte.
        let (start, end) = (start & !0xfff, end.next_multiple_of(4096));
        for pa in (start..end).step_by(PAGE_SIZE) {
            let bit = match relative {
                true => below + (pa - start) / PAGE_SIZE as u64,
                false => pa / PAGE_SIZE as u64,
            };
            if is_set(bit as usize) {
                out.insert(pa);
            }
        }
        below += (end - start) / PAGE_SIZE as u64;
    }
    out
}

struct Walk<'a> {
    machine: &'a dyn Machine,
    mappings: Vec<Mapping>,
    /// Leaf tables that are pages of the dump.
    tables: Vec<u64>,
}

impl Walk<'_> {
    fn is_amd64(&self) -> bool {
        self.machine.target().machine.name() == "amd64"
    }

    /// Addresses without their sign extension.
    fn in_kernel_map(&self, va: u64, bytes: u64) -> bool {
        let target = self.machine.target();
        let low = target.kernbase.0 & 0xffff_ffff_ffff;
        // amd64's map ends where the address space does.
        let high = low + (target.kva_end.0 - target.kernbase.0);
        va < high && va + bytes > low
    }

    fn table(&mut self, pa: u64, level: u32, va: u64) {
        let span = 4096u64 << (9 * level);
        let mut table = [0; PAGE_SIZE];
        self.machine.read_page(Paddr(pa), &mut table).unwrap();
        for (i, raw) in table.chunks_exact(8).enumerate() {
            let va = va + i as u64 * span;
            if !self.in_kernel_map(va, span) {
                continue;
            }
            let raw = u64::from_le_bytes(raw.try_into().unwrap());
            match self.decode(raw, level) {
                Leads::Nowhere => {}
                Leads::Pages(pa) => {
                    // Kernel addresses all.
                    self.mappings.push((va | 0xffff << 48, pa, span));
                }
                Leads::Table(pa) => {
                    // Only amd64 keeps its leaf tables among the pages.
                    if level == 1 && self.is_amd64() {
                        self.tables.push(pa);
                    }
                    self.table(pa, level - 1, va);
                }
            }
        }
    }

    fn decode(&self, raw: u64, level: u32) -> Leads {
        let frame = raw & FRAME;
        let block = (4096u64 << (9 * level)) - 1;
        let leaf = match (self.is_amd64(), level, raw & 3) {
            (true, _, 0 | 2) | (false, _, 0 | 2) => return Leads::Nowhere,
            (true, 0, _) => true,
            (true, _, _) => raw & 0x80 != 0,
            (false, 0, 3) => true,
            (false, 0, _) => return Leads::Nowhere,
            (false, _, 1) => true,
            (false, _, _) => false,
        };
        if leaf { Leads::Pages(frame & !block) } else { Leads::Table(frame) }
    }
}
