// SPDX-License-Identifier: BSD-2-Clause
//! `--live`: a dump of this machine, as `capture` takes it, into a directory
//! that is removed unless one was named.

use super::super::capture;
use super::super::session::KernelArgs;
use super::Args;
use crate::device::MachineSpec;
use crate::error::Error;
use livedump_vmcore::path::escape_path;
use std::io;
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
    asked: &Args,
) -> Result<Taken, Error> {
    let (directory, temporary) = match directory {
        Some(directory) => (directory, None),
        None => {
            let temporary = temporary()?;
            (temporary.path().to_path_buf(), Some(temporary))
        }
    };
    let Args { machine, options, kernel, freeze, pause, .. } = asked;
    let machine = machine.clone().unwrap_or_default();
    let brings_its_own =
        matches!(machine, MachineSpec::Model(_)) && kernel.kernels.is_empty();
    // Nothing but that file tells where the kernel is in this memory.
    let named = matches!(
        machine,
        MachineSpec::Image(_)
            | MachineSpec::Qemu(_)
            | MachineSpec::Libvirt(_)
            | MachineSpec::Bhyve { .. }
            | MachineSpec::Physmem { .. }
    );
    let named = kernel.kernel().filter(|_| named);
    let args = capture::Args {
        kernel: named.map(PathBuf::from),
        freeze: *freeze,
        pause: *pause,
        options: options.clone(),
        ..capture::Args::quiet(directory, machine, brings_its_own)
    };
    let taken = capture::take(&args)?;
    let kernels = match taken.kernel {
        Some(kernel) => vec![kernel],
        None => kernel.kernels.clone(),
    };
    let debug = kernel.debug.clone();
    let kernel = KernelArgs { kernels, debug, ..KernelArgs::default() };
    Ok(Taken { file: taken.file, kernel, temporary })
}

/// Where dumps have room: /tmp is often memory.
fn temporary() -> Result<tempfile::TempDir, Error> {
    let place = std::env::var_os("TMPDIR");
    let place = place.map_or_else(|| "/var/tmp".into(), PathBuf::from);
    let mut builder = tempfile::Builder::new();
    builder.prefix("livedump.");
    builder.tempdir_in(&place).map_err(|e| {
        let directory = escape_path(&place);
        Error::Temporary { directory, source: without_path(e) }
    })
}

/// The error of the system without the random name that it was about.
fn without_path(e: io::Error) -> io::Error {
    let text = e.to_string();
    match text.split_once(" at path ") {
        Some((text, _)) => io::Error::new(e.kind(), text.to_string()),
        None => e,
    }
}
