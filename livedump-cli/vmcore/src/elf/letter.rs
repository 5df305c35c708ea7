// SPDX-License-Identifier: BSD-2-Clause
//! What a symbol is, as a letter of nm(1).

use super::{Kernel, Named, Symbol};
use object::elf::{
    SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHN_ABS, SHN_COMMON, SHT_NOBITS,
    STB_GLOBAL, STB_WEAK, STT_GNU_IFUNC, STT_OBJECT,
};

impl Kernel {
    /// All symbols with their names and letters, in the order of the file.
    pub fn letters(&self) -> impl Iterator<Item = (&[u8], Symbol, char)> {
        self.symbols
            .iter()
            .map(|n| (self.name(n.name), n.symbol, self.letter(n)))
    }

    fn letter(&self, n: &Named) -> char {
        let (binding, kind) = (n.info >> 4, n.info & 0xf);
        if kind == STT_GNU_IFUNC {
            return 'i';
        }
        if binding == STB_WEAK {
            return if kind == STT_OBJECT { 'V' } else { 'W' };
        }
        let upper = match n.section {
            SHN_ABS => 'A',
            SHN_COMMON => 'C',
            section => match self.sections.get(usize::from(section)) {
                Some(s) => {
                    let has = |flag: u32| s.flags & u64::from(flag) != 0;
                    match () {
                        () if !has(SHF_ALLOC) => 'N',
                        () if has(SHF_EXECINSTR) => 'T',
                        () if s.kind == SHT_NOBITS => 'B',
                        () if has(SHF_WRITE) => 'D',
                        () => 'R',
                    }
                }
                None => '?',
            },
        };
        match binding == STB_GLOBAL {
            true => upper,
            false => upper.to_ascii_lowercase(),
        }
    }
}
