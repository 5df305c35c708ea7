// SPDX-License-Identifier: BSD-2-Clause
//! A dump's bytes, wherever they are: a plain file, zstd frames with a seek
//! table, or a compressed stream that has to be unpacked from its start.
//!
//! Readers above ask for a range of the *unpacked* dump and get it or learn
//! why not. Positional reads serve all of it: a mapping would save nothing
//! worth having and would turn a file that shrinks into a SIGBUS.

mod cache;
mod member;
mod plain;
mod points;
mod range;
mod seekable;
mod sequential;
mod shares;
mod spool;
mod stored;
mod unit;

pub(crate) use cache::Cache;
pub use plain::Plain;
pub use seekable::Seekable;
pub use sequential::Sequential;
pub(crate) use sequential::copy_from;
pub use spool::reserve as reserve_spool;
pub use stored::Stored;
pub use unit::Codec;
pub(crate) use unit::is_zstd;

use std::io;

/// The largest frame or member that is unpacked in memory; larger ones go
/// through a temporary file. What one look at a page can cost at most.
pub const MAX_UNIT: usize = 4 << 20;

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system said no.
    #[error("reading the file at offset {offset:#x}")]
    Io {
        /// In the file.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
    /// Compressed data that does not unpack.
    #[error("unpacking the {unit} at offset {offset:#x} of the file")]
    Unpack {
        /// "zstd frame" or "gzip member".
        unit: &'static str,
        /// Where it starts in the file.
        offset: u64,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A frame that unpacks to another size than the seek table has.
    #[error(
        "the zstd frame at offset {offset:#x} unpacks to {found} bytes, \
         its seek table says {expected}"
    )]
    FrameSize {
        /// Where it starts in the file.
        offset: u64,
        /// What the table says.
        expected: u64,
        /// What came out.
        found: u64,
    },
    /// A part of the file that cannot be right.
    #[error("the {part} at offset {offset:#x} of the file: {why}")]
    Damaged {
        /// Which part.
        part: &'static str,
        /// Where it starts in the file.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be unpacked with the memory there is, or that is allowed.
    #[error("not enough memory for the {unit} at offset {offset:#x}")]
    Memory {
        /// "zstd frame" or "gzip member".
        unit: &'static str,
        /// Where it starts in the file.
        offset: u64,
        /// What the library said.
        source: io::Error,
    },
    /// Memory that an image lacks.
    #[error("the image lacks it: {0}")]
    Absent(String),
    /// The temporary file.
    #[error("temporary file in {directory} (TMPDIR)")]
    Spool {
        /// Where.
        directory: String,
        /// What went wrong.
        source: io::Error,
    },
}

impl SourceError {
    /// An error of the library that unpacks. It hands on those of the file,
    /// and those of memory are not the data's fault.
    fn unpack(unit: &'static str, offset: u64, source: io::Error) -> Self {
        let memory = source.kind() == io::ErrorKind::OutOfMemory
            || source.to_string().contains("memory");
        if source.raw_os_error().is_some() {
            Self::Io { offset, source }
        } else if memory {
            Self::Memory { unit, offset, source }
        } else {
            Self::Unpack { unit, offset, source }
        }
    }

    /// Whether the data could not be had here, be it that this host cannot
    /// read or unpack them or that an image leaves them out, so that nothing
    /// is known about them.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        match self {
            // What an image leaves out says nothing about the memory.
            Self::Io { .. }
            | Self::Memory { .. }
            | Self::Spool { .. }
            | Self::Absent(_) => true,
            Self::Unpack { .. }
            | Self::FrameSize { .. }
            | Self::Damaged { .. } => false,
        }
    }
}

/// What a check of a source's stored bytes found.
#[derive(Debug, Default)]
pub struct Check {
    /// Frames or members; 0 for a plain file.
    pub units: u64,
    /// Of these, those with a checksum.
    pub checked: u64,
    /// Bytes they unpack to.
    pub bytes: u64,
    /// Whether there are more, which were not checked.
    pub limited: bool,
    /// Zeros after the last member or frame, which fill a block.
    pub padding: u64,
    /// What is wrong, the first few.
    pub bad: Vec<SourceError>,
    /// How many are wrong.
    pub bad_units: u64,
}

/// As many bytes as are unpacked where nothing says how many there should be.
pub const ALL: u64 = u64::MAX;

/// How many errors a [`Check`] keeps.
pub(crate) const MAX_BAD: usize = 8;

impl Check {
    /// What another thread found in another part.
    pub(crate) fn add(&mut self, other: Self) {
        self.limited |= other.limited;
        self.units = self.units.saturating_add(other.units);
        self.checked = self.checked.saturating_add(other.checked);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.padding = self.padding.saturating_add(other.padding);
        self.bad_units = self.bad_units.saturating_add(other.bad_units);
        self.bad.extend(other.bad);
        self.bad.truncate(MAX_BAD);
    }

    pub(crate) fn add_bad(&mut self, e: SourceError) {
        self.bad_units = self.bad_units.saturating_add(1);
        if self.bad.len() < MAX_BAD {
            self.bad.push(e);
        }
    }
}

/// Random access to the unpacked bytes of a dump.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// How many there are, where that is known without unpacking them.
    fn known_len(&self) -> Option<u64>;

    /// How many independent parts it is stored in, where that is known and
    /// each can be read alone.
    fn parts(&self) -> Option<u64> {
        None
    }

    /// Reads at `at`; fewer bytes than `buf` has only at the end.
    ///
    /// # Errors
    /// Why they cannot be had.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError>;

    /// The first offset at or behind `at` that is not in a hole of the file.
    fn next_data(&self, at: u64) -> u64 {
        at
    }

    /// Reads everything once and compares it with its checksums, with up to
    /// `threads` threads. Stops after `limit` unpacked bytes: a small file
    /// may unpack to any number.
    ///
    /// # Errors
    /// Why it could not be done; what is wrong with the data is in the
    /// [`Check`].
    fn check(&self, threads: usize, limit: u64) -> Result<Check, SourceError>;
}

/// What a thread came to; its panic, if that is what it came to.
pub(crate) fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
