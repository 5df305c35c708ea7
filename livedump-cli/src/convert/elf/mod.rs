// SPDX-License-Identifier: BSD-2-Clause
//! An ELF core that lldb and gdb open on any host: kernel addresses, and a
//! thread for each thread of the kernel.
//!
//! ```text
//!  ELF header    ET_CORE; one section header where there are 65535 program
//!                headers or more (PN_XNUM)
//!  PT_NOTE       the threads' registers and names
//!  PT_LOAD       one for each run of pages in the direct map,
//!                one for each run in the kernel map
//!  pages         once, in the order of their physical addresses; page tables
//!                that the dump lacks
//! ```
//!
//! Program headers are made twice, to be counted and to be written: none is
//! kept.

mod notes;
mod segments;
mod threads;

pub use notes::{Debugger, Thread, Threads};
pub use threads::Doubts;

use super::copy::copy;
use super::tables::WithTables;
use super::{Error, Job, Runs, Sink};
use livedump_vmcore::Vmcore;
use livedump_vmcore::image::{MemoryImage, Run};
use livedump_vmcore::mappings::Unfollowed;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::Machine;
use segments::{Segment, Segments};

const PAGE: u64 = PAGE_SIZE as u64;
const EHDR: u64 = 64;
const PHDR: u64 = 56;
const SHDR: u64 = 64;
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_R: u32 = 4;
const PF_RWX: u32 = 7;
/// The number of program headers is in the first section header.
const PN_XNUM: u16 = 0xffff;
const OSABI_NONE: u8 = 0;
const OSABI_FREEBSD: u8 = 9;

/// Where everything is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    headers: u64,
    section: Option<u64>,
    notes: u64,
    pages: u64,
}

impl Places {
    fn new(headers: u64, notes: u64) -> Option<Self> {
        let end = EHDR.checked_add(PHDR.checked_mul(headers)?)?;
        let extended = headers >= u64::from(PN_XNUM);
        let section = extended.then_some(end);
        let at = if extended { end.checked_add(SHDR)? } else { end };
        let pages = at.checked_add(notes)?.checked_next_multiple_of(PAGE)?;
        Some(Self { headers, section, notes: at, pages })
    }
}

/// Pages of the file that are there.
fn there(core: &Vmcore) -> u64 {
    if core.image().is_some() {
        return u64::MAX;
    }
    let len = core.source().known_len().unwrap_or(u64::MAX);
    len.saturating_sub(core.layout().pages) / PAGE
}

/// Writes an ELF core of a dump.
///
/// # Errors
/// Why it ended early.
pub fn write(
    core: &Vmcore,
    tables: Option<&WithTables<'_>>,
    threads: &Threads,
    mut sink: Sink<'_>,
    job: &mut Job<'_>,
) -> Result<Unfollowed, Error> {
    let machine = core.header().machine;
    let notes = threads.notes(machine);
    let there = there(core);
    let mut headers = 1u64;
    let all = Segments { core, tables, there };
    let unfollowed = all.for_each(&mut |_| {
        headers = headers.saturating_add(1);
        job.check()
    })?;
    let too_large = || Error::TooLarge(format!("{headers} program headers"));
    if u32::try_from(headers).is_err() {
        return Err(too_large());
    }
    let places = Places::new(headers, notes.len() as u64);
    let places = places.ok_or_else(too_large)?;
    sink.write(&header(machine, threads.debugger, places))?;
    let mut buffer = Vec::new();
    let note = Header {
        kind: (PT_NOTE, PF_R),
        offset: places.notes,
        address: (0, 0),
        size: (notes.len() as u64, 0),
        align: 4,
    };
    buffer.extend(note.bytes());
    all.for_each(&mut |segment| {
        buffer.extend(Header::of(segment, places).bytes());
        if buffer.len() >= 1 << 16 {
            job.check()?;
            sink.write(&buffer)?;
            buffer.clear();
        }
        Ok(())
    })?;
    sink.write(&buffer)?;
    if let Some(at) = places.section {
        sink.skip_to(at, job)?;
        sink.write(&section(headers))?;
    }
    sink.skip_to(places.notes, job)?;
    sink.write(&notes)?;
    sink.skip_to(places.pages, job)?;
    pages(core, there, &mut sink, job)?;
    for (_, page) in tables.iter().flat_map(|tables| tables.pages()) {
        sink.pages(page)?;
    }
    sink.finish()?;
    Ok(unfollowed)
}

