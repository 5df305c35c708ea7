// SPDX-License-Identifier: BSD-2-Clause
//! Addresses and page rounding. A page is 4096 bytes on every machine here
//! (amd64, and arm64 with the 4 KB granule).

/// log2 of [`PAGE_SIZE`]. C: `PAGE_SHIFT`, <machine/param.h>.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page. C: `PAGE_SIZE`.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// One page of memory, by copy.
pub type Page = [u8; PAGE_SIZE];

/// A physical address. C: `vm_paddr_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Paddr(pub u64);

/// A virtual address. C: `vm_offset_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Vaddr(pub u64);

/// Rounds down to a page. C: `trunc_page`.
#[must_use]
pub const fn trunc_page(x: u64) -> u64 {
    x & !(PAGE_SIZE as u64 - 1)
}

/// Rounds up to a page; `None` past the end of the address space.
/// C: `round_page`.
#[must_use]
pub const fn round_page(x: u64) -> Option<u64> {
    match x.checked_add(PAGE_SIZE as u64 - 1) {
        Some(y) => Some(trunc_page(y)),
        None => None,
    }
}

impl core::fmt::Display for Paddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl core::fmt::Display for Vaddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_4096_and_never_wraps() {
        assert_eq!(trunc_page(0x1fff), 0x1000);
        assert_eq!(round_page(0x1001), Some(0x2000));
        assert_eq!(round_page(0x1000), Some(0x1000));
        assert_eq!(round_page(u64::MAX), None);
    }
}
