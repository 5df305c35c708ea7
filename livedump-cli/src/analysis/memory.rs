// SPDX-License-Identifier: BSD-2-Clause
//! Pages, and what the virtual memory system has counted, as vmstat -s shows
//! it. C: `vm_cnt`, <sys/vmmeter.h>: counter(9) values, summed over the CPUs,
//! and plain ones; `vm_dom`, <vm/vm_pagequeue.h>: what each domain has free
//! and in its queues.

use super::per_cpu::PerCpu;
use super::target::{Target, at};
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

/// C: MAXMEMDOM is 8.
const MAX_DOMAINS: u64 = 64;
/// C: `PQ_*`, <vm/vm_page.h>, the same from 12 to 15.
const QUEUES: u64 = 4;

/// Counters, and what vmstat(8) calls them.
pub const COUNTERS: &[(&str, &str)] = &[
    ("v_swtch", "cpu context switches"),
    ("v_intr", "device interrupts"),
    ("v_soft", "software interrupts"),
    ("v_trap", "traps"),
    ("v_syscall", "system calls"),
    ("v_kthreads", "kernel threads created"),
    ("v_forks", "fork() calls"),
    ("v_vforks", "vfork() calls"),
    ("v_rforks", "rfork() calls"),
    ("v_swapin", "swap pager pageins"),
    ("v_swappgsin", "swap pager pages paged in"),
    ("v_swapout", "swap pager pageouts"),
    ("v_swappgsout", "swap pager pages paged out"),
    ("v_vnodein", "vnode pager pageins"),
    ("v_vnodepgsin", "vnode pager pages paged in"),
    ("v_vnodeout", "vnode pager pageouts"),
    ("v_vnodepgsout", "vnode pager pages paged out"),
    ("v_pdwakeups", "page daemon wakeups"),
    ("v_pdpages", "pages examined by the page daemon"),
    ("v_pdshortfalls", "clean page reclamation shortfalls"),
    ("v_reactivated", "pages reactivated by the page daemon"),
    ("v_cow_faults", "copy-on-write faults"),
    ("v_cow_optim", "copy-on-write optimized faults"),
    ("v_zfod", "zero fill pages zeroed"),
    ("v_ozfod", "zero fill pages prezeroed"),
    ("v_intrans", "intransit blocking page faults"),
    ("v_vm_faults", "total VM faults taken"),
    ("v_io_faults", "page faults requiring I/O"),
    ("v_kthreadpages", "pages affected by kernel thread creation"),
    ("v_forkpages", "pages affected by fork()"),
    ("v_vforkpages", "pages affected by vfork()"),
    ("v_rforkpages", "pages affected by rfork()"),
    ("v_tfree", "pages freed"),
    ("v_dfree", "pages freed by daemon"),
    ("v_pfree", "pages freed by exiting processes"),
];

/// Pages of one domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Its number.
    pub number: u64,
    /// C: `vmd_page_count`.
    pub pages: Option<u64>,
    /// C: `vmd_free_count`.
    pub free: Option<u64>,
    /// C: `PQ_ACTIVE`.
    pub active: Option<u64>,
    /// C: `PQ_INACTIVE`.
    pub inactive: Option<u64>,
    /// C: `PQ_LAUNDRY` and `PQ_UNSWAPPABLE`.
    pub laundry: Option<u64>,
    /// C: `vmd_free_min`: with less, threads wait for memory.
    pub free_min: Option<u64>,
    /// C: `vmd_free_target`: what the page daemon is for.
    pub free_target: Option<u64>,
}

/// All of it.
#[derive(Debug)]
pub struct Memory {
    /// C: `v_page_size`.
    pub page_size: Option<u64>,
    /// C: `v_page_count`.
    pub pages: Option<u64>,
    /// C: `v_wire_count`.
    pub wired: Option<u64>,
    /// C: `vm_user_wire_count`.
    pub user_wired: Option<u64>,
    /// C: `v_nofree_count`, since 15.
    pub nofree: Option<u64>,
    /// Of [`COUNTERS`], those that the release has: words, and the count where
    /// it could be read.
    pub counters: Vec<(&'static str, &'static str, Option<u64>)>,
    /// The domains.
    pub domains: Vec<Domain>,
    /// Why something is not told.
    pub problems: Vec<String>,
}

impl Memory {
    /// Reads it.
    ///
    /// # Errors
    /// It is not told where any of it is.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut problems = Vec::new();
        let of = |name| t.types.field("vmmeter", name);
        let mut f = RequiredFields::new(&t.types);
        f.field("vmmeter", "v_page_size");
        f.check()?;
        let vm_cnt = t.need("vm_cnt")?;
        let plain = |name| t.get(vm_cnt, of(name)?).ok();
        let per_cpu = PerCpu::new(t);
        if let Err(e) = &per_cpu {
            let why = livedump_vmcore::chain(e);
            problems.push(format!("counters are not known: {why}"));
        }
        let counter = |name| {
            let per_cpu = per_cpu.as_ref().ok()?;
            per_cpu.counter(t, at(vm_cnt, of(name)?))
        };
        let counters = COUNTERS
            .iter()
            .filter(|(name, _)| of(name).is_some())
            .map(|&(name, words)| (name, words, counter(name)))
            .collect();
        let domains = domains(t).unwrap_or_else(|e| {
            let why = livedump_vmcore::chain(&e);
            problems.push(format!("domains are not known: {why}"));
            Vec::new()
        });
        Ok(Self {
            page_size: plain("v_page_size"),
            pages: plain("v_page_count"),
            wired: counter("v_wire_count"),
            user_wired: t.number("vm_user_wire_count"),
            nofree: counter("v_nofree_count"),
            counters,
            domains,
            problems,
        })
    }

    /// The sum over all domains; `None` where one does not tell.
    #[must_use]
    pub fn sum(&self, of: fn(&Domain) -> Option<u64>) -> Option<u64> {
        (!self.domains.is_empty()).then_some(())?;
        self.domains
            .iter()
            .try_fold(0u64, |sum, domain| Some(sum.wrapping_add(of(domain)?)))
    }
}

fn domains(t: &Target<'_>) -> Result<Vec<Domain>, Unavailable> {
    let mut f = RequiredFields::new(&t.types);
    let size = f.size("vm_domain");
    let queues = f.field("vm_domain", "vmd_pagequeues");
    let free = f.field("vm_domain", "vmd_free_count");
    let count = f.field("vm_pagequeue", "pq_cnt");
    let queue_size = f.size("vm_pagequeue");
    f.check()?;
    let of = |name| t.types.field("vm_domain", name);
    let [pages, min, target] =
        ["vmd_page_count", "vmd_free_min", "vmd_free_target"].map(of);
    let all = t.need("vm_dom")?;
    let n = t.need_number("vm_ndomains", MAX_DOMAINS)?;
    let domain = |number: u64| {
        let domain = Vaddr(all.0.wrapping_add(number.wrapping_mul(size)));
        let get = |field: Option<Field>| t.get(domain, field?).ok();
        let queue = |n: u64| {
            let at =
                at(domain, queues).0.wrapping_add(n.wrapping_mul(queue_size));
            t.get(Vaddr(at), count).ok()
        };
        let [inactive, active, laundry, unswappable] =
            [0, 1, 2, QUEUES.saturating_sub(1)].map(queue);
        Domain {
            number,
            pages: get(pages),
            free: get(Some(free)),
            active,
            inactive,
            laundry: laundry.zip(unswappable).map(|(a, b)| a.wrapping_add(b)),
            free_min: get(min),
            free_target: get(target),
        }
    };
    Ok((0..n).map(domain).collect())
}
