// SPDX-License-Identifier: BSD-2-Clause
//! The parameter page: where a FreeBSD kernel has everything that a dump is
//! made of, for whoever has its memory and not its file. livedump.ko writes
//! one and says where it is (`kern.livedump.params`; QEMU's vmcoreinfo).
//!
//! ```text
//!  0     Params, little-endian
//!  2048  an ELF note "VMCOREINFO", of lines of text
//!  4096
//! ```
//!
//! Memory keeps what was written after its writer has ended: a page counts only
//! if the kernel's tables lead to a *witness*, a variable of the module's that
//! has this page's address and generation while the page is of use.
//!
//! C: `struct livedump_params`, livedump_params.h.

use crate::addr::{PAGE_SIZE, Paddr, Page};
use crate::bytes::{cstr, get, put};
use core::mem::{offset_of, size_of};

/// The page's first bytes.
pub const MAGIC: [u8; 8] = *b"LDPARAMS";
/// The version of [`Params`].
pub const VERSION: u32 = 1;
/// Where the page has its note.
pub const NOTE_OFFSET: usize = 2048;
/// The first bytes of a witness; the page's address and its generation follow.
pub const WITNESS_MAGIC: [u8; 8] = *b"LDWITNES";
/// Bytes of a witness.
pub const WITNESS_BYTES: usize = 24;
/// In a note, before the physical address of the page, in hexadecimal digits.
pub const NOTE_LINE: &str = "LIVEDUMP_PARAMS=";
/// C: `EM_X86_64`.
pub const MACHINE_AMD64: u32 = 62;
/// C: `EM_AARCH64`.
pub const MACHINE_ARM64: u32 = 183;

/// A field of [`Params`] and its bytes.
trait Field: Sized {
    fn read(b: &[u8], at: usize) -> Self;
    fn write(&self, b: &mut [u8], at: usize);
}

macro_rules! number {
    ($($t:ty),*) => { $(
        impl Field for $t {
            fn read(b: &[u8], at: usize) -> Self {
                Self::from_le_bytes(get(b, at))
            }
            fn write(&self, b: &mut [u8], at: usize) {
                put(b, at, &self.to_le_bytes());
            }
        }
    )* };
}
number!(u32, u64, i64);

impl<const N: usize> Field for [u8; N] {
    fn read(b: &[u8], at: usize) -> Self {
        get(b, at)
    }
    fn write(&self, b: &mut [u8], at: usize) {
        put(b, at, self);
    }
}

