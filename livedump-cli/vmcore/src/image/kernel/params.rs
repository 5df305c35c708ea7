// SPDX-License-Identifier: BSD-2-Clause
//! A kernel's memory by its parameter page, without its file. None of it is
//! believed: the checksum, the page's own address, then addresses that a kernel
//! can have, then its page tables, which have to lead to the kernel and to the
//! witness, and then what they lead to.

use super::facts::{ImageFacts, VmPageTypes};
use super::registers::{self, Places};
use super::tables::Walker;
use super::variables::{
    self, Bounds, MAX_PADDR, MAX_RANGES, check_bits, kernbase,
    message_buffer_of,
};
use super::{KernelError, KernelMemory, PAGE, STEP};
use crate::image::{CpuState, MemoryImage};
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::arch::{ENTRIES, Entry, Machine, span};
use memdev::params::{
    MACHINE_AMD64, MACHINE_ARM64, PageError, Params, WITNESS_BYTES,
};
use std::sync::Arc;

/// The least address of a kernel map, with four levels of tables.
const LOWEST: u64 = 0xffff_0000_0000_0000;
/// C: `version`.
const TEXT: usize = 512;
/// C: `nkpt`: tables of the 2 GB from KERNBASE on.
const MAX_NKPT: u64 = 1 << 10;
/// C: `PG_FRAME`.
const CR3_FRAME: u64 = 0x000f_ffff_ffff_f000;
/// C: `CR4_LA57`.
const CR4_LA57: u64 = 1 << 12;

/// Why a parameter page is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("there is none")]
    Absent,
    /// It was written, and not as it is now.
    #[error(transparent)]
    Page(#[from] PageError),
    /// It is of somewhere else.
    #[error("copied from {0}")]
    Copied(Paddr),
    /// No kernel is like that.
    #[error("not of a kernel: {0}")]
    NoKernel(String),
    /// Its kernel has ended, or has taken it back.
    #[error("stale: the kernel that wrote it runs no more ({0})")]
    Stale(String),
    /// Its kernel is there, and not as a whole.
    #[error("what it leads to: {0}")]
    Memory(String),
}

impl From<KernelError> for Refusal {
    fn from(e: KernelError) -> Self {
        Self::Memory(crate::chain(&e))
    }
}

impl KernelMemory {
    /// The kernel that wrote the parameter page at `pa`.
    ///
    /// # Errors
    /// There is none, or it is not to be used.
    pub fn at_page(
        image: &Arc<dyn MemoryImage>,
        pa: Paddr,
    ) -> Result<Self, Refusal> {
        let mut page = [0; PAGE_SIZE];
        if image.read(pa, &mut page).is_err() {
            return Err(Refusal::Absent);
        }
        let Some(params) = Params::decode(&page)? else {
            return Err(Refusal::Absent);
        };
        if params.pa != pa.0 {
            return Err(Refusal::Copied(Paddr(params.pa)));
        }
        let walker = walker(image, &params).map_err(Refusal::NoKernel)?;
        is_alive(&walker, &params).map_err(Refusal::Stale)?;
        memory(walker, params)
    }

    /// What the parameter page tells that no kernel file is needed for.
    #[must_use]
    pub fn page_facts(&self) -> Option<ImageFacts> {
        let params = self.params.as_deref()?;
        let hostname = self.hostname(Vaddr(params.hostname_va));
        let offset = u64::from;
        let types = VmPageTypes {
            segment: (
                offset(params.segment_bytes),
                [
                    offset(params.segment_start),
                    offset(params.segment_end),
                    offset(params.segment_first),
                ],
            ),
            page: (offset(params.page_bytes), offset(params.page_flags)),
            flags: offset(params.page_flags_bytes),
        };
        let segments = Vaddr(params.segments_va);
        Some(ImageFacts {
            hostname: hostname.unwrap_or_default(),
            pages: self.vm_pages(types, segments, params.segments).ok(),
            instant: None,
        })
    }

