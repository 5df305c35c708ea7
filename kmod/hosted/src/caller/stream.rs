// SPDX-License-Identifier: BSD-2-Clause
//! Pipes and sockets: the process's descriptors, and what the host has behind
//! them.

use super::Caller;
use crate::method::Method;
use crate::process::Descriptor;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::Streams;
use std::sync::atomic::Ordering;

impl Streams for Caller<'_> {
    fn getstream(&self, fd: i32) -> Result<Descriptor> {
        self.step(Method::Getstream)?;
        let file = self.process.getstream(fd)?;
        self.kernel.held.files.fetch_add(1, Ordering::SeqCst);
        Ok(file)
    }

    fn is_read_by_caller(&self, file: &Descriptor) -> bool {
        self.pass(Method::IsReadByCaller);
        file.is_read_by_caller()
    }

    fn fo_write(&self, file: &Descriptor, data: &[u8]) -> Result<()> {
        self.step(Method::FoWrite)?;
        let stop = || self.process.signal_pending();
        match file.vnode().send(data, &stop)? {
            true => Ok(()),
            false => Err(self.interrupt()),
        }
    }
}