/// Declares the structure, and its fields one after the other in the page.
macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident: $t:ty,)*) => {
        /// The page's first part. C: `struct livedump_params`; 360 bytes.
        ///
        /// Names that end in `_pa` are physical addresses, those in `_va`
        /// kernel addresses. From [`Params::stoppcbs_va`] on, 0 is "not known".
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct Params { $($(#[$doc])* pub $name: $t,)* }

        impl Params {
            fn read(page: &Page) -> Self {
                Self { $($name: Field::read(page, offset_of!(Self, $name)),)* }
            }

            fn write(&self, page: &mut Page) {
                $(Field::write(&self.$name, page, offset_of!(Self, $name));)*
            }
        }
    };
}

layout! {
    /// [`MAGIC`].
    magic: [u8; 8],
    /// [`VERSION`].
    version: u32,
    /// Bytes of this structure.
    length: u32,
    /// FNV-1a, 64 bits, of the page with zero here.
    checksum: u64,
    /// The page.
    pa: u64,
    /// Differs between any two pages.
    generation: u64,
    /// When the kernel was booted: seconds since 1970.
    boottime: i64,
    /// C: `osreldate`, `__FreeBSD_version`.
    osreldate: u32,
    /// [`MACHINE_AMD64`] or [`MACHINE_ARM64`].
    machine: u32,
    /// Levels of page tables that CPUs use: 4, or 5 with LA57.
    levels: u32,
    /// C: `MINIDUMP_VERSION`.
    minidump_version: u32,
    /// Physical address at `kernbase` + 2 MB. C: `kernphys`.
    kernphys: u64,
    /// The table of the kernel map, the fourth from below. C: `KPML4phys`.
    root: u64,
    /// What CPUs have as root; `root` where there are four levels.
    /// C: `kernel_pmap->pm_cr3`.
    top: u64,
    /// C: `KERNBASE`.
    kernbase: u64,
    /// C: `VM_MIN_KERNEL_ADDRESS`.
    kva_start: u64,
    /// After the kernel map when this was written.
    kva_end: u64,
    /// C: `&kernel_vm_end`.
    kernel_vm_end_pa: u64,
    /// C: `&nkpt`; 0 where there is none.
    nkpt_pa: u64,
    /// C: `DMAP_MIN_ADDRESS`.
    dmapbase: u64,
    /// C: `DMAP_MAX_ADDRESS`.
    dmapend: u64,
    /// C: `DMAP_MIN_PHYSADDR`.
    dmapphys: u64,
    /// C: `&dump_avail`.
    dump_avail_pa: u64,
    /// Bytes of it in a minidump; 0 where minidumps have no such section.
    dump_avail_bytes: u32,
    /// Bytes of it up to the pair that ends it.
    dump_avail_len: u32,
    /// C: `vm_page_dump`.
    bitset_pa: u64,
    /// The same.
    bitset_va: u64,
    /// Bits of it. C: `vm_page_dump_pages`.
    bitset_bits: u64,
    /// C: `msgbufp`.
    msgbuf_pa: u64,
    /// C: `&version`.
    version_pa: u64,
    /// The witness.
    witness_va: u64,
    /// The same.
    witness_pa: u64,
    /// C: `stoppcbs`, its first element.
    stoppcbs_va: u64,
    /// C: `&stopped_cpus`.
    stopped_cpus_va: u64,
    /// C: `&dumptid`.
    dumptid_va: u64,
    /// C: `&cpuid_to_pcpu`.
    cpuid_to_pcpu_va: u64,
    /// C: `prison0.pr_hostname`.
    hostname_va: u64,
    /// C: `&time_uptime`.
    uptime_va: u64,
    /// C: `&vm_phys_segs`.
    segments_va: u64,
    /// C: `sizeof(struct pcb)`.
    pcb_bytes: u32,
    /// Where `struct thread` has td_oncpu.
    td_oncpu: u32,
    /// C: `vm_phys_nsegs`.
    segments: u32,
    /// C: `sizeof(struct vm_phys_seg)`.
    segment_bytes: u32,
    /// Where that has `start`.
    segment_start: u32,
    /// Where that has `end`.
    segment_end: u32,
    /// Where that has `first_page`.
    segment_first: u32,
    /// C: `sizeof(struct vm_page)`.
    page_bytes: u32,
    /// Where that has `flags`.
    page_flags: u32,
    /// Bytes of `flags`.
    page_flags_bytes: u32,
    /// C: `&KPML4phys`; 0 where there is none.
    root_variable_va: u64,
    /// C: `osrelease`.
    osrelease: [u8; 32],
}

const _: () = {
    assert!(size_of::<Params>() == 360);
    assert!(offset_of!(Params, checksum) == 16);
    assert!(offset_of!(Params, pa) == 24);
    assert!(offset_of!(Params, osreldate) == 48);
    assert!(offset_of!(Params, kernphys) == 64);
    assert!(offset_of!(Params, kernel_vm_end_pa) == 112);
    assert!(offset_of!(Params, dmapbase) == 128);
    assert!(offset_of!(Params, dump_avail_bytes) == 160);
    assert!(offset_of!(Params, bitset_pa) == 168);
    assert!(offset_of!(Params, witness_va) == 208);
    assert!(offset_of!(Params, stoppcbs_va) == 224);
    assert!(offset_of!(Params, segments_va) == 272);
    assert!(offset_of!(Params, pcb_bytes) == 280);
    assert!(offset_of!(Params, page_flags_bytes) == 316);
    assert!(offset_of!(Params, osrelease) == 328);
    assert!(size_of::<Params>() <= NOTE_OFFSET);
};

/// Why a page with the magic number is no parameter page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// A version that a newer livedump wrote.
    Version(u32),
    /// The sum over its bytes is another.
    Checksum,
}

impl core::fmt::Display for PageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(n) => {
                write!(f, "layout version {n}, expected {VERSION}")
            }
            Self::Checksum => f.write_str("damaged (checksum)"),
        }
    }
}

