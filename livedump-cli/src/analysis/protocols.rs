// SPDX-License-Identifier: BSD-2-Clause
//! Statistics of the protocols, as netstat -s shows them. C:
//! `VNET_PCPUSTAT_DEFINE`, <net/vnet.h>: an array with a counter(9) for each
//! member of a structure of `uint64_t`. Names are those of its members, in the
//! kernel's own types: a release has others than the one before.

use super::per_cpu::PerCpu;
use super::target::Target;
use super::types::Missing;
use super::types::reader::{CType, Encoding, Resolved, Tag, TypeReader};
use super::unavailable::Unavailable;
use super::vnets::Vnets;
use livedump_vmcore::chain;
use memdev::addr::Vaddr;

/// Counters of one structure.
const MAX_COUNTERS: usize = 4096;
/// Counters of all structures in all vnets that are looked at.
const MAX_LOOKED_AT: usize = 1 << 20;
/// Structures in structures.
const MAX_DEPTH: usize = 4;

/// How a structure is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// A counter(9) for each member.
    Counters,
    /// As it is, by each vnet.
    Plain,
    /// As it is, by the host.
    Host,
}
use Kept::{Counters, Host, Plain};

/// The protocol, its variable and the structure of that. All that a release
/// from 13 to 15 has; those that a kernel was built without are left out.
const PROTOCOLS: &[(&str, &str, &str, Kept)] = &[
    ("tcp", "tcpstat", "tcpstat", Counters),
    ("udp", "udpstat", "udpstat", Counters),
    ("ip", "ipstat", "ipstat", Counters),
    ("icmp", "icmpstat", "icmpstat", Counters),
    ("igmp", "igmpstat", "igmpstat", Counters),
    ("carp", "carpstats", "carpstats", Counters),
    ("pfsync", "pfsyncstats", "pfsyncstats", Plain),
    ("arp", "arpstat", "arpstat", Counters),
    ("divert", "divstat", "divstat", Counters),
    ("mroute", "mrtstat", "mrtstat", Counters),
    ("pim", "pimstat", "pimstat", Counters),
    ("ip6", "ip6stat", "ip6stat", Counters),
    ("icmp6", "icmp6stat", "icmp6stat", Counters),
    ("rip6", "rip6stat", "rip6stat", Counters),
    ("ipsec", "ipsec4stat", "ipsecstat", Counters),
    ("ipsec6", "ipsec6stat", "ipsecstat", Counters),
    ("ah", "ahstat", "ahstat", Counters),
    ("esp", "espstat", "espstat", Counters),
    ("ipcomp", "ipcompstat", "ipcompstat", Counters),
    ("pfkey", "pfkeystat", "pfkeystat", Counters),
    ("route", "rtstat", "rtstat", Counters),
    // Of the client, and of the server where that has no vnet.
    ("nfs", "nfsstatsv1", "nfsstatsv1", Host),
];
/// These were no counters in 12, where they have members of two and four
/// bytes.
const PLAIN_IN_12: [&str; 2] = ["rtstat", "igmpstat"];
const OSRELDATE_13: u32 = 1_300_000;

/// One that is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Which of the vnets it is in; 0 is the host's.
    pub vnet: usize,
    /// The protocol.
    pub protocol: &'static str,
    /// The member: `tcps_connattempt`, `icps_outhist[8]`.
    pub name: String,
    /// What it has counted.
    pub value: u64,
}

