// SPDX-License-Identifier: BSD-2-Clause
//! Kernels as they are named on a command line.

use std::path::{Path, PathBuf};

/// A directory that was named is that of a kernel, as /boot/kernel is.
#[must_use]
pub fn named(kernel: &Path) -> PathBuf {
    match kernel.is_dir() {
        true => kernel.join("kernel"),
        false => kernel.to_path_buf(),
    }
}
