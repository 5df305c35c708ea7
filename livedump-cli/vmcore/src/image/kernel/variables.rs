// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's variables that a minidump is made of. All of them are checked:
//! the memory may be anybody's.

use super::super::MemoryImage;
use super::registers;
use super::tables::Walker;
use super::{KernelError, KernelMemory, PAGE, STEP};
use crate::elf::Kernel;
use crate::msgbuf;
use memdev::addr::{Paddr, Vaddr};
use memdev::arch::Machine;
use memdev::dump_avail::DumpAvail;

/// C: `KERNBASE`; arm64 `VM_MIN_KERNEL_ADDRESS`.
pub(super) fn kernbase(machine: Machine) -> u64 {
    match machine {
        Machine::Amd64 => 0xffff_ffff_8000_0000,
        Machine::Arm64 => 0xffff_0000_0000_0000,
    }
}

/// C: `NBPDR`.
const NBPDR: u64 = 2 << 20;
/// C: `KERNLOAD`.
const KERNLOAD: u64 = 2 << 20;
/// C: `MSG_MAGIC`.
const MSG_MAGIC: u32 = 0x06_3062;
/// Pairs of `dump_avail[]`. C: `PHYS_AVAIL_COUNT`, 128 words.
pub(super) const MAX_RANGES: usize = 64;
/// C: `sizeof(dump_avail)`.
const DUMP_AVAIL_BYTES: u32 = 1024;
/// The bitset of 16 TiB.
const MAX_BITS: u64 = 1 << 32;
/// Physical addresses have 52 bits at most.
pub(super) const MAX_PADDR: u64 = 1 << 52;
/// `__FreeBSD_version` of 13.0.
const FREEBSD_13: u32 = 1_300_000;
/// `__FreeBSD_version` of 15.0.
const FREEBSD_15: u32 = 1_500_000;

/// Where the maps are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    /// C: `VM_MIN_KERNEL_ADDRESS`.
    pub(super) kernbase: Vaddr,
    pub(super) dmapbase: Vaddr,
    pub(super) dmapend: Vaddr,
    pub(super) dmapphys: u64,
    /// C: `osreldate`.
    pub(super) osreldate: u32,
}

fn number<const N: usize>(
    walker: &Walker,
    kernel: &Kernel,
    name: &'static str,
    offset: u64,
) -> Result<[u8; N], String> {
    let symbol = kernel.find(name).ok_or(format!("no symbol {name}"))?;
    let at = Vaddr(symbol.address.0.saturating_add(offset));
    let mut bytes = [0; N];
    walker
        .loaded(at, &mut bytes)
        .map_err(|e| format!("{name}: {}", crate::chain(&e)))?;
    Ok(bytes)
}

fn word(
    walker: &Walker,
    kernel: &Kernel,
    name: &'static str,
    offset: u64,
) -> Result<u64, String> {
    number(walker, kernel, name, offset).map(u64::from_le_bytes)
}

fn int(
    walker: &Walker,
    kernel: &Kernel,
    name: &'static str,
) -> Result<u32, String> {
    number(walker, kernel, name, 0).map(u32::from_le_bytes)
}

impl Bounds {
    /// Reads them; the tables are known already.
    pub(super) fn read(
        walker: &Walker,
        kernel: &Kernel,
    ) -> Result<Self, String> {
        let osreldate = int(walker, kernel, "osreldate")?;
        let bounds = match walker.machine() {
            Machine::Amd64 if kernel.find("kva_layout").is_some() => {
                // C: struct kva_layout_s: dmap_low and dmap_high are its third
                // and fourth members, km_low the seventh.
                let at = |offset| {
                    word(walker, kernel, "kva_layout", offset).map(Vaddr)
                };
                Self {
                    kernbase: at(48)?,
                    dmapbase: at(16)?,
                    dmapend: at(24)?,
                    dmapphys: 0,
                    osreldate,
                }
            }
            Machine::Amd64 => Self {
                kernbase: Vaddr(0xffff_fe00_0000_0000),
                dmapbase: Vaddr(0xffff_f800_0000_0000),
                dmapend: Vaddr(0xffff_fc00_0000_0000),
                dmapphys: 0,
                osreldate,
            },
            Machine::Arm64 if osreldate < FREEBSD_13 => {
                return Err("arm64 before FreeBSD 13 is not read here".into());
            }
            Machine::Arm64 => Self {
                kernbase: Vaddr(kernbase(Machine::Arm64)),
                dmapbase: Vaddr(0xffff_a000_0000_0000),
                dmapend: Vaddr(0xffff_ff00_0000_0000),
                dmapphys: word(walker, kernel, "dmap_phys_base", 0)?,
                osreldate,
            },
        };
        bounds.checked()
    }

