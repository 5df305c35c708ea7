// SPDX-License-Identifier: BSD-2-Clause
//! Which kernel a guest is to have: that of a file, or whichever wrote a
//! parameter page into its memory.

use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::kernel::KernelMemory;
use livedump_vmcore::{ImageFile, ImageKernelError, Vmcore};
use memdev::addr::{Paddr, Vaddr};
use std::sync::Arc;

/// Where the page has its generation.
const GENERATION: u64 = 32;

/// A guest's kernel.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The one of a file.
    Kernel(&'a Kernel),
    /// Any with a parameter page: at an address, if one is known.
    Page(Option<Paddr>),
}

impl Wanted<'_> {
    /// It, in memory that was taken.
    pub(super) fn find(
        &self,
        image: &ImageFile,
    ) -> Result<Vmcore, ImageKernelError> {
        match self {
            Self::Kernel(kernel) => image.with_kernel(kernel),
            Self::Page(at) => image.with_page(*at),
        }
    }

    /// Its memory alone.
    pub(super) fn memory(
        &self,
        image: &ImageFile,
    ) -> Option<Arc<KernelMemory>> {
        match self {
            Self::Kernel(kernel) => {
                image.kernel_memory(kernel).ok().map(Arc::new)
            }
            Self::Page(_) => self.find(image).ok()?.image().cloned(),
        }
    }

    /// Words that differ from one guest to another, and from one moment to the
    /// next; `None` where one of them is nowhere.
    pub(super) fn words(&self, memory: &KernelMemory) -> Option<Vec<Paddr>> {
        let walk = |va: Vaddr| memory.walker().walk(va).ok();
        let params = memory.params.as_deref();
        let all = match (self, params) {
            (Self::Kernel(kernel), _) => ["time_uptime", "ticks"]
                .into_iter()
                .filter_map(|name| kernel.find(name))
                .map(|symbol| walk(symbol.address))
                .collect::<Option<Vec<_>>>()?,
            (Self::Page(_), Some(params)) => vec![
                Paddr(params.pa.saturating_add(GENERATION)),
                walk(Vaddr(params.uptime_va))?,
            ],
            (Self::Page(_), None) => return None,
        };
        let word = |pa: Paddr| Paddr(pa.0.saturating_sub(pa.0 % 8));
        Some(all.into_iter().map(word).collect())
    }
}
