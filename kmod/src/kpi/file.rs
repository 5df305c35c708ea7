// SPDX-License-Identifier: BSD-2-Clause
//! The file the caller passed, and writing to it.

use crate::error::Result;

/// Files, by the caller's descriptors.
pub trait Files {
    /// A file the caller passed, with a reference. C: `struct file *`.
    type File;
    /// A held range lock. C: the cookie of `vn_rangelock_wlock`.
    type RangeLock;

    /// The caller's descriptor as a vnode, with `CAP_WRITE`; takes a
    /// reference. C: `getvnode(td, fd, &cap_write_rights, &fp)`.
    ///
    /// # Errors
    /// `EBADF` no such descriptor (or `O_PATH`), `ENOTCAPABLE`, `EINVAL` not
    /// a vnode.
    fn getvnode(&self, fd: i32) -> Result<Self::File>;

    /// Gives the reference back, once. May sleep. C: `fdrop`.
    fn fdrop(&self, file: &Self::File);

    /// Whether it was opened for writing. C: `fp->f_flag & FWRITE`.
    fn file_is_writable(&self, file: &Self::File) -> bool;

    /// Whether it is a regular file. C: `vp->v_type == VREG`.
    fn vnode_is_regular(&self, file: &Self::File) -> bool;

    /// Whether two descriptors are of one file. C: `fp->f_vnode`.
    fn same_vnode(&self, file: &Self::File, other: &Self::File) -> bool;

    /// Whether a user process serves the file system: with that process
    /// suspended, writing would wait for ever. C: `f_fstypename`.
    fn file_is_served(&self, file: &Self::File) -> bool;

    /// Locks the whole file against truncation, and against other writers as
    /// far as the file system has them take this lock. Sleeps, for a bounded
    /// time. C: `vn_rangelock_trywlock(vp, 0, OFF_MAX)`.
    ///
    /// # Errors
    /// `EINTR`; `EAGAIN` when somebody else holds it for too long; `ETXTBSY`
    /// when a process has the file mapped so that it can write to it.
    fn rangelock_wlock(&self, file: &Self::File) -> Result<Self::RangeLock>;

    /// Gives the lock back, once. C: `vn_rangelock_unlock`.
    fn rangelock_unlock(&self, file: &Self::File, lock: &Self::RangeLock);

    /// Empties the file, under the range lock and with `vn_start_write` and
    /// the vnode lock around it. Sleeps. C: `VOP_SETATTR` with va_size 0 (what
    /// `vn_truncate_locked` does).
    ///
    /// # Errors
    /// The file system's; `EINTR` while the file system is suspended, or the
    /// vnode locked by somebody else.
    fn vn_truncate(&self, file: &Self::File) -> Result<()>;

    /// Writes all of `data` at `offset` with the caller's credential, under
    /// the range lock. Sleeps; takes `vn_start_write` and the vnode lock for
    /// this write alone, so that a suspension of the file system and other
    /// users of the vnode wait for one block, not for a whole dump.
    /// C: `vn_rdwr(UIO_WRITE, IO_NODELOCKED | IO_RANGELOCKED | IO_UNIT)`.
    ///
    /// # Errors
    /// The file system's (`ENOSPC`, `EFBIG`, `EDQUOT`, `EROFS`, `EIO` ...);
    /// a write that writes nothing is `EIO`; those of [`Files::vn_check`].
    fn vn_write(
        &self,
        file: &Self::File,
        offset: u64,
        data: &[u8],
    ) -> Result<()>;

    /// Whether the file is as the last write left it, where the range lock
    /// does not see to that. C: `va_mtime`, `va_size`; `writemappings`.
    ///
    /// # Errors
    /// `EINTEGRITY` when somebody else wrote to it, or can without a system
    /// call; `EINTR`.
    fn vn_check(&self, file: &Self::File) -> Result<()>;
}