    /// The same, if a kernel can have them.
    pub(super) fn checked(self) -> Result<Self, String> {
        let Self { kernbase, dmapbase, dmapend, .. } = self;
        let ordered = dmapbase < dmapend;
        let aligned = [kernbase, dmapbase, dmapend]
            .iter()
            // LA57 has 57 bits.
            .all(|va| va.0 >> 56 == 0xff)
            && kernbase.0.is_multiple_of(PAGE)
            && dmapbase.0.is_multiple_of(PAGE);
        if !ordered || !aligned {
            return Err(format!(
                "its maps are at {kernbase}, {dmapbase} to {dmapend}"
            ));
        }
        Ok(self)
    }
}

/// Where memory may start by the kernel that is `base` bytes after that: at
/// the first page of dump_avail, or where the direct map begins.
pub(super) fn starts(
    image: &dyn MemoryImage,
    kernel: &Kernel,
    base: u64,
) -> Vec<u64> {
    let read = |name: &str| {
        let at = kernel.find(name)?.address.0;
        let into = at.checked_sub(kernbase(kernel.machine()))?;
        let mut bytes = [0; 8];
        let pa = Paddr(base.checked_add(into)?);
        image.read(pa, &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    ["dump_avail", "dmap_phys_base"]
        .into_iter()
        .filter_map(read)
        .map(|start| start.saturating_sub(start % STEP))
        .filter(|&start| start != 0 && start < MAX_PADDR)
        .collect()
}

/// Reads everything that a minidump is made of.
pub(super) fn read(
    walker: Walker,
    kernel: &Kernel,
) -> Result<KernelMemory, KernelError> {
    let bad = |name, what: String| KernelError::Variable { name, what };
    let get = |name: &'static str| {
        word(&walker, kernel, name, 0).map_err(|what| bad(name, what))
    };
    let get_int = |name: &'static str| {
        int(&walker, kernel, name).map_err(|what| bad(name, what))
    };
    let machine = walker.machine();
    let bounds = walker.bounds;
    let vm_end = get("kernel_vm_end")?;
    let kva_end = match machine {
        Machine::Amd64 => {
            let tables = u64::from(get_int("nkpt")?).saturating_mul(NBPDR);
            kernbase(machine).saturating_add(tables).max(vm_end)
        }
        Machine::Arm64 => vm_end,
    };
    if kva_end <= bounds.kernbase.0 {
        let what = format!("{kva_end:#x} is below the kernel map");
        return Err(bad("kernel_vm_end", what));
    }
    // 12.x has bytes, and bits that are page numbers.
    let absolute = kernel.find("vm_page_dump_pages").is_none();
    let bitset_bits = if absolute {
        u64::from(get_int("vm_page_dump_size")?).saturating_mul(8)
    } else {
        get("vm_page_dump_pages")?
    };
    let minidump_version = match machine {
        Machine::Amd64 if absolute => 2,
        Machine::Amd64 => 3,
        Machine::Arm64 if absolute => 1,
        Machine::Arm64 if bounds.osreldate < FREEBSD_15 => 2,
        Machine::Arm64 => 3,
    };
    let dump_avail = ranges(&walker, kernel)?;
    check_bits(bitset_bits, &dump_avail, absolute)?;
    let bitset = Vaddr(get("vm_page_dump")?);
    let (msgbuf, msgbuf_bytes) = message_buffer(&walker, get("msgbufp")?)?;
    let version = text(&walker, kernel);
    let mut notes = notes(&walker);
    let places = registers::Places::find(&walker, kernel);
    let (walker, registers) = registers::show(walker, places, &mut notes);
    Ok(KernelMemory {
        base: walker.base(),
        minidump_version,
        kernbase: bounds.kernbase,
        kva_end: Vaddr(kva_end),
        dump_avail,
        dump_avail_bytes: if absolute { 0 } else { DUMP_AVAIL_BYTES },
        bitset,
        bitset_bits,
        msgbuf,
        registers,
        msgbuf_bytes,
        version,
        notes,
        walker,
        params: None,
    })
}

