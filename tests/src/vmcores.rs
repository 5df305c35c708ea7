// SPDX-License-Identifier: BSD-2-Clause
//! The real vmcores: what FreeBSD kernels left, from LLDB's test suite. They
//! are not part of the repository; where they are not, a test says that it
//! was skipped.

use crate::elf::yaml;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names another directory to look in.
pub const DIRECTORY_VARIABLE: &str = "LIVEDUMP_VMCORES";

/// A vmcore and its kernel, unpacked into a directory.
#[derive(Clone, Debug)]
pub struct Real {
    /// The dump.
    pub vmcore: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
}

/// Where they should be.
#[must_use]
pub fn directory() -> PathBuf {
    match std::env::var_os(DIRECTORY_VARIABLE) {
        Some(dir) => dir.into(),
        None => {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            here.join("../../shared/vmcores")
        }
    }
}

/// A file of theirs; `None`, with a word on standard error, where it is not.
#[must_use]
pub fn file(name: &str) -> Option<PathBuf> {
    let path = directory().join(name);
    if path.exists() {
        return Some(path);
    }
    livedump_skip::skipped(format_args!(
        "no {} ({DIRECTORY_VARIABLE})",
        path.display()
    ));
    None
}

/// Unpacks `arch`'s (amd64 or arm64) into `to`.
///
/// # Panics
/// When they are there and cannot be unpacked.
#[must_use]
pub fn unpack(arch: &str, to: &Path) -> Option<Real> {
    let packed = file(&format!("vmcore-{arch}-minidump.bz2"))?;
    let yaml = file(&format!("kernel-{arch}.yaml"))?;
    let vmcore = to.join(format!("vmcore-{arch}"));
    std::fs::write(&vmcore, bunzip2(&packed)).unwrap();
    let kernel = to.join(format!("kernel-{arch}"));
    if !yaml2obj(&yaml, &kernel) {
        let text = std::fs::read_to_string(&yaml).unwrap();
        std::fs::write(&kernel, yaml::to_elf(&text).unwrap()).unwrap();
    }
    Some(Real { vmcore, kernel })
}

/// The contents of a vmcore.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn bunzip2(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap();
    let mut out = Vec::new();
    bzip2::read::BzDecoder::new(file).read_to_end(&mut out).unwrap();
    out
}

/// LLVM's own tool, where there is one; whether it made `to`.
///
/// # Panics
/// When it is there and fails.
#[must_use]
pub fn yaml2obj(yaml: &Path, to: &Path) -> bool {
    // The amd64 description has an offset beyond the tool's usual limit.
    let run = Command::new("yaml2obj")
        .arg("--max-size=0")
        .arg(yaml)
        .arg("-o")
        .arg(to)
        .status();
    match run {
        Ok(status) => {
            assert!(status.success(), "yaml2obj {}", yaml.display());
            true
        }
        Err(_) => false,
    }
}
