// SPDX-License-Identifier: BSD-2-Clause
//! Files: getvnode(9) and what writes to a vnode.

use super::{FreeBsd, caller::livedump_maybe_yield, check};
use crate::error::{Errno, Result};
use crate::kpi::Files;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

unsafe extern "C" {
    fn livedump_getvnode(fd: c_int, fpp: *mut *mut c_void) -> c_int;
    fn livedump_fdrop(fp: *mut c_void);
    fn livedump_file_is_writable(fp: *mut c_void) -> bool;
    fn livedump_vnode_is_regular(fp: *mut c_void) -> bool;
    fn livedump_same_vnode(fp: *mut c_void, other: *mut c_void) -> bool;
    fn livedump_file_is_served(fp: *mut c_void) -> bool;
    fn livedump_rangelock_wlock(
        fp: *mut c_void,
        lock: *mut *mut c_void,
    ) -> c_int;
    fn livedump_rangelock_unlock(fp: *mut c_void, lock: *mut c_void);
    fn livedump_vn_truncate(fp: *mut c_void) -> c_int;
    fn livedump_vn_write(
        fp: *mut c_void,
        offset: u64,
        data: *const u8,
        len: usize,
    ) -> c_int;
    fn livedump_vn_check(fp: *mut c_void) -> c_int;
}

/// `struct file *` with a reference, which [`Files::fdrop`] gives back.
#[derive(Debug)]
pub struct File(NonNull<c_void>);

impl File {
    /// Of what the shim referenced.
    pub(super) fn new(fp: NonNull<c_void>) -> Self {
        Self(fp)
    }

    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

/// What `livedump_rangelock_wlock` answered.
#[derive(Debug)]
pub struct RangeLock(*mut c_void);

impl Files for FreeBsd {
    type File = File;
    type RangeLock = RangeLock;

    fn getvnode(&self, fd: i32) -> Result<File> {
        let mut fp = core::ptr::null_mut();
        // SAFETY: the shim stores a referenced file there, or an error says
        // that it did not.
        check(unsafe { livedump_getvnode(fd, &mut fp) })?;
        NonNull::new(fp).map(File).ok_or(Errno::EBADF)
    }

    fn fdrop(&self, file: &File) {
        // SAFETY: a File is a reference; the engine's FileRef is the only
        // caller, in its drop, and the File goes with it.
        unsafe { livedump_fdrop(file.0.as_ptr()) };
    }

    fn file_is_writable(&self, file: &File) -> bool {
        // SAFETY: referenced from getvnode until fdrop.
        unsafe { livedump_file_is_writable(file.0.as_ptr()) }
    }

    fn vnode_is_regular(&self, file: &File) -> bool {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        unsafe { livedump_vnode_is_regular(file.0.as_ptr()) }
    }

    fn same_vnode(&self, file: &File, other: &File) -> bool {
        // SAFETY: both referenced from getvnode until fdrop.
        unsafe { livedump_same_vnode(file.0.as_ptr(), other.0.as_ptr()) }
    }

    fn file_is_served(&self, file: &File) -> bool {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        unsafe { livedump_file_is_served(file.0.as_ptr()) }
    }

    fn rangelock_wlock(&self, file: &File) -> Result<RangeLock> {
        let mut lock = core::ptr::null_mut();
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode;
        // the shim stores what it knows the lock by, or answers an error.
        check(unsafe { livedump_rangelock_wlock(file.0.as_ptr(), &mut lock) })?;
        Ok(RangeLock(lock))
    }

    fn rangelock_unlock(&self, file: &File, lock: &RangeLock) {
        // SAFETY: a RangeLock is what rangelock_wlock of this file answered;
        // the engine's guard is the only caller, in its drop, before fdrop.
        unsafe { livedump_rangelock_unlock(file.0.as_ptr(), lock.0) };
    }

    fn vn_truncate(&self, file: &File) -> Result<()> {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        check(unsafe { livedump_vn_truncate(file.0.as_ptr()) })
    }

    fn vn_write(&self, file: &File, offset: u64, data: &[u8]) -> Result<()> {
        // vn_rdwr takes an int; and no one waits for more than this.
        const MOST: usize = 1 << 20;
        let mut at = offset;
        for part in data.chunks(MOST) {
            // SAFETY: referenced as above; `part` is kernel memory, borrowed
            // for the call, that the file system only reads.
            let error = unsafe {
                livedump_vn_write(
                    file.0.as_ptr(),
                    at,
                    part.as_ptr(),
                    part.len(),
                )
            };
            check(error)?;
            livedump_maybe_yield();
            at += part.len() as u64;
        }
        Ok(())
    }

    fn vn_check(&self, file: &File) -> Result<()> {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        check(unsafe { livedump_vn_check(file.0.as_ptr()) })
    }
}
