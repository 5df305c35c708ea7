// SPDX-License-Identifier: BSD-2-Clause
//! Where the kernel linker put the sections of a module: those of a
//! relocatable file one after the other, each aligned as it asks; any other
//! file is moved as one. C: `link_elf_load_file`, sys/kern/link_elf_obj.c and
//! link_elf.c.

use super::Kernel;
use object::elf::{
    SHF_ALLOC, SHN_ABS, SHT_FINI_ARRAY, SHT_INIT_ARRAY, SHT_NOBITS,
    SHT_PROGBITS,
};

/// C: `SHT_X86_64_UNWIND`.
const SHT_X86_64_UNWIND: u32 = 0x7000_0001;

impl Kernel {
    /// Moves a module's sections and symbols to where it is loaded; the bytes
    /// it takes there, where the file says how many. `None` also where the
    /// file cannot be loaded there.
    pub fn place(&mut self, start: u64) -> Option<u64> {
        if !self.relocatable {
            self.bias = start;
            for s in &mut self.sections {
                if s.flags & u64::from(SHF_ALLOC) != 0 {
                    s.address = s.address.wrapping_add(start);
                }
            }
            for n in &mut self.symbols {
                let at = &mut n.symbol.address.0;
                *at = at.wrapping_add(start);
            }
            return None;
        }
        let mut at = start;
        for s in &mut self.sections {
            let kept = matches!(
                s.kind,
                SHT_PROGBITS
                    | SHT_NOBITS
                    | SHT_X86_64_UNWIND
                    | SHT_INIT_ARRAY
                    | SHT_FINI_ARRAY
            );
            s.address = 0;
            if !kept || s.flags & u64::from(SHF_ALLOC) == 0 || s.size == 0 {
                continue;
            }
            at = at.checked_next_multiple_of(s.align.max(1))?;
            s.address = at;
            at = at.checked_add(s.size)?;
        }
        for n in &mut self.symbols {
            let section = self.sections.get(usize::from(n.section));
            let section = section.filter(|_| n.section != SHN_ABS);
            let base = section.map_or(0, |s| s.address);
            n.symbol.code &= base != 0;
            let at = &mut n.symbol.address.0;
            *at = at.wrapping_add(base);
        }
        Some(at.saturating_sub(start))
    }

    /// What is added to addresses in debug sections that are not relocated.
    #[must_use]
    pub fn bias(&self) -> u64 {
        self.bias
    }
}
