// SPDX-License-Identifier: BSD-2-Clause
//! The file of a dump, which may be encrypted: opened, and with it the keys,
//! before everything else is given up.

use crate::crashdir::InfoText;
use crate::ekcd::{EncryptedFile, Plaintext, PrivateKey};
use crate::error::Error;
use clap::ValueHint;
use livedump_vmcore::companion::companions_of_target;
use livedump_vmcore::{OpenError, Opened, Vmcore, regular};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments that open an encrypted dump.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KeyArgs {
    /// Private key (PEM) of an encrypted dump
    #[arg(long, value_name = "PEM", value_hint = ValueHint::FilePath)]
    pub private_key: Option<PathBuf>,
    /// Its key file [default: key.N]
    #[arg(
        long,
        value_name = "FILE",
        requires = "private_key",
        value_hint = ValueHint::FilePath
    )]
    pub key_file: Option<PathBuf>,
}

/// An open dump that nothing was read from but, of an encrypted one, its keys.
#[derive(Debug)]
pub(super) struct DumpFile {
    /// As it is stored.
    pub(super) file: File,
    plaintext: Option<Plaintext>,
}

impl DumpFile {
    /// Opens one, and with a private key what is encrypted in it.
    pub(super) fn open(path: &Path, keys: &KeyArgs) -> Result<Self, Error> {
        let file = Vmcore::open_file(path)?;
        let Some(private) = &keys.private_key else {
            return Ok(Self { file, plaintext: None });
        };
        let found = EncryptedFile::find(&file, path, keys.key_file.as_deref())?;
        let found = match dumplength(path) {
            Some(length) => found.without_padding(length),
            None => found,
        };
        let private = PrivateKey::read(private)?;
        let copy = file.try_clone().map_err(|source| OpenError::Io {
            path: path.display().to_string(),
            source,
        })?;
        let plaintext = Some(found.open(Arc::new(copy), &private)?);
        Ok(Self { file, plaintext })
    }

    /// What has to stay open.
    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        let plaintext = self.plaintext.as_ref().map(Plaintext::file);
        plaintext.into_iter().chain([&self.file])
    }

    /// Finds out what it is; `path` is what to call it.
    pub(super) fn read(self, path: &Path) -> Result<Opened, OpenError> {
        match self.plaintext {
            None => Opened::new(self.file, path),
            Some(bytes) => {
                let len = bytes.len();
                Opened::decrypted(Arc::new(bytes), len, &self.file, path)
            }
        }
    }
}

/// What the info.N beside a dump has as its length.
pub(super) fn dumplength(dump: &Path) -> Option<u64> {
    let mut names = companions_of_target(dump, "info").into_iter();
    let file = names.find_map(|name| regular::open(&name).ok().flatten())?;
    InfoText::read(&file).ok()?.dumplength
}
