// SPDX-License-Identifier: BSD-2-Clause
//! The zones of uma(9), as vmstat -z shows them. C: `uma_kegs` and
//! `uma_cachezones`, uma_core.c.
//!
//! A keg has slabs and one or more zones; the first has what is free in them.
//! A zone counts in two ways: by counter(9), and for each CPU in its
//! `uma_cache`, of which there are `mp_maxid` + 1 at the end of the zone. After
//! these come the zone's domains, each with the buckets that are in no cache.

use super::lists::walk;
use super::per_cpu::PerCpu;
use super::target::{Target, at};
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

const MAX_KEGS: usize = 16384;
const MAX_ZONES: usize = 4096;
const MAX_NAME: usize = 64;
const MAX_DOMAINS: u64 = 64;
const MAX_CPUS: u64 = 4096;
/// No caches for each CPU. C: `UMA_ZFLAG_INTERNAL`, since 13.
const INTERNAL: u64 = 0x2000_0000;

/// One zone. What could not be read is `None`.
#[derive(Clone, Debug)]
pub struct Zone {
    /// C: `uz_name`.
    pub name: Option<Vec<u8>>,
    /// Bytes of an item.
    pub size: Option<u64>,
    /// Items there may be; 0 for any number.
    pub limit: Option<u64>,
    /// Items that were not freed.
    pub used: Option<u64>,
    /// Items that are kept for the next request.
    pub free: Option<u64>,
    /// Allocations there ever were.
    pub requests: Option<u64>,
    /// Those that failed.
    pub fails: Option<u64>,
    /// Those that had to wait.
    pub sleeps: Option<u64>,
}

impl Zone {
    /// Bytes of all its items.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let items = self.used?.saturating_add(self.free?);
        Some(items.saturating_mul(self.size?))
    }
}

/// All of them.
#[derive(Debug)]
pub struct Zones {
    /// The largest first.
    pub list: Vec<Zone>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

struct Walk<'t, 'a> {
    t: &'t Target<'a>,
    per_cpu: PerCpu,
    /// Of `uma_zone`.
    name: Field,
    size: Field,
    caches: Field,
    limit: Option<Field>,
    sleeps: Option<Field>,
    allocs: Field,
    frees: Field,
    fails: Field,
    /// Of `uma_cache`.
    cache_bytes: u64,
    cache_counts: [Field; 2],
    cached: [Field; 3],
    /// Of `uma_zone_domain`.
    domain_bytes: u64,
    items: Field,
    domains: u64,
    last_cpu: u64,
}

impl Zones {
    /// Walks the lists.
    ///
    /// # Errors
    /// It is not told where they are.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let keg_link = f.field("uma_keg", "uk_link");
        let keg_zones = f.field("uma_keg", "uk_zones");
        let keg_flags = f.field("uma_keg", "uk_flags");
        let keg_size = f.field("uma_keg", "uk_size");
        let keg_domains = f.field("uma_keg", "uk_domain");
        let keg_domain_bytes = f.size("uma_domain");
        let keg_free = f.field("uma_domain", "ud_free_items");
        let count = f.field("uma_cache_bucket", "ucb_cnt");
        let mut of_cache = |name| f.field("uma_cache", name);
        let cache_counts = ["uc_allocs", "uc_frees"].map(&mut of_cache);
        let cached = ["uc_allocbucket", "uc_freebucket", "uc_crossbucket"]
            .map(&mut of_cache)
            .map(|bucket| Field {
                offset: bucket.offset.saturating_add(count.offset),
                size: count.size,
            });
        let mut of_zone = |name| f.field("uma_zone", name);
        let [name, size, caches, link, allocs, frees, fails] = [
            "uz_name",
            "uz_size",
            "uz_cpu",
            "uz_link",
            "uz_allocs",
            "uz_frees",
            "uz_fails",
        ]
        .map(&mut of_zone);
        let cache_bytes = f.size("uma_cache");
        let domain_bytes = f.size("uma_zone_domain");
        let items = f.field("uma_zone_domain", "uzd_nitems");
        f.check()?;
        let kegs = t.need("uma_kegs")?;
        let it = Walk {
            t,
            per_cpu: PerCpu::new(t)?,
            name,
            size,
            caches,
            limit: t.types.field("uma_zone", "uz_max_items"),
            sleeps: t.types.field("uma_zone", "uz_sleeps"),
            allocs,
            frees,
            fails,
            cache_bytes,
            cache_counts,
            cached,
            domain_bytes,
            items,
            domains: t.need_number("vm_ndomains", MAX_DOMAINS)?,
            last_cpu: t.need_number("mp_maxid", MAX_CPUS)?,
        };
        let kegs = walk(t, "uma_kegs", kegs, keg_link, MAX_KEGS);
        let mut problems: Vec<_> = kegs.problem.into_iter().collect();
        let mut list = Vec::new();
        for keg in kegs.elements {
            let zones =
                walk(t, "uk_zones", at(keg, keg_zones), link, MAX_ZONES);
            problems.extend(zones.problem);
            let flags = t.get(keg, keg_flags).unwrap_or(0);
            let internal = flags & INTERNAL != 0;
            let size = t.get(keg, keg_size).ok();
            let slabs = (0..it.domains).try_fold(0u64, |sum, n| {
                let domain = at(keg, keg_domains).0;
                let step = n.wrapping_mul(keg_domain_bytes);
                let domain = Vaddr(domain.wrapping_add(step));
                Some(sum.wrapping_add(t.get(domain, keg_free).ok()?))
            });
            for (n, &zone) in zones.elements.iter().enumerate() {
                let free = if n == 0 { slabs } else { Some(0) };
                let zone = it.zone(zone, internal, free);
                list.push(Zone { size, ..zone });
            }
            if list.len() > MAX_KEGS {
                problems.push(format!("more than {MAX_KEGS} zones"));
                break;
            }
        }
        // They take their items from elsewhere.
        if let Some(head) = t.address("uma_cachezones") {
            let zones = walk(t, "uma_cachezones", head, link, MAX_ZONES);
            problems.extend(zones.problem);
            let zones = zones.elements.into_iter();
            list.extend(zones.map(|zone| it.zone(zone, false, Some(0))));
        }
        list.sort_by_key(|zone| std::cmp::Reverse(zone.bytes()));
        problems.truncate(16);
        Ok(Self { list, problems })
    }
}

