// SPDX-License-Identifier: BSD-2-Clause
//! Why a file is no kernel, in words.

use crate::source::SourceError;
use std::io;

pub(super) const NOT_ELF: &str = "not a kernel: it is not an ELF file";

/// Why a file is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The system said no.
    #[error("opening kernel {path}")]
    Io {
        /// As it was named.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("reading kernel {path}")]
    Source {
        /// As it was named.
        path: String,
        /// Why.
        source: SourceError,
    },
    /// Something is not as it should be.
    #[error("kernel {path}: {what}")]
    Format {
        /// As it was named.
        path: String,
        /// What.
        what: String,
    },
    /// The same of a debug file.
    #[error("debug file {path}: {what}")]
    Debug {
        /// As it was named.
        path: String,
        /// What.
        what: String,
    },
}

impl ElfError {
    /// The same of a debug file.
    #[must_use]
    pub fn of_debug(self) -> Self {
        let (Self::Io { path, .. }
        | Self::Source { path, .. }
        | Self::Format { path, .. }
        | Self::Debug { path, .. }) = &self;
        let path = path.clone();
        let what = crate::chain(&self);
        // As it is named for a kernel.
        let what = what
            .replace(&format!("kernel {path}: "), "")
            .replace(&format!("kernel {path}"), "it")
            .replace(NOT_ELF, "it is not an ELF file");
        Self::Debug { path, what }
    }
}
