// SPDX-License-Identifier: BSD-2-Clause
//! Memory of which each CPU has its own: zpcpu(9) and counter(9).
//!
//! What such a pointer is differs. Up to 12 and, on arm64, in all releases it
//! is the address of CPU 0's; on amd64 since 13 it is that less the address of
//! `__pcpu[0]`, so that %gs can have the rest. The step from one CPU to the
//! next is `UMA_PCPU_ALLOC_SIZE`, a page, in 13, 14 and 15. Each CPU has what
//! is to be added for it in `pc_zpcpu_offset`, set by `pcpu_init`, and that is
//! what is used here: no release and no machine has to be known. Where that
//! field does not exist nothing per CPU is told.
//!
//! C: `zpcpu_offset_cpu`, <sys/pcpu.h> and <machine/pcpu.h>; `cpuid_to_pcpu`,
//! subr_pcpu.c.

use super::target::Target;
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

/// C: MAXCPU is less.
const MAX_CPUS: u64 = 4096;

/// The CPUs of a system.
#[derive(Clone, Debug)]
pub struct PerCpu {
    /// Number, `struct pcpu`, and what is added to a zpcpu pointer for it.
    cpus: Vec<(u32, Vaddr, u64)>,
}

impl PerCpu {
    /// Finds them.
    ///
    /// # Errors
    /// It is not told where they are.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let offset = f.field("pcpu", "pc_zpcpu_offset");
        f.check()?;
        let mut cpus = Vec::new();
        for (n, pcpu) in pcpus(t)? {
            let offset = t
                .get(pcpu, offset)
                .map_err(|source| Unavailable::Read { what: "pcpu", source })?;
            cpus.push((n, pcpu, offset));
        }
        Ok(Self { cpus })
    }

    /// The addresses of what a zpcpu pointer leads to, with the CPU's number.
    pub fn of(&self, base: u64) -> impl Iterator<Item = (u32, Vaddr)> {
        let at = move |offset: u64| Vaddr(base.wrapping_add(offset));
        self.cpus.iter().map(move |&(n, _, offset)| (n, at(offset)))
    }

    /// The numbers of the CPUs.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.cpus.iter().map(|&(n, ..)| n)
    }

    /// The sum of an integer of eight bytes; `None` where one cannot be read.
    #[must_use]
    pub fn sum(&self, t: &Target<'_>, base: u64, offset: u64) -> Option<u64> {
        let field = Field { offset, size: 8 };
        self.of(base).try_fold(0u64, |sum, (_, va)| {
            Some(sum.wrapping_add(t.get(va, field).ok()?))
        })
    }

    /// A counter(9) that `at` has the pointer of; `None` where it has none, or
    /// cannot be read.
    #[must_use]
    pub fn counter(&self, t: &Target<'_>, at: Vaddr) -> Option<u64> {
        let base = t.core.read_u64(at).ok()?;
        (base != 0).then_some(())?;
        self.sum(t, base, 0)
    }
}

/// The `struct pcpu` of each CPU.
///
/// # Errors
/// It is not told where they are.
pub fn pcpus(t: &Target<'_>) -> Result<Vec<(u32, Vaddr)>, Unavailable> {
    let table = t.need("cpuid_to_pcpu")?;
    let last = t.need_number("mp_maxid", MAX_CPUS)?;
    let mut found = Vec::new();
    for n in 0..=last {
        let at = Vaddr(table.0.wrapping_add(n.wrapping_mul(8)));
        let pcpu = t.core.read_u64(at);
        let pcpu = pcpu.map_err(|source| Unavailable::Read {
            what: "cpuid_to_pcpu",
            source,
        })?;
        // Numbers need not be without gaps.
        if pcpu != 0 {
            found.push((n as u32, Vaddr(pcpu)));
        }
    }
    Ok(found)
}
