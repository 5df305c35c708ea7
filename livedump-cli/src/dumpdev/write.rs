// SPDX-License-Identifier: BSD-2-Clause
//! Writing a dump to a device, so that savecore(8) finds it, and finds at any
//! moment of a power cut either it, what was there before, or none.
//!
//! The order: the last sector is emptied, which gives up what was there; data,
//! key block and leading header; the trailing header, by which a dump is found.
//! Before each of these what came before is on the medium.

use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader};
use std::io;

/// What a kernel leaves alone at the start. C: `SIZEOF_METADATA`,
/// kern_shutdown.c.
pub const METADATA: u64 = 64 << 10;
/// What is written at a time, a multiple of every sector size.
const PIECE: usize = 1 << 20;

/// A medium that takes whole sectors.
pub trait Medium {
    /// Bytes that it holds.
    fn size(&self) -> u64;
    /// Bytes of a sector.
    fn sector(&self) -> usize;
    /// Writes whole sectors.
    ///
    /// # Errors
    /// The medium's.
    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()>;
    /// Returns when what was written is on the medium.
    ///
    /// # Errors
    /// The medium's.
    fn flush(&mut self) -> io::Result<()>;
    /// Reads whole sectors.
    ///
    /// # Errors
    /// The medium's.
    fn read(&self, at: u64, sectors: &mut [u8]) -> io::Result<()>;
}

/// Why a dump is not on the medium.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It has no room for such a dump.
    #[error(
        "it holds {size} bytes, and a dump of {extent} bytes needs {needs}"
    )]
    Small {
        /// Bytes that it holds.
        size: u64,
        /// Bytes of the dump.
        extent: u64,
        /// With what belongs to it.
        needs: u64,
    },
    /// A compressed dump turned out to be larger than what is left.
    #[error("the compressed dump is larger than the {extent} bytes for it")]
    Full {
        /// Bytes for it.
        extent: u64,
    },
    /// It cannot be written or read.
    #[error("{doing} at offset {at}")]
    Io {
        /// "writing", "reading back".
        doing: &'static str,
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// What was written is not what is there.
    #[error("what was written at offset {at} reads back as something else")]
    Changed {
        /// Where.
        at: u64,
    },
}

/// Where the parts of a dump go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    sector: usize,
    /// Bytes of the key block, whole sectors.
    key: u64,
    /// Bytes for the dump, whole sectors.
    extent: u64,
    leading: u64,
    trailing: u64,
}

impl Plan {
    /// For a dump of `extent` bytes and a key block of `key`. One that is
    /// compressed may be given less than its size before compression: what there
    /// is.
    ///
    /// # Errors
    /// [`WriteError::Small`].
    pub fn new(
        medium: &dyn Medium,
        key: u64,
        extent: u64,
        may_be_less: bool,
    ) -> Result<Self, WriteError> {
        let (size, sector) = (medium.size(), medium.sector());
        let unit = (sector as u64).max(HEADER_SIZE as u64);
        let whole = |n: u64| n.checked_next_multiple_of(unit);
        let rest = METADATA.saturating_add(unit.saturating_mul(2));
        let around = whole(key).map_or(u64::MAX, |k| rest.saturating_add(k));
        let wanted = whole(extent).unwrap_or(u64::MAX);
        let needs = wanted.saturating_add(around);
        let small = || WriteError::Small { size, extent, needs };
        let left = size.checked_sub(around).ok_or_else(small)?;
        let left = left.saturating_sub(left.checked_rem(unit).unwrap_or(0));
        let extent = match wanted <= left {
            true => wanted,
            false if may_be_less && left > 0 => left,
            false => return Err(small()),
        };
        let key = whole(key).ok_or_else(small)?;
        // Sectors of a device; the end of an image need not be one.
        let trailing = size.checked_sub(unit).ok_or_else(small)?;
        let leading = trailing
            .checked_sub(extent)
            .and_then(|at| at.checked_sub(key))
            .and_then(|at| at.checked_sub(unit))
            .ok_or_else(small)?;
        Ok(Self { sector, key, extent, leading, trailing })
    }

    /// Bytes that are reserved for the dump. C: `dumpextent`.
    #[must_use]
    pub fn extent(&self) -> u64 {
        self.extent
    }

    fn key_at(&self) -> u64 {
        self.leading.saturating_add(self.sector as u64)
    }

