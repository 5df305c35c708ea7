// SPDX-License-Identifier: BSD-2-Clause
//! `--live`: a dump of this machine, as `capture` takes it, into a directory
//! that is removed unless one was named.

use super::super::capture;
use super::super::session::KernelArgs;
use crate::device::MachineSpec;
use crate::error::Error;
use std::path::PathBuf;

/// A dump that was taken for this.
pub(super) struct Taken {
    pub(super) file: PathBuf,
    pub(super) kernel: KernelArgs,
    /// The directory, if it is temporary.
    pub(super) temporary: Option<tempfile::TempDir>,
}

/// Takes it.
pub(super) fn take(
    directory: Option<PathBuf>,
    machine: Option<&MachineSpec>,
    kernel: &KernelArgs,
) -> Result<Taken, Error> {
    let (directory, temporary) = match directory {
        Some(directory) => (directory, None),
        None => {
            let temporary = temporary()?;
            (temporary.path().to_path_buf(), Some(temporary))
        }
    };
    let machine = machine.cloned().unwrap_or_default();
    let brings_its_own =
        matches!(machine, MachineSpec::Model(_)) && kernel.kernel.is_none();
    let args = capture::Args::quiet(directory, machine, brings_its_own);
    let taken = capture::take(&args)?;
    let kernel = KernelArgs {
        kernel: taken.kernel.or_else(|| kernel.kernel.clone()),
        debug: kernel.debug.clone(),
    };
    Ok(Taken { file: taken.file, kernel, temporary })
}

/// Where dumps have room: /tmp is often memory.
fn temporary() -> Result<tempfile::TempDir, Error> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("livedump.");
    let made = match std::env::var_os("TMPDIR") {
        Some(_) => builder.tempdir(),
        None => builder.tempdir_in("/var/tmp"),
    };
    made.map_err(Error::Temporary)
}
