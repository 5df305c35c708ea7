// SPDX-License-Identifier: BSD-2-Clause
//! The page tables that a minidump leaves out. Its pmap section has the
//! tables of one level, one behind the other; the root and what lies between
//! is made up here, computed when it is loaded, at physical addresses that
//! no memory has:
//!
//! ```text
//! base: root | level 2 | (level 1) | the given tables, one page each
//! ```

use memdev::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr, Page, Vaddr};
use memdev::arch::{ENTRIES, Machine, span};

/// The level of the root.
pub const ROOT_LEVEL: u32 = 3;

/// Valid, writable, accessed; and a table descriptor.
const AMD64_TABLE: u64 = 0x23;
const ARM64_TABLE: u64 = 3;

/// arm64's entries have 48 address bits, amd64's 52.
const MAX_PADDR: u64 = 1 << 48;

/// What an address among the tables is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A made-up table: level, and its number at that level.
    Upper(u32, u64),
    /// A given table, by its number.
    Given(u64),
}

/// Made-up tables over given ones.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    machine: Machine,
    base: u64,
    kernbase: u64,
    last: u64,
    given_level: u32,
    given: u64,
}

/// Bits of an address below what one table of `level` covers.
const fn shift(level: u32) -> u32 {
    PAGE_SHIFT + 9 * (level + 1)
}

