// SPDX-License-Identifier: BSD-2-Clause
//! A new dump's key: made, wrapped, and forgotten when the dump is there.

use super::{Cipher, Encryptor, Error, KeyBlock, PublicKey, SECRET, Secret};
use getrandom::SysRng;
use getrandom::rand_core::TryRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Whom dumps are encrypted for, and how.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Their key.
    pub key: PublicKey,
    /// What a dump is encrypted with.
    pub cipher: Cipher,
}

impl Recipient {
    /// Makes a key for one dump.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn encryption(&self) -> Result<Encryption, Error> {
        Encryption::new(&self.key, self.cipher)
    }
}

/// How one dump is encrypted. Each has a key of its own.
#[derive(Debug)]
pub struct Encryption {
    block: KeyBlock,
    secret: Secret,
}

impl Encryption {
    /// Makes a key for one dump.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn new(to: &PublicKey, cipher: Cipher) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; SECRET]);
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(bytes.as_mut_slice())
            .and_then(|()| SysRng.try_fill_bytes(&mut seed))
            .map_err(|e| Error::Random(e.to_string()))?;
        let secret = Secret(bytes);
        // As the kernel does for each dump: what is seen of the generator is
        // a digest.
        let iv: [u8; 32] = Sha256::digest(seed).into();
        let wrapped = to.wrap(&secret)?;
        Ok(Self { block: KeyBlock { cipher, iv, wrapped }, secret })
    }

    /// The cipher.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.block.cipher
    }

    /// The key block, for key.N.
    #[must_use]
    pub fn block(&self) -> &KeyBlock {
        &self.block
    }

    /// Its bytes.
    ///
    /// # Errors
    /// It does not fit, which no key of a size that is taken does.
    pub fn key_block(&self) -> Result<Vec<u8>, Error> {
        let block = self.block.encode();
        block.ok_or_else(|| Error::Random("the key block is full".into()))
    }

    /// Encrypts from the start of the dump.
    #[must_use]
    pub fn encryptor(&self) -> Encryptor {
        Encryptor::new(self.block.cipher, &self.secret, &self.block.iv)
    }

    /// The secret, for reading back what was written.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}
