// SPDX-License-Identifier: BSD-2-Clause
//! A kernel's memory in an image as a machine: its bitset, page tables and
//! message buffer are where that kernel keeps them. A page that the image
//! lacks is no memory: not dumpable. Nor is one that is marked PG_NODUMP, if
//! it is known where that is.

use super::cache::TableCache;
use crate::errno::from_host;
use crate::machine::{Machine, Missing};
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::Target;
use livedump_vmcore::MemoryError;
use livedump_vmcore::image::kernel::{
    ImageFacts, KernelError, KernelMemory, ROOT_LEVEL,
};
use livedump_vmcore::source::SourceError;
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;

/// An image as memory.
#[derive(Debug)]
pub struct ImageMachine {
    memory: Arc<KernelMemory>,
    facts: ImageFacts,
    cache: TableCache,
    missing: Missing,
}

impl ImageMachine {
    /// The machine of a kernel that was found.
    #[must_use]
    pub fn new(memory: Arc<KernelMemory>, facts: ImageFacts) -> Self {
        let (cache, missing) = (TableCache::new(), Missing::None);
        Self { memory, facts, cache, missing }
    }

    /// The same, of memory that should have every page that the kernel has
    /// marked for its dumps.
    ///
    /// # Errors
    /// A part of the bitset is not there.
    pub fn whole(
        memory: Arc<KernelMemory>,
        facts: ImageFacts,
    ) -> core::result::Result<Self, KernelError> {
        let marked = memory.marked()?;
        let missing = marked.first.map_or(Missing::None, |first| {
            let (pages, of) = (marked.missing, marked.marked);
            Missing::Absent { pages, of, first }
        });
        Ok(Self { missing, ..Self::new(memory, facts) })
    }

    /// The kernel's memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<KernelMemory> {
        &self.memory
    }
}

/// What a device would answer.
fn errno(e: &MemoryError) -> Errno {
    match e {
        MemoryError::Source(SourceError::Io { source, .. }) => {
            from_host(source)
        }
        MemoryError::Source(SourceError::Absent(_))
        | MemoryError::NotDumped { .. }
        | MemoryError::OutsideMemory { .. } => Errno::EFAULT,
        _ => Errno::EIO,
    }
}

impl Machine for ImageMachine {
    fn target(&self) -> Target {
        let m = &self.memory;
        let walker = m.walker();
        Target {
            instant: self.facts.instant,
            machine: m.machine(),
            minidump_version: m.minidump_version,
            minidump_flags: 0,
            root: walker.root(),
            root_level: ROOT_LEVEL,
            kernbase: m.kernbase,
            kva_end: m.kva_end,
            dmapphys: walker.dmapphys(),
            dmapbase: walker.dmapbase(),
            dmapend: walker.dmapend(),
            bitset_bits: m.bitset_bits,
            msgbuf_bytes: m.msgbuf_bytes,
            dump_avail_bytes: m.dump_avail_bytes,
        }
    }

    fn dump_avail(&self) -> &[(u64, u64)] {
        &self.memory.dump_avail
    }

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        let bits = self.memory.bitset_bits;
        let has = bits.div_ceil(64).saturating_sub(first as u64);
        let has = words.len().min(usize::try_from(has).unwrap_or(usize::MAX));
        let (words, behind) = words.split_at_mut(has);
        behind.fill(0);
        let mut at = self.memory.bitset;
        at.0 = at.0.saturating_add(8 * first as u64);
        for chunk in words.chunks_mut(PAGE_SIZE / 8) {
            let mut page = [0; PAGE_SIZE];
            let (bytes, _) = page.split_at_mut(chunk.len() * 8);
            self.memory.copy(at, bytes);
            for (word, bytes) in chunk.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            at.0 = at.0.saturating_add(PAGE);
        }
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        self.memory.copy(self.memory.msgbuf, text);
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        self.cache.entry(table, index, |page| {
            if self.memory.image().read(table, page).is_err() {
                page.fill(0);
            }
        })
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        let walker = self.memory.walker();
        let size = walker.dmapend().0.saturating_sub(walker.dmapbase().0);
        pa.0.checked_sub(walker.dmapphys()).is_some_and(|offset| offset < size)
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        let memory = &self.memory;
        if !memory.is_memory(pa) || !memory.has_page(pa) {
            return false;
        }
        // A page of which nothing says that it is not to be dumped is.
        let pages = self.facts.pages.as_ref();
        pages.is_none_or(|pages| memory.may_dump(pages, pa).unwrap_or(true))
    }

    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        let pa = Paddr(pa.0 & !(PAGE - 1));
        self.memory.image().read(pa, page).map_err(|e| {
            page.fill(0);
            errno(&e)
        })
    }

    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Option<Result<()>> {
        let bytes = pages.as_flattened_mut();
        // One that fails is found one by one.
        self.memory.image().read(pa, bytes).ok().map(Ok)
    }

    fn missing(&self) -> Missing {
        self.missing
    }

    fn hostname(&self) -> &str {
        &self.facts.hostname
    }

    fn version(&self) -> &str {
        &self.memory.version
    }
}
