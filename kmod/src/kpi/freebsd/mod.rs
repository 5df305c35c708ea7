// SPDX-License-Identifier: BSD-2-Clause
//! The kernel this is loaded into: the traits of
//! [`crate::kpi`] over the functions of csrc/livedump_shim.h, a file a trait.
//!
//! What C owns crosses as a pointer in a type of its own that is neither
//! `Copy` nor made anywhere else. Memory of the live machine never crosses as
//! a pointer: the shim copies.
#![allow(unsafe_code)]

mod caller;
mod compressor;
mod copies;
mod cpus;
mod events;
mod file;
mod heap;
mod keys;
mod lock;
mod memory;
mod monitor;
mod processes;
mod stream;
mod system;
mod threads;

use crate::error::{Errno, Result};
use core::ffi::c_int;

unsafe extern "C" {
    fn livedump_panic(what: *const u8, len: usize) -> !;
}

/// The running kernel and the current thread, which made the request.
#[derive(Debug)]
pub struct FreeBsd;

/// An int of the shim's. Negative ones are the kernel's own, such as ERESTART
/// for a signal whose handler wants the call restarted: a dump is not.
fn check(error: c_int) -> Result<()> {
    match error {
        0 => Ok(()),
        ..0 => Err(Errno::EINTR),
        _ => Err(Errno(error)),
    }
}

/// Stops the machine. For the panic handler alone.
pub fn panic(what: &str) -> ! {
    // SAFETY: the shim reads `len` bytes of a string that outlives us all.
    unsafe { livedump_panic(what.as_ptr(), what.len()) }
}
