// SPDX-License-Identifier: BSD-2-Clause
//! What each page is to the kernel: two bits for each that could be dumped,
//! set by the walk.

use crate::error::Result;
use crate::kpi::Heap;
use memdev::bitset::Bitset;
use memdev::changes::Kind;

/// What a page is, by what the walk met; no bit is the direct map alone.
pub(super) struct Kinds<K: Heap> {
    pub(super) mapped: K::Words,
    pub(super) tables: K::Words,
}

impl<K: Heap> Kinds<K> {
    pub(super) fn new(kpi: &K, words: usize) -> Result<Self> {
        let (mapped, tables) =
            (kpi.malloc_words(words)?, kpi.malloc_words(words)?);
        Ok(Self { mapped, tables })
    }

    pub(super) fn of(&self, bits: u64, bit: u64) -> Kind {
        let test = |words: &K::Words| {
            Bitset::new(&**words, bits).is_some_and(|set| set.test(bit))
        };
        match (test(&self.tables), test(&self.mapped)) {
            (true, _) => Kind::Tables,
            (_, true) => Kind::KernelMap,
            _ => Kind::DirectMap,
        }
    }
}