    /// In what it differs from what was found otherwise, in words.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let avail = |m: &Self| (m.dump_avail.clone(), m.dump_avail_bytes > 0);
        let dmap = |m: &Self| {
            let walker = m.walker();
            (walker.dmapbase(), walker.dmapend(), walker.dmapphys())
        };
        let bitset = |m: &Self| (m.bitset, m.bitset_bits);
        let msgbuf = |m: &Self| (m.msgbuf, m.msgbuf_bytes);
        [
            ("the physical base", self.base == other.base),
            (
                "the root of its tables",
                self.walker.root() == other.walker.root(),
            ),
            ("the start of the kernel map", self.kernbase == other.kernbase),
            ("the direct map", dmap(self) == dmap(other)),
            ("dump_avail", avail(self) == avail(other)),
            ("vm_page_dump", bitset(self) == bitset(other)),
            ("the message buffer", msgbuf(self) == msgbuf(other)),
            ("version", self.version == other.version),
        ]
        .into_iter()
        .filter_map(|(name, is_same)| (!is_same).then_some(name))
        .collect()
    }
}

/// The page tables that a page tells of, if a kernel can have them.
fn walker(
    image: &Arc<dyn MemoryImage>,
    params: &Params,
) -> Result<Walker, String> {
    let machine = match params.machine {
        MACHINE_AMD64 => Machine::Amd64,
        MACHINE_ARM64 => Machine::Arm64,
        n => return Err(format!("machine {n}")),
    };
    let five = machine == Machine::Amd64 && params.levels == 5;
    if params.levels != 4 && !five {
        return Err(format!("{} levels of page tables", params.levels));
    }
    if params.kernbase != kernbase(machine) {
        return Err(format!("KERNBASE {:#x}", params.kernbase));
    }
    let kernphys = params.kernphys;
    if !(STEP..MAX_PADDR).contains(&kernphys) || !kernphys.is_multiple_of(STEP)
    {
        return Err(format!("kernphys {kernphys:#x}"));
    }
    for root in [params.root, params.top] {
        if !(1..MAX_PADDR).contains(&root) || !root.is_multiple_of(PAGE) {
            return Err(format!("page tables at {root:#x}"));
        }
    }
    let (start, end) = (params.kva_start, params.kva_end);
    if start < LOWEST || end <= start || !start.is_multiple_of(PAGE) {
        return Err(format!("a kernel map from {start:#x} to {end:#x}"));
    }
    if !(1..=3).contains(&params.minidump_version) {
        return Err(format!("minidump version {}", params.minidump_version));
    }
    let bounds = Bounds {
        kernbase: Vaddr(start),
        dmapbase: Vaddr(params.dmapbase),
        dmapend: Vaddr(params.dmapend),
        dmapphys: params.dmapphys,
        osreldate: params.osreldate,
    };
    let bounds = bounds.checked()?;
    let places = (Paddr(params.phys_base()), Paddr(params.root));
    Ok(Walker::with(Arc::clone(image), machine, places, bounds))
}

/// Whether the tables lead to the kernel and to the witness.
fn is_alive(walker: &Walker, params: &Params) -> Result<(), String> {
    let lost = || "its page tables do not lead to it".to_owned();
    let text = Vaddr(params.kernbase.saturating_add(STEP));
    if walker.walk(text).ok() != Some(Paddr(params.kernphys)) {
        return Err(lost());
    }
    if params.levels == 5 {
        let top = table_below(walker, Paddr(params.top));
        if top != Some(Paddr(params.root)) {
            return Err(lost());
        }
    } else if params.top != params.root {
        return Err(lost());
    }
    let at = walker.walk(Vaddr(params.witness_va));
    if at.ok() != Some(Paddr(params.witness_pa)) {
        return Err("its page tables do not lead to its witness".into());
    }
    let mut witness = [0; WITNESS_BYTES];
    let read = walker.image().read(Paddr(params.witness_pa), &mut witness);
    match read {
        Err(e) => return Err(format!("its witness: {}", crate::chain(&e))),
        Ok(()) if witness != params.witness() => {
            return Err("its witness differs".into());
        }
        Ok(()) => {}
    }
    let cpus = &walker.image().claims().cpus;
    let mut uses = cpus.iter().map(|cpu| uses(walker, cpu));
    match uses.clone().any(|uses| uses == Some(true)) {
        true => Ok(()),
        // Nothing is known of a CPU that ran a process.
        false if uses.len() == 0 || uses.any(|uses| uses.is_none()) => Ok(()),
        false => Err("no CPU uses its page tables".into()),
    }
}

/// The table that has KERNBASE, of a root of five levels.
fn table_below(walker: &Walker, top: Paddr) -> Option<Paddr> {
    let last = ENTRIES.saturating_sub(1);
    let entry = walker.entry(top, last).ok()?;
    match walker.machine().decode(4, entry) {
        Entry::Table(pa) => Some(pa),
        Entry::Invalid | Entry::Mapped(_) => None,
    }
}

