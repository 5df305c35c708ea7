// SPDX-License-Identifier: BSD-2-Clause
//! Statistics of devices, as iostat(8) shows them, and how the CPUs spent
//! their time. C: `device_statq`, subr_devstat.c; `struct devstat`,
//! <sys/devicestat.h>; `pc_cp_time`, <sys/pcpu.h>.

use super::lists::walk;
use super::per_cpu::pcpus;
use super::target::{Target, at};
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

const MAX_DEVICES: usize = 16384;
/// C: `DEVSTAT_NAME_LEN`.
const MAX_NAME: usize = 16;
/// C: `devstat_trans_flags`: no data, read, write, free.
const TRANSACTIONS: [u64; 4] = [0, 1, 2, 3];
/// C: `CPUSTATES`, <sys/resource.h>.
pub const STATES: [&str; 5] = ["user", "nice", "system", "interrupt", "idle"];

/// Of one kind of transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transactions {
    /// How many there were.
    pub count: Option<u64>,
    /// Bytes that they moved.
    pub bytes: Option<u64>,
    /// How long all of them took.
    pub seconds: Option<f64>,
}

/// One device. What could not be read is `None`.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name, with the unit.
    pub name: Option<Vec<u8>>,
    /// No data, read, write, free.
    pub transactions: [Transactions; 4],
    /// How long it was busy.
    pub busy: Option<f64>,
    /// Transactions that were started and had not ended.
    pub pending: Option<u64>,
    /// It was being counted while it was read: values may not belong together.
    pub torn: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Devices {
    /// In the order of the list.
    pub list: Vec<Device>,
    /// Why there may be more.
    pub problem: Option<String>,
}

impl Devices {
    /// Walks the list.
    ///
    /// # Errors
    /// It is not told where it is.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let [link, name, unit, bytes, operations] =
            ["dev_links", "device_name", "unit_number", "bytes", "operations"]
                .map(|name| f.field("devstat", name));
        f.check()?;
        let of = |name| t.types.field("devstat", name);
        let [first, last, started, ended, duration, busy] = [
            "sequence0",
            "sequence1",
            "start_count",
            "end_count",
            "duration",
            "busy_time",
        ]
        .map(of);
        let head = t.need("device_statq")?;
        let found = walk(t, "device_statq", head, link, MAX_DEVICES);
        let one = |device: Vaddr| {
            let get = |field: Option<Field>| t.get(device, field?).ok();
            let name = || {
                let mut name = t.c_string(at(device, name), MAX_NAME)?;
                let unit = t.get(device, unit).ok()?;
                name.extend((unit as u32 as i32).to_string().bytes());
                Some(name)
            };
            Device {
                name: name(),
                transactions: TRANSACTIONS.map(|n| Transactions {
                    count: element(t, device, Some(operations), n),
                    bytes: element(t, device, Some(bytes), n),
                    seconds: seconds(t, device, duration, n),
                }),
                busy: seconds(t, device, busy, 0),
                pending: get(started).zip(get(ended)).map(
                    |(started, ended)| {
                        u64::from((started as u32).wrapping_sub(ended as u32))
                    },
                ),
                torn: get(first) != get(last),
            }
        };
        let list = found.elements.into_iter().map(one).collect();
        Ok(Self { list, problem: found.problem })
    }
}

/// An element of an array of eight bytes each.
fn element(
    t: &Target<'_>,
    of: Vaddr,
    field: Option<Field>,
    n: u64,
) -> Option<u64> {
    let first = at(of, field?);
    let skip = n.wrapping_mul(8);
    t.core.read_u64(Vaddr(first.0.wrapping_add(skip))).ok()
}

/// An element of an array of times. C: `struct bintime`, <sys/time.h>: seconds,
/// and a fraction of 64 bits.
fn seconds(
    t: &Target<'_>,
    of: Vaddr,
    field: Option<Field>,
    n: u64,
) -> Option<f64> {
    let word = |skip: u64| {
        let n = n.wrapping_mul(2).wrapping_add(skip);
        element(t, of, field, n)
    };
    let (whole, fraction) = (word(0)? as i64, word(1)?);
    Some(whole as f64 + fraction as f64 / 2f64.powi(64))
}

/// Ticks of statclock in each of [`STATES`], of all CPUs; `None` where one
/// cannot be read.
///
/// # Errors
/// It is not told where they are.
pub fn cpu_time(t: &Target<'_>) -> Result<[Option<u64>; 5], Unavailable> {
    let mut f = RequiredFields::new(&t.types);
    let field = f.field("pcpu", "pc_cp_time");
    f.check()?;
    let cpus = pcpus(t)?;
    let sum = |n: u64| {
        cpus.iter().try_fold(0u64, |sum, &(_, pcpu)| {
            Some(sum.wrapping_add(element(t, pcpu, Some(field), n)?))
        })
    };
    Ok([0, 1, 2, 3, 4].map(sum))
}
