// SPDX-License-Identifier: BSD-2-Clause
//! The keys of the kernel's own dumps.

use super::{FreeBsd, check};
use crate::error::Result;
use crate::kpi::Keys;
use core::ffi::c_int;
use memdev::addr::Vaddr;

unsafe extern "C" {
    fn livedump_dump_keys(
        blocks: *mut Vaddr,
        room: usize,
        n: *mut usize,
    ) -> c_int;
}

impl Keys for FreeBsd {
    fn dump_keys(&self, blocks: &mut [Vaddr]) -> Result<usize> {
        let mut n = 0;
        let (at, room) = (blocks.as_mut_ptr(), blocks.len());
        // SAFETY: the shim writes at most `room` addresses, which are 64-bit
        // words on both sides, and how many, all ours.
        check(unsafe { livedump_dump_keys(at, room, &raw mut n) })?;
        Ok(n)
    }
}
