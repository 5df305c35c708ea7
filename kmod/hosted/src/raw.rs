// SPDX-License-Identifier: BSD-2-Clause
//! The machine `raw:FILE`: amd64 whose memory is a file, from 1 MB up, with
//! every page in the bitset. For measuring with any memory contents one
//! likes; the dump it gives has the right shape and no kernel in it.

use super::errno::from_host;
use super::machine::Machine;
use super::tables::{ROOT_LEVEL, Table, Tables};
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::Target;
use memdev::addr::{PAGE_SHIFT, PAGE_SIZE, Paddr, Page, Vaddr, round_page};
use memdev::arch;
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the file's first byte is.
pub const RAM_START: u64 = 1 << 20;
/// The direct map is 4 TB; the page tables come on top of the memory.
const MAX_BYTES: u64 = 3 << 40;
const KERNBASE: Vaddr = Vaddr(0xffff_fe00_0000_0000);
const DMAPBASE: Vaddr = Vaddr(0xffff_f800_0000_0000);
const DMAPEND: Vaddr = Vaddr(0xffff_fc00_0000_0000);
const MSGBUF_BYTES: u32 = PAGE_SIZE as u32;
const DUMP_AVAIL_BYTES: u32 = 1024;

/// Why a file cannot be a machine's memory.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// It cannot be opened, or not be asked for its size.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No memory, or more than amd64 maps.
    #[error("{} has {bytes} bytes: expected 1 to {MAX_BYTES}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// A file as memory.
#[derive(Clone, Debug)]
pub struct RawMachine {
    file: Option<Arc<File>>,
    ranges: [(u64, u64); 1],
    tables: Tables,
}

impl RawMachine {
    /// Memory with the contents of the file, device or block device at
    /// `path`; the last page is filled up with zeros.
    ///
    /// # Errors
    /// The file's, and a size that no memory has.
    pub fn open(path: &Path) -> core::result::Result<Self, RawError> {
        let open = |source| RawError::Open { path: path.into(), source };
        let mut file = File::open(path).map_err(open)?;
        // Not the metadata: a device's says 0.
        let bytes = file.seek(SeekFrom::End(0)).map_err(open)?;
        Self::new(Some(file), bytes)
            .ok_or_else(|| RawError::Size { path: path.into(), bytes })
    }

    /// Memory with the contents of an open file.
    ///
    /// # Errors
    /// The file's; `InvalidInput` for a size that no memory has.
    pub fn from_file(mut file: File) -> std::io::Result<Self> {
        // Not the metadata: a device's says 0.
        let bytes = file.seek(SeekFrom::End(0))?;
        Self::new(Some(file), bytes).ok_or(ErrorKind::InvalidInput.into())
    }

    /// Memory without contents; `None` for a size that no memory has.
    #[must_use]
    pub fn zeroed(bytes: u64) -> Option<Self> {
        Self::new(None, bytes)
    }

    fn new(file: Option<File>, bytes: u64) -> Option<Self> {
        if !(1..=MAX_BYTES).contains(&bytes) {
            return None;
        }
        let end = RAM_START + round_page(bytes)?;
        let amd64 = arch::Machine::Amd64;
        let tables = Tables::new(amd64, Paddr(end), KERNBASE, 1, 1)?;
        let file = file.map(Arc::new);
        Some(Self { file, ranges: [(RAM_START, end)], tables })
    }

    fn pages(&self) -> u64 {
        let [(start, end)] = self.ranges;
        (end - start) >> PAGE_SHIFT
    }
}

impl Machine for RawMachine {
    fn target(&self) -> Target {
        Target {
            instant: None,
            machine: arch::Machine::Amd64,
            minidump_version: 3,
            minidump_flags: 0,
            root: self.tables.root(),
            root_level: ROOT_LEVEL,
            kernbase: KERNBASE,
            kva_end: self.tables.kva_end(),
            dmapphys: 0,
            dmapbase: DMAPBASE,
            dmapend: DMAPEND,
            bitset_bits: self.pages(),
            msgbuf_bytes: MSGBUF_BYTES,
            dump_avail_bytes: DUMP_AVAIL_BYTES,
        }
    }

    fn dump_avail(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    fn copy_bitset(&self, first: usize, words: &mut [u64]) {
        let mut left = self.pages().saturating_sub(64 * first as u64);
        for w in words {
            *w = match left {
                0 => 0,
                n if n >= 64 => u64::MAX,
                n => (1 << n) - 1,
            };
            left = left.saturating_sub(64);
        }
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        text.fill(0);
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        match self.tables.at(table) {
            Some(Table::Upper(level, n)) => self.tables.entry(level, n, index),
            // What the memory holds is not known to be page tables.
            Some(Table::Given(_)) | None => 0,
        }
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        pa.0 < DMAPEND.0 - DMAPBASE.0
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        let [(start, end)] = self.ranges;
        (start..end).contains(&pa.0) || self.tables.at(pa).is_some()
    }

    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        let [(start, end)] = self.ranges;
        if (start..end).contains(&pa.0) {
            let at = (pa.0 - start) & !(PAGE_SIZE as u64 - 1);
            return match &self.file {
                Some(file) => read_at(file, at, page),
                None => {
                    page.fill(0);
                    Ok(())
                }
            };
        }
        page.fill(0);
        match self.tables.at(pa) {
            Some(table) => {
                self.tables.copy(table, page);
                Ok(())
            }
            None => Err(Errno::EFAULT),
        }
    }

    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Option<Result<()>> {
        let [(start, end)] = self.ranges;
        let at = pa.0.checked_sub(start)?;
        let bytes = pages.as_flattened_mut();
        let file = self.file.as_ref()?;
        let inside = bytes.len() as u64 <= end.checked_sub(pa.0)?;
        inside.then(|| read_at(file, at, bytes))
    }

    fn hostname(&self) -> &str {
        "raw"
    }

    fn version(&self) -> &str {
        "FreeBSD (none: raw memory)\n"
    }
}

/// Fills `out` from a file; what lies behind its end is zero.
pub(super) fn read_at(file: &File, offset: u64, out: &mut [u8]) -> Result<()> {
    let mut have = 0;
    while let Some(rest) = out.get_mut(have..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, offset + have as u64) {
            Ok(0) => {
                rest.fill(0);
                break;
            }
            Ok(n) => have += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                out.fill(0);
                return Err(from_host(&e));
            }
        }
    }
    Ok(())
}
