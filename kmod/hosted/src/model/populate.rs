// SPDX-License-Identifier: BSD-2-Clause
//! What runs on a machine that has booted: malloc(9)'s and UMA's pages,
//! devices, processes. The second half of [`Builder`].

use super::kmap::Block;
use super::layout::{Builder, Built, fault, full};
use super::locks::{LockBuilder, Tables};
use super::offsets::{Offsets, SLOT};
use super::procs::{Kernel, PIDHASH_ENTRIES, Procs};
use super::recipe::{Process, Region, ThreadState};
use super::rng::{content, mix, nodump_page, pattern_page};
use super::stacks::Functions;
use super::symbols::{Image, Section};
use super::tables::Prot;
use super::variables::Variables;
use super::words::RecipeError;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::span;

const PAGE: u64 = PAGE_SIZE as u64;
const _: () = assert!(PIDHASH_ENTRIES * 8 <= PAGE);

impl Builder<'_> {
    fn content(&mut self, pa: u64) -> Built<()> {
        let page = content(mix(self.recipe.seed ^ pa));
        self.mem.fill(pa, page.as_ref()).map_err(fault("a page's contents"))
    }

    pub(super) fn text(&mut self) -> Built<()> {
        let start = self.recipe.kernphys;
        for pa in (start..start + self.recipe.text.bytes).step_by(PAGE_SIZE) {
            self.content(pa)?;
        }
        Ok(())
    }

    /// malloc(9)'s memory: pages from anywhere, or whole blocks.
    pub(super) fn malloc(&mut self, region: Region) -> Built<()> {
        let step = span(region.level);
        self.kmap.reserve(0, step);
        for _ in 0..region.bytes / step {
            if region.level == 0 {
                let pa = self.any("the kernel map")?;
                self.content(pa)?;
                self.kmap
                    .add_slot(&self.mem, pa)
                    .ok_or_else(|| full("page tables"))?;
                continue;
            }
            let pa = self
                .kmap
                .frames
                .allocate_high(step, step)
                .ok_or_else(|| full("a block of the kernel map"))?;
            let va = self.kmap.reserve(step, step);
            let entry = self
                .kmap
                .map(&self.mem, va, region.level, pa, Prot::Data)
                .ok_or_else(|| full("page tables"))?;
            // Of a block of 1 GB only a part is in use.
            let every = if region.level == 1 { 1 } else { 64 };
            for at in (pa..pa + step).step_by(PAGE_SIZE * every) {
                self.content(at)?;
            }
            if region.level == 1 {
                self.kmap.blocks.push(Block { entry, pa, split: None });
            }
        }
        Ok(())
    }

    fn any(&mut self, what: &str) -> Built<u64> {
        self.kmap.frames.allocate_any(&mut self.rng).ok_or_else(|| full(what))
    }

    /// Mapped, and not to be dumped. Every fourth has a bit as well, as a page
    /// has that became NODUMP a moment ago.
    pub(super) fn nodump(&mut self) -> Built<Vec<Paddr>> {
        let pages = self.recipe.nodump_pages;
        let first = self.kmap.reserve(pages * PAGE, PAGE);
        let mut all = Vec::new();
        for i in 0..pages {
            let pa = self.any("its NODUMP pages")?;
            self.mem
                .fill(pa, Some(&nodump_page(Paddr(pa))))
                .map_err(fault("a NODUMP page"))?;
            self.set.set_nodump(pa, true);
            if i % 4 == 0 {
                self.set.add(&self.mem, pa);
            }
            self.map((first + i * PAGE, pa, PAGE), 0, Prot::Data)?;
            all.push(Paddr(pa));
        }
        Ok(all)
    }

    pub(super) fn devices(&mut self) -> Built<()> {
        for &(pa, bytes) in &self.recipe.devices {
            if self.recipe.ram.iter().any(|r| pa < r.1 && r.0 < pa + bytes) {
                return Err(RecipeError::machine(format!(
                    "the device at {pa:#x} overlaps memory"
                )));
            }
            let va = self.kmap.reserve(bytes, PAGE);
            self.map((va, pa, bytes), 0, Prot::Device)?;
        }
        Ok(())
    }

    /// Pages of UMA's with the known pattern.
    pub(super) fn pattern(&mut self) -> Built<Vec<Paddr>> {
        let mut all = Vec::new();
        for _ in 0..self.recipe.uma_pages {
            let pa = self.any("its UMA pages")?;
            self.mem
                .fill(pa, Some(&pattern_page(Paddr(pa))))
                .map_err(fault("a UMA page"))?;
            self.set.add(&self.mem, pa);
            all.push(Paddr(pa));
        }
        Ok(all)
    }

    fn kernel(&mut self) -> Kernel<'_> {
        Kernel {
            mem: &self.mem,
            set: &self.set,
            kmap: &mut self.kmap,
            rng: &mut self.rng,
        }
    }

    pub(super) fn procs(
        &mut self,
        image: &mut Image,
        vars: &mut Variables,
        offsets: &Offsets,
    ) -> Built<Procs> {
        let recipe = self.recipe;
        let functions = Functions::define(image, recipe.machine)?;
        functions.write(&self.mem).map_err(fault("kernel text"))?;
        let mut wmesgs: Vec<(String, u64)> = Vec::new();
        for t in recipe.processes.iter().flat_map(|p| &p.threads) {
            if let ThreadState::Sleep(w) = &t.state
                && wmesgs.iter().all(|(text, _)| text != w)
            {
                let bytes = [w.as_bytes(), &[0]].concat();
                wmesgs.push((w.clone(), vars.unnamed(image, &bytes)?));
            }
        }
        let pidhashtbl =
            self.kernel().uma_page().map_err(fault("the pid hash"))?;
        let heads = vars.heads(image, &recipe.release, pidhashtbl)?;
        let release = recipe.release.clone();
        let (offsets, locks) = (offsets.clone(), recipe.locks.clone());
        Ok(Procs::new(heads, offsets, release, functions, wmesgs, locks))
    }

    /// The recipe's locks, where all threads are.
    pub(super) fn locks(
        &mut self,
        image: &mut Image,
        vars: &mut Variables,
        procs: &Procs,
        offsets: &Offsets,
    ) -> Built<Vec<(String, u64)>> {
        let recipe = self.recipe;
        let tables = Tables::define(image, vars, recipe)?;
        let mut names = Vec::new();
        for lock in &recipe.locks {
            let name = [lock.name.as_bytes(), &[0]].concat();
            names.push(vars.unnamed(image, &name)?);
        }
        let builder = LockBuilder { tables, procs, offsets, names };
        builder.make(&mut self.kernel(), recipe).map_err(fault("its locks"))
    }

    pub(super) fn process(
        &mut self,
        procs: &mut Procs,
        image: &mut Image,
        what: &Process,
    ) -> Built<()> {
        // The first of all are variables of the kernel's.
        let place = match what.pid {
            0 => Some((
                image.define(Section::Data, "proc0", SLOT)?,
                image.define(Section::Data, "thread0_st", SLOT)?,
            )),
            _ => None,
        };
        procs
            .add(&mut self.kernel(), what.clone(), place)
            .map_err(fault("its processes"))
    }
}
