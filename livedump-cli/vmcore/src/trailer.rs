// SPDX-License-Identifier: BSD-2-Clause
//! The kernel dump header after a dump as the kernel wrote it.

use super::source::{Plain, Source, SourceError};
use memdev::kerneldump::{
    HEADER_SIZE, HeaderError, KernelDumpHeader, parity_ok,
};

/// The kernel dump header at the end of a raw dump.
#[derive(Clone, Debug)]
pub struct Trailer {
    bytes: Box<[u8; HEADER_SIZE]>,
    /// Where it is in the file.
    pub offset: u64,
}

impl Trailer {
    /// Its fields.
    ///
    /// # Errors
    /// A version that is not known, for one.
    pub fn decode(&self) -> Result<KernelDumpHeader<'_>, HeaderError> {
        KernelDumpHeader::decode(&self.bytes)
    }

    /// Whether its parity holds.
    #[must_use]
    pub fn parity_ok(&self) -> bool {
        parity_ok(&self.bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; HEADER_SIZE] {
        &self.bytes
    }

    /// What is at `offset`, where that starts like a header.
    pub(super) fn read(
        file: &Plain,
        offset: u64,
    ) -> Result<Option<Self>, SourceError> {
        let mut bytes = Box::new([0; HEADER_SIZE]);
        let got = file.read_at(offset, bytes.as_mut_slice())?;
        let none = got < bytes.len()
            || KernelDumpHeader::decode(&bytes) == Err(HeaderError::Magic);
        Ok((!none).then_some(Self { bytes, offset }))
    }
}