impl Tables {
    /// Tables at `base` over `given` tables of `given_level` (below the
    /// root's), the first of which maps `kernbase`. `None` where the kernel
    /// map would not be in the upper half, starts within a table, has no
    /// page, or where the tables do not fit below 2^48.
    #[must_use]
    pub fn new(
        machine: Machine,
        base: Paddr,
        kernbase: Vaddr,
        given_level: u32,
        given: u64,
    ) -> Option<Self> {
        let covered = span(given_level + 1);
        let low = match machine {
            Machine::Amd64 => 0xffff_8000_0000_0000,
            Machine::Arm64 => 0xffff_0000_0000_0000,
        };
        if given_level >= ROOT_LEVEL
            || kernbase.0 < low
            || !kernbase.0.is_multiple_of(covered)
            || !base.0.is_multiple_of(PAGE_SIZE as u64)
        {
            return None;
        }
        let last = covered.checked_mul(given)?.checked_sub(1)?;
        let last = kernbase.0.checked_add(last)?;
        let kernbase = kernbase.0;
        let base = base.0;
        let t = Self { machine, base, kernbase, last, given_level, given };
        let end = t.pages().checked_mul(PAGE_SIZE as u64)?.checked_add(base)?;
        (end <= MAX_PADDR).then_some(t)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Paddr {
        Paddr(self.base)
    }

    /// First address behind what is mapped; the last page of the address
    /// space where that does not exist.
    #[must_use]
    pub fn kva_end(&self) -> Vaddr {
        let last_page = !(PAGE_SIZE as u64 - 1);
        Vaddr(self.last.checked_add(1).unwrap_or(last_page))
    }

    fn pages(&self) -> u64 {
        let upper = (self.given_level + 1..=ROOT_LEVEL).map(|l| self.count(l));
        upper.sum::<u64>() + self.given
    }

    fn count(&self, level: u32) -> u64 {
        (self.last >> shift(level)) - (self.kernbase >> shift(level)) + 1
    }

    fn address(&self, table: Table) -> u64 {
        let (level, n) = match table {
            Table::Upper(level, n) => (level, n),
            Table::Given(n) => (self.given_level, n),
        };
        let above = (level + 1..=ROOT_LEVEL).map(|l| self.count(l));
        self.base + ((above.sum::<u64>() + n) << PAGE_SHIFT)
    }

    /// The table at `pa`, which may be anywhere in its page.
    #[must_use]
    pub fn at(&self, pa: Paddr) -> Option<Table> {
        let mut n = pa.0.checked_sub(self.base)? >> PAGE_SHIFT;
        for level in (self.given_level + 1..=ROOT_LEVEL).rev() {
            let count = self.count(level);
            if n < count {
                return Some(Table::Upper(level, n));
            }
            n -= count;
        }
        (n < self.given).then_some(Table::Given(n))
    }

    /// Entry `index` of made-up table `n` of `level`; 0 where nothing is
    /// mapped.
    #[must_use]
    pub fn entry(&self, level: u32, n: u64, index: u64) -> u64 {
        if level <= self.given_level || level > ROOT_LEVEL || index >= ENTRIES {
            return 0;
        }
        let below = level - 1;
        // Tables of one level are numbered through the address space.
        let number = ((self.kernbase >> shift(level)) + n) * ENTRIES + index;
        let first = self.kernbase >> shift(below);
        let count = if below == self.given_level {
            self.given
        } else {
            self.count(below)
        };
        let Some(n) = number.checked_sub(first).filter(|&n| n < count) else {
            return 0;
        };
        let table = if below == self.given_level {
            Table::Given(n)
        } else {
            Table::Upper(below, n)
        };
        let bits = match self.machine {
            Machine::Amd64 => AMD64_TABLE,
            Machine::Arm64 => ARM64_TABLE,
        };
        self.address(table) | bits
    }

    /// Copies a made-up table; leaves a zeroed `page` alone where the table
    /// is a given one.
    pub fn copy(&self, table: Table, page: &mut Page) {
        if let Table::Upper(level, n) = table {
            for (i, entry) in page.as_chunks_mut().0.iter_mut().enumerate() {
                *entry = self.entry(level, n, i as u64).to_le_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memdev::arch::Entry;

    const AMD64_KERNBASE: u64 = 0xffff_fe00_0000_0000;
    const ARM64_KERNBASE: u64 = 0xffff_0000_0000_0000;

    /// Walks from the root, as the engine does; the given table's number.
    fn walk(t: &Tables, va: u64) -> Option<u64> {
        let mut table = t.root();
        let mut level = ROOT_LEVEL;
        loop {
            match t.at(table)? {
                Table::Given(n) => {
                    assert_eq!(level, t.given_level);
                    return Some(n);
                }
                Table::Upper(l, n) => {
                    assert_eq!(l, level);
                    let i = va >> shift(level - 1) & (ENTRIES - 1);
                    match t.machine.decode(level, t.entry(l, n, i)) {
                        Entry::Table(pa) => table = pa,
                        Entry::Invalid => return None,
                        Entry::Mapped(_) => panic!("no blocks here"),
                    }
                }
            }
            level -= 1;
        }
    }

    #[test]
    fn every_address_of_the_kernel_map_leads_to_its_table() {
        for (machine, kernbase, level, given) in [
            (Machine::Amd64, AMD64_KERNBASE, 1, 2047),
            (Machine::Amd64, AMD64_KERNBASE, 1, 2048),
            (Machine::Amd64, AMD64_KERNBASE + (5 << 30), 1, 1),
            (Machine::Arm64, ARM64_KERNBASE, 0, 1710),
            (Machine::Arm64, ARM64_KERNBASE + (511 << 30), 0, 3000),
        ] {
            let base = Paddr(0x1_0000_0000);
            let t = Tables::new(machine, base, Vaddr(kernbase), level, given)
                .unwrap();
            let each = span(level + 1);
            for n in 0..given {
                assert_eq!(walk(&t, kernbase + n * each), Some(n));
                assert_eq!(walk(&t, kernbase + (n * each + each - 1)), Some(n));
            }
            assert_eq!(walk(&t, kernbase.wrapping_sub(1)), None);
            let behind = kernbase.wrapping_add(given * each);
            assert_eq!(walk(&t, behind), None);
            assert_eq!(t.at(Paddr(base.0 - 1)), None);
            let end = base.0 + (t.pages() << PAGE_SHIFT);
            assert_eq!(t.at(Paddr(end - 1)), Some(Table::Given(given - 1)));
            assert_eq!(t.at(Paddr(end)), None);
        }
    }

    #[test]
    fn a_kernel_map_to_the_very_end_has_an_end() {
        let t = |given| {
            let kernbase = Vaddr(AMD64_KERNBASE);
            Tables::new(Machine::Amd64, Paddr(0), kernbase, 1, given)
        };
        assert_eq!(t(2047).unwrap().kva_end(), Vaddr(0xffff_ffff_c000_0000));
        assert_eq!(t(2048).unwrap().kva_end(), Vaddr(0xffff_ffff_ffff_f000));
        assert!(t(2049).is_none());
        assert!(t(0).is_none());
    }

    #[test]
    fn maps_that_no_kernel_has_are_refused() {
        let t = |machine, base, kernbase, level, given| {
            let (base, kernbase) = (Paddr(base), Vaddr(kernbase));
            Tables::new(machine, base, kernbase, level, given).is_some()
        };
        let k = AMD64_KERNBASE;
        assert!(t(Machine::Amd64, 0, k, 1, 1));
        assert!(!t(Machine::Amd64, 0, k + 4096, 1, 1));
        assert!(!t(Machine::Amd64, 0, 0, 1, 1));
        assert!(!t(Machine::Amd64, 0, 0x7fff_c000_0000, 1, 1));
        assert!(!t(Machine::Amd64, 0, k, 3, 1));
        assert!(!t(Machine::Amd64, 1 << 48, k, 1, 1));
        assert!(!t(Machine::Amd64, u64::MAX - 4095, k, 1, 1));
        assert!(!t(Machine::Arm64, 0, ARM64_KERNBASE, 0, u64::MAX));
        assert!(!t(Machine::Arm64, 0, ARM64_KERNBASE, 0, 1 << 40));
    }
}
