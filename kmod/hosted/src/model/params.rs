// SPDX-License-Identifier: BSD-2-Clause
//! The parameter page, as livedump.ko writes it into the machine it is loaded
//! into, and its witness in the kernel's data.

use super::layout::{Builder, Built, fault};
use super::offsets::Offsets;
use super::rng::mix;
use super::stacks::pcb_size;
use super::symbols::{Image, Section};
use super::variables::{Facts, Live};
use super::words::RecipeError;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::Machine;
use memdev::params::{MACHINE_AMD64, MACHINE_ARM64, Params, WITNESS_BYTES};

const PAGE: u64 = PAGE_SIZE as u64;
const M2: u64 = 2 << 20;

impl Builder<'_> {
    /// A page for it, if the recipe wants one.
    pub(super) fn params_page(&mut self) -> Built<Option<u64>> {
        if !self.recipe.params {
            return Ok(None);
        }
        let pa = self.high(PAGE, "its parameter page")?;
        self.set.set_nodump(pa, true);
        Ok(Some(pa))
    }

    /// Writes it; where it is.
    pub(super) fn params(
        &mut self,
        image: &mut Image,
        offsets: &Offsets,
        facts: &Facts,
        live: &Live,
        (pa, kva_end): (u64, u64),
    ) -> Built<Paddr> {
        let recipe = self.recipe;
        let kva = self.mem.kva;
        let bytes = WITNESS_BYTES as u64;
        let witness_va = image.room(Section::Data, bytes, 32)?;
        let place = |va: u64| {
            let at = kva.pa(va).map(|pa| pa.0);
            at.ok_or_else(|| RecipeError::machine("a variable is nowhere"))
        };
        let known =
            |name: &str| image.symbol(name).map_or(0, |address| address.0);
        let variable = |name: &str| match known(name) {
            0 => Ok(0),
            va => place(va),
        };
        let absolute = !recipe.machine.has_dump_avail(recipe.minidump);
        let is_amd64 = recipe.machine == Machine::Amd64;
        let (kernbase, kernphys) = match recipe.machine {
            Machine::Amd64 => (kva.text - M2, kva.kernphys),
            Machine::Arm64 => (kva.text, kva.kernphys + M2),
        };
        let mut params = Params {
            pa,
            generation: mix(recipe.seed),
            boottime: 1_699_999_984,
            osreldate: recipe.release.osreldate,
            machine: if is_amd64 { MACHINE_AMD64 } else { MACHINE_ARM64 },
            levels: 4,
            minidump_version: recipe.minidump,
            kernphys,
            root: facts.root,
            top: facts.root,
            kernbase,
            kva_start: kva.kernbase,
            kva_end,
            kernel_vm_end_pa: place(live.kernel_vm_end)?,
            nkpt_pa: if is_amd64 { variable("nkpt")? } else { 0 },
            dmapbase: kva.dmapbase,
            dmapend: kva.dmapend,
            dmapphys: kva.dmapphys,
            dump_avail_pa: variable("dump_avail")?,
            dump_avail_bytes: match (absolute, is_amd64) {
                (true, _) => 0,
                (false, true) => 1024,
                (false, false) => 1040,
            },
            dump_avail_len: 16 * (recipe.ram.len() as u32 + 1),
            bitset_pa: self.set.storage,
            bitset_va: kva.dmap(self.set.storage),
            bitset_bits: self.set.bits,
            msgbuf_pa: facts.msgbuf_pa,
            version_pa: variable("version")?,
            witness_va,
            witness_pa: place(witness_va)?,
            stoppcbs_va: facts.stoppcbs.unwrap_or(known("stoppcbs")),
            stopped_cpus_va: known("stopped_cpus"),
            dumptid_va: known("dumptid"),
            uptime_va: live.time_uptime,
            pcb_bytes: pcb_size(recipe.machine) as u32,
            td_oncpu: offsets.of("td_oncpu") as u32,
            root_variable_va: known("KPML4phys"),
            ..Params::default()
        };
        let name = recipe.release.name().bytes();
        for (to, from) in params.osrelease.iter_mut().take(31).zip(name) {
            *to = from;
        }
        let mut page = [0; PAGE_SIZE];
        params.encode(&mut page);
        let broken = fault("its parameter page");
        self.mem.phys.write_page(Paddr(pa), &page).map_err(&broken)?;
        let witness = params.witness();
        self.mem.write(witness_va, &witness).map_err(&broken)?;
        Ok(Paddr(pa))
    }
}