/// Whether a page bitset has a bit for each page of dump_avail, or, where bits
/// are page numbers, for each below its end.
pub(super) fn check_bits(
    bits: u64,
    dump_avail: &[(u64, u64)],
    absolute: bool,
) -> Result<(), KernelError> {
    let bad = |name, what: String| KernelError::Variable { name, what };
    let avail = DumpAvail::new(dump_avail)
        .map_err(|e| bad("dump_avail", e.to_string()))?;
    let limit = if absolute {
        let last = dump_avail.last().map_or(0, |r| r.1);
        // C: `vm_page_startup`: whole pages of it.
        let pages = last.div_ceil(PAGE);
        pages.saturating_add(64 * 8).next_multiple_of(8 * PAGE)
    } else {
        avail.bits()
    };
    if bits == 0 || bits > MAX_BITS || bits > limit {
        let name = "vm_page_dump_pages";
        let what = format!("{bits} bits, dump_avail has {limit} pages");
        return Err(bad(name, what));
    }
    Ok(())
}

fn ranges(
    walker: &Walker,
    kernel: &Kernel,
) -> Result<Vec<(u64, u64)>, KernelError> {
    let name = "dump_avail";
    let bad = |what: String| KernelError::Variable { name, what };
    let symbol = kernel.find(name).ok_or_else(|| bad("no symbol".into()))?;
    // C: an array of vm_paddr_t.
    let n = match usize::try_from(symbol.size) {
        Ok(n @ 16..) => n.min(16 * MAX_RANGES),
        _ => 16 * MAX_RANGES,
    };
    let mut bytes = vec![0; n];
    walker
        .loaded(symbol.address, &mut bytes)
        .map_err(|e| bad(crate::chain(&e)))?;
    Ok(pairs(&bytes))
}

/// Pairs up to the one that ends them.
pub(super) fn pairs(bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    for pair in bytes.as_chunks::<16>().0 {
        let (start, end) = pair.split_at(8);
        let value =
            |b: &[u8]| b.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let (start, end) = (value(start), value(end));
        if end == 0 {
            break;
        }
        all.push((start, end));
    }
    all
}

/// C: `struct msgbuf`: msg_ptr, msg_magic, msg_size.
fn message_buffer(
    walker: &Walker,
    msgbufp: u64,
) -> Result<(Vaddr, u32), KernelError> {
    let mut bytes = [0u8; 16];
    walker.read(Vaddr(msgbufp), &mut bytes).map_err(|e| {
        let what = crate::chain(&e);
        KernelError::Variable { name: "msgbufp", what }
    })?;
    message_buffer_of(&bytes, msgbufp)
}

/// The same, of the first bytes of that structure.
pub(super) fn message_buffer_of(
    bytes: &[u8; 16],
    msgbufp: u64,
) -> Result<(Vaddr, u32), KernelError> {
    let bad = |what: String| KernelError::Variable { name: "msgbufp", what };
    let [pointer, numbers] = [0, 8].map(|at| {
        let part = bytes.get(at..).and_then(|b| b.first_chunk());
        part.map_or(0, |b| u64::from_le_bytes(*b))
    });
    let magic = numbers as u32;
    let size = (numbers >> 32) as u32;
    if magic != MSG_MAGIC || size == 0 || size > msgbuf::MAX_BYTES {
        return Err(bad(format!(
            "no message buffer at {msgbufp:#x}: magic {magic:#x}, {size} bytes"
        )));
    }
    Ok((Vaddr(pointer), size))
}

/// C: `version`; up to its end or 512 bytes.
fn text(walker: &Walker, kernel: &Kernel) -> String {
    let mut bytes = [0; 512];
    let Some(symbol) = kernel.find("version") else { return String::new() };
    let page = PAGE.saturating_sub(symbol.address.0 % PAGE) as usize;
    let mut n = bytes.len();
    if walker.loaded(symbol.address, &mut bytes).is_err() {
        n = n.min(page);
        let part = bytes.get_mut(..n).unwrap_or_default();
        if walker.loaded(symbol.address, part).is_err() {
            return String::new();
        }
    }
    let text = bytes.get(..n).unwrap_or_default();
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Where the image says something else.
pub(super) fn notes(walker: &Walker) -> Vec<String> {
    let claims = walker.image().claims();
    let Paddr(base) = walker.base();
    let mut notes = Vec::new();
    if walker.machine() == Machine::Amd64 {
        if let Some(found) = claims.phys_base.filter(|&p| p != base) {
            notes.push(format!(
                "the file has phys_base {found:#x}; the kernel is at {base:#x}"
            ));
        }
        let kernphys = base.saturating_add(KERNLOAD);
        if let Some(found) = claims.kernphys.filter(|&p| p != kernphys) {
            notes.push(format!(
                "the file has kernphys {found:#x}; the kernel is at \
                 {kernphys:#x}"
            ));
        }
    }
    notes
}
