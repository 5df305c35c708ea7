// SPDX-License-Identifier: BSD-2-Clause
//! A hypervisor writes the registers of all CPUs into the notes of its image.
//! Debuggers look for those of running threads elsewhere: in `stoppcbs`, where
//! `stopped_cpus` says that a CPU has put them. They are put there, over the
//! copied pages. No thread took the dump: `dumptid`, which may be that of an
//! earlier one, is 0.

use super::super::overlay::Overlay;
use super::super::{CpuState, MemoryImage};
use super::tables::Walker;
use crate::MemoryError;
use crate::elf::Kernel;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::params::Params;
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;
/// C: `MAXCPU` is 1024 at most.
const MAX_CPUS: u32 = 1024;
/// A pcb is some hundred bytes.
const MAX_PCB: u32 = 4096;
/// Members of a thread are within it.
const MAX_OFFSET: u32 = 64 << 10;

/// Where things are in this kernel.
pub(super) struct Places {
    stoppcbs: Vaddr,
    pcb_size: u64,
    stopped_cpus: Vaddr,
    td_oncpu: u64,
    dumptid: Option<Vaddr>,
    cpuid_to_pcpu: Option<Vaddr>,
}

impl Places {
    pub(super) fn find(walker: &Walker, kernel: &Kernel) -> Option<Self> {
        let int = |name: &str, most: u32| {
            let mut bytes = [0; 4];
            let at = kernel.find(name)?.address;
            walker.loaded(at, &mut bytes).ok()?;
            let n = u32::from_le_bytes(bytes);
            (n <= most).then_some(u64::from(n))
        };
        let stoppcbs = kernel.find("stoppcbs")?;
        // From 14 on it is a pointer.
        let stoppcbs = if stoppcbs.size == 8 {
            let mut bytes = [0; 8];
            walker.loaded(stoppcbs.address, &mut bytes).ok()?;
            Vaddr(u64::from_le_bytes(bytes))
        } else {
            stoppcbs.address
        };
        let address = |name: &str| kernel.find(name).map(|s| s.address);
        Some(Self {
            stoppcbs,
            pcb_size: int("pcb_size", MAX_PCB)?,
            stopped_cpus: address("stopped_cpus")?,
            td_oncpu: int("thread_off_td_oncpu", MAX_OFFSET)?,
            dumptid: address("dumptid"),
            cpuid_to_pcpu: address("cpuid_to_pcpu"),
        })
    }

    /// As a parameter page has them.
    pub(super) fn of_page(params: &Params) -> Option<Self> {
        let known = |va: u64| (va != 0).then_some(Vaddr(va));
        let is_sane = (1..=MAX_PCB).contains(&params.pcb_bytes)
            && (1..=MAX_OFFSET).contains(&params.td_oncpu);
        Some(Self {
            stoppcbs: known(params.stoppcbs_va).filter(|_| is_sane)?,
            pcb_size: u64::from(params.pcb_bytes),
            stopped_cpus: known(params.stopped_cpus_va)?,
            td_oncpu: u64::from(params.td_oncpu),
            dumptid: known(params.dumptid_va),
            cpuid_to_pcpu: known(params.cpuid_to_pcpu_va),
        })
    }
}

/// A CPU in the kernel: its number and its registers.
struct Running<'a> {
    cpu: u32,
    state: &'a CpuState,
}

