// SPDX-License-Identifier: BSD-2-Clause
//! The first page of a minidump, and where each section starts.
//! C: `struct minidumphdr`, <machine/minidump.h>.

use crate::addr::{PAGE_SIZE, Page, Vaddr, round_page};
use crate::arch::Machine;
use crate::bytes::{cstr, get, put};

/// Bytes of the header that are checked; the rest of its page is zero.
pub const HEADER_SIZE: usize = 80;

/// Why a page is not a minidump header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinidumpError {
    /// The file does not start with a minidump magic.
    Magic,
    /// A minidump of a machine that is not read here.
    Machine {
        /// The name after "minidump FreeBSD/".
        name: [u8; 8],
    },
    /// A version that no release wrote, or a newer one.
    Version {
        /// Whose.
        machine: Machine,
        /// The number found.
        found: u32,
    },
    /// arm64 with 16 KB or 64 KB pages.
    PageSize(u32),
    /// A section that is not a whole number of pages or entries.
    Section {
        /// Its field.
        field: &'static str,
        /// The number found.
        found: u32,
    },
    /// Addresses that contradict each other.
    Addresses {
        /// What is expected first.
        low: Vaddr,
        /// What is expected after it.
        high: Vaddr,
    },
}

impl core::fmt::Display for MinidumpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str(
                "not a FreeBSD minidump: no \"minidump FreeBSD/\" at offset 0",
            ),
            Self::Machine { name } => {
                f.write_str("minidump of a machine that is not read here: ")?;
                for &c in cstr(name) {
                    write!(f, "{}", (c as char).escape_default())?;
                }
                Ok(())
            }
            Self::Version { machine, found } => write!(
                f,
                "{} minidump version {found} at offset 24, expected 1 to 3",
                machine.name()
            ),
            Self::PageSize(flags) => write!(
                f,
                "minidump flags {flags:#x} at offset 76: only 4 KB pages \
                 are read"
            ),
            Self::Section { field, found } => {
                write!(f, "minidump header: {field} is {found}")
            }
            Self::Addresses { low, high } => {
                write!(f, "minidump header: {low} is not below {high}")
            }
        }
    }
}

impl core::error::Error for MinidumpError {}

/// The header of every machine and version here. Fields that a machine or
/// version lacks are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "minidumphdr")]
pub struct MinidumpHeader {
    /// amd64 or arm64.
    pub machine: Machine,
    /// 1, 2 or 3.
    pub version: u32,
    /// Bytes of the message buffer, not rounded.
    pub msgbufsize: u32,
    /// Bytes of the bitset section, whole pages.
    pub bitmapsize: u32,
    /// Bytes of the pmap section, whole pages.
    pub pmapsize: u32,
    /// First address of the kernel map. C: `VM_MIN_KERNEL_ADDRESS`.
    pub kernbase: Vaddr,
    /// Physical address at `dmapbase`; 0 on amd64.
    pub dmapphys: u64,
    /// First address of the direct map.
    pub dmapbase: Vaddr,
    /// First address after the direct map.
    pub dmapend: Vaddr,
    /// Bytes of dump_avail, whole pages; 0 where there is no such section.
    pub dumpavailsize: u32,
    /// arm64 version 3: bits 1:0 are the page size, 0 for 4 KB.
    pub flags: u32,
}

/// File offsets of the sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The message buffer.
    pub msgbuf: u64,
    /// dump_avail; of no bytes where the version has none.
    pub dump_avail: u64,
    /// The page bitset.
    pub bitmap: u64,
    /// The pmap pages.
    pub pmap: u64,
    /// The first data page.
    pub pages: u64,
}

impl MinidumpHeader {
    /// Whether dump_avail is in the file (and bits are relative to it).
    #[must_use]
    pub fn has_dump_avail(&self) -> bool {
        self.machine.has_dump_avail(self.version)
    }