/// All of them.
#[derive(Debug)]
pub struct Protocols {
    /// Those that are not 0, vnet by vnet.
    pub list: Vec<Counter>,
    /// Protocols whose counters were found.
    pub found: Vec<&'static str>,
    /// Those whose counters have no names: no type information has the
    /// structure, as that of a kernel leaves out what no code needs the type of.
    pub nameless: Vec<&'static str>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

impl Protocols {
    /// Reads the counters.
    ///
    /// # Errors
    /// It is not told where they are, or which is which.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let per_cpu = PerCpu::new(t)?;
        let mut vnets = Vnets::new(t)?;
        let problems = std::mem::take(&mut vnets.problems);
        let (list, found, nameless) = (Vec::new(), Vec::new(), Vec::new());
        let mut all = Self { list, found, nameless, problems };
        let types = t.type_reader();
        let mut missing = Vec::new();
        let mut left = MAX_LOOKED_AT;
        for &(protocol, variable, of, kept) in PROTOCOLS {
            let symbol = match kept {
                Host => t.kernel.find(variable),
                _ => vnets.symbol(t, variable),
            };
            let Some(symbol) = symbol else { continue };
            if t.osreldate() < OSRELDATE_13 && PLAIN_IN_12.contains(&variable) {
                continue;
            }
            let members = match members(&types, of, symbol.size) {
                Ok(Some(members)) => members,
                Ok(None) => {
                    all.nameless.push(protocol);
                    missing.push(format!("the size of {of}"));
                    continue;
                }
                Err(why) => {
                    all.problems.push(format!("{protocol}: {why}"));
                    continue;
                }
            };
            all.found.push(protocol);
            let at = match kept {
                Host => vec![symbol.address],
                _ => vnets.each(symbol).collect(),
            };
            for (vnet, at) in at.into_iter().enumerate() {
                let more = left.checked_sub(members.len());
                let Some(more) = more else {
                    let why = format!("more than {MAX_LOOKED_AT} counters");
                    all.problems.push(why);
                    return Ok(all);
                };
                left = more;
                let mut unknown = 0usize;
                for (name, offset) in &members {
                    let at = Vaddr(at.0.wrapping_add(*offset));
                    let value = match kept {
                        Counters => per_cpu.counter(t, at),
                        Plain | Host => t.core.read_u64(at).ok(),
                    };
                    let name = name.clone();
                    match value {
                        Some(0) => {}
                        Some(value) => all.list.push(Counter {
                            vnet,
                            protocol,
                            name,
                            value,
                        }),
                        None => unknown = unknown.saturating_add(1),
                    }
                }
                if unknown > 0 {
                    let of = members.len();
                    let why = format!("{unknown} of {of} counters are unknown");
                    all.problems.push(format!("{protocol}: {why}"));
                }
            }
        }
        all.list.sort_by_key(|counter| counter.vnet);
        all.problems.truncate(PROTOCOLS.len());
        match all.found.is_empty() && all.problems.is_empty() {
            true if missing.is_empty() => Err(Unavailable::Symbol("tcpstat")),
            true => Err(Missing(missing).into()),
            false => Ok(all),
        }
    }
}

/// The members of a structure of `bytes` that are `uint64_t`, with their
/// offsets; none where no source has it.
///
/// # Errors
/// Why they cannot be those of the variable.
fn members(
    types: &TypeReader<'_>,
    of: &str,
    bytes: u64,
) -> Result<Option<Vec<(String, u64)>>, String> {
    let found = types.find(Tag::Struct, of).map_err(|e| chain(&e))?;
    let Some(found) = found.map(CType::Known) else { return Ok(None) };
    let size = types.size(&found).map_err(|e| chain(&e))?;
    if size != Some(bytes) && bytes != 0 {
        let size = size.map_or("unknown".into(), |n| n.to_string());
        return Err(format!("{of} has {size} bytes, the variable {bytes}"));
    }
    let mut all = Vec::new();
    add_members(types, &found, ("", 0), 0, &mut all).map_err(|e| chain(&e))?;
    Ok(Some(all))
}

/// Adds what has this name and is at this offset, or its parts.
fn add_members(
    types: &TypeReader<'_>,
    of: &CType,
    (name, at): (&str, u64),
    depth: usize,
    all: &mut Vec<(String, u64)>,
) -> Result<(), super::types::TypesError> {
    if all.len() >= MAX_COUNTERS || depth > MAX_DEPTH {
        return Ok(());
    }
    let depth = depth.saturating_add(1);
    match types.resolve(of)? {
        Resolved::Number(Encoding::Unsigned, 8) => {
            all.push((name.to_string(), at));
        }
        Resolved::Array(of, Some(n)) => {
            for i in 0..n.min(MAX_COUNTERS as u64) {
                let at = at.saturating_add(i.saturating_mul(8));
                let name = format!("{name}[{i}]");
                // Of numbers only: the step is theirs.
                if let Resolved::Number(..) = types.resolve(&of)? {
                    add_members(types, &of, (&name, at), depth, all)?;
                }
            }
        }
        // C: `struct bintime`: a time, of which a part looks like a counter.
        Resolved::Record(id, _)
            if types.get(id)?.name.as_deref() == Some("bintime") => {}
        Resolved::Record(id, _) => {
            for m in types.members(id)? {
                let Some(of) = m.of.map(CType::Known) else { continue };
                if m.bits.is_some() {
                    continue;
                }
                let at = at.saturating_add(m.at_bits / 8);
                let own = m.name.unwrap_or_default();
                let name = match (name, own.as_str()) {
                    ("", _) | (_, "") => format!("{name}{own}"),
                    _ => format!("{name}.{own}"),
                };
                add_members(types, &of, (&name, at), depth, all)?;
            }
        }
        _ => {}
    }
    Ok(())
}
