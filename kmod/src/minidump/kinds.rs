// SPDX-License-Identifier: BSD-2-Clause
//! What each page is to the kernel: two bits for each that could be dumped,
//! set by the walk.

use super::shared::SharedSet;
use crate::error::Result;
use crate::kpi::Heap;
use core::sync::atomic::AtomicU64;
use memdev::changes::Kind;

/// What a page is, by what the walk met; no bit is the direct map alone.
pub(super) struct Kinds<K: Heap> {
    mapped: K::Array<AtomicU64>,
    tables: K::Array<AtomicU64>,
}

/// The bits, to be set.
#[derive(Clone, Copy)]
pub(super) struct KindSets<'a> {
    pub(super) mapped: SharedSet<'a>,
    pub(super) tables: SharedSet<'a>,
}

impl<K: Heap> Kinds<K> {
    pub(super) fn new(kpi: &K, words: usize) -> Result<Self> {
        let none = || kpi.malloc_array(words, |_| Ok(AtomicU64::new(0)));
        Ok(Self { mapped: none()?, tables: none()? })
    }

    pub(super) fn sets(&self, bits: u64) -> Option<KindSets<'_>> {
        let mapped = SharedSet::new(&self.mapped, bits)?;
        let tables = SharedSet::new(&self.tables, bits)?;
        Some(KindSets { mapped, tables })
    }

    pub(super) fn of(&self, bits: u64, bit: u64) -> Kind {
        let Some(sets) = self.sets(bits) else { return Kind::DirectMap };
        match (sets.tables.test(bit), sets.mapped.test(bit)) {
            (true, _) => Kind::Tables,
            (_, true) => Kind::KernelMap,
            _ => Kind::DirectMap,
        }
    }
}
