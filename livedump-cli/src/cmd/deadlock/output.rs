// SPDX-License-Identifier: BSD-2-Clause
//! Where a picture goes: standard output for `-`, else a file.

use crate::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("writing {}", path.display())]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// An open one.
#[derive(Debug)]
pub(super) enum Output {
    Stdout,
    File(File, PathBuf),
}

impl Output {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let fail = |source| OutputError { path: path.to_path_buf(), source };
        let file = File::create(path).map_err(fail)?;
        Ok(Self::File(file, path.to_path_buf()))
    }

    pub(super) fn write(self, text: &str) -> Result<(), Error> {
        match self {
            Self::Stdout => {
                io::stdout().lock().write_all(text.as_bytes())?;
                Ok(())
            }
            Self::File(mut file, path) => file
                .write_all(text.as_bytes())
                .map_err(|source| OutputError { path, source }.into()),
        }
    }
}
