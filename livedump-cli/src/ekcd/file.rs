// SPDX-License-Identifier: BSD-2-Clause
//! An encrypted dump and its key block, which is beside it, or before it where
//! both went through a pipe:
//!
//! ```text
//!  vmcore_encrypted.N + key.N     cipher text; key block
//!  one file                       key block, dumpkeysize bytes
//!                                 cipher text, up to a multiple of 4096
//!                                 kernel dump header, 512 bytes
//! ```

use super::{
    Cipher, Decryptor, Error, KeyBlock, MAX_BLOCK, Plaintext, PrivateKey,
};
use livedump_vmcore::companion::companions_of_target;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::regular;
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, parity_ok};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Data and header of a stream are at multiples of this.
const BLOCK: u64 = 4096;

/// Where the cipher text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of the file; its key block is in another one.
    Beside(PathBuf),
    /// After the key block, which the file starts with.
    Within {
        /// Its kernel dump header.
        header: Box<[u8; HEADER_SIZE]>,
    },
}

/// An encrypted dump whose key block was read.
#[derive(Debug)]
pub struct EncryptedFile {
    path: PathBuf,
    block: KeyBlock,
    place: Place,
    start: u64,
    /// Bytes of cipher text that are there.
    len: u64,
    /// Bytes that there should be, where its header says so.
    want: Option<u64>,
}

impl EncryptedFile {
    /// Finds the key block of an open file: in `key`, if that is named, or in
    /// the file, or beside it.
    ///
    /// # Errors
    /// There is none.
    pub fn find(
        file: &File,
        path: &Path,
        key: Option<&Path>,
    ) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let len = file.metadata().map_err(io)?.len();
        if key.is_none()
            && let Some(within) = Self::within(file, path, len)?
        {
            return Ok(within);
        }
        let (key, opened) = match key {
            Some(key) => (key.to_path_buf(), open(key)?),
            None => beside(path)?,
        };
        let bad = |source| Error::Io { path: key.clone(), source };
        let mut bytes = Vec::new();
        let mut opened = opened.take(u64::from(MAX_BLOCK));
        opened.read_to_end(&mut bytes).map_err(bad)?;
        let block = KeyBlock::decode(&bytes)
            .map_err(|source| Error::Block { path: key.clone(), source })?;
        Ok(Self {
            path: path.into(),
            block,
            place: Place::Beside(key),
            start: 0,
            len,
            want: None,
        })
    }

    /// Its key block and header, where both are in the file.
    fn within(
        file: &File,
        path: &Path,
        len: u64,
    ) -> Result<Option<Self>, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let mut bytes = vec![0; BLOCK.min(len) as usize];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        let at = len.saturating_sub(HEADER_SIZE as u64);
        let mut header = Box::new([0; HEADER_SIZE]);
        if len >= HEADER_SIZE as u64 {
            file.read_exact_at(header.as_mut_slice(), at).map_err(io)?;
        }
        let decoded = KernelDumpHeader::decode(&header).ok();
        let decoded = decoded.filter(|_| parity_ok(&header));
        let Some(h) = decoded.filter(|h| h.dumpkeysize != 0) else {
            return match is_key_block(&bytes) {
                true => Err(Error::NoTrailer { path: path.into() }),
                false => Ok(None),
            };
        };
        let (start, data) = (u64::from(h.dumpkeysize), h.dumplength);
        let block = KeyBlock::decode(&bytes)
            .map_err(|source| Error::Block { path: path.into(), source })?;
        Ok(Some(Self {
            path: path.into(),
            block,
            place: Place::Within { header },
            start,
            len: data.min(at.saturating_sub(start)),
            want: Some(data),
        }))
    }

    /// Checks that all of it is there: what its header says, or `length`,
    /// which is what its info.N has.
    ///
    /// # Errors
    /// It is truncated.
    pub fn check_length(&self, length: Option<u64>) -> Result<(), Error> {
        let (path, have) = (&self.path, self.len);
        match self.want.or(length) {
            Some(want) if have < want => {
                Err(Error::Truncated { path: path.clone(), have, want })
            }
            _ if !have.is_multiple_of(self.block.cipher.block() as u64) => {
                Err(Error::HalfBlock { path: path.clone(), len: have })
            }
            _ => Ok(()),
        }
    }

    /// Leaves out what fills its last block, where its info.N has this length.
    #[must_use]
    pub fn without_padding(self, length: u64) -> Self {
        let padding = self.len.saturating_sub(length);
        let whole = length.is_multiple_of(self.block.cipher.block() as u64);
        let len = match whole && padding < u64::from(MAX_BLOCK) && length > 0 {
            true => self.len.min(length),
            false => self.len,
        };
        Self { len, ..self }
    }

    /// What it is encrypted with.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.block.cipher
    }

    /// Where its key block is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Bytes that it decrypts to.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Opens the key block, and with it the file.
    ///
    /// # Errors
    /// The private key is another one.
    pub fn open(
        &self,
        file: Arc<File>,
        private: &PrivateKey,
    ) -> Result<Plaintext, Error> {
        let at = match &self.place {
            Place::Beside(key) => key,
            Place::Within { .. } => &self.path,
        };
        let secret = private.unwrap(&self.block, at)?;
        let decryptor = Decryptor::new(&self.block, &secret);
        // Half a block is none.
        let block = self.block.cipher.block() as u64;
        let half = self.len.checked_rem(block).unwrap_or(0);
        let len = self.len.saturating_sub(half);
        Ok(Plaintext::new(file, self.start, len, decryptor))
    }
}

/// Whether the first bytes of a file are a key block: nothing but zeros
/// follows the key.
fn is_key_block(bytes: &[u8]) -> bool {
    let Ok(block) = KeyBlock::decode(bytes) else { return false };
    let end = block.wrapped.len().saturating_add(37);
    let wrapped = block.wrapped.len();
    let rest = bytes.get(end..).unwrap_or_default();
    wrapped >= 128 && !rest.is_empty() && rest.iter().all(|b| *b == 0)
}

fn open(key: &Path) -> Result<File, Error> {
    let io = |source| Error::Io { path: key.into(), source };
    let irregular = || io::Error::other("not a regular file");
    regular::open(key).map_err(io)?.ok_or_else(|| io(irregular()))
}

/// The key file beside a dump.
fn beside(dump: &Path) -> Result<(PathBuf, File), Error> {
    let names = companions_of_target(dump, "key");
    if names.is_empty() {
        return Err(Error::NoKey { path: dump.into() });
    }
    for name in &names {
        match open(name) {
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((name.clone(), opened?)),
        }
    }
    let tried = names.iter().map(|name| escape_path(name)).collect();
    Err(Error::NoKeyFile { path: dump.into(), tried })
}
