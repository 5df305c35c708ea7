// SPDX-License-Identifier: BSD-2-Clause
//! ELF cores whose segments have physical addresses: FreeBSD's full dumps,
//! QEMU's dump-guest-memory, and those that other programs make of machines.
//! C: `dumpsys_generic` (sys/kern/kern_dump.c), `dumpsys_write_aux_headers`
//! (sys/x86/x86/dump_machdep.c).
//!
//! Only the class, the byte order, the type, the machine and the program
//! headers matter: QEMU has a wrong e_ehsize, and EM_386 where the guest's CPU
//! was in its firmware; FreeBSD has no section headers and a size for them.

use super::notes::{Notes, number};
use super::segments::{Extents, Segments};
use super::{Claims, Format, ImageError, MemoryImage, fields};
use crate::source::Source;
use memdev::arch::Machine;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, EM_386, EM_AARCH64, EM_X86_64,
    ET_CORE, PN_XNUM, PT_LOAD, PT_NOTE,
};
use std::sync::Arc;

const EHDR: usize = 64;
const PHDR: usize = 56;
/// The last of FreeBSD's headers, which has `kernphys`. C: `PT_DUMP_DELTA`.
const PT_DUMP_DELTA: u32 = 0x6fb5_d000;
/// Program headers that are read; a machine has some tens of ranges.
const MAX_PHDRS: u64 = 1 << 18;
/// Read at once.
const CHUNK: u64 = 1024;

/// The image, if the file is an ELF core. Other ELF files are none: a kernel
/// is not a machine's memory.
///
/// # Errors
/// It is damaged, or not of a machine that is read here.
pub fn open(
    source: &Arc<dyn Source>,
    head: &[u8],
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    if !head.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let part = "ELF header";
    if head.len() < EHDR {
        let end = head.len() as u64;
        return Err(ImageError::Truncated { part, end });
    }
    let (class, data) = (head.get(4).copied(), head.get(5).copied());
    let kind = match data {
        Some(ELFDATA2LSB) => fields::u16(head, 16),
        Some(ELFDATA2MSB) => fields::u16(head, 16).swap_bytes(),
        _ => 0,
    };
    if kind != ET_CORE {
        return Ok(None);
    }
    let unsupported = |what: &str| {
        Err(ImageError::Unsupported(format!("{what} are not read")))
    };
    if data != Some(ELFDATA2LSB) {
        return unsupported("big-endian ELF cores");
    }
    if class != Some(ELFCLASS64) {
        return unsupported("32-bit ELF cores");
    }
    let machine = match fields::u16(head, 18) {
        // A guest in its firmware is EM_386 for QEMU.
        EM_X86_64 | EM_386 => Machine::Amd64,
        EM_AARCH64 => Machine::Arm64,
        other => return unsupported(&format!("ELF cores of machine {other}")),
    };
    let size = fields::u16(head, 54);
    if usize::from(size) != PHDR {
        let what = format!("e_phentsize is {size}, not {PHDR}");
        return Err(ImageError::Damaged { part, offset: 54, what });
    }
    let mut core = Core {
        source: Arc::clone(source),
        machine,
        extents: Extents::default(),
        claims: Claims { machine: Some(machine), ..Claims::default() },
        notes: Notes::default(),
        loads: 0,
        physical: false,
        longer: false,
        short: None,
        lost: 0,
    };
    core.read_headers(head)?;
    core.finish(head).map(Some)
}

struct Core {
    source: Arc<dyn Source>,
    machine: Machine,
    extents: Extents,
    claims: Claims,
    notes: Notes,
    loads: u64,
    /// Whether a segment has a physical address, or no other one.
    physical: bool,
    /// Whether a segment is larger than what is stored of it.
    longer: bool,
    /// Where the file ends before a segment does.
    short: Option<u64>,
    /// Bytes that are after that.
    lost: u64,
}

impl Core {
    fn note(&mut self, text: impl Into<String>) {
        self.claims.notes.push(text.into());
    }

    /// Program headers; more than 65534 are counted in section 0.
    fn count(&self, head: &[u8]) -> Result<u64, ImageError> {
        let count = fields::u16(head, 56);
        if count != PN_XNUM {
            return Ok(count.into());
        }
        let mut section = [0; 64];
        let at = fields::u64(head, 40);
        let got = self.source.read_at(at, &mut section)?;
        if at == 0 || got < section.len() {
            let part = "section header 0";
            return Err(ImageError::Truncated {
                part,
                end: at.saturating_add(got as u64),
            });
        }
        Ok(fields::u32(&section, 44).into())
    }

