// SPDX-License-Identifier: BSD-2-Clause
//! An image without a kernel file: by the parameter page that its kernel wrote.

use super::{ImageFile, ImageKernelError};
use crate::Vmcore;
use crate::image::kernel::{KernelError, KernelMemory, Refusal};
use crate::image::{Format, MemoryImage};
use memdev::addr::Paddr;
use memdev::params;
use std::sync::Arc;

impl ImageFile {
    /// Reads it as the minidump of the kernel that has written a parameter page
    /// into it: at `at`, where its vmcoreinfo says, or else anywhere.
    ///
    /// # Errors
    /// There is no page that is to be used.
    pub fn with_page(
        &self,
        at: Option<Paddr>,
    ) -> Result<Vmcore, ImageKernelError> {
        let memory = self.page_memory(at).map_err(|source| {
            let path = self.described();
            ImageKernelError::Kernel { path, source }
        })?;
        self.view(Arc::new(memory)).map_err(|source| {
            let path = self.described();
            ImageKernelError::View { path, source }
        })
    }

    /// The same, wherever the page is.
    ///
    /// # Errors
    /// There is no page that is to be used: why not, if there is one.
    pub fn with_page_or_refused(&self) -> Result<Vmcore, Option<String>> {
        self.with_page(None).map_err(|e| match &e {
            ImageKernelError::Kernel {
                source: KernelError::NoPage(search),
                ..
            } => (search.refused_count > 0).then(|| search.to_string()),
            e => Some(crate::chain(e)),
        })
    }

    /// The same, only where its vmcoreinfo says, or where it takes no more than
    /// a look at each page: none of it has to be unpacked.
    ///
    /// # Errors
    /// There is no page that is to be used: why not, if there is one.
    pub fn with_page_at_hand(&self) -> Result<Vmcore, Option<String>> {
        let is_packed = match self.image.format() {
            Format::Kdump | Format::QemuKdump | Format::Avml => true,
            Format::Elf
            | Format::QemuElf
            | Format::Lime
            | Format::Bhyve
            | Format::Raw
            | Format::Minidump => false,
        };
        if is_packed && self.page_hint().is_none() {
            return Err(None);
        }
        self.with_page_or_refused()
    }

    /// Where its vmcoreinfo says that there is a page.
    #[must_use]
    pub fn page_hint(&self) -> Option<Paddr> {
        params::hint(&self.image.claims().vmcoreinfo)
    }

    fn page_memory(
        &self,
        at: Option<Paddr>,
    ) -> Result<KernelMemory, KernelError> {
        let hints: Vec<_> = at.into_iter().chain(self.page_hint()).collect();
        let search = match KernelMemory::by_page(&self.image, &hints) {
            Err(KernelError::NoPage(search)) => search,
            other => return other,
        };
        // A page whose address is another has that address behind a hole that
        // the file has not, or memory starts elsewhere.
        for refused in &search.refused {
            let Refusal::Copied(pa) = refused.why else { continue };
            let moved = pa.0.checked_sub(refused.at.0);
            let variants = self.raw.iter().flat_map(|raw| {
                let start = moved.map(|start| raw.with_start(start));
                raw.holes().chain(start)
            });
            for raw in
                variants.filter(|raw| raw.offset(pa) == Some(refused.at.0))
            {
                let image: Arc<dyn MemoryImage> = Arc::new(raw);
                if let Ok(memory) = KernelMemory::at_page(&image, pa) {
                    return Ok(memory);
                }
            }
        }
        Err(KernelError::NoPage(search))
    }

    /// What the parameter page says otherwise than what was found with a kernel
    /// file, where the image's vmcoreinfo leads to one.
    pub(super) fn page_notes(&self, found: &KernelMemory) -> Vec<String> {
        let Some(pa) = self.page_hint() else { return Vec::new() };
        let page = match KernelMemory::at_page(&self.image, pa) {
            Ok(page) => page,
            Err(e) => return vec![format!("parameter page at {pa}: {e}")],
        };
        let all = page.differences(found);
        match all.is_empty() {
            true => Vec::new(),
            false => vec![format!(
                "the parameter page at {pa} has another kernel: not the same: \
                 {}",
                all.join(", ")
            )],
        }
    }
}
