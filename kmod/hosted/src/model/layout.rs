// SPDX-License-Identifier: BSD-2-Clause
//! From recipe to machine: what lies where. In a kernel's order: image,
//! boot-time memory from the top, page tables, then what runs.

use super::dumpset::DumpSet;
use super::frames::Frames;
use super::kmap::Kmap;
use super::memory::{AMD64_KERNBASE, Kva, Memory};
use super::msgbuf::Ring;
use super::offsets::Offsets;
use super::procs::Procs;
use super::recipe::Recipe;
use super::rng::Rng;
use super::stacks::pcb_size;
use super::symbols::{Image, Section};
use super::tables::{Prot, Tables, leaf};
use super::types::{self, Extra};
use super::variables::{Facts, Live, Variables};
use super::words::{RecipeError, amount};
use crate::phys::Phys;
use livedump_kmod::error::Errno;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::{Machine, span};

const PAGE: u64 = PAGE_SIZE as u64;
const M2: u64 = 2 << 20;

/// What building a part gives.
pub(super) type Built<T> = Result<T, RecipeError>;

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
    pub(super) params: Option<Paddr>,
    pub(super) locks: Vec<(String, u64)>,
    pub(super) types: Vec<Extra>,
}

/// A machine while it is being built.
pub(super) struct Builder<'r> {
    pub(super) recipe: &'r Recipe,
    pub(super) mem: Memory,
    pub(super) set: DumpSet,
    pub(super) kmap: Kmap,
    pub(super) rng: Rng,
}

/// Not enough memory for something.
pub(super) fn full(what: &str) -> RecipeError {
    RecipeError::machine(format!("its memory is too small for {what}"))
}

/// Something went wrong with memory that is there.
pub(super) fn fault(what: &'static str) -> impl Fn(Errno) -> RecipeError {
    move |e| match e {
        Errno::ENOMEM => full(what),
        e => RecipeError::machine(format!("{what}: {e}")),
    }
}

/// Builds the machine.
pub(super) fn boot(recipe: &Recipe) -> Built<Booted> {
    recipe.check()?;
    let phys = Phys::new(&recipe.ram).ok_or_else(|| {
        RecipeError::machine("two ranges of its memory share a page")
    })?;
    let mem = Memory { phys, kva: Kva::new(recipe) };
    let relative = recipe.machine.has_dump_avail(recipe.minidump);
    let set = DumpSet::new(&recipe.ram, relative);
    let mut frames = Frames::new(&recipe.ram);
    let image_bytes = mem.kva.image_bytes;
    frames.allocate_at(recipe.kernphys, image_bytes).ok_or_else(|| {
        let at = recipe.kernphys;
        RecipeError::machine(format!(
            "there is no room for the kernel's {} at {at:#x}",
            amount(image_bytes)
        ))
    })?;
    let root =
        frames.allocate_high(PAGE, PAGE).ok_or_else(|| full("tables"))?;
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
        let params = self.params_page()?;
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
        let locks = self.locks(&mut image, &mut vars, &procs, &offsets)?;

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
            msgbuf_pa: ring.header(),
            vm_page_array,
            stoppcbs,
        };
        let known = (&self.mem, &self.set);
        let live = vars.define(&mut image, recipe, &offsets, known, &facts)?;
        let params = match params {
            Some(pa) => Some(self.params(
                &mut image,
                &offsets,
                &facts,
                &live,
                (pa, kva_end),
            )?),
            None => None,
        };
        if recipe.system {
            vars.system(&mut image, recipe, &procs, offsets.of("p_fd"))?;
        }
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
            params,
            locks,
            types: types::sections(recipe, &offsets),
        })
    }

    /// Memory that the kernel takes while it boots: the highest there is.
    pub(super) fn high(&mut self, bytes: u64, what: &str) -> Built<u64> {
        self.kmap.frames.allocate_high(bytes, PAGE).ok_or_else(|| full(what))
    }

    /// The bitset. Its own pages are in it.
    fn storage(&mut self) -> Built<()> {
        let bytes = self.set.bytes();
        self.set.storage = self.high(bytes, "the page bitset")?;
        self.set.add_all(&self.mem, self.set.storage, bytes);
        Ok(())
    }

    pub(super) fn map(
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
                let _ = self.kmap.frames.allocate_at(pa, PAGE);
            }
        }
        let Kmap { tables, frames, .. } = &mut self.kmap;
        let mut page = || frames.allocate_high(PAGE, PAGE);
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
        let bytes = (kva.dmaplimit - kva.dmapphys).next_multiple_of(span(2));
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
}
