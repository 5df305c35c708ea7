// SPDX-License-Identifier: BSD-2-Clause
//! The bytes of an encrypted file, decrypted as they are read, at any offset.

use super::cipher::{AES_BLOCK, decrypt, first};
use super::{Cipher, KeyBlock, Secret};
use livedump_vmcore::source::Stored;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Decrypts a dump at any offset.
pub struct Decryptor {
    cipher: Cipher,
    key: Zeroizing<[u8; 32]>,
    iv: [u8; AES_BLOCK],
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decryptor")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

impl Decryptor {
    /// With what a key block says.
    #[must_use]
    pub fn new(block: &KeyBlock, secret: &Secret) -> Self {
        let (cipher, iv) = (block.cipher, first(&block.iv));
        Self { cipher, key: secret.key(), iv }
    }

    /// Its cipher.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Decrypts `data`, which is at offset `at`, in place; with AES both are
    /// multiples of 16, and `before` is the block before it where `at` is not
    /// 0.
    ///
    /// # Errors
    /// They are not.
    pub fn decrypt(
        &self,
        at: u64,
        before: &[u8; AES_BLOCK],
        data: &mut [u8],
    ) -> io::Result<()> {
        let start = at == 0 || self.cipher == Cipher::ChaCha20;
        let before = if start { &self.iv } else { before };
        match decrypt(self.cipher, &self.key, before, at, data) {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// What is encrypted in bytes `[start, start + len)` of a file.
#[derive(Debug)]
pub struct Plaintext {
    file: Arc<File>,
    start: u64,
    len: u64,
    decryptor: Decryptor,
}

impl Plaintext {
    /// With AES, `len` is a multiple of 16.
    #[must_use]
    pub fn new(
        file: Arc<File>,
        start: u64,
        len: u64,
        decryptor: Decryptor,
    ) -> Self {
        Self { file, start, len, decryptor }
    }

    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads whole blocks; the file may end in between.
    fn read_blocks(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let block = self.decryptor.cipher.block() as u64;
        let mut before = [0; AES_BLOCK];
        if block > 1 && at > 0 {
            let at = self.start.saturating_add(at).saturating_sub(block);
            self.file.read_exact_at(&mut before, at)?;
        }
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = self.start.saturating_add(at).saturating_add(done as u64);
            match FileExt::read_at(self.file.as_ref(), rest, at) {
                Ok(0) => break,
                Ok(n) => done = done.saturating_add(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        // Half a block of a file that became shorter is not there.
        let half = (done as u64).checked_rem(block).unwrap_or(0);
        let done = done.saturating_sub(half as usize);
        let data = buf.get_mut(..done).unwrap_or_default();
        self.decryptor.decrypt(at, &before, data)?;
        Ok(done)
    }
}

impl Stored for Plaintext {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let left = self.len.saturating_sub(at);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..n).filter(|buf| !buf.is_empty()) else {
            return Ok(0);
        };
        let block = self.decryptor.cipher.block();
        let within = at.checked_rem(block as u64).unwrap_or(0) as usize;
        if within == 0 && n.is_multiple_of(block) {
            return self.read_blocks(buf, at);
        }
        // The blocks around it.
        let len = within.saturating_add(n).next_multiple_of(block);
        let mut around = Zeroizing::new(vec![0; len]);
        let from = at.saturating_sub(within as u64);
        let got = self.read_blocks(&mut around, from)?;
        let got = around.get(within..got).unwrap_or_default();
        let n = got.len().min(n);
        if let (Some(to), Some(from)) = (buf.get_mut(..n), got.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
}
