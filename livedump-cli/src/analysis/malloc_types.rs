// SPDX-License-Identifier: BSD-2-Clause
//! What malloc(9) has given out, by type, as vmstat -m shows it. C:
//! `kmemstatistics`, kern_malloc.c: a list of types, each with one
//! `malloc_type_stats` for each CPU.

use super::lists::walk;
use super::per_cpu::PerCpu;
use super::target::{Target, at};
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

const MAX_TYPES: usize = 16384;
const MAX_NAME: usize = 64;

/// One type. What could not be read is `None`.
#[derive(Clone, Debug)]
pub struct MallocType {
    /// C: `ks_shortdesc`.
    pub name: Option<Vec<u8>>,
    /// Allocations that were not freed.
    pub used: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Allocations there ever were.
    pub requests: Option<u64>,
}

/// All of them.
#[derive(Debug)]
pub struct MallocTypes {
    /// The largest first.
    pub list: Vec<MallocType>,
    /// Why there may be more.
    pub problem: Option<String>,
}

impl MallocTypes {
    /// Walks the list.
    ///
    /// # Errors
    /// It is not told where it is.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let link = f.field("malloc_type", "ks_next");
        let name = f.field("malloc_type", "ks_shortdesc");
        let internal = f.field("malloc_type", "ks_mti");
        let stats = f.field("malloc_type_internal", "mti_stats");
        let fields =
            ["mts_numallocs", "mts_numfrees", "mts_memalloced", "mts_memfreed"]
                .map(|name| f.field("malloc_type_stats", name));
        f.check()?;
        let head = t.need("kmemstatistics")?;
        let per_cpu = PerCpu::new(t)?;
        let found = walk(t, "kmemstatistics", head, link, MAX_TYPES);
        let one = |address: Vaddr| {
            let stats = t.get(at(address, internal), stats).ok();
            let stats = stats.filter(|&stats| stats != 0);
            let sum = |field: Field| per_cpu.sum(t, stats?, field.offset);
            let [allocs, frees, bytes, freed] = fields.map(sum);
            // Copied one after the other: more may have been freed since.
            let rest = |all: Option<u64>, gone: Option<u64>| {
                Some(all?.saturating_sub(gone?))
            };
            let name = t.get(address, name).ok();
            MallocType {
                name: name.and_then(|at| t.c_string(Vaddr(at), MAX_NAME)),
                used: rest(allocs, frees),
                bytes: rest(bytes, freed),
                requests: allocs,
            }
        };
        let mut list: Vec<_> = found.elements.into_iter().map(one).collect();
        list.sort_by_key(|it| std::cmp::Reverse(it.bytes));
        Ok(Self { list, problem: found.problem })
    }
}
