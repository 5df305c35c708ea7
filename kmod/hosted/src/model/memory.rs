// SPDX-License-Identifier: BSD-2-Clause
//! Memory as the model's kernel addresses it: the direct map and its own
//! image. What the kernel map has by pages is reached by physical address; the
//! model itself never translates through tables, which change.

use super::recipe::Recipe;
use crate::phys::Phys;
use livedump_kmod::error::{Errno, Result};
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use memdev::arch::Machine;

const M2: u64 = 2 << 20;
const G: u64 = 1 << 30;
const PAGE: u64 = PAGE_SIZE as u64;

/// C: `KERNBASE`.
pub(super) const AMD64_KERNBASE: u64 = 0xffff_ffff_8000_0000;

/// Where the direct map and the kernel's image are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kva {
    pub(super) machine: Machine,
    /// First address of the kernel map. C: `VM_MIN_KERNEL_ADDRESS`.
    pub(super) kernbase: u64,
    pub(super) dmapbase: u64,
    pub(super) dmapend: u64,
    /// Physical address at `dmapbase`.
    pub(super) dmapphys: u64,
    /// Physical address where the direct map ends. C: `dmaplimit`.
    pub(super) dmaplimit: u64,
    /// Where the kernel's text starts: `btext`.
    pub(super) text: u64,
    pub(super) kernphys: u64,
    /// Bytes of text and data.
    pub(super) image_bytes: u64,
}

impl Kva {
    /// Where a recipe's kernel has everything.
    pub(super) fn new(recipe: &Recipe) -> Self {
        let start = recipe.ram.first().map_or(0, |r| r.0);
        let end = recipe.ram.last().map_or(0, |r| r.1);
        let image_bytes = recipe.text.bytes + recipe.data.bytes;
        let kernphys = recipe.kernphys;
        match recipe.machine {
            Machine::Amd64 => {
                let (dmapbase, dmapend) = if recipe.la57 {
                    (0xff01_0000_0000_0000, 0xff21_0000_0000_0000)
                } else {
                    (0xffff_f800_0000_0000, 0xffff_fc00_0000_0000)
                };
                Self {
                    machine: Machine::Amd64,
                    kernbase: 0xffff_fe00_0000_0000,
                    dmapbase,
                    dmapend,
                    dmapphys: 0,
                    dmaplimit: end.next_multiple_of(G).max(4 * G),
                    text: AMD64_KERNBASE + M2,
                    kernphys,
                    image_bytes,
                }
            }
            Machine::Arm64 => Self {
                machine: Machine::Arm64,
                kernbase: 0xffff_0000_0000_0000,
                dmapbase: 0xffff_a000_0000_0000,
                dmapend: 0xffff_ff00_0000_0000,
                dmapphys: start / G * G,
                dmaplimit: end.next_multiple_of(PAGE),
                text: 0xffff_0000_0000_0000,
                kernphys,
                image_bytes,
            },
        }
    }

    /// C: `PHYS_IN_DMAP`.
    pub(super) fn phys_in_dmap(&self, pa: u64) -> bool {
        (self.dmapphys..self.dmaplimit).contains(&pa)
    }

    /// C: `PHYS_TO_DMAP`.
    pub(super) fn dmap(&self, pa: u64) -> u64 {
        self.dmapbase.wrapping_add(pa.wrapping_sub(self.dmapphys))
    }

    /// The memory behind an address of the image or the direct map.
    pub(super) fn pa(&self, va: u64) -> Option<Paddr> {
        let in_image = va.wrapping_sub(self.text);
        if in_image < self.image_bytes {
            return Some(Paddr(self.kernphys + in_image));
        }
        let pa = va.checked_sub(self.dmapbase)?.checked_add(self.dmapphys)?;
        self.phys_in_dmap(pa).then_some(Paddr(pa))
    }
}

/// Physical memory, with addresses of the kernel's own.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) phys: Phys,
    pub(super) kva: Kva,
}

impl Memory {
    fn pa(&self, va: u64) -> Result<Paddr> {
        self.kva.pa(va).ok_or(Errno::EFAULT)
    }

    pub(super) fn load(&self, va: u64) -> Result<u64> {
        self.phys.load(self.pa(va)?)
    }

    pub(super) fn store(&self, va: u64, value: u64) -> Result<()> {
        self.phys.store(self.pa(va)?, value)
    }

    pub(super) fn store32(&self, va: u64, value: u32) -> Result<()> {
        self.write(va, &value.to_le_bytes())
    }

    /// Writes bytes. They must not leave the image, or the page of the direct
    /// map.
    pub(super) fn write(&self, va: u64, bytes: &[u8]) -> Result<()> {
        self.phys.write(self.pa(va)?, bytes)
    }

    /// Writes a string, cut to leave one NUL, into a field of `ROOM` bytes.
    pub(super) fn write_str<const ROOM: usize>(
        &self,
        va: u64,
        text: &str,
    ) -> Result<()> {
        let mut field = [0; ROOM];
        for (to, &b) in field.iter_mut().take(ROOM - 1).zip(text.as_bytes()) {
            *to = b;
        }
        self.write(va, &field)
    }

    /// Makes a page's contents `page`, or zero. A page that was never touched
    /// and shall be zero stays untouched.
    pub(super) fn fill(&self, pa: u64, page: Option<&Page>) -> Result<()> {
        let zero = [0; PAGE_SIZE];
        if page.is_none() {
            let mut now = zero;
            self.phys.read_page(Paddr(pa), &mut now)?;
            if now == zero {
                return Ok(());
            }
        }
        self.phys.write_page(Paddr(pa), page.unwrap_or(&zero))
    }
}
