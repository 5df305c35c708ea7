// SPDX-License-Identifier: BSD-2-Clause
//! Pipes and sockets: fget(9) and `fo_write`.

use super::{FreeBsd, check, file::File};
use crate::error::{Errno, Result};
use crate::kpi::Streams;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

unsafe extern "C" {
    fn livedump_getstream(fd: c_int, fpp: *mut *mut c_void) -> c_int;
    fn livedump_is_read_by_caller(fp: *mut c_void) -> bool;
    fn livedump_fo_write(fp: *mut c_void, data: *const u8, len: usize)
    -> c_int;
}

impl Streams for FreeBsd {
    fn getstream(&self, fd: i32) -> Result<File> {
        let mut fp = core::ptr::null_mut();
        // SAFETY: the shim stores a referenced file there, or an error says
        // that it did not.
        check(unsafe { livedump_getstream(fd, &mut fp) })?;
        NonNull::new(fp).map(File::new).ok_or(Errno::EBADF)
    }

    fn is_read_by_caller(&self, file: &File) -> bool {
        // SAFETY: referenced from getstream until fdrop.
        unsafe { livedump_is_read_by_caller(file.as_ptr()) }
    }

    fn fo_write(&self, file: &File, data: &[u8]) -> Result<()> {
        // SAFETY: referenced as above; `data` is kernel memory, borrowed for
        // the call, that is only read.
        let error = unsafe {
            livedump_fo_write(file.as_ptr(), data.as_ptr(), data.len())
        };
        check(error)
    }
}
