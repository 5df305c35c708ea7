// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's variables that readers look up by name, with their values in
//! the machine's memory.

use super::dumpset::DumpSet;
use super::memory::{AMD64_KERNBASE, Memory};
use super::offsets::Offsets;
use super::procs::{ListHeads, PIDHASH_ENTRIES, Procs};
use super::recipe::Recipe;
use super::release::Release;
use super::stacks::{pcb_size, write_pcb};
use super::symbols::{Image, Section};
use super::words::RecipeError;
use livedump_kmod::error::{Errno, Result};
use memdev::arch::Machine;
use std::borrow::Cow;

/// C: offsets in `struct linker_file`, exported by `kld_off_*`.
const KLD: [(&str, u32); 4] = [
    ("kld_off_address", 64),
    ("kld_off_filename", 40),
    ("kld_off_pathname", 48),
    ("kld_off_next", 24),
];

/// A place in the image and what is stored there once there is memory.
pub(super) struct Variables {
    values: Vec<(u64, Vec<u8>)>,
}

/// What is known only when the rest of the machine is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) root: u64,
    pub(super) kernel_vm_end: u64,
    pub(super) nkpt: u64,
    pub(super) msgbufp: u64,
    pub(super) msgbuf_pa: u64,
    pub(super) vm_page_array: u64,
    pub(super) stoppcbs: Option<u64>,
}

/// Addresses that the machine itself goes on using.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) ticks: u64,
    pub(super) time_second: u64,
    pub(super) time_uptime: u64,
    pub(super) kernel_vm_end: u64,
}

impl Variables {
    pub(super) fn new() -> Self {
        Self { values: Vec::new() }
    }

    fn put(
        &mut self,
        image: &mut Image,
        section: Section,
        name: impl Into<Cow<'static, str>>,
        value: &[u8],
    ) -> core::result::Result<u64, RecipeError> {
        let at = image.define(section, name, value.len() as u64)?;
        self.values.push((at, value.to_vec()));
        Ok(at)
    }

    fn string(
        &mut self,
        image: &mut Image,
        name: Option<&'static str>,
        text: &str,
    ) -> core::result::Result<u64, RecipeError> {
        let bytes = [text.as_bytes(), &[0]].concat();
        match name {
            Some(name) => self.put(image, Section::Rodata, name, &bytes),
            None => self.unnamed(image, &bytes),
        }
    }

    /// A variable with its first value.
    pub(super) fn variable(
        &mut self,
        image: &mut Image,
        name: &'static str,
        value: &[u8],
    ) -> core::result::Result<u64, RecipeError> {
        self.put(image, Section::Data, name, value)
    }

    /// A constant without a name, as a text that only a pointer leads to.
    pub(super) fn unnamed(
        &mut self,
        image: &mut Image,
        bytes: &[u8],
    ) -> core::result::Result<u64, RecipeError> {
        let at = image.room(Section::Rodata, bytes.len() as u64, 1)?;
        self.values.push((at, bytes.to_vec()));
        Ok(at)
    }

    /// What is stored at an address.
    pub(super) fn set(&mut self, at: u64, bytes: Vec<u8>) {
        self.values.push((at, bytes));
    }

    /// Defines all of them.
    pub(super) fn define(
        &mut self,
        image: &mut Image,
        recipe: &Recipe,
        offsets: &Offsets,
        (mem, set): (&Memory, &DumpSet),
        facts: &Facts,
    ) -> core::result::Result<Live, RecipeError> {
        let release = &recipe.release;
        let (ro, rw) = (Section::Rodata, Section::Data);
        let int = |n: u32| n.to_le_bytes();
        let long = |n: u64| n.to_le_bytes();
        let pages = recipe.ram_bytes() >> 12;

        self.string(image, Some("version"), &release.version())?;
        self.string(image, Some("ostype"), "FreeBSD")?;
        self.string(image, Some("osrelease"), release.name())?;
        self.string(image, Some("kern_ident"), "GENERIC")?;
        for (name, value) in offsets.exported().chain(KLD) {
            let added = name == "proc_off_p_hash";
            if !(added && release.has_zombproc()) {
                self.put(image, ro, name, &int(value))?;
            }
        }
        let pcb = pcb_size(recipe.machine);
        self.put(image, ro, "pcb_size", &int(pcb as u32))?;
        self.put(image, rw, "osreldate", &int(release.osreldate))?;
        self.put(image, rw, "hz", &int(1000))?;
        self.put(image, rw, "mp_maxid", &int(recipe.cpus - 1))?;
        self.put(image, rw, "mp_ncpus", &int(recipe.cpus))?;
        self.put(image, rw, "nkpt", &int(facts.nkpt as u32))?;
        let cpus = cpuset(release, recipe.cpus);
        self.put(image, rw, "all_cpus", &cpus)?;
        self.put(image, rw, "stopped_cpus", &cpuset(release, 0))?;
        self.put(image, rw, "panicstr", &long(0))?;
        self.put(image, rw, "dumping", &int(0))?;
        self.put(image, rw, "physmem", &long(pages))?;
        self.put(image, rw, "realmem", &long(pages))?;
        self.put(image, rw, "msgbufp", &long(facts.msgbufp))?;
        self.dump_set(image, recipe, (mem, set), facts.vm_page_array)?;
        match facts.stoppcbs {
            Some(at) => self.put(image, rw, "stoppcbs", &long(at))?,
            None => {
                let bytes = pcb * u64::from(recipe.cpus);
                image.define(rw, "stoppcbs", bytes)?
            }
        };
        self.machine(image, release, mem, facts)?;
        self.linker(image, mem)?;
        Ok(Live {
            ticks: self.put(image, rw, "ticks", &int(TICKS))?,
            time_second: self.put(
                image,
                rw,
                "time_second",
                &long(1_700_000_000),
            )?,
            time_uptime: self.put(image, rw, "time_uptime", &long(16))?,
            kernel_vm_end: self.put(
                image,
                rw,
                "kernel_vm_end",
                &long(facts.kernel_vm_end),
            )?,
        })
    }