    fn read_headers(&mut self, head: &[u8]) -> Result<(), ImageError> {
        let table = fields::u64(head, 32);
        let all = self.count(head)?;
        let count = all.min(MAX_PHDRS);
        if count < all {
            self.note(format!(
                "of {all} program headers, the first {count} are used"
            ));
        }
        let phdr = PHDR as u64;
        let mut chunk = vec![0; (CHUNK.saturating_mul(phdr)) as usize];
        let mut done = 0u64;
        while done < count {
            let n = count.saturating_sub(done).min(CHUNK);
            let bytes = n.saturating_mul(phdr) as usize;
            let part = chunk.get_mut(..bytes).unwrap_or_default();
            let at = table.saturating_add(done.saturating_mul(phdr));
            let got = self.source.read_at(at, part)?;
            for header in part.get(..got).unwrap_or_default().chunks_exact(PHDR)
            {
                self.add(header)?;
            }
            if got < bytes {
                let end = at.saturating_add(got as u64);
                if self.loads == 0 {
                    let part = "program headers";
                    return Err(ImageError::Truncated { part, end });
                }
                self.note(format!(
                    "truncated: it ends at {end:#x}, inside its program \
                     headers"
                ));
                break;
            }
            done = done.saturating_add(n);
        }
        Ok(())
    }

    fn add(&mut self, header: &[u8]) -> Result<(), ImageError> {
        let field = |at| fields::u64(header, at);
        let (offset, vaddr, paddr) = (field(8), field(16), field(24));
        let (filesz, memsz) = (field(32), field(40));
        match fields::u32(header, 0) {
            PT_LOAD => {
                self.loads = self.loads.saturating_add(1);
                self.physical |= paddr != 0 || vaddr == 0;
                self.longer |= filesz < memsz;
                let there = match self.source.known_len() {
                    Some(end) => filesz.min(end.saturating_sub(offset)),
                    None => filesz,
                };
                if there < filesz {
                    self.short = self.source.known_len();
                    let lost = filesz.saturating_sub(there);
                    self.lost = self.lost.saturating_add(lost);
                }
                let end = paddr.saturating_add(there);
                // What ends inside a page only because the file does is said
                // already.
                let end = if there < filesz { end & !0xfff } else { end };
                if end > paddr {
                    self.extents.add(paddr, end, offset);
                }
            }
            PT_NOTE => {
                let source = self.source.as_ref();
                let machine = Some(self.machine);
                self.notes.read(source, offset, filesz, machine)?;
            }
            PT_DUMP_DELTA if self.machine == Machine::Amd64 => {
                self.claims.kernphys = Some(paddr);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(
        mut self,
        head: &[u8],
    ) -> Result<Arc<dyn MemoryImage>, ImageError> {
        if self.loads == 0 {
            let what = "an ELF core without memory is no image".into();
            return Err(ImageError::Unsupported(what));
        }
        if !self.physical {
            let what = "it is the core of a process: its segments have no \
                        physical addresses";
            return Err(ImageError::Unsupported(what.into()));
        }
        if let Some(end) = self.short {
            let lost = self.lost;
            self.note(format!(
                "truncated: it ends at {end:#x}, and {lost} bytes of memory \
                 are missing"
            ));
        }
        if self.longer {
            self.note("segments are larger than what is stored of them");
        }
        if self.extents.overlap {
            self.note("segments overlap; the first one is used");
        }
        if self.extents.unaligned {
            self.note("segments begin or end inside a page, which is left out");
        }
        // C: sizeof of a pointer to the header, in QEMU's dump.c.
        let ehsize = fields::u16(head, 52);
        let format = match self.notes.qemu || ehsize == 8 {
            true => Format::QemuElf,
            false => Format::Elf,
        };
        self.notes.into_claims(&mut self.claims);
        self.claims.phys_base = number(&self.claims.vmcoreinfo, "phys_base");
        let image =
            Segments::new(format, self.claims, self.source, self.extents);
        Ok(Arc::new(image))
    }
}

#[cfg(test)]
mod tests;
