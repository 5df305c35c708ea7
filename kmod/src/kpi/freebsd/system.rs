// SPDX-License-Identifier: BSD-2-Clause
//! Names and clocks.

use super::FreeBsd;
use crate::kpi::System;
use core::ffi::c_char;

unsafe extern "C" {
    safe fn livedump_time_second() -> i64;
    safe fn livedump_nanouptime() -> u64;
    fn livedump_hostname(out: *mut c_char, len: usize) -> usize;
    fn livedump_version(out: *mut c_char, len: usize) -> usize;
}

impl System for FreeBsd {
    fn time_second(&self) -> i64 {
        livedump_time_second()
    }

    fn nanouptime(&self) -> u64 {
        livedump_nanouptime()
    }

    fn hostname(&self, out: &mut [u8]) -> usize {
        // SAFETY: the shim writes at most `len` bytes, all ours.
        unsafe { livedump_hostname(out.as_mut_ptr().cast(), out.len()) }
    }

    fn version(&self, out: &mut [u8]) -> usize {
        // SAFETY: the shim writes at most `len` bytes, all ours.
        unsafe { livedump_version(out.as_mut_ptr().cast(), out.len()) }
    }
}
