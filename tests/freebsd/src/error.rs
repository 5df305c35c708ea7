// SPDX-License-Identifier: BSD-2-Clause
//! What can go wrong around a guest.

use std::io;
use std::path::{Path, PathBuf};

/// The harness's result.
pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{program} failed: {output}")]
    Program { program: String, output: String },
    #[error(transparent)]
    Loader(#[from] crate::loader::LoaderError),
    #[error("reading symbols of {path}")]
    Symbols {
        path: PathBuf,
        #[source]
        source: object::Error,
    },
    #[error("{0}")]
    Skip(String),
}

/// For `map_err` of an operation on a path.
pub(crate) fn io(
    doing: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.as_ref().to_owned();
    move |source| Error::Io { doing, path, source }
}

/// An error with its causes, in one line.
pub(crate) fn chain(e: &dyn std::error::Error) -> String {
    let mut out = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        out.push_str(": ");
        out.push_str(&e.to_string());
        next = e.source();
    }
    out
}