/// `walker` with the registers where debuggers look, if the image has them, and
/// of how many CPUs those are.
pub(super) fn show(
    walker: Walker,
    places: Option<Places>,
    notes: &mut Vec<String>,
) -> (Walker, u32) {
    let image = Arc::clone(walker.image());
    let cpus = &image.claims().cpus;
    let machine = walker.machine();
    if !cpus.iter().any(|cpu| cpu.machine() == machine) {
        return (walker, 0);
    }
    let Some(places) = places else {
        notes.push(
            "the registers of its notes are not used: kernel symbols are \
             missing"
                .into(),
        );
        return (walker, 0);
    };
    let running: Vec<_> = cpus
        .iter()
        .enumerate()
        .filter(|(_, cpu)| cpu.machine() == machine)
        .filter_map(|(n, state)| running(&walker, &places, n as u64, state))
        .collect();
    let mut overlay = Overlay::new(Arc::clone(&image));
    let put_count = running
        .iter()
        .filter(|cpu| stop(&walker, &mut overlay, &places, cpu).is_ok())
        .count();
    if let Some(dumptid) = places.dumptid.filter(|_| put_count > 0) {
        let _ = put(&walker, &mut overlay, dumptid, &[0; 4]);
    }
    let user = cpus.iter().filter(|cpu| cpu.is_user()).count();
    notes.push(format!(
        "registers of {put_count} of {} CPUs are from its notes; {user} ran user code",
        cpus.len()
    ));
    let put_count = u32::try_from(put_count).unwrap_or(u32::MAX);
    (walker.with_image(Arc::new(overlay)), put_count)
}

fn read_int(walker: &Walker, va: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    walker.read(Vaddr(va), &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn read_pointer(walker: &Walker, va: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    walker.read(Vaddr(va), &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// The thread that the image's CPU number `n` runs, if it runs in the kernel.
fn running<'a>(
    walker: &Walker,
    places: &Places,
    n: u64,
    state: &'a CpuState,
) -> Option<Running<'a>> {
    if state.is_user() {
        return None;
    }
    // Hypervisors number them as the kernel does.
    let slot = places.cpuid_to_pcpu.and_then(|table| {
        read_pointer(walker, table.0.checked_add(n.checked_mul(8)?)?)
    });
    state.pcpus().into_iter().chain(slot).find_map(|pcpu| {
        // C: pc_curthread is the first member of struct pcpu.
        let thread = read_pointer(walker, pcpu)?;
        let cpu = read_int(walker, thread.checked_add(places.td_oncpu)?)?;
        (cpu < MAX_CPUS).then_some(Running { cpu, state })
    })
}

/// Puts registers into a pcb.
fn put_pcb(
    walker: &Walker,
    overlay: &mut Overlay,
    pcb: Vaddr,
    state: &CpuState,
) -> Result<(), MemoryError> {
    for (offset, value) in state.pcb(walker.bounds.osreldate) {
        let at = Vaddr(pcb.0.saturating_add(offset));
        put(walker, overlay, at, &value.to_le_bytes())?;
    }
    Ok(())
}

fn stop(
    walker: &Walker,
    overlay: &mut Overlay,
    places: &Places,
    running: &Running<'_>,
) -> Result<(), MemoryError> {
    let cpu = u64::from(running.cpu);
    let into = cpu.saturating_mul(places.pcb_size);
    let at = places.stoppcbs.0.saturating_add(into);
    put_pcb(walker, overlay, Vaddr(at), running.state)?;
    let at = places.stopped_cpus.0.saturating_add(cpu / 8);
    let pa = translate(walker, Vaddr(at))?;
    let mut byte = [0];
    overlay.read(pa, &mut byte)?;
    let [set] = byte;
    overlay.put(pa, &[set | 1 << (cpu % 8)])
}

fn translate(walker: &Walker, va: Vaddr) -> Result<Paddr, MemoryError> {
    match walker.direct(va) {
        Some(pa) => Ok(pa),
        None => walker.walk(va),
    }
}

/// Puts bytes at a kernel address, across pages.
fn put(
    walker: &Walker,
    overlay: &mut Overlay,
    va: Vaddr,
    bytes: &[u8],
) -> Result<(), MemoryError> {
    let (mut at, mut left) = (va.0, bytes);
    while !left.is_empty() {
        let n = PAGE.saturating_sub(at % PAGE) as usize;
        let (part, rest) = left.split_at(n.min(left.len()));
        overlay.put(translate(walker, Vaddr(at))?, part)?;
        at = at.saturating_add(part.len() as u64);
        left = rest;
    }
    Ok(())
}
