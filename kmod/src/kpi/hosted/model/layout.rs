// SPDX-License-Identifier: BSD-2-Clause
//! From recipe to machine: what lies where. In a kernel's order: image,
//! boot-time memory from the top, page tables, then what runs.

use super::dumpset::DumpSet;
use super::frames::Frames;
use super::kmap::{Block, Kmap};
use super::memory::{Kva, Memory};
use super::msgbuf::Ring;
use super::offsets::Offsets;
use super::procs::{Kernel, PIDHASH_ENTRIES, Procs};
use super::recipe::{MAX_PADDR, Process, Recipe, Region, ThreadState};
use super::rng::{Rng, content, mix, nodump_page, pattern_page};
use super::stacks::{Functions, pcb_size};
use super::symbols::{Image, Section};
use super::tables::{Prot, Tables, leaf};
use super::variables::{AMD64_KERNBASE, Facts, Live, Variables};
use super::words::{RecipeError, amount};
use crate::error::Errno;
use crate::kpi::hosted::phys::Phys;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::{Machine, span};
use std::format;
use std::string::String;
use std::vec::Vec;

const PAGE: u64 = PAGE_SIZE as u64;
const M2: u64 = 2 << 20;
const G: u64 = 1 << 30;

type Built<T> = Result<T, RecipeError>;

/// A machine that has booted.
pub(super) struct Booted {
    pub(super) mem: Memory,
    pub(super) set: DumpSet,
    pub(super) ring: Ring,
    pub(super) image: Image,
    pub(super) kmap: Kmap,
    pub(super) procs: Procs,
    pub(super) live: Live,
    pub(super) kva_end: u64,
    pub(super) pattern: Vec<Paddr>,
    pub(super) nodump: Vec<Paddr>,
}

struct Builder<'r> {
    recipe: &'r Recipe,
    mem: Memory,
    set: DumpSet,
    kmap: Kmap,
    rng: Rng,
}

/// Not enough memory for something.
fn full(what: &str) -> RecipeError {
    RecipeError::machine(format!("its memory is too small for {what}"))
}

fn fault(what: &'static str) -> impl Fn(Errno) -> RecipeError {
    move |e| match e {
        Errno::ENOMEM => full(what),
        e => RecipeError::machine(format!("{what}: {e}")),
    }
}

fn addresses(recipe: &Recipe) -> Kva {
    let start = recipe.ram.first().map_or(0, |r| r.0);
    let end = recipe.ram.last().map_or(0, |r| r.1);
    let image_bytes = recipe.text.bytes + recipe.data.bytes;
    let kernphys = recipe.kernphys;
    match recipe.machine {
        Machine::Amd64 => {
            let (dmapbase, dmapend) = if recipe.la57 {
                (0xff01_0000_0000_0000, 0xff21_0000_0000_0000)
            } else {
                (0xffff_f800_0000_0000, 0xffff_fc00_0000_0000)
            };
            Kva {
                machine: Machine::Amd64,
                kernbase: 0xffff_fe00_0000_0000,
                dmapbase,
                dmapend,
                dmapphys: 0,
                dmaplimit: end.next_multiple_of(G).max(4 * G),
                text: AMD64_KERNBASE + M2,
                kernphys,
                image_bytes,
            }
        }
        Machine::Arm64 => Kva {
            machine: Machine::Arm64,
            kernbase: 0xffff_0000_0000_0000,
            dmapbase: 0xffff_a000_0000_0000,
            dmapend: 0xffff_ff00_0000_0000,
            dmapphys: start / G * G,
            dmaplimit: end.next_multiple_of(PAGE),
            text: 0xffff_0000_0000_0000,
            kernphys,
            image_bytes,
        },
    }
}

