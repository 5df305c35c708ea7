// SPDX-License-Identifier: BSD-2-Clause
//! Where blocks go, one file for each kind. What comes in is in file order,
//! begins where the last block ended, and knows nothing of what is behind.

pub(super) mod header;
mod stream;
mod vnode;

use crate::error::Result;
use crate::kpi::Kpi;

/// The caller's file.
#[derive(Debug)]
pub enum Sink<'a, F> {
    /// A regular file, range-locked.
    Vnode(&'a F),
    /// A pipe or a socket.
    Stream(&'a F),
}

impl<F> Clone for Sink<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Sink<'_, F> {}

impl<F> Sink<'_, F> {
    /// Before the first block, and what cannot be undone.
    ///
    /// # Errors
    /// The file system's.
    pub fn begin<K: Kpi<File = F>>(self, kpi: &K) -> Result<()> {
        match self {
            Self::Vnode(file) => vnode::begin(kpi, file),
            Self::Stream(_) => Ok(()),
        }
    }

    /// Whether what is not written reads as zeros.
    pub(super) fn has_holes(self) -> bool {
        matches!(self, Self::Vnode(_))
    }

    /// One block out.
    pub(super) fn write<K: Kpi<File = F>>(
        self,
        kpi: &K,
        offset: u64,
        block: &[u8],
    ) -> Result<()> {
        match self {
            Self::Vnode(file) => vnode::write(kpi, file, offset, block),
            Self::Stream(file) => stream::write(kpi, file, block),
        }
    }

    /// Whether it still is what was written.
    ///
    /// # Errors
    /// `EINTEGRITY` when it is not; `EINTR`.
    pub fn check<K: Kpi<File = F>>(self, kpi: &K) -> Result<()> {
        match self {
            Self::Vnode(file) => kpi.vn_check(file),
            Self::Stream(_) => Ok(()),
        }
    }

    /// Half a dump must not be taken for one, as far as that is ours to see to:
    /// the reader of a stream sees no header at its end.
    pub fn give_up<K: Kpi<File = F>>(self, kpi: &K) {
        match self {
            Self::Vnode(file) => vnode::give_up(kpi, file),
            Self::Stream(_) => {}
        }
    }
}