/// The pages, as far as the file has them.
fn pages(
    core: &Vmcore,
    there: u64,
    sink: &mut Sink<'_>,
    job: &mut Job<'_>,
) -> Result<(), Error> {
    let mut rank = 0u64;
    copy(core, sink, job, |copier, sink, job| {
        let mut runs = Runs::new(core);
        while let Some(run) = runs.next()? {
            let all = run.end.saturating_sub(run.start) / PAGE;
            let n = there.saturating_sub(rank).min(all);
            let cut = run.start.saturating_add(n.saturating_mul(PAGE));
            copier.run(Run { start: run.start, end: cut }, sink, job)?;
            if cut < run.end {
                // Why it is not there is the same for all of them.
                let (mut page, lost) = ([0; PAGE_SIZE], all.saturating_sub(n));
                if let Err(e) = core.read(Paddr(cut), &mut page) {
                    job.problems.add_many(Paddr(cut), &e, lost);
                }
            }
            rank = rank.saturating_add(all);
        }
        Ok(())
    })
}

fn header(machine: Machine, debugger: Debugger, places: Places) -> Vec<u8> {
    let mut out = Vec::new();
    let osabi = match debugger {
        Debugger::Lldb => OSABI_FREEBSD,
        Debugger::Gdb => OSABI_NONE,
    };
    out.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, osabi]);
    out.extend([0; 8]);
    let em = match machine {
        Machine::Amd64 => EM_X86_64,
        Machine::Arm64 => EM_AARCH64,
    };
    out.extend(ET_CORE.to_le_bytes());
    out.extend(em.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend(EHDR.to_le_bytes());
    out.extend(places.section.unwrap_or(0).to_le_bytes());
    out.extend(0u32.to_le_bytes());
    let number = match places.section {
        None => u16::try_from(places.headers).unwrap_or(PN_XNUM),
        Some(_) => PN_XNUM,
    };
    let sections = u16::from(places.section.is_some());
    let size = if sections > 0 { SHDR as u16 } else { 0 };
    for n in [EHDR as u16, PHDR as u16, number, size, sections, 0] {
        out.extend(n.to_le_bytes());
    }
    out
}

/// The section header that has the number of program headers, in `sh_info`.
fn section(headers: u64) -> [u8; SHDR as usize] {
    let mut out = [0; SHDR as usize];
    let n = u32::try_from(headers).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(slot) = out.get_mut(44..48) {
        slot.copy_from_slice(&n);
    }
    out
}

/// A program header.
struct Header {
    kind: (u32, u32),
    offset: u64,
    /// Virtual and physical.
    address: (u64, u64),
    /// In the file and in memory.
    size: (u64, u64),
    align: u64,
}

impl Header {
    fn of(s: Segment, places: Places) -> Self {
        let into = s.rank.saturating_mul(PAGE);
        Self {
            kind: (PT_LOAD, PF_RWX),
            offset: places.pages.saturating_add(into),
            address: (s.va.0, s.pa.0),
            size: (s.bytes, s.bytes),
            align: PAGE,
        }
    }

    fn bytes(&self) -> [u8; PHDR as usize] {
        let words = [
            u64::from(self.kind.1) << 32 | u64::from(self.kind.0),
            self.offset,
            self.address.0,
            self.address.1,
            self.size.0,
            self.size.1,
            self.align,
        ];
        let mut out = [0; PHDR as usize];
        for (slot, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
            *slot = word.to_le_bytes();
        }
        out
    }
}

#[cfg(test)]
mod tests;
