// SPDX-License-Identifier: BSD-2-Clause
//! Devices that are swapped to, as swapinfo(8) shows them. C: `swtailq`,
//! swap_pager.c.

use super::lists::walk;
use super::target::{Target, at};
use super::types::RequiredFields;
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

const MAX_DEVICES: usize = 1024;
/// C: SPECNAMELEN is 255.
const MAX_NAME: usize = 256;

/// One of them. What could not be read is `None`.
#[derive(Clone, Debug)]
pub struct SwapDevice {
    /// The name of the device; of a file there is none.
    pub name: Option<Vec<u8>>,
    /// C: `sw_nblks`, pages.
    pub pages: Option<u64>,
    /// C: `sw_used`, pages.
    pub used: Option<u64>,
}

/// All of them.
#[derive(Debug)]
pub struct Swap {
    /// In the order of the list.
    pub list: Vec<SwapDevice>,
    /// Why there may be more.
    pub problem: Option<String>,
}

impl Swap {
    /// Walks the list.
    ///
    /// # Errors
    /// It is not told where it is.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let [link, pages, used] = ["sw_list", "sw_nblks", "sw_used"]
            .map(|name| f.field("swdevt", name));
        f.check()?;
        let of = |of, name| t.types.field(of, name);
        let vnode = of("swdevt", "sw_vp");
        let device = of("vnode", "v_rdev");
        let name = of("cdev", "si_name");
        let head = t.need("swtailq")?;
        let found = walk(t, "swtailq", head, link, MAX_DEVICES);
        let one = |swap: Vaddr| {
            let name = || {
                let vnode = t.get(swap, vnode?).ok()?;
                let cdev = t.get(Vaddr(vnode), device?).ok()?;
                let name = t.c_string(at(Vaddr(cdev), name?), MAX_NAME)?;
                (!name.is_empty()).then_some(name)
            };
            SwapDevice {
                name: name(),
                pages: t.get(swap, pages).ok(),
                used: t.get(swap, used).ok(),
            }
        };
        let list = found.elements.into_iter().map(one).collect();
        Ok(Self { list, problem: found.problem })
    }
}