impl core::error::Error for PageError {}

/// FNV-1a, 64 bits, without the field that has it: against accidents.
fn checksum(page: &Page) -> u64 {
    let at = offset_of!(Params, checksum);
    let own = at..at.saturating_add(8);
    page.iter().enumerate().fold(0xcbf2_9ce4_8422_2325, |sum, (i, &b)| {
        let b = if own.contains(&i) { 0 } else { b };
        (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Params {
    /// The parameters in a page; `None` where it does not say that it has any.
    ///
    /// # Errors
    /// It says so, and is not understood.
    pub fn decode(page: &Page) -> Result<Option<Self>, PageError> {
        let it = Self::read(page);
        if it.magic != MAGIC {
            return Ok(None);
        }
        if it.checksum != checksum(page) {
            return Err(PageError::Checksum);
        }
        let length = u32::try_from(size_of::<Self>()).unwrap_or(0);
        if it.version != VERSION || it.length != length {
            return Err(PageError::Version(it.version));
        }
        Ok(Some(it))
    }

    /// Makes a page of them, its note included. What of them tells of the page
    /// itself, `magic` to `checksum`, need not be set.
    pub fn encode(&self, page: &mut Page) {
        self.write(page);
        seal(page);
    }

    /// Pages of the kernel map at KERNBASE are so far from their addresses.
    /// Linux' `phys_base`.
    #[must_use]
    pub fn phys_base(&self) -> u64 {
        self.kernphys.wrapping_sub(2 << 20)
    }

    /// The witness of this page.
    #[must_use]
    pub fn witness(&self) -> [u8; WITNESS_BYTES] {
        let mut b = [0; WITNESS_BYTES];
        put(&mut b, 0, &WITNESS_MAGIC);
        put(&mut b, 8, &self.pa.to_le_bytes());
        put(&mut b, 16, &self.generation.to_le_bytes());
        b
    }

    /// C: `osrelease`.
    #[must_use]
    pub fn release(&self) -> &[u8] {
        cstr(&self.osrelease)
    }
}

/// Completes a page that has [`Params`] but for `magic` to `checksum`, and
/// zeros up to its end: the note, the version, and the checksum.
pub fn seal(page: &mut Page) {
    let mut it = Params::read(page);
    it.magic = MAGIC;
    it.version = VERSION;
    it.length = size_of::<Params>() as u32;
    it.checksum = 0;
    note(&it, page);
    it.write(page);
    let sum = checksum(page);
    put(page, offset_of!(Params, checksum), &sum.to_le_bytes());
}

/// C: `Elf64_Nhdr`, and the name rounded up to a multiple of four.
const NOTE_NAME: [u8; 12] = *b"VMCOREINFO\0\0";
const NOTE_TEXT: usize = NOTE_OFFSET + 12 + NOTE_NAME.len();

/// Bytes of the note that a page has, up to a multiple of four: what a
/// hypervisor is told. QEMU refuses a note without its padding.
#[must_use]
pub fn note_bytes(page: &Page) -> u32 {
    let text = u32::from_le_bytes(get(page, NOTE_OFFSET + 4));
    let end = text.saturating_add((NOTE_TEXT - NOTE_OFFSET) as u32);
    end.saturating_add(3) & !3
}

fn note(it: &Params, page: &mut Page) {
    let mut out = Text { page, at: NOTE_TEXT };
    out.line(b"OSRELEASE=", it.release());
    out.line(b"PAGESIZE=", b"4096");
    if it.machine == MACHINE_AMD64 {
        // Readers take it in decimal digits.
        out.number(b"NUMBER(phys_base)=", it.phys_base(), 10);
        out.number(b"NUMBER(kernphys)=", it.kernphys, 10);
        out.number(b"SYMBOL(KPML4phys)=", it.root_variable_va, 16);
    }
    out.number(NOTE_LINE.as_bytes(), it.pa, 16);
    let text = out.at.saturating_sub(NOTE_TEXT) as u32;
    put(page, NOTE_OFFSET, &11u32.to_le_bytes());
    put(page, NOTE_OFFSET + 4, &text.to_le_bytes());
    put(page, NOTE_OFFSET + 8, &0u32.to_le_bytes());
    put(page, NOTE_OFFSET + 12, &NOTE_NAME);
}

/// Lines of text, without the formatting of `core::fmt`: it would cost the
/// module more code than all this.
struct Text<'a> {
    page: &'a mut Page,
    at: usize,
}

impl Text<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        put(self.page, self.at, bytes);
        self.at = self.at.saturating_add(bytes.len()).min(PAGE_SIZE);
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        self.bytes(name);
        self.bytes(value);
        self.bytes(b"\n");
    }

    fn number(&mut self, name: &[u8], value: u64, base: u64) {
        let mut digits = [0; 20];
        let (mut left, mut used) = (value, 0usize);
        for digit in digits.iter_mut().rev() {
            let n = left.checked_rem(base).unwrap_or(0) as u8;
            *digit = if n < 10 { b'0' } else { b'a' - 10 }.wrapping_add(n);
            used = used.saturating_add(1);
            left = left.checked_div(base).unwrap_or(0);
            if left == 0 {
                break;
            }
        }
        let from = digits.len().saturating_sub(used);
        let digits = digits.get(from..).unwrap_or_default();
        self.line(name, digits);
    }
}

/// Where the lines of a vmcoreinfo say that a parameter page is.
#[must_use]
pub fn hint(vmcoreinfo: &[u8]) -> Option<Paddr> {
    let mut lines = vmcoreinfo.split(|&b| b == b'\n');
    let text = lines.find_map(|l| l.strip_prefix(NOTE_LINE.as_bytes()))?;
    let text = core::str::from_utf8(cstr(text)).ok()?;
    u64::from_str_radix(text, 16).ok().map(Paddr)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn params() -> Params {
        // Each field has a value of its own.
        let mut page = [0; PAGE_SIZE];
        for (i, b) in page.iter_mut().enumerate().take(328) {
            *b = (i % 251) as u8 + 1;
        }
        let mut it = Params::read(&page);
        it.machine = MACHINE_AMD64;
        it.kernphys = 0x120_0000;
        it.root_variable_va = 0xffff_ffff_81c0_a2f0;
        it.pa = 0x7_fead_f000;
        it.osrelease[..12].copy_from_slice(b"15.1-RELEASE");
        it
    }

    fn page() -> Page {
        let mut page = [0; PAGE_SIZE];
        params().encode(&mut page);
        page
    }

    #[test]
    fn every_field_survives_the_trip_and_no_flip_of_one_bit() {
        assert_eq!(Params::decode(&[0; PAGE_SIZE]), Ok(None));
        let it = Params::decode(&page()).unwrap().unwrap();
        let checksum = it.checksum;
        let (version, length) = (VERSION, 360);
        let own =
            Params { magic: MAGIC, version, length, checksum, ..params() };
        assert_eq!(it, own);
        for bit in 0..PAGE_SIZE * 8 {
            let mut page = page();
            page[bit / 8] ^= 1 << (bit % 8);
            let read = Params::decode(&page);
            match bit {
                ..64 => assert_eq!(read, Ok(None), "bit {bit}"),
                _ => assert_eq!(read, Err(PageError::Checksum), "bit {bit}"),
            }
        }
    }

    #[test]
    fn a_page_of_another_version_is_named_and_not_read() {
        for (at, want) in [(8, 2), (12, 1)] {
            let mut page = page();
            page[at] ^= 3;
            let sum = checksum(&page);
            put(&mut page, 16, &sum.to_le_bytes());
            let read = Params::decode(&page);
            assert_eq!(read, Err(PageError::Version(want)), "offset {at}");
        }
    }

    /// As QEMU and libkdumpfile take it apart.
    #[test]
    fn the_note_is_one_that_elf_readers_know() {
        let page = page();
        let note = &page[NOTE_OFFSET..];
        let word = |at: usize| {
            u32::from_le_bytes(note[at..at + 4].try_into().unwrap()) as usize
        };
        assert_eq!((word(0), word(8)), (11, 0));
        assert_eq!(&note[12..23], b"VMCOREINFO\0");
        let text = &note[24..24 + word(4)];
        assert_eq!(
            note_bytes(&page) as usize,
            24 + word(4).next_multiple_of(4)
        );
        assert_eq!(
            core::str::from_utf8(text).unwrap(),
            "OSRELEASE=15.1-RELEASE\n\
             PAGESIZE=4096\n\
             NUMBER(phys_base)=16777216\n\
             NUMBER(kernphys)=18874368\n\
             SYMBOL(KPML4phys)=ffffffff81c0a2f0\n\
             LIVEDUMP_PARAMS=7feadf000\n"
        );
        assert!(note[24 + word(4)..].iter().all(|&b| b == 0));
        assert_eq!(hint(text), Some(Paddr(0x7_fead_f000)));
    }

    /// C: `ELF_NOTE_SIZE` of QEMU's dump.c.
    #[test]
    fn the_notes_size_has_its_padding_whatever_the_texts_length() {
        for n in 0..32 {
            let mut it = params();
            it.osrelease = [0; 32];
            it.osrelease[..n].fill(b'x');
            let mut page = [0; PAGE_SIZE];
            it.encode(&mut page);
            let text = u32::from_le_bytes(get(&page, NOTE_OFFSET + 4));
            let name = 11u32.next_multiple_of(4);
            let want = 12 + name + text.next_multiple_of(4);
            assert_eq!(note_bytes(&page), want, "{n}");
        }
    }

    #[test]
    fn numbers_are_what_format_makes_of_them() {
        for value in [0, 9, 10, 255, u64::from(u32::MAX), u64::MAX] {
            let mut page = [0; PAGE_SIZE];
            let mut out = Text { page: &mut page, at: 0 };
            out.number(b"", value, 10);
            out.number(b"", value, 16);
            let end = out.at;
            let text: Vec<u8> = page[..end].to_vec();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text, std::format!("{value}\n{value:x}\n"));
        }
    }

    #[test]
    fn a_hint_that_is_no_number_is_none() {
        assert_eq!(hint(b"A=1\nLIVEDUMP_PARAMS=1f000"), Some(Paddr(0x1_f000)));
        for text in [
            "",
            "LIVEDUMP_PARAMS=",
            "LIVEDUMP_PARAMS=xyz",
            " LIVEDUMP_PARAMS=1000",
            "LIVEDUMP_PARAMS=11112222333344445",
        ] {
            assert_eq!(hint(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_witness_has_the_pages_address_and_generation() {
        let it = Params { pa: 0x1000, generation: 7, ..Params::default() };
        let witness = it.witness();
        assert_eq!(&witness[..8], b"LDWITNES");
        assert_eq!(witness[8..16], 0x1000u64.to_le_bytes());
        assert_eq!(witness[16..], 7u64.to_le_bytes());
    }
}