/// Whether a CPU has this kernel's map; `None` where that is not to be told.
/// Processes have tables of their own, which share what is below the root.
fn uses(walker: &Walker, cpu: &CpuState) -> Option<bool> {
    let CpuState::Amd64(state) = cpu else { return None };
    let root = state.cr3 & CR3_FRAME;
    if cpu.is_user() || root == 0 || walker.machine() != Machine::Amd64 {
        return None;
    }
    let mut root = Paddr(root);
    if state.cr4 & CR4_LA57 != 0 {
        root = table_below(walker, root)?;
    }
    let last = ENTRIES.saturating_sub(1);
    let frame = |root| walker.entry(root, last).ok().map(|e| e & CR3_FRAME);
    Some(frame(root)? == frame(walker.root())?)
}

/// Everything that a minidump is made of.
fn memory(walker: Walker, params: Params) -> Result<KernelMemory, Refusal> {
    let machine = walker.machine();
    let read = |name: &'static str, pa: u64, out: &mut [u8]| {
        walker.image().read(Paddr(pa), out).map_err(|e| {
            Refusal::Memory(format!("{name} at {pa:#x}: {}", crate::chain(&e)))
        })
    };
    let bad = |name: &str, what: &str| {
        Err(Refusal::Memory(format!("{name}: {what}")))
    };
    let mut text = [0; TEXT];
    read("version", params.version_pa, &mut text)?;
    let Some(version) = text_of(&text) else {
        return bad("version", "not FreeBSD's");
    };
    let mut bytes = vec![0; 16 * MAX_RANGES];
    let len = usize::try_from(params.dump_avail_len).unwrap_or(0);
    let bytes = bytes.get_mut(..len).unwrap_or_default();
    read("dump_avail", params.dump_avail_pa, bytes)?;
    let dump_avail = variables::pairs(bytes);
    let absolute = params.dump_avail_bytes == 0;
    let has_section = machine.has_dump_avail(params.minidump_version);
    if has_section == absolute
        || u64::from(params.dump_avail_bytes) > PAGE
        || dump_avail.is_empty()
    {
        return bad("dump_avail", "not as in a minidump of its version");
    }
    check_bits(params.bitset_bits, &dump_avail, absolute)?;
    let mut header = [0; 16];
    read("msgbufp", params.msgbuf_pa, &mut header)?;
    let (msgbuf, msgbuf_bytes) = message_buffer_of(&header, params.msgbuf_pa)?;
    let mut word = [0; 8];
    read("kernel_vm_end", params.kernel_vm_end_pa, &mut word)?;
    let mut kva_end = u64::from_le_bytes(word);
    if params.nkpt_pa != 0 {
        let mut word = [0; 4];
        read("nkpt", params.nkpt_pa, &mut word)?;
        let nkpt = u64::from(u32::from_le_bytes(word));
        if nkpt > MAX_NKPT {
            return bad("nkpt", &format!("{nkpt} tables"));
        }
        let tables = nkpt.saturating_mul(span(1));
        kva_end = kva_end.max(params.kernbase.saturating_add(tables));
    }
    // It only grows.
    if kva_end < params.kva_end {
        return bad(
            "kernel_vm_end",
            &format!("{kva_end:#x} is below the start"),
        );
    }
    let mut notes = variables::notes(&walker);
    notes.push(format!(
        "its kernel was found by the parameter page at {:#x}",
        params.pa
    ));
    let places = Places::of_page(&params);
    let (walker, registers) = registers::show(walker, places, &mut notes);
    Ok(KernelMemory {
        base: walker.base(),
        minidump_version: params.minidump_version,
        kernbase: Vaddr(params.kva_start),
        kva_end: Vaddr(kva_end),
        dump_avail,
        dump_avail_bytes: params.dump_avail_bytes,
        bitset: Vaddr(params.bitset_va),
        bitset_bits: params.bitset_bits,
        msgbuf,
        msgbuf_bytes,
        version,
        registers,
        notes,
        walker,
        params: Some(Box::new(params)),
    })
}

/// A kernel's version: "FreeBSD 15.1-RELEASE ...", and a NUL.
fn text_of(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&b| b == 0)?;
    let text = bytes.get(..end)?;
    let is_text = |&b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    let is_it = text.starts_with(b"FreeBSD ") && text.iter().all(is_text);
    is_it.then(|| String::from_utf8_lossy(text).into_owned())
}