fn check(recipe: &Recipe) -> Built<()> {
    let wrong = |problem: &str| Err(RecipeError::machine(problem));
    if recipe.ram.last().is_none_or(|r| r.1 > MAX_PADDR) {
        return wrong("it has no memory, or some of it above 4T");
    }
    if recipe.text.bytes % span(recipe.text.level) != 0
        || recipe.data.bytes % span(recipe.data.level) != 0
        || recipe.text.bytes % span(recipe.data.level) != 0
    {
        return wrong("text and data must fill the pages that map them");
    }
    for p in &recipe.processes {
        for t in &p.threads {
            if let ThreadState::Running(cpu) = t.state
                && cpu >= recipe.cpus
            {
                return Err(RecipeError::machine(format!(
                    "thread {} runs on CPU {cpu} of {}",
                    t.tid, recipe.cpus
                )));
            }
        }
    }
    Ok(())
}

/// Builds the machine.
pub(super) fn boot(recipe: &Recipe) -> Built<Booted> {
    check(recipe)?;
    let phys = Phys::new(&recipe.ram).ok_or_else(|| {
        RecipeError::machine("two ranges of its memory share a page")
    })?;
    let mem = Memory { phys, kva: addresses(recipe) };
    let relative = recipe.machine.has_dump_avail(recipe.minidump);
    let set = DumpSet::new(&recipe.ram, relative);
    let mut frames = Frames::new(&recipe.ram);
    let image_bytes = mem.kva.image_bytes;
    frames.take_at(recipe.kernphys, image_bytes).ok_or_else(|| {
        let at = recipe.kernphys;
        RecipeError::machine(format!(
            "there is no room for the kernel's {} at {at:#x}",
            amount(image_bytes)
        ))
    })?;
    let root = frames.take_high(PAGE, PAGE).ok_or_else(|| full("tables"))?;
    let tables = Tables { machine: recipe.machine, root };
    let next = match recipe.machine {
        Machine::Amd64 => mem.kva.kernbase + (16 << 20),
        Machine::Arm64 => (mem.kva.text + image_bytes).next_multiple_of(M2),
    };
    let kmap =
        Kmap { tables, frames, next, slots: Vec::new(), blocks: Vec::new() };
    let rng = Rng::new(recipe.seed);
    Builder { recipe, mem, set, kmap, rng }.build()
}

