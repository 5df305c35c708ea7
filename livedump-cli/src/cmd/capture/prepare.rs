// SPDX-License-Identifier: BSD-2-Clause
//! What a capture needs that is neither its machine nor its directory:
//! fetched while files may still be opened and the system still be asked.

use super::Args;
use super::lists::KernelFile;
use crate::device::Device;
use crate::error::chain;
use crate::vmcore::elf::Kernel;

#[derive(Debug)]
pub(super) struct Prepared {
    /// The file of the machine's kernel, or why it cannot be opened.
    pub(super) kernel: Option<KernelFile>,
    /// Bytes that a dump of unknown size may have.
    pub(super) wired: Option<u64>,
}

impl Prepared {
    pub(super) fn gather(args: &Args, device: &dyn Device) -> Self {
        let path = match &args.kernel {
            Some(kernel) => Some(kernel.clone()),
            None => device.kernel_path(),
        };
        let kernel = path.map(|path| {
            let file = Kernel::open_file(&path).map_err(|e| chain(&e));
            (path, file)
        });
        Self { kernel, wired: device.wired_bytes() }
    }
}
