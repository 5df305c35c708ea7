// SPDX-License-Identifier: BSD-2-Clause
//! What only type information tells of a kernel in an image, for whoever has
//! it: where its host name is, and which of its pages no dump is to have.

use super::KernelMemory;
use crate::MemoryError;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::freeze::FreezeRecord;

const PAGE: u64 = PAGE_SIZE as u64;
/// C: `VM_PHYSSEG_MAX` is 64.
const MAX_SEGMENTS: u32 = 1024;
/// C: `MAXHOSTNAMELEN`.
const HOSTNAME: usize = 256;

/// Facts about a kernel.
#[derive(Clone, Debug, Default)]
pub struct ImageFacts {
    /// C: `prison0.pr_hostname`.
    pub hostname: String,
    /// Where PG_NODUMP is looked for; `None`: it is not known.
    pub pages: Option<VmPages>,
    /// The instant that all the memory is of, where whoever took it knows.
    pub instant: Option<FreezeRecord>,
}

/// Where structures of pages are. C: `struct vm_phys_seg`, `struct vm_page`.
#[derive(Clone, Copy, Debug, Default)]
pub struct VmPageTypes {
    /// Bytes of a segment, and where it has its first and last address and
    /// its first page.
    pub segment: (u64, [u64; 3]),
    /// Bytes of a page, and where it has its flags.
    pub page: (u64, u64),
    /// Bytes of the flags.
    pub flags: u64,
}

/// C: `vm_phys_segs[]`.
#[derive(Clone, Debug, Default)]
pub struct VmPages {
    segments: Vec<(u64, u64, u64)>,
    types: VmPageTypes,
}

impl KernelMemory {
    /// Reads `vm_phys_segs`, `count` of them.
    ///
    /// # Errors
    /// They are not in the image, or are none.
    pub fn vm_pages(
        &self,
        types: VmPageTypes,
        segments: Vaddr,
        count: u32,
    ) -> Result<VmPages, String> {
        let (size, [start, end, first]) = types.segment;
        let largest = start.max(end).max(first).saturating_add(8);
        let odd = largest > size
            || size > PAGE
            || types.page.1.saturating_add(types.flags) > types.page.0
            || types.page.0 > PAGE
            || ![1, 2].contains(&types.flags);
        if odd || count > MAX_SEGMENTS {
            return Err(format!("{count} segments of {size} bytes"));
        }
        let mut all = Vec::new();
        for n in 0..u64::from(count) {
            let at = segments.0.saturating_add(n.saturating_mul(size));
            let word = |offset: u64| {
                let mut bytes = [0; 8];
                let va = Vaddr(at.saturating_add(offset));
                let read = self.walker.read(va, &mut bytes);
                read.map(|()| u64::from_le_bytes(bytes))
                    .map_err(|e| crate::chain(&e))
            };
            all.push((word(start)?, word(end)?, word(first)?));
        }
        Ok(VmPages { segments: all, types })
    }

    /// C: `vm_phys_is_dumpable`, but for dump_avail: whether a page is not
    /// marked PG_NODUMP, or has no `struct vm_page`.
    ///
    /// # Errors
    /// The image lacks the structure.
    pub fn may_dump(
        &self,
        pages: &VmPages,
        pa: Paddr,
    ) -> Result<bool, MemoryError> {
        let within = |s: &&(u64, u64, u64)| (s.0..s.1).contains(&pa.0);
        let Some(&(start, _, first)) = pages.segments.iter().find(within)
        else {
            return Ok(true);
        };
        let (size, offset) = pages.types.page;
        let n = pa.0.saturating_sub(start) / PAGE;
        let into = n.saturating_mul(size).saturating_add(offset);
        let at = Vaddr(first.saturating_add(into));
        let mut bytes = [0; 2];
        let mask = match pages.types.flags {
            // C: PG_NODUMP of 12.x, where flags are a uint16_t.
            2 => 0x80,
            _ => 0x10,
        };
        let n = (pages.types.flags as usize).min(bytes.len());
        self.walker.read(at, bytes.get_mut(..n).unwrap_or_default())?;
        Ok(u16::from_le_bytes(bytes) & mask == 0)
    }

    /// Text at an address: up to a NUL, and one line.
    #[must_use]
    pub fn hostname(&self, at: Vaddr) -> Option<String> {
        let mut bytes = [0; HOSTNAME];
        self.walker.read(at, &mut bytes).ok()?;
        let text = bytes.split(|&b| b == 0).next()?;
        let plain = text.iter().all(u8::is_ascii_graphic);
        plain.then(|| String::from_utf8_lossy(text).into_owned())
    }
}