impl Walk<'_, '_> {
    /// A zone; `free`: what the keg has for it.
    fn zone(&self, zone: Vaddr, internal: bool, free: Option<u64>) -> Zone {
        let t = self.t;
        let counter = |f: Field| self.per_cpu.counter(t, at(zone, f));
        let (mut allocs, mut frees) =
            (counter(self.allocs), counter(self.frees));
        let mut free = free;
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            *sum = sum.zip(more).map(|(a, b)| a.wrapping_add(b));
        };
        let caches = at(zone, self.caches).0;
        let cpus = if internal { Vec::new() } else { self.cpus() };
        for n in cpus {
            let step = n.wrapping_mul(self.cache_bytes);
            let cache = Vaddr(caches.wrapping_add(step));
            let get = |f: Field| t.get(cache, f).ok();
            let [a, f] = self.cache_counts.map(get);
            add(&mut allocs, a);
            add(&mut frees, f);
            for bucket in self.cached {
                add(&mut free, get(bucket));
            }
        }
        let all = self.last_cpu.saturating_add(1);
        let after = caches.wrapping_add(all.wrapping_mul(self.cache_bytes));
        for n in 0..self.domains {
            let step = n.wrapping_mul(self.domain_bytes);
            let domain = Vaddr(after.wrapping_add(step));
            add(&mut free, t.get(domain, self.items).ok());
        }
        let number = |f: Option<Field>| t.get(zone, f?).ok();
        let name = t.get(zone, self.name).ok();
        Zone {
            name: name.and_then(|at| t.c_string(Vaddr(at), MAX_NAME)),
            size: number(Some(self.size)),
            limit: number(self.limit),
            used: allocs.zip(frees).map(|(a, f)| a.saturating_sub(f)),
            free,
            requests: allocs,
            fails: counter(self.fails),
            sleeps: number(self.sleeps),
        }
    }

    /// The numbers of the CPUs that there are.
    fn cpus(&self) -> Vec<u64> {
        self.per_cpu.numbers().map(u64::from).collect()
    }
}
