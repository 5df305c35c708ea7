// SPDX-License-Identifier: BSD-2-Clause
//! The network interfaces. C: `V_ifnet`, if.c.
//!
//! Each vnet has its own list.
//!
//! Counts are those of counter(9) in `if_counters`. A driver may count
//! otherwise, in its hardware: `if_get_counter`, which nothing can call here.

use super::lists::walk;
use super::per_cpu::PerCpu;
use super::target::{Target, at};
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use super::vnets::Vnets;
use memdev::addr::Vaddr;

const MAX_INTERFACES: usize = 65536;
/// C: IFNAMSIZ.
const MAX_NAME: usize = 16;
/// C: `IFCOUNTER_*`, <net/if_var.h>, the same from 12 to 15: packets in,
/// errors in, packets out, errors out, and bytes and drops.
const COUNTERS: [u64; 8] = [0, 1, 2, 3, 5, 6, 9, 10];

/// C: `IFF_*`, <net/if.h>, and what ifconfig(8) calls them. UP, and those
/// of the driver: RUNNING is in `if_drv_flags`.
const FLAGS: &[(u64, &str)] = &[
    (0x1, "UP"),
    (0x2, "BROADCAST"),
    (0x4, "DEBUG"),
    (0x8, "LOOPBACK"),
    (0x10, "POINTOPOINT"),
    (0x40, "RUNNING"),
    (0x80, "NOARP"),
    (0x100, "PROMISC"),
    (0x200, "ALLMULTI"),
    (0x400, "OACTIVE"),
    (0x800, "SIMPLEX"),
    (0x8000, "MULTICAST"),
    (0x2_0000, "MONITOR"),
    (0x4_0000, "STATICARP"),
];
/// RUNNING and OACTIVE.
const DRIVER_FLAGS: u64 = 0x440;

/// One of them. What could not be read is `None`.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Which of the vnets it is in; 0 is the host's.
    pub vnet: usize,
    /// C: `if_xname`.
    pub name: Option<Vec<u8>>,
    /// C: `if_flags`, and of `if_drv_flags` what belongs to it.
    pub flags: Option<u64>,
    /// C: `if_link_state`: 0 unknown, 1 down, 2 up.
    pub link: Option<u64>,
    /// C: `if_mtu`.
    pub mtu: Option<u64>,
    /// Packets in, errors in, packets out, errors out, bytes in, bytes out,
    /// drops in, drops out.
    pub counters: [Option<u64>; 8],
}

/// All of them.
#[derive(Debug)]
pub struct Interfaces {
    /// Vnet by vnet, in the order of the lists.
    pub list: Vec<Interface>,
    /// How many vnets there are.
    pub vnets: usize,
    /// Why there may be more.
    pub problems: Vec<String>,
}

impl Interfaces {
    /// Walks the lists.
    ///
    /// # Errors
    /// It is not told where they are.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let [link, name, flags, mtu, counters] =
            ["if_link", "if_xname", "if_flags", "if_mtu", "if_counters"]
                .map(|name| f.field("ifnet", name));
        f.check()?;
        let of = |name| t.types.field("ifnet", name);
        let (drv_flags, state) = (of("if_drv_flags"), of("if_link_state"));
        let mut all = Vnets::new(t)?;
        let mut problems = std::mem::take(&mut all.problems);
        let symbol = all.symbol(t, "ifnet");
        let symbol = symbol.ok_or(Unavailable::Symbol("ifnet"))?;
        let per_cpu = PerCpu::new(t);
        if let Err(e) = &per_cpu {
            let why = livedump_vmcore::chain(e);
            problems.push(format!("counters are not known: {why}"));
        }
        let per_cpu = per_cpu.ok();
        let vnets = all.len();
        let mut list = Vec::new();
        for (vnet, head) in all.each(symbol).enumerate() {
            let left = MAX_INTERFACES.saturating_sub(list.len());
            let found = walk(t, "ifnet", head, link, left);
            problems.extend(found.problem);
            list.extend(found.elements.into_iter().map(|ifp| {
                let get = |field: Option<Field>| t.get(ifp, field?).ok();
                let driver = get(drv_flags).unwrap_or(0) & DRIVER_FLAGS;
                let count = |n: u64| {
                    let offset = n.wrapping_mul(8);
                    let counter = at(ifp, counters).0.wrapping_add(offset);
                    per_cpu.as_ref()?.counter(t, Vaddr(counter))
                };
                Interface {
                    vnet,
                    name: t.c_string(at(ifp, name), MAX_NAME),
                    flags: get(Some(flags)).map(|flags| flags | driver),
                    link: get(state),
                    mtu: get(Some(mtu)),
                    counters: COUNTERS.map(count),
                }
            }));
        }
        problems.truncate(16);
        Ok(Self { list, vnets, problems })
    }
}

/// Flags in words.
#[must_use]
pub fn flag_words(flags: u64) -> Vec<&'static str> {
    let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    set.map(|&(_, word)| word).collect()
}