impl Builder<'_> {
    fn build(mut self) -> Built<Booted> {
        let recipe = self.recipe;
        let kva = self.mem.kva;
        let mut image =
            Image::new(kva.text, recipe.text.bytes, recipe.data.bytes);
        image.name(Section::Text, "btext", kva.text);
        image.name(Section::Text, "etext", kva.text + recipe.text.bytes);
        self.storage()?;
        self.map_kernel()?;
        self.map_direct()?;
        let (ring, msgbufp) = self.msgbuf()?;
        let vm_page_array = self.vm_pages()?;
        self.text()?;

        let offsets = Offsets::new(recipe)?;
        let mut vars = Variables::new();
        let stoppcbs = self.stoppcbs()?;
        // Blocks first, while memory is still in large pieces.
        let mut regions = recipe.kmap.clone();
        regions.sort_by_key(|region| core::cmp::Reverse(region.level));
        for region in regions {
            self.malloc(region)?;
        }
        let nodump = self.nodump()?;
        self.devices()?;
        let pattern = self.pattern()?;
        let mut procs = self.procs(&mut image, &mut vars, &offsets)?;
        for p in &recipe.processes {
            self.process(&mut procs, &mut image, p)?;
        }

        self.kmap.next = self.kmap.next.next_multiple_of(M2);
        let nkpt = (M2 + kva.image_bytes).div_ceil(M2) + 16;
        let kernel_vm_end = self.kmap.next;
        let kva_end = match recipe.machine {
            Machine::Amd64 => AMD64_KERNBASE + nkpt * M2,
            Machine::Arm64 => kernel_vm_end,
        };
        let root = self.kmap.tables.root;
        let facts = Facts {
            root,
            kernel_vm_end,
            nkpt,
            msgbufp,
            vm_page_array,
            stoppcbs,
        };
        let known = (&self.mem, &self.set);
        let live = vars.define(&mut image, recipe, &offsets, known, &facts)?;
        vars.savectx(&mut image, recipe, (&self.mem, &procs))?;
        vars.write(&self.mem).map_err(fault("the kernel's variables"))?;
        Ok(Booted {
            mem: self.mem,
            set: self.set,
            ring,
            image,
            kmap: self.kmap,
            procs,
            live,
            kva_end,
            pattern,
            nodump,
        })
    }

    /// Memory that the kernel takes while it boots: the highest there is.
    fn high(&mut self, bytes: u64, what: &str) -> Built<u64> {
        self.kmap.frames.take_high(bytes, PAGE).ok_or_else(|| full(what))
    }

    /// The bitset. Its own pages are in it.
    fn storage(&mut self) -> Built<()> {
        let bytes = self.set.bytes();
        self.set.storage = self.high(bytes, "the page bitset")?;
        self.set.add_all(&self.mem, self.set.storage, bytes);
        Ok(())
    }

    fn map(
        &mut self,
        range: (u64, u64, u64),
        level: u32,
        prot: Prot,
    ) -> Built<()> {
        self.kmap
            .map_range(&self.mem, range, level, prot)
            .ok_or_else(|| full("page tables"))
    }

    /// Text and data; and, on amd64, every table of the kernel's map above
    /// the directories, as `create_pagetables` makes them.
    fn map_kernel(&mut self) -> Built<()> {
        let Recipe { text, data, kernphys, .. } = *self.recipe;
        let kva = self.mem.kva;
        self.map((kva.text, kernphys, text.bytes), text.level, Prot::Text)?;
        let behind = (kva.text + text.bytes, kernphys + text.bytes);
        let range = (behind.0, behind.1, data.bytes);
        self.map(range, data.level, Prot::Data)?;
        if kva.machine == Machine::Arm64 {
            return Ok(());
        }
        if self.recipe.release.maps_low_memory() && kernphys == M2 {
            self.map((AMD64_KERNBASE, 0, M2), 0, Prot::Data)?;
            // Mapped, so it is nobody else's.
            for pa in (0..M2).step_by(PAGE_SIZE) {
                let _ = self.kmap.frames.take_at(pa, PAGE);
            }
        }
        let Kmap { tables, frames, .. } = &mut self.kmap;
        let mut page = || frames.take_high(PAGE, PAGE);
        for i in 0..4 {
            tables
                .entry(&self.mem, &mut page, kva.kernbase + i * span(3), 2)
                .ok_or_else(|| full("page tables"))?;
        }
        if !self.recipe.la57 {
            // The recursive entry, PML4PML4I.
            let entry = Paddr(tables.root + 256 * 8);
            let itself = leaf(kva.machine, 0, tables.root, Prot::Data);
            self.mem
                .phys
                .store(entry, itself)
                .map_err(fault("the root table"))?;
        }
        Ok(())
    }

    /// The direct map in blocks of 1 GB, holes and all. Under LA57 it hangs
    /// off a table that no minidump looks at.
    fn map_direct(&mut self) -> Built<()> {
        if self.recipe.la57 {
            return Ok(());
        }
        let kva = self.mem.kva;
        let bytes = (kva.dmaplimit - kva.dmapphys).next_multiple_of(G);
        self.map((kva.dmapbase, kva.dmapphys, bytes), 2, Prot::Data)
    }

    /// In the direct map on amd64, in the kernel map on arm64.
    fn msgbuf(&mut self) -> Built<(Ring, u64)> {
        let bytes = self.recipe.msgbuf_bytes;
        let rounded = bytes.next_multiple_of(PAGE);
        let pa = self.high(rounded, "the message buffer")?;
        let va = match self.recipe.machine {
            Machine::Amd64 => {
                self.set.add_all(&self.mem, pa, rounded);
                self.mem.kva.dmap(pa)
            }
            Machine::Arm64 => {
                let va = self.kmap.reserve(rounded, PAGE);
                self.map((va, pa, rounded), 0, Prot::Data)?;
                va
            }
        };
        let broken = fault("the message buffer");
        let mut ring = Ring::new(&self.mem, pa, va, bytes).map_err(&broken)?;
        for text in &self.recipe.messages {
            ring.append(&self.mem, text).map_err(&broken)?;
        }
        let header = va + u64::from(ring.size());
        Ok((ring, header))
    }

    fn vm_pages(&mut self) -> Built<u64> {
        let bytes = self.recipe.vm_page_pages * PAGE;
        if bytes == 0 {
            return Ok(0);
        }
        let pa = self.high(bytes, "vm_page_array")?;
        self.set.add_all(&self.mem, pa, bytes);
        Ok(self.mem.kva.dmap(pa))
    }

    fn content(&mut self, pa: u64) -> Built<()> {
        let page = content(mix(self.recipe.seed ^ pa));
        self.mem.fill(pa, page.as_ref()).map_err(fault("a page's contents"))
    }

    fn text(&mut self) -> Built<()> {
        let start = self.recipe.kernphys;
        for pa in (start..start + self.recipe.text.bytes).step_by(PAGE_SIZE) {
            self.content(pa)?;
        }
        Ok(())
    }

    /// Where CPUs that stop save their registers, from 14 on allocated.
    fn stoppcbs(&mut self) -> Built<Option<u64>> {
        if !self.recipe.release.has_allocated_stoppcbs() {
            return Ok(None);
        }
        let bytes = pcb_size(self.recipe.machine) * u64::from(self.recipe.cpus);
        let bytes = bytes.next_multiple_of(PAGE);
        let pa = self.high(bytes, "stoppcbs")?;
        self.set.add_all(&self.mem, pa, bytes);
        Ok(Some(self.mem.kva.dmap(pa)))
    }

    /// malloc(9)'s memory: pages from anywhere, or whole blocks.
    fn malloc(&mut self, region: Region) -> Built<()> {
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
                .take_high(step, step)
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
        self.kmap.frames.take_any(&mut self.rng).ok_or_else(|| full(what))
    }

    /// Mapped, and not to be dumped. Every fourth has a bit as well, as a page
    /// has that became NODUMP a moment ago.
    fn nodump(&mut self) -> Built<Vec<Paddr>> {
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

    fn devices(&mut self) -> Built<()> {
        for &(pa, bytes) in &self.recipe.devices {
            if self.recipe.ram.iter().any(|r| pa < r.1 && r.0 < pa + bytes) {
                return Err(RecipeError::machine(format!(
                    "the device at {pa:#x} lies in memory"
                )));
            }
            let va = self.kmap.reserve(bytes, PAGE);
            self.map((va, pa, bytes), 0, Prot::Device)?;
        }
        Ok(())
    }

    /// Pages of UMA's with the known pattern.
    fn pattern(&mut self) -> Built<Vec<Paddr>> {
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

    fn procs(
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
        debug_assert!(PIDHASH_ENTRIES * 8 <= PAGE);
        let pidhashtbl =
            self.kernel().uma_page().map_err(fault("the pid hash"))?;
        let heads = vars.heads(image, &recipe.release, pidhashtbl)?;
        let release = recipe.release.clone();
        Ok(Procs::new(heads, offsets.clone(), release, functions, wmesgs))
    }

    fn process(
        &mut self,
        procs: &mut Procs,
        image: &mut Image,
        what: &Process,
    ) -> Built<()> {
        // The first of all are variables of the kernel's.
        let place = match what.pid {
            0 => Some((
                image.define(Section::Data, "proc0", super::offsets::SLOT)?,
                image.define(
                    Section::Data,
                    "thread0_st",
                    super::offsets::SLOT,
                )?,
            )),
            _ => None,
        };
        procs
            .add(&mut self.kernel(), what.clone(), place)
            .map_err(fault("its processes"))
    }
}