    fn data_at(&self) -> u64 {
        self.key_at().saturating_add(self.key)
    }
}

/// A dump being written. Until [`Writer::finish`] has returned there is none.
pub struct Writer<'m> {
    medium: &'m mut (dyn Medium + Send),
    plan: Plan,
    buf: Vec<u8>,
    /// Bytes written, from the start of the extent.
    written: u64,
}

impl<'m> Writer<'m> {
    /// Gives up what was on the medium.
    ///
    /// # Errors
    /// The medium's.
    pub fn begin(
        medium: &'m mut (dyn Medium + Send),
        plan: Plan,
    ) -> Result<Self, WriteError> {
        let mut new =
            Self { medium, plan, buf: Vec::with_capacity(PIECE), written: 0 };
        let empty = vec![0; plan.sector];
        new.write(plan.trailing, &empty)?;
        new.flush(plan.trailing)?;
        Ok(new)
    }

    /// Bytes of the dump so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.written.saturating_add(self.buf.len() as u64)
    }

    /// Appends to the dump.
    ///
    /// # Errors
    /// [`WriteError::Full`], and the medium's.
    pub fn append(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        let length = self.length().saturating_add(data.len() as u64);
        if length > self.plan.extent {
            return Err(WriteError::Full { extent: self.plan.extent });
        }
        while !data.is_empty() {
            let room = PIECE.saturating_sub(self.buf.len()).min(data.len());
            let (now, later) = data.split_at_checked(room).unwrap_or_default();
            self.buf.extend_from_slice(now);
            data = later;
            if self.buf.len() >= PIECE {
                self.write_out()?;
            }
        }
        Ok(())
    }

    /// Writes what belongs to the dump; from now on there is one. Lengths and
    /// the sizes of blocks in `header` are set here; `key` is the key block,
    /// empty where there is none. Returns the header as it is on the medium.
    ///
    /// # Errors
    /// The medium's.
    pub fn finish(
        mut self,
        header: &KernelDumpHeader<'_>,
        key: &[u8],
    ) -> Result<[u8; HEADER_SIZE], WriteError> {
        let dumplength = self.length();
        self.write_out()?;
        let Plan { sector, leading, trailing, .. } = self.plan;
        let header = KernelDumpHeader {
            dumplength,
            dumpextent: self.plan.extent,
            blocksize: u32::try_from(sector).unwrap_or(u32::MAX),
            dumpkeysize: u32::try_from(self.plan.key).unwrap_or(u32::MAX),
            ..*header
        };
        let mut bytes = [0; HEADER_SIZE];
        header.encode(&mut bytes);
        let mut block = bytes.to_vec();
        block.resize(sector, 0);
        if self.plan.key > 0 {
            let mut padded = key.to_vec();
            padded.resize(usize::try_from(self.plan.key).unwrap_or(0), 0);
            self.write(self.plan.key_at(), &padded)?;
        }
        self.write(leading, &block)?;
        self.flush(leading)?;
        self.write(trailing, &block)?;
        self.flush(trailing)?;
        for at in [leading, trailing] {
            let mut there = vec![0; sector];
            self.medium.read(at, &mut there).map_err(|source| {
                WriteError::Io { doing: "reading back", at, source }
            })?;
            if there != block {
                return Err(WriteError::Changed { at });
            }
        }
        Ok(bytes)
    }

    /// Writes what is gathered, the last sector padded with zeros.
    fn write_out(&mut self) -> Result<(), WriteError> {
        let gathered = self.buf.len();
        if gathered == 0 {
            return Ok(());
        }
        let mut buf = std::mem::take(&mut self.buf);
        buf.resize(gathered.next_multiple_of(self.plan.sector), 0);
        let at = self.plan.data_at().saturating_add(self.written);
        self.write(at, &buf)?;
        self.written = self.written.saturating_add(gathered as u64);
        buf.clear();
        self.buf = buf;
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.medium.write(at, bytes).map_err(|source| WriteError::Io {
            doing: "writing",
            at,
            source,
        })
    }

    fn flush(&mut self, at: u64) -> Result<(), WriteError> {
        self.medium.flush().map_err(|source| WriteError::Io {
            doing: "flushing what was written",
            at,
            source,
        })
    }
}

#[cfg(test)]
mod tests;
