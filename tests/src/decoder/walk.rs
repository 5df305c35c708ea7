// SPDX-License-Identifier: BSD-2-Clause
//! Virtual addresses, as a debugger resolves them: the kernel map through the
//! pmap section, the direct map by arithmetic.

use super::Wrong;
use super::bytes::le64;
use super::sections::{Arch, Dump};

const FRAME: u64 = 0x000f_ffff_ffff_f000;
const ARM_FRAME: u64 = 0x0000_ffff_ffff_f000;

impl Dump {
    /// The physical address of a kernel address.
    ///
    /// # Errors
    /// When the dump does not say.
    pub fn translate(&self, va: u64) -> Result<u64, Wrong> {
        let map = va.checked_sub(self.kernbase);
        let pa = match (self.arch, map) {
            (Arch::Amd64, Some(off)) => self.amd64(va, off)?,
            (Arch::Arm64, Some(off)) => self.arm64(va, off)?,
            (_, None) => None,
        };
        if let Some(pa) = pa {
            return Ok(pa);
        }
        if self.dmap.contains(&va) {
            return Ok(va - self.dmap.start + self.dmapphys);
        }
        Err(format!("{va:#x} is not mapped in the dump"))
    }

    /// Directory entries: 2 MB pages, or tables among the data pages.
    fn amd64(&self, va: u64, off: u64) -> Result<Option<u64>, Wrong> {
        let at = 8 * (off >> 21) as usize;
        if at >= self.pmap().len() {
            return Ok(None);
        }
        let pde = le64(self.pmap(), at)?;
        if pde & 1 == 0 {
            return Err(format!("{va:#x}: directory entry {pde:#x}"));
        }
        if pde & 0x80 != 0 {
            let frame = pde & FRAME & !0x1f_ffff;
            return Ok(Some(frame | va & 0x1f_ffff));
        }
        let table = self.page(pde & FRAME);
        let table =
            table.ok_or_else(|| format!("{va:#x}: its table is not there"))?;
        let pte = le64(table, 8 * (va >> 12 & 511) as usize)?;
        if pte & 1 == 0 {
            return Err(format!("{va:#x}: table entry {pte:#x}"));
        }
        Ok(Some(pte & FRAME | va & 0xfff))
    }

    /// Leaf entries, one after the other.
    fn arm64(&self, va: u64, off: u64) -> Result<Option<u64>, Wrong> {
        let at = usize::try_from(8 * u128::from(off >> 12));
        let Some(at) = at.ok().filter(|&at| at < self.pmap().len()) else {
            return Ok(None);
        };
        let entry = le64(self.pmap(), at)?;
        if entry & 3 != 3 {
            return Err(format!("{va:#x}: leaf entry {entry:#x}"));
        }
        Ok(Some(entry & ARM_FRAME | va & 0xfff))
    }

    /// Memory at a kernel address, across pages.
    ///
    /// # Errors
    /// When some of it is not in the dump.
    pub fn read(&self, va: u64, len: usize) -> Result<Vec<u8>, Wrong> {
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            let va = va.wrapping_add(out.len() as u64);
            let pa = self.translate(va)?;
            let room = 4096 - (pa & 0xfff) as usize;
            let n = room.min(len - out.len());
            let bytes = self.bytes(pa, n);
            out.extend_from_slice(bytes.ok_or_else(|| {
                format!("{va:#x}: page {pa:#x} is not in the dump")
            })?);
        }
        Ok(out)
    }

    /// A 32-bit integer at a kernel address.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn read32(&self, va: u64) -> Result<u32, Wrong> {
        super::bytes::le32(&self.read(va, 4)?, 0)
    }

    /// A 64-bit integer at a kernel address.
    ///
    /// # Errors
    /// When it is not in the dump.
    pub fn read64(&self, va: u64) -> Result<u64, Wrong> {
        le64(&self.read(va, 8)?, 0)
    }
}