    /// dump_avail and what counts along it.
    fn dump_set(
        &mut self,
        image: &mut Image,
        recipe: &Recipe,
        (mem, set): (&Memory, &DumpSet),
        vm_page_array: u64,
    ) -> core::result::Result<(), RecipeError> {
        let rw = Section::Data;
        let mut avail = Vec::new();
        for &(start, end) in recipe.ram.iter().chain(&[(0, 0)]) {
            avail.extend(start.to_le_bytes());
            avail.extend(end.to_le_bytes());
        }
        self.put(image, rw, "phys_avail", &avail)?;
        self.put(image, rw, "dump_avail", &avail)?;
        let long = |n: u64| n.to_le_bytes();
        let dump = mem.kva.dmap(set.storage);
        self.put(image, rw, "vm_page_dump", &long(dump))?;
        if recipe.machine.has_dump_avail(recipe.minidump) {
            self.put(image, rw, "vm_page_dump_pages", &long(set.bits))?;
        } else {
            let bytes = (set.bits / 8) as u32;
            self.put(image, rw, "vm_page_dump_size", &bytes.to_le_bytes())?;
        }
        self.put(image, rw, "vm_page_array", &long(vm_page_array))?;
        let pages = recipe.ram_bytes() >> 12;
        self.put(image, rw, "vm_page_array_size", &long(pages))?;
        Ok(())
    }

    /// Page tables and address ranges.
    fn machine(
        &mut self,
        image: &mut Image,
        release: &Release,
        mem: &Memory,
        facts: &Facts,
    ) -> core::result::Result<(), RecipeError> {
        let (abs, rw) = (Section::Absolute, Section::Data);
        let kva = &mem.kva;
        let long = |n: u64| n.to_le_bytes();
        match kva.machine {
            Machine::Amd64 => {
                image.name(abs, "kernbase", AMD64_KERNBASE);
                image.name(abs, "vm_maxuser_address", 0x8000_0000_0000);
                self.put(image, rw, "KPML4phys", &long(facts.root))?;
                self.put(image, rw, "dmaplimit", &long(kva.dmaplimit))?;
                self.put(image, rw, "kernphys", &long(kva.kernphys))?;
                if release.has_kva_layout() {
                    let layout = kva_layout(kva.dmapbase, kva.dmapend);
                    let bytes: Vec<u8> =
                        layout.iter().flat_map(|n| n.to_le_bytes()).collect();
                    self.put(image, rw, "kva_layout", &bytes)?;
                }
            }
            Machine::Arm64 => {
                image.name(abs, "kernbase", kva.kernbase);
                image.name(abs, "vm_maxuser_address", 0x1_0000_0000_0000);
                self.put(image, rw, "dmap_phys_base", &long(kva.dmapphys))?;
                self.put(image, rw, "dmap_phys_max", &long(kva.dmaplimit))?;
                let end = kva.dmap(kva.dmaplimit);
                self.put(image, rw, "dmap_max_addr", &long(end))?;
                self.put(image, rw, "pagetable_l0_ttbr1", &long(facts.root))?;
                // C: struct pmap: pm_ttbr with CnP, pm_l0_paddr, pm_l0.
                let mut pmap = [0; 256];
                let words = [facts.root | 1, facts.root, kva.dmap(facts.root)];
                let at = pmap.as_chunks_mut().0.iter_mut().skip(6);
                for (slot, word) in at.zip(words) {
                    *slot = long(word);
                }
                self.put(image, rw, "kernel_pmap_store", &pmap)?;
            }
        }
        Ok(())
    }

