// SPDX-License-Identifier: BSD-2-Clause
//! Reading the dumped machine's memory, by physical or by kernel address.

use super::pages::PageState;
use super::source::{SourceError, copy_from};
use super::{Vmcore, pages::PagesError};
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use std::ops::ControlFlow;
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;

/// What is kept of pages that were read in part: the fields of the structures
/// of a busy machine, where its lists lead through the dump in no order.
pub(crate) const CACHED_PAGES: usize = 64 << 20;

/// Why memory is not there.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Neither the kernel map nor the direct map has the address.
    #[error("it is outside the kernel map and the direct map")]
    NoMap,
    /// The page tables say that nothing is there.
    #[error("it is not mapped")]
    NotMapped,
    /// A page table that is needed cannot be had.
    #[error("the page table at physical {table} cannot be read")]
    Table {
        /// The table.
        table: Paddr,
        /// Why not.
        #[source]
        why: Box<MemoryError>,
    },
    /// The file ends before the entry of the pmap section.
    #[error("the file ends before its page-table entry at {offset:#x}")]
    PmapBeyondEnd {
        /// Of the unpacked dump.
        offset: u64,
    },
    /// Memory that was not dumped.
    #[error("the page at physical {pa} was not dumped")]
    NotDumped {
        /// The page.
        pa: Paddr,
    },
    /// Not memory.
    #[error("physical {pa} is outside the memory of dump_avail")]
    OutsideMemory {
        /// The address.
        pa: Paddr,
    },
    /// Dumped, but the file was cut off.
    #[error(
        "the file ends at {end:#x}, the page at physical {pa} should be at \
         {offset:#x}"
    )]
    BeyondEnd {
        /// The page.
        pa: Paddr,
        /// Where it should be.
        offset: u64,
        /// Where the file ends.
        end: u64,
    },
    /// Dumped, but it never arrived.
    #[error("{offset:#x} of the dump, where it should be, did not arrive")]
    Lost {
        /// Of the unpacked dump.
        offset: u64,
    },
    /// The pages cannot be found.
    #[error("pages cannot be found: {why}")]
    NoPages {
        /// Why.
        why: String,
        /// Whether it is this host that could not read them.
        environment: bool,
    },
    /// The file cannot be read there.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A read that ended early.
#[derive(Debug, thiserror::Error)]
#[error(
    "address {at:#x} {}",
    if why.is_environment() { "cannot be read" } else { "is not in the dump" }
)]
pub struct ReadError {
    /// The first address that could not be read.
    pub at: u64,
    /// Bytes before it that could.
    pub done: usize,
    /// Why.
    #[source]
    pub why: MemoryError,
}

impl MemoryError {
    /// Whether it is this host that could not read the memory, so that
    /// nothing is known about it.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        match self {
            Self::Source(e) => e.is_environment(),
            Self::Table { why, .. } => why.is_environment(),
            Self::NoPages { environment, .. } => *environment,
            _ => false,
        }
    }
}

impl ReadError {
    /// Whether it is this host that could not read the memory.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        self.why.is_environment()
    }
}

fn no_pages(e: &PagesError) -> MemoryError {
    MemoryError::NoPages {
        why: crate::chain(e),
        environment: e.is_environment(),
    }
}

impl Vmcore {
    /// What the dump has of the page that holds `pa`.
    ///
    /// # Errors
    /// There is no telling.
    pub fn page_state(&self, pa: Paddr) -> Result<PageState, MemoryError> {
        let pages = self.pages().map_err(no_pages)?;
        Ok(match pages.find(self.source(), pa)? {
            PageState::Present(at) if self.lost.has(at, PAGE) => {
                PageState::Lost(at)
            }
            state => state,
        })
    }

    /// Where the unpacked dump has the page of a kernel address, for those who
    /// read much and choose the order.
    #[must_use]
    pub fn offset_of(&self, va: Vaddr) -> Option<u64> {
        let pa = self.translate(va).ok()?;
        match self.page_state(pa).ok()? {
            PageState::Present(at) => Some(at),
            _ => None,
        }
    }

    /// Whether the file has a hole where the page that holds `pa` should be:
    /// it reads as zeros, which may be all there ever was.
    ///
    /// # Errors
    /// There is no telling.
    pub fn is_hole(&self, pa: Paddr) -> Result<bool, MemoryError> {
        Ok(match self.page_state(pa)? {
            PageState::Present(at) => {
                let end = at.saturating_add(PAGE);
                self.source.next_data(at) >= end
            }
            _ => false,
        })
    }

