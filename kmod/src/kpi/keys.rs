// SPDX-License-Identifier: BSD-2-Clause
//! The keys that the kernel encrypts its own dumps with.

use crate::error::Result;
use memdev::addr::Vaddr;

/// Where they are.
pub trait Keys {
    /// Names the blocks that hold a key, and returns how many there are. Takes
    /// a lock. C: `dumper_configs`, `struct kerneldumpcrypto`.
    ///
    /// # Errors
    /// `ENOENT` where the kernel does not say where to look, `E2BIG` when
    /// there are more than fit.
    fn dump_keys(&self, blocks: &mut [Vaddr]) -> Result<usize>;
}