    /// The list of loaded files: the kernel alone. C: `linker_files`.
    fn linker(
        &mut self,
        image: &mut Image,
        mem: &Memory,
    ) -> core::result::Result<(), RecipeError> {
        let name = self.string(image, None, "kernel")?;
        let path = self.string(image, None, "/boot/kernel/kernel")?;
        let rw = Section::Data;
        let mut file = [0u64; 16];
        let head = image.define(rw, "linker_files", 16)?;
        let at = image.room(rw, 128, 64)?;
        for (word, value) in [
            // refs and userrefs, link, filename, pathname, id, address, size.
            (1, 1 << 32 | 1),
            (4, head),
            (5, name),
            (6, path),
            (7, 1),
            (8, mem.kva.text),
            (9, mem.kva.image_bytes),
        ] {
            if let Some(w) = file.get_mut(word) {
                *w = value;
            }
        }
        let bytes = file.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.values.push((at, bytes));
        let queue = [at, at + 24];
        let bytes = queue.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.values.push((head, bytes));
        self.put(image, rw, "linker_kernel_file", &at.to_le_bytes())?;
        Ok(())
    }

    /// Where the lists of processes start.
    pub(super) fn heads(
        &mut self,
        image: &mut Image,
        release: &Release,
        pidhashtbl: u64,
    ) -> core::result::Result<ListHeads, RecipeError> {
        let rw = Section::Data;
        let mask = (PIDHASH_ENTRIES - 1).to_le_bytes();
        self.put(image, rw, "pidhash", &mask)?;
        self.put(image, rw, "pidhashtbl", &pidhashtbl.to_le_bytes())?;
        Ok(ListHeads {
            allproc: image.define(rw, "allproc", 8)?,
            zombproc: match release.has_zombproc() {
                true => Some(image.define(rw, "zombproc", 8)?),
                false => None,
            },
            pidhashtbl,
            nprocs: image.define(rw, "nprocs", 4)?,
        })
    }

    /// The thread that makes the dump, where debuggers look for it.
    /// C: `dump_savectx`.
    pub(super) fn savectx(
        &mut self,
        image: &mut Image,
        recipe: &Recipe,
        (mem, procs): (&Memory, &Procs),
    ) -> core::result::Result<(), RecipeError> {
        let rw = Section::Data;
        let size = pcb_size(recipe.machine);
        let pcb = image.define(rw, "dumppcb", size)?;
        let tid = recipe.dumper.or_else(|| procs.dumper()).unwrap_or(0);
        self.put(image, rw, "dumptid", &(tid as u32).to_le_bytes())?;
        let init = procs.address(1).unwrap_or(0);
        self.put(image, rw, "initproc", &init.to_le_bytes())?;
        let registers = procs.registers(tid).ok_or_else(|| {
            RecipeError::machine(std::format!("no thread has tid {tid}"))
        })?;
        mem.kva
            .pa(pcb)
            .ok_or(Errno::EFAULT)
            .and_then(|pa| write_pcb(mem, pa, &recipe.release, registers))
            .map_err(|e| RecipeError::machine(std::format!("dumppcb: {e}")))
    }

    /// Stores them.
    pub(super) fn write(&self, mem: &Memory) -> Result<()> {
        self.values.iter().try_for_each(|(at, bytes)| mem.write(*at, bytes))
    }
}

/// `ticks` at boot.
pub(super) const TICKS: u32 = 0x4000;

/// C: `struct kva_layout_s`, without the sanitizers' shadows.
fn kva_layout(dmap_low: u64, dmap_high: u64) -> [u64; 15] {
    let la57 = dmap_low < 0xffff_0000_0000_0000;
    let (kva_min, lm, rec_pt) = if la57 {
        (0xff00_0000_0000_0000, 0xff80_0000_0000_0000, 0xff00_0000_0000_0000)
    } else {
        (0xffff_8000_0000_0000, 0xffff_8080_0000_0000, 0xffff_8000_0000_0000)
    };
    let mut layout = [0; 15];
    let values = [
        kva_min,
        0xffff_ffff_ffff_f000,
        dmap_low,
        dmap_high,
        lm,
        lm + (4 << 40),
        0xffff_fe00_0000_0000,
        0xffff_ffff_ffff_f000,
        rec_pt,
    ];
    for (to, from) in layout.iter_mut().zip(values) {
        *to = from;
    }
    layout
}

/// C: `cpuset_t` with the first `cpus` in it; `MAXCPU` is 256, from 15 on
/// 1024.
fn cpuset(release: &Release, cpus: u32) -> Vec<u8> {
    let bytes = if release.osreldate >= 1_500_000 { 128 } else { 32 };
    (0..bytes)
        .map(|i| match cpus.saturating_sub(8 * i) {
            n @ 0..8 => ((1u16 << n) - 1) as u8,
            _ => 0xff,
        })
        .collect()
}