    /// Calls `f` with every page in the dump and its offset in the unpacked
    /// dump, in the order of the file, until it breaks.
    ///
    /// # Errors
    /// The bitset cannot be read.
    pub fn for_each_page(
        &self,
        mut f: impl FnMut(Paddr, u64) -> ControlFlow<()>,
    ) -> Result<(), MemoryError> {
        let pages = self.pages().map_err(no_pages)?;
        Ok(pages.for_each(self.source(), |pa, at| {
            match self.lost.has(at, PAGE) {
                true => ControlFlow::Continue(()),
                false => f(pa, at),
            }
        })?)
    }

    /// Reads within one page.
    pub(super) fn read_in_page(
        &self,
        pa: Paddr,
        buf: &mut [u8],
    ) -> Result<(), MemoryError> {
        match self.read_some(pa, buf)? {
            (_, None) => Ok(()),
            (_, Some(e)) => Err(e),
        }
    }

    /// Reads within one page what is there of it.
    fn read_some(
        &self,
        pa: Paddr,
        buf: &mut [u8],
    ) -> Result<(usize, Option<MemoryError>), MemoryError> {
        let in_page = pa.0 % PAGE;
        let page = Paddr(pa.0.saturating_sub(in_page));
        let beyond = |offset, end| MemoryError::BeyondEnd { pa, offset, end };
        let part = buf.len() < PAGE_SIZE;
        if let Some(data) = self.cache.get(page.0) {
            return Ok((copy_from(&data, in_page, buf), None));
        }
        let offset = match self.page_state(pa)? {
            PageState::Present(offset) => offset,
            PageState::Lost(offset) => {
                return Err(MemoryError::Lost { offset });
            }
            PageState::NotDumped => {
                return Err(MemoryError::NotDumped { pa: page });
            }
            PageState::OutsideMemory => {
                return Err(MemoryError::OutsideMemory { pa });
            }
            PageState::BeyondEnd(offset) => {
                let end = self.source.known_len().unwrap_or(0);
                return Err(beyond(offset, end));
            }
        };
        if part {
            let mut whole = [0; PAGE_SIZE];
            // Where not all of it can be had, the part may be.
            if let Ok(PAGE_SIZE) = self.source.read_at(offset, &mut whole) {
                self.cache.put(page.0, Arc::from(whole));
                return Ok((copy_from(&whole, in_page, buf), None));
            }
        }
        let at = offset.saturating_add(in_page);
        let got = self.source.read_at(at, buf)?;
        if got == buf.len() {
            return Ok((got, None));
        }
        let end = at.saturating_add(got as u64);
        Ok((got, Some(beyond(offset, end))))
    }

    /// Reads physical memory.
    ///
    /// # Errors
    /// How far it got, and why no further.
    pub fn read_phys(
        &self,
        pa: Paddr,
        buf: &mut [u8],
    ) -> Result<(), ReadError> {
        self.read(pa.0, buf, |at| Ok(Paddr(at)))
    }

    /// Reads kernel memory.
    ///
    /// # Errors
    /// How far it got, and why no further.
    pub fn read_va(&self, va: Vaddr, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read(va.0, buf, |at| self.translate(Vaddr(at)))
    }

    fn read(
        &self,
        start: u64,
        buf: &mut [u8],
        physical: impl Fn(u64) -> Result<Paddr, MemoryError>,
    ) -> Result<(), ReadError> {
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let fail = |at, done, why| Err(ReadError { at, done, why });
            let Some(at) = start.checked_add(done as u64) else {
                return fail(u64::MAX, done, MemoryError::NoMap);
            };
            let in_page = (at % PAGE) as usize;
            let n = rest.len().min(PAGE_SIZE.saturating_sub(in_page));
            let part = rest.get_mut(..n).unwrap_or_default();
            let pa = physical(at).inspect(|&pa| self.reads.add(pa));
            match pa.and_then(|pa| self.read_some(pa, part)) {
                Ok((_, None)) => done = done.saturating_add(n),
                Ok((got, Some(why))) => {
                    let at = at.saturating_add(got as u64);
                    return fail(at, done.saturating_add(got), why);
                }
                Err(why) => return fail(at, done, why),
            }
        }
        Ok(())
    }

    /// Reads a little-endian number.
    ///
    /// # Errors
    /// Why it is not there.
    pub fn read_u64(&self, va: Vaddr) -> Result<u64, ReadError> {
        let mut b = [0; 8];
        self.read_va(va, &mut b)?;
        Ok(u64::from_le_bytes(b))
    }

    /// Reads a little-endian number.
    ///
    /// # Errors
    /// Why it is not there.
    pub fn read_u32(&self, va: Vaddr) -> Result<u32, ReadError> {
        let mut b = [0; 4];
        self.read_va(va, &mut b)?;
        Ok(u32::from_le_bytes(b))
    }
}
