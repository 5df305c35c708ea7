// SPDX-License-Identifier: BSD-2-Clause
//! Debug sections of a relocatable file, whose addresses the compiler left
//! to the linker. C: `Elf64_Rela`, <sys/elf64.h>.

use super::{Kernel, Section, is_name};
use crate::source::Source;
use memdev::arch::Machine;
use object::elf::{
    R_AARCH64_ABS32, R_AARCH64_ABS64, R_X86_64_32, R_X86_64_32S, R_X86_64_64,
    R_X86_64_PC32, R_X86_64_PC64, SHT_RELA,
};

const RELA: usize = 24;
const SYM: u64 = 24;
/// Of a module's section, and of its relocations.
const MAX_BYTES: u64 = 64 << 20;

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

impl Kernel {
    /// Whether debug sections of the file need [`relocate`](Self::relocate).
    #[must_use]
    pub fn is_relocatable(&self) -> bool {
        self.relocatable
    }

    /// Applies to the bytes of a section what the file has of relocations for
    /// it. Addresses are those of [`place`](Self::place).
    pub fn relocate(&self, name: &str, bytes: &mut [u8]) -> Option<()> {
        let named =
            |s: &Section| is_name(&self.section_names, s.name, name.as_bytes());
        let at = self.sections.iter().position(named)?;
        let base = self.sections.get(at)?.address;
        let of = |s: &&Section| s.kind == SHT_RELA && s.info as usize == at;
        for rela in self.sections.iter().filter(of) {
            let symbols = self.sections.get(rela.link as usize)?;
            let table = self.whole(rela)?;
            let symbols = self.whole(symbols)?;
            for entry in table.chunks_exact(RELA) {
                self.apply(entry, &symbols, base, bytes)?;
            }
        }
        Some(())
    }

    fn whole(&self, s: &Section) -> Option<Vec<u8>> {
        let end = s.offset.checked_add(s.size)?;
        if s.size > MAX_BYTES || end > self.file_len() {
            return None;
        }
        let mut bytes = vec![0; s.size as usize];
        let got = self.stored().read_at(s.offset, &mut bytes).ok()?;
        (got == bytes.len()).then_some(bytes)
    }

    fn apply(
        &self,
        entry: &[u8],
        symbols: &[u8],
        base: u64,
        bytes: &mut [u8],
    ) -> Option<()> {
        let (offset, info) = (word(entry, 0)?, word(entry, 8)?);
        let addend = word(entry, 16)?;
        let symbol = (info >> 32).checked_mul(SYM)?;
        let symbol = symbols.get(usize::try_from(symbol).ok()?..)?;
        let section = symbol.get(6..8)?.first_chunk::<2>()?;
        let section =
            self.sections.get(usize::from(u16::from_le_bytes(*section)));
        let value = word(symbol, 8)?
            .wrapping_add(section.map_or(0, |s| s.address))
            .wrapping_add(addend);
        let place = base.wrapping_add(offset);
        let kind = info as u32;
        let (value, size) = match (self.machine, kind) {
            (_, 0) => return Some(()),
            (Machine::Amd64, R_X86_64_64) => (value, 8),
            (Machine::Amd64, R_X86_64_32 | R_X86_64_32S) => (value, 4),
            (Machine::Amd64, R_X86_64_PC32) => (value.wrapping_sub(place), 4),
            (Machine::Amd64, R_X86_64_PC64) => (value.wrapping_sub(place), 8),
            (Machine::Arm64, R_AARCH64_ABS64) => (value, 8),
            (Machine::Arm64, R_AARCH64_ABS32) => (value, 4),
            _ => return None,
        };
        let at = usize::try_from(offset).ok()?;
        let to = bytes.get_mut(at..at.checked_add(size)?)?;
        for (to, byte) in to.iter_mut().zip(value.to_le_bytes()) {
            *to = byte;
        }
        Some(())
    }
}
