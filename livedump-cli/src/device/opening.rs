// SPDX-License-Identifier: BSD-2-Clause
//! How a hosted machine is opened: by a model's recipe, by a file that may be
//! anything, or by a device that is read by physical address.

#![forbid(unsafe_code)]

use super::hosted::Facts;
use super::{MachineSpec, ModelSpec, stream};
use crate::bhyve;
use crate::kernel_files::path::named;
use livedump_hosted::machine::Machine;
use livedump_hosted::model::{ModelMachine, Recipe};
use livedump_hosted::raw::RawMachine;
use livedump_hosted::vmcore;
use livedump_vmcore::Vmcore;
use livedump_vmcore::companion::companions_of_target;
use livedump_vmcore::image::bhyve::CheckpointFile;
use livedump_vmcore::image::ranges::Range;
use std::error::Error as StdError;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Cause = Box<dyn StdError + Send + Sync>;

/// The kernel of an image: the one that is named, or one beside it.
fn kernel_of(image: &Path, named: Option<&Path>) -> Option<PathBuf> {
    let beside = || {
        let all = companions_of_target(image, "kernel");
        all.into_iter().find(|path| path.is_file())
    };
    match named {
        Some(path) if path.is_dir() => Some(path.join("kernel")),
        Some(path) => Some(path.to_path_buf()),
        None => beside(),
    }
}

/// What of a machine has memory at its addresses and no size.
fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| {
        let kind = meta.file_type();
        kind.is_char_device() || kind.is_block_device()
    })
}

/// What a machine is read from may wait: a terminal for its line, a device for
/// its medium, a pipe for its writer.
fn open_at_once(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path)
}

/// Reads of a device of memory that this kernel has not mapped panic it. C:
/// memrw(), sys/arm64/arm64/mem.c, and pmap_map_io_transient().
const PANICS: bool = cfg!(all(target_os = "freebsd", target_arch = "aarch64"));

/// A file may have the name of a device.
fn may_be_read(path: &Path) -> Result<(), Cause> {
    let is_char = std::fs::metadata(path)
        .is_ok_and(|meta| meta.file_type().is_char_device());
    match PANICS && is_char {
        true => Err("this is an arm64 kernel, which panics when memory that \
                     it does not use is read: nothing was read"
            .into()),
        false => Ok(()),
    }
}

/// That the running kernel has a command of its own, and how the memory of
/// another one is found.
const NO_RANGE: &str = "name the memory of the other kernel with \
    --range START-END[@ADDRESS]: what this kernel does not use of the RAM in \
    sysctl machdep.smap, see livedump(8), RESCUE KERNELS; to dump the running \
    kernel use capture without --machine";

/// How a machine is opened.
pub(super) struct Opening<'a> {
    pub(super) kernel: Option<&'a Path>,
    pub(super) facts: &'a Facts<'a>,
    pub(super) stop: &'a dyn Fn() -> bool,
}

/// A machine, and what it is read from.
pub(super) type Built = (Arc<dyn Machine>, Vec<Arc<File>>);

impl Opening<'_> {
    fn image(&self, path: &Path, is_vmcore: bool) -> Result<Built, Cause> {
        let kernel = kernel_of(path, self.kernel);
        let facts = self.facts;
        let file = if is_vmcore && stream::is_stream(path) {
            stream::spool(open_at_once(path)?, self.stop)?
        } else if is_device(path) {
            return self.memory(path);
        } else {
            Vmcore::open_file(path).map_err(vmcore::VmcoreError::from)?
        };
        let same = vec![Arc::new(file.try_clone()?)];
        let kernel = kernel.as_deref();
        let given = (file, CheckpointFile::beside(path));
        Ok((vmcore::open_file(given, path, kernel, facts)?, same))
    }

    /// Memory at its addresses, that has no size.
    fn memory(&self, path: &Path) -> Result<Built, Cause> {
        may_be_read(path)?;
        let kernel = kernel_of(path, self.kernel);
        // All of its addresses would have to be searched.
        let kernel = kernel.ok_or("name its kernel with -k")?;
        let file = open_at_once(path)?;
        let same = vec![Arc::new(file.try_clone()?)];
        let machine = vmcore::open_device(file, path, &kernel, self.facts)?;
        Ok((machine, same))
    }

    fn physmem(&self, device: &Path, parts: &[Range]) -> Result<Built, Cause> {
        if parts.is_empty() {
            return Err(NO_RANGE.into());
        }
        may_be_read(device)?;
        let kernel = self.kernel.map(named);
        let file = Arc::new(open_at_once(device)?);
        let same = vec![Arc::clone(&file)];
        let facts = self.facts;
        let machine =
            vmcore::open_ranges(file, device, parts, kernel.as_deref(), facts)?;
        Ok((machine, same))
    }

    /// Builds or opens it.
    pub(super) fn build(&self, spec: &MachineSpec) -> Result<Built, Cause> {
        let recipe = match spec {
            MachineSpec::Kernel
            | MachineSpec::Qemu(_)
            | MachineSpec::Libvirt(_) => {
                return Err("is not a hosted one".into());
            }
            MachineSpec::Bhyve { name, .. } => {
                return self.memory(&bhyve::path_of(name)?);
            }
            MachineSpec::Vmcore(path) => return self.image(path, true),
            MachineSpec::Image(path) => return self.image(path, false),
            MachineSpec::Physmem { device, ranges } => {
                return self.physmem(device, ranges);
            }
            MachineSpec::Raw(path) => {
                return Ok((Arc::new(RawMachine::open(path)?), Vec::new()));
            }
            MachineSpec::Model(ModelSpec::Default) => Recipe::default(),
            MachineSpec::Model(ModelSpec::Size(bytes)) => {
                Recipe::with_size(*bytes)?
            }
            MachineSpec::Model(ModelSpec::Recipe(path)) => {
                Recipe::parse(&std::fs::read_to_string(path)?)?
            }
        };
        Ok((Arc::new(ModelMachine::build(&recipe)?), Vec::new()))
    }
}
