// SPDX-License-Identifier: BSD-2-Clause
//! Variables of which each vnet has its own. C: `VNET_DEFINE`, <net/vnet.h>.
//!
//! With VIMAGE, which GENERIC has, the symbol `vnet_entry_x` is where x would
//! be, and the vnet's `vnet_data_base` is what is added to that. Without, it is
//! the variable x.

use super::lists::walk;
use super::target::{Target, read_error_text};
use super::types::RequiredFields;
use super::unavailable::Unavailable;
use livedump_vmcore::elf::Symbol;
use memdev::addr::Vaddr;

const MAX_VNETS: usize = 4096;

/// The vnets of a system.
#[derive(Debug)]
pub(super) struct Vnets {
    /// There is more than one, or could be.
    vimage: bool,
    /// What is added for each, the host's first.
    bases: Vec<u64>,
    /// Why there may be more.
    pub(super) problems: Vec<String>,
}

impl Vnets {
    /// Finds them.
    ///
    /// # Errors
    /// It is not told where they are.
    pub(super) fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut problems = Vec::new();
        if t.address("vnet_entry_ifnet").is_none() {
            return Ok(Self { vimage: false, bases: vec![0], problems });
        }
        let mut f = RequiredFields::new(&t.types);
        let base = f.field("vnet", "vnet_data_base");
        let link = f.field("vnet", "vnet_le");
        f.check()?;
        let host = t.need_u64("vnet0")?;
        let mut vnets = vec![Vaddr(host)];
        if let Some(head) = t.address("vnet_head") {
            let found = walk(t, "vnet_head", head, link, MAX_VNETS);
            problems.extend(found.problem);
            let others = found.elements.into_iter();
            vnets.extend(others.filter(|vnet| vnet.0 != host));
        }
        let mut bases = Vec::new();
        for vnet in vnets {
            match t.get(vnet, base) {
                Ok(base) => bases.push(base),
                Err(e) => {
                    let why = read_error_text(&e);
                    problems.push(format!("the vnet at {vnet}: {why}"));
                }
            }
        }
        Ok(Self { vimage: true, bases, problems })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.bases.len()
    }

    /// The symbol of a variable.
    pub(super) fn symbol(&self, t: &Target<'_>, name: &str) -> Option<Symbol> {
        match self.vimage {
            true => t.kernel.find(&format!("vnet_entry_{name}")),
            false => t.kernel.find(name),
        }
    }

    /// Where each has it.
    pub(super) fn each(
        &self,
        symbol: Symbol,
    ) -> impl Iterator<Item = Vaddr> + '_ {
        let at = symbol.address.0;
        self.bases.iter().map(move |base| Vaddr(at.wrapping_add(*base)))
    }
}
