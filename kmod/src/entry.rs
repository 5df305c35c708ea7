// SPDX-License-Identifier: BSD-2-Clause
//! What the module's C side calls, and where a panic goes. The only file that
//! puts the engine and [`FreeBsd`] together.
#![allow(unsafe_code)]

use crate::error::Errno;
use crate::kpi::System;
use crate::kpi::freebsd::{FreeBsd, panic};
use crate::livedump::Livedump;
use core::ffi::{c_char, c_int, c_ulong};
use core::panic::PanicInfo;
use memdev::addr::Page;
use memdev::freeze::MEM_MINIDUMP2;
use memdev::ioctl::{MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP_STATUS};
use memdev::params;

static LIVEDUMP: Livedump = Livedump::new();

/// Whether a request is the module's; the stock one where `kerneldump` says
/// so.
#[unsafe(no_mangle)]
pub extern "C" fn livedump_entry_takes(
    request: c_ulong,
    kerneldump: bool,
) -> bool {
    match u32::try_from(request) {
        Ok(MEM_MINIDUMP | MEM_MINIDUMP2 | MEM_MINIDUMP_STATUS) => true,
        Ok(MEM_KERNELDUMP) => kerneldump,
        _ => false,
    }
}

/// Serves a request of the current thread; returns 0 or an errno.
///
/// # Safety
/// `data` points to `len` initialised bytes that nobody else uses until this
/// returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livedump_entry_request(
    request: c_ulong,
    data: *mut u8,
    len: usize,
) -> c_int {
    let Ok(request) = u32::try_from(request) else {
        return Errno::ENOTTY.0;
    };
    // SAFETY: the caller's promise: ioctl(2) copies the argument into (or
    // zeroes) a buffer of this one call, IOCPARM_LEN bytes long, and copies
    // it out only after the driver has returned.
    let data = unsafe { core::slice::from_raw_parts_mut(data, len) };
    match LIVEDUMP.request(&FreeBsd, request, data) {
        Ok(()) => 0,
        Err(e) => e.0,
    }
}

/// The counters, for sysctls: anyone may know them.
///
/// # Safety
/// `status` points to 128 bytes that nobody else uses until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livedump_entry_status(status: *mut [u8; 128]) {
    let now = FreeBsd.nanouptime();
    let mut bytes = [0; 128];
    LIVEDUMP.progress().status(now).encode(&mut bytes);
    // SAFETY: the caller's promise: a structure of this size on its stack.
    unsafe { status.write(bytes) };
}

/// Completes a parameter page; returns the bytes of its note.
///
/// # Safety
/// `page` points to a page of which the first part is filled in and the rest
/// is zero, and that nobody else uses until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livedump_entry_params(page: *mut Page) -> u32 {
    // SAFETY: the caller's promise: a page that was allocated just now, whose
    // address nobody knows yet, reached through the direct map.
    let page = unsafe { &mut *page };
    params::seal(page);
    params::note_bytes(page)
}

/// The version of the package, for a sysctl: a string of C.
#[unsafe(no_mangle)]
pub extern "C" fn livedump_entry_release() -> *const c_char {
    // kmod/engine sets it, as cargo does.
    const RELEASE: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    RELEASE.as_ptr().cast()
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    // Without formatting, which would cost more stack and code than the rest
    // of the module: the file is what is needed to look.
    panic(info.location().map_or("engine", |at| at.file()))
}
