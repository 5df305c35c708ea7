// SPDX-License-Identifier: BSD-2-Clause
//! The livedumper events.

use super::{FreeBsd, check};
use crate::error::Result;
use crate::kpi::Events;
use core::ffi::c_int;

unsafe extern "C" {
    safe fn livedump_livedumper_start() -> c_int;
    fn livedump_livedumper_dump(
        block: *const u8,
        offset: u64,
        len: usize,
    ) -> c_int;
    safe fn livedump_livedumper_finish();
}

impl Events for FreeBsd {
    fn livedumper_start(&self) -> Result<()> {
        check(livedump_livedumper_start())
    }

    fn livedumper_dump(&self, block: Option<(&[u8], u64)>) -> Result<()> {
        let (at, offset, len) = match block {
            Some((bytes, offset)) => (bytes.as_ptr(), offset, bytes.len()),
            None => (core::ptr::null(), 0, 0),
        };
        // SAFETY: handlers get to see the block, borrowed for the call.
        check(unsafe { livedump_livedumper_dump(at, offset, len) })
    }

    fn livedumper_finish(&self) {
        livedump_livedumper_finish();
    }
}
