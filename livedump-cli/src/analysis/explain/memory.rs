// SPDX-License-Identifier: BSD-2-Clause
//! Threads that wait for memory, for an item of a zone that is at its limit,
//! or for buffers. C: `vm_wait`, `vm_waitpfault`, `zone_alloc_limit`,
//! `waitrunningbufspace`.

use super::fields::Fields;
use super::wait::{Kind, Next, Object};
use super::{Asleep, Context, Found};
use std::cell::Cell;
use std::fmt;

/// C: `VM_DOMAINS`; more are not believed.
const MAX_DOMAINS: u32 = 64;
/// Of a zone's name.
const MAX_NAME: usize = 64;

pub(super) fn wait(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    let (kind, name, text) = match td.wmesg {
        "vmwait" | "pfault" => {
            (Kind::Memory, "free pages".to_string(), "free pages".to_string())
        }
        "zonelimit" => {
            let name = zone(&c.fields, td.wchan)?;
            let text = format!("an item of the zone \"{name}\"");
            (Kind::Zone, name, text)
        }
        "wdrain" => buffers("running writes to end"),
        "flswai" => buffers("dirty buffers to be written"),
        "newbuf" | "nbufkv" | "nbufbs" => buffers("a free buffer"),
        _ => return None,
    };
    let f = &c.fields;
    let is_short = Cell::new(false);
    let details = || match kind {
        Kind::Memory => {
            let domains = domains(f);
            is_short.set(domains.iter().any(Domain::is_short));
            domains.iter().map(ToString::to_string).collect()
        }
        Kind::Zone => limits(f, td.wchan),
        _ => Vec::new(),
    };
    let number = c.resources.number(kind, &name, details);
    if let Some(resource) = c.resources.all.get_mut(number) {
        resource.is_short |= is_short.get();
    }
    Some((Object::Other(text), Next::Resource(number)))
}

fn buffers(text: &str) -> (Kind, String, String) {
    (Kind::Buffers, "the buffer cache".into(), text.into())
}

fn zone(f: &Fields<'_, '_>, wchan: u64) -> Option<String> {
    let zone = f.container(wchan, "uma_zone", "uz_max_items")?;
    f.text(f.pointer(zone, "uma_zone", "uz_name")?, MAX_NAME)
}

fn limits(f: &Fields<'_, '_>, wchan: u64) -> Vec<String> {
    let limit = f.word(wchan);
    limit.map(|n| format!("limit: {n} items")).into_iter().collect()
}

/// What a domain has of pages. C: `struct vm_domain`.
struct Domain {
    number: u32,
    free: u64,
    minimum: u64,
}

impl Domain {
    /// C: `vm_paging_min`.
    fn is_short(&self) -> bool {
        self.free < self.minimum
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, free, minimum } = self;
        write!(f, "domain {number}: {free} pages free, minimum {minimum}")
    }
}

/// C: `vm_dom`.
fn domains(f: &Fields<'_, '_>) -> Vec<Domain> {
    let count = f.t.int("vm_ndomains").unwrap_or(1).min(MAX_DOMAINS);
    let size = f.t.types.size("vm_domain");
    let base = f.t.address("vm_dom");
    let Some((size, base)) = size.zip(base) else { return Vec::new() };
    let domain = |number: u32| {
        let at = base.0.wrapping_add(u64::from(number).wrapping_mul(size));
        let int = |name| {
            let value = f.get(at, "vm_domain", name);
            value.map(|value| value & 0xffff_ffff)
        };
        let free = int("vmd_free_count")?;
        let minimum = int("vmd_free_min")?;
        Some(Domain { number, free, minimum })
    };
    (0..count).filter_map(domain).collect()
}
