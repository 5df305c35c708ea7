// SPDX-License-Identifier: BSD-2-Clause
//! Files: the process's descriptors, and the vnodes behind them.

use super::Caller;
use crate::method::Method;
use crate::process::Descriptor;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::Files;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The cookie of a held range lock.
#[derive(Debug)]
pub struct RangeLock(());

impl Files for Caller<'_> {
    type File = Descriptor;
    type RangeLock = RangeLock;

    fn getvnode(&self, fd: i32) -> Result<Descriptor> {
        self.step(Method::Getvnode)?;
        let file = self.process.getvnode(fd)?;
        self.kernel.held.files.fetch_add(1, Ordering::SeqCst);
        Ok(file)
    }

    fn fdrop(&self, _file: &Descriptor) {
        self.pass(Method::Fdrop);
        self.kernel.held.files.fetch_sub(1, Ordering::SeqCst);
    }

    fn file_is_writable(&self, file: &Descriptor) -> bool {
        self.pass(Method::FileIsWritable);
        file.is_writable()
    }

    fn vnode_is_regular(&self, file: &Descriptor) -> bool {
        self.pass(Method::VnodeIsRegular);
        file.is_regular()
    }

    fn same_vnode(&self, file: &Descriptor, other: &Descriptor) -> bool {
        self.pass(Method::SameVnode);
        Arc::ptr_eq(file.vnode(), other.vnode())
    }

    fn file_is_served(&self, file: &Descriptor) -> bool {
        self.pass(Method::FileIsServed);
        file.is_served()
    }

    fn rangelock_wlock(&self, file: &Descriptor) -> Result<RangeLock> {
        self.step(Method::RangelockWlock)?;
        file.vnode().range().lock();
        self.kernel.lock_taken();
        Ok(RangeLock(()))
    }

    fn rangelock_unlock(&self, file: &Descriptor, _lock: &RangeLock) {
        self.pass(Method::RangelockUnlock);
        self.kernel.lock_given_back(file.vnode().range().unlock());
    }

    fn vn_truncate(&self, file: &Descriptor) -> Result<()> {
        self.step(Method::VnTruncate)?;
        file.vnode().truncate()
    }

    fn vn_write(
        &self,
        file: &Descriptor,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        self.step(Method::VnWrite)?;
        file.vnode().write(offset, data)
    }

    fn vn_check(&self, _file: &Descriptor) -> Result<()> {
        self.step(Method::VnCheck)
    }
}
