// SPDX-License-Identifier: BSD-2-Clause
//! Machines whose memory is in a file, so that the engine works on what a
//! real FreeBSD kernel left: `vmcore:FILE` and `image:FILE`. The reader opens
//! the file, whatever it is; nothing in it changes.
//!
//! ```text
//!  minidump  a dump of a machine: what it has is all there is
//!  image     physical memory with a kernel in it: bitset, tables and message
//!            buffer are the kernel's own
//! ```

mod cache;
mod error;
mod image;
mod minidump;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;

pub use error::VmcoreError;
pub use image::ImageMachine;
pub use minidump::VmcoreMachine;

use crate::machine::Machine;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::bhyve::CheckpointFile;
use livedump_vmcore::image::kernel::ImageFacts;
use livedump_vmcore::image::ranges::Range;
use livedump_vmcore::{ImageFile, Opened, Vmcore};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The machine in the file at `path`; what is no minidump needs its kernel, of
/// which `facts` tells more, or a parameter page in it.
///
/// # Errors
/// Why there is none.
pub fn open(
    path: &Path,
    kernel: Option<&Path>,
    facts: &dyn Fn(&Vmcore, &Kernel) -> ImageFacts,
) -> Result<Arc<dyn Machine>, VmcoreError> {
    let meta = CheckpointFile::beside(path);
    open_file((Vmcore::open_file(path)?, meta), path, kernel, facts)
}

/// The same for a file that is open, and what may describe it; `path` is what
/// to call it.
///
/// # Errors
/// Why there is none.
pub fn open_file(
    (file, meta): (File, Option<CheckpointFile>),
    path: &Path,
    kernel: Option<&Path>,
    facts: &dyn Fn(&Vmcore, &Kernel) -> ImageFacts,
) -> Result<Arc<dyn Machine>, VmcoreError> {
    match Opened::new(file, path)?.with_checkpoint(meta)? {
        Opened::Minidump(core) => Ok(Arc::new(VmcoreMachine::new(*core)?)),
        Opened::Image(image) => match kernel {
            Some(kernel) => of_image(&image, kernel, facts),
            None => {
                let (core, facts) = by_page(&image)?;
                of_dump(core, facts)
            }
        },
    }
}

fn of_image(
    image: &ImageFile,
    kernel: &Path,
    facts: &dyn Fn(&Vmcore, &Kernel) -> ImageFacts,
) -> Result<Arc<dyn Machine>, VmcoreError> {
    let kernel = Kernel::open(kernel)?;
    let core = image.with_kernel(&kernel)?;
    let facts = facts(&core, &kernel);
    of_dump(core, facts)
}

/// By the parameter page that the kernel wrote.
fn by_page(image: &ImageFile) -> Result<(Vmcore, ImageFacts), VmcoreError> {
    let core = image.with_page(None).map_err(VmcoreError::NoPage)?;
    let facts = core.image().and_then(|memory| memory.page_facts());
    Ok((core, facts.unwrap_or_default()))
}

/// The machine of a dump that is open, or of an image whose kernel was found.
///
/// # Errors
/// What of it no machine can have.
pub fn of_dump(
    core: Vmcore,
    facts: ImageFacts,
) -> Result<Arc<dyn Machine>, VmcoreError> {
    let Some(memory) = core.image() else {
        return Ok(Arc::new(VmcoreMachine::new(core)?));
    };
    // All that a minidump is made of has to be there.
    memory.check_dumpable().map_err(|source| {
        let path = core.file().path.clone();
        VmcoreError::Memory { path, source }
    })?;
    Ok(Arc::new(ImageMachine::new(Arc::clone(memory), facts)))
}

/// The memory of another kernel in ranges of a device that is read by physical
/// address: nothing else of it is read.
///
/// # Errors
/// Which range it does not have, or why the kernel is not in it.
pub fn open_ranges(
    file: Arc<File>,
    path: &Path,
    ranges: &[Range],
    kernel: Option<&Path>,
    facts: &dyn Fn(&Vmcore, &Kernel) -> ImageFacts,
) -> Result<Arc<dyn Machine>, VmcoreError> {
    let image = ImageFile::ranges(file, path, ranges)?;
    let (core, facts) = match kernel {
        Some(kernel) => {
            let kernel = Kernel::open(kernel)?;
            let core = image.with_kernel(&kernel)?;
            let facts = facts(&core, &kernel);
            (core, facts)
        }
        None => by_page(&image)?,
    };
    let Some(memory) = core.image() else { return of_dump(core, facts) };
    let lacking = |source| {
        let path = path.to_path_buf();
        VmcoreError::Memory { path, source }
    };
    memory.check_dumpable().map_err(lacking)?;
    let machine = ImageMachine::whole(Arc::clone(memory), facts);
    Ok(Arc::new(machine.map_err(lacking)?))
}

/// A device's memory, such as /dev/mem of a machine that reads another's:
/// `file` has no size and is read where dump_avail has memory.
///
/// # Errors
/// Why the kernel is not in it.
pub fn open_device(
    file: File,
    path: &Path,
    kernel: &Path,
    facts: &dyn Fn(&Vmcore, &Kernel) -> ImageFacts,
) -> Result<Arc<dyn Machine>, VmcoreError> {
    let image = ImageFile::device(file, path)?;
    of_image(&image, kernel, facts)
}
