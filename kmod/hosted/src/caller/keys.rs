// SPDX-License-Identifier: BSD-2-Clause
//! The keys of the kernel's own dumps.

use super::Caller;
use crate::method::Method;
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::Keys;
use memdev::addr::Vaddr;

impl Keys for Caller<'_> {
    fn dump_keys(&self, blocks: &mut [Vaddr]) -> Result<usize> {
        self.step(Method::DumpKeys)?;
        let keys = self.kernel.dump_keys.read();
        let keys = keys.as_ref().ok_or(Errno::ENOENT)?;
        let room = blocks.get_mut(..keys.len()).ok_or(Errno::E2BIG)?;
        room.copy_from_slice(keys);
        Ok(keys.len())
    }
}