    /// Where each section starts. Sizes are 32-bit, so nothing can wrap.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let page = PAGE_SIZE as u64;
        let up = |n: u32| round_page(u64::from(n)).unwrap_or(u64::MAX);
        let msgbuf = page;
        let dump_avail = msgbuf + up(self.msgbufsize);
        let bitmap = dump_avail + up(self.dumpavailsize);
        let pmap = bitmap + u64::from(self.bitmapsize);
        let pages = pmap + u64::from(self.pmapsize);
        Layout { msgbuf, dump_avail, bitmap, pmap, pages }
    }

    /// Bytes of a whole dump with `pages` data pages; `None` when that is
    /// more than 64 bits hold.
    #[must_use]
    pub fn dumpsize(&self, pages: u64) -> Option<u64> {
        pages.checked_mul(PAGE_SIZE as u64)?.checked_add(self.layout().pages)
    }

    /// Reads a header from the first bytes of a file.
    ///
    /// # Errors
    /// What is not as <machine/minidump.h> of any release has it. Sizes are
    /// not held against the file: a truncated dump still has a header.
    pub fn decode(b: &[u8; HEADER_SIZE]) -> Result<Self, MinidumpError> {
        const PREFIX: &[u8] = b"minidump FreeBSD/";
        let magic = cstr(&b[..24]);
        if !magic.starts_with(PREFIX) {
            return Err(MinidumpError::Magic);
        }
        let machine = Machine::from_magic(magic).ok_or({
            // Seven of the magic's 24 bytes are left for a name.
            let mut name = [0; 8];
            put(&mut name, 0, &b[PREFIX.len()..24]);
            MinidumpError::Machine { name }
        })?;
        let u32_at = |at| u32::from_le_bytes(get(b, at));
        let va = |at| Vaddr(u64::from_le_bytes(get(b, at)));
        let version = u32_at(24);
        if !(1..=3).contains(&version) {
            return Err(MinidumpError::Version { machine, found: version });
        }
        let with_avail = machine.has_dump_avail(version);
        let mut h = Self {
            machine,
            version,
            msgbufsize: u32_at(28),
            bitmapsize: u32_at(32),
            pmapsize: u32_at(36),
            kernbase: va(40),
            dmapphys: 0,
            dmapbase: va(48),
            dmapend: va(56),
            dumpavailsize: 0,
            flags: 0,
        };
        match machine {
            Machine::Amd64 => {
                if with_avail {
                    h.dumpavailsize = u32_at(64);
                }
            }
            Machine::Arm64 => {
                h.dmapphys = u64::from_le_bytes(get(b, 48));
                h.dmapbase = va(56);
                h.dmapend = va(64);
                if with_avail {
                    h.dumpavailsize = u32_at(72);
                }
                if version >= 3 {
                    h.flags = u32_at(76);
                }
            }
        }
        h.check()?;
        Ok(h)
    }

    fn check(&self) -> Result<(), MinidumpError> {
        if self.flags & 3 != 0 {
            return Err(MinidumpError::PageSize(self.flags));
        }
        let whole = |field, found: u32| {
            if (found as usize).is_multiple_of(PAGE_SIZE) {
                Ok(())
            } else {
                Err(MinidumpError::Section { field, found })
            }
        };
        whole("bitmapsize", self.bitmapsize)?;
        whole("pmapsize", self.pmapsize)?;
        whole("dumpavailsize", self.dumpavailsize)?;
        if self.has_dump_avail() && self.dumpavailsize == 0 {
            let found = self.dumpavailsize;
            return Err(MinidumpError::Section {
                field: "dumpavailsize",
                found,
            });
        }
        if self.dmapend < self.dmapbase {
            return Err(MinidumpError::Addresses {
                low: self.dmapbase,
                high: self.dmapend,
            });
        }
        Ok(())
    }

    /// Writes the header's page.
    pub fn encode(&self, b: &mut Page) {
        b.fill(0);
        put(b, 0, self.machine.magic());
        put(b, 24, &self.version.to_le_bytes());
        put(b, 28, &self.msgbufsize.to_le_bytes());
        put(b, 32, &self.bitmapsize.to_le_bytes());
        put(b, 36, &self.pmapsize.to_le_bytes());
        put(b, 40, &self.kernbase.0.to_le_bytes());
        let mut at = 48;
        if self.machine == Machine::Arm64 {
            put(b, at, &self.dmapphys.to_le_bytes());
            at += 8;
        }
        put(b, at, &self.dmapbase.0.to_le_bytes());
        put(b, at + 8, &self.dmapend.0.to_le_bytes());
        if self.has_dump_avail() {
            put(b, at + 16, &self.dumpavailsize.to_le_bytes());
        }
        if self.machine == Machine::Arm64 && self.version >= 3 {
            put(b, at + 20, &self.flags.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(b: &Page) -> [u8; HEADER_SIZE] {
        get(b, 0)
    }

    const AMD64: MinidumpHeader = MinidumpHeader {
        machine: Machine::Amd64,
        version: 3,
        msgbufsize: 98232,
        bitmapsize: 4096,
        pmapsize: 0x7f_f000,
        kernbase: Vaddr(0xffff_fe00_0000_0000),
        dmapphys: 0,
        dmapbase: Vaddr(0xffff_f800_0000_0000),
        dmapend: Vaddr(0xffff_fc00_0000_0000),
        dumpavailsize: 4096,
        flags: 0,
    };

    #[test]
    fn amd64_version_3_has_its_fields_at_the_documented_offsets() {
        let mut b = [0xff; PAGE_SIZE];
        AMD64.encode(&mut b);
        assert_eq!(&b[..24], b"minidump FreeBSD/amd64\0\0");
        assert_eq!(b[24..32], [3, 0, 0, 0, 0xb8, 0x7f, 1, 0]);
        assert_eq!(b[40..48], [0, 0, 0, 0, 0, 0xfe, 0xff, 0xff]);
        assert_eq!(b[48..56], [0, 0, 0, 0, 0, 0xf8, 0xff, 0xff]);
        assert_eq!(b[56..64], [0, 0, 0, 0, 0, 0xfc, 0xff, 0xff]);
        assert_eq!(b[64..68], [0, 0x10, 0, 0]);
        assert!(b[68..].iter().all(|&x| x == 0));
        assert_eq!(MinidumpHeader::decode(&head(&b)), Ok(AMD64));
    }

    #[test]
    fn a_real_dumps_sections_start_where_they_did() {
        let l = AMD64.layout();
        assert_eq!(
            (l.msgbuf, l.dump_avail, l.bitmap, l.pmap, l.pages),
            (0x1000, 0x19000, 0x1a000, 0x1b000, 0x81_a000)
        );
        assert_eq!(AMD64.dumpsize(24144), Some(107_388_928));
        assert_eq!(AMD64.dumpsize(u64::MAX), None);
    }

    #[test]
    fn versions_without_dump_avail_have_no_such_section() {
        for version in [1, 2] {
            let h = MinidumpHeader { version, dumpavailsize: 0, ..AMD64 };
            let mut b = [0; PAGE_SIZE];
            h.encode(&mut b);
            assert_eq!(MinidumpHeader::decode(&head(&b)), Ok(h));
            assert_eq!(h.layout().dump_avail, h.layout().bitmap);
        }
    }

    #[test]
    fn arm64_has_dmapphys_and_flags() {
        for version in [1, 2, 3] {
            let h = MinidumpHeader {
                machine: Machine::Arm64,
                version,
                kernbase: Vaddr(0xffff_0000_0000_0000),
                dmapphys: 0x4000_0000,
                dmapbase: Vaddr(0xffff_a000_0000_0000),
                dmapend: Vaddr(0xffff_ff00_0000_0000),
                dumpavailsize: if version >= 2 { 4096 } else { 0 },
                ..AMD64
            };
            let mut b = [0; PAGE_SIZE];
            h.encode(&mut b);
            assert_eq!(b[48..56], [0, 0, 0, 0x40, 0, 0, 0, 0]);
            assert_eq!(MinidumpHeader::decode(&head(&b)), Ok(h));
            if version == 3 {
                b[76] = 2;
                assert_eq!(
                    MinidumpHeader::decode(&head(&b)),
                    Err(MinidumpError::PageSize(2))
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_minidump_is_named() {
        let mut b = [0; PAGE_SIZE];
        assert_eq!(
            MinidumpHeader::decode(&head(&b)),
            Err(MinidumpError::Magic)
        );
        AMD64.encode(&mut b);
        put(&mut b, 0, b"minidump FreeBSD/riscv\0\0");
        assert!(matches!(
            MinidumpHeader::decode(&head(&b)),
            Err(MinidumpError::Machine { name }) if name.starts_with(b"riscv")
        ));
        AMD64.encode(&mut b);
        b[24] = 4;
        assert!(matches!(
            MinidumpHeader::decode(&head(&b)),
            Err(MinidumpError::Version { found: 4, .. })
        ));
        AMD64.encode(&mut b);
        b[32] = 1;
        assert!(matches!(
            MinidumpHeader::decode(&head(&b)),
            Err(MinidumpError::Section { field: "bitmapsize", .. })
        ));
    }

    #[test]
    fn a_magic_with_a_long_name_is_no_panic() {
        let mut b = [b'x'; HEADER_SIZE];
        put(&mut b, 0, b"minidump FreeBSD/");
        assert!(MinidumpHeader::decode(&b).is_err());
    }
}
