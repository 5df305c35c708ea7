// SPDX-License-Identifier: BSD-2-Clause
//! The key block of an encrypted dump. C: `struct kerneldumpkey`,
//! <sys/kerneldump.h>; decryptcore(8) reads it from key.N.
//!
//! ```text
//!  0   cipher, 1 byte
//!  1   initialization vector, 32 bytes
//!  33  bytes of the wrapped key, big-endian, 4 bytes
//!  37  wrapped key, then zeros up to a multiple of the dumper's block size
//! ```

use super::Cipher;

/// Bytes of the key block that is written here: of the block size of a live
/// dump.
pub const KEY_BLOCK: usize = 4096;
/// Bytes before the wrapped key: cipher, initialization vector and size.
const FIXED: usize = 37;
/// C: `KERNELDUMP_IV_MAX_SIZE`.
const IV: usize = 32;
/// Bytes of the key that RSA makes of 16384 bits. C:
/// `KERNELDUMP_ENCKEY_MAX_SIZE`.
const MAX_WRAPPED: u32 = 2048;
/// Limit of the block size in a header: a key has 2 KB at most, and a block
/// 64 KB.
pub const MAX_BLOCK: u32 = 128 << 10;

/// Why a key block is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is shorter than its own fields.
    #[error("{0} bytes are too short")]
    Short(usize),
    /// A cipher that no release has.
    #[error("unknown cipher {0} at offset 0, expected 1 or 2")]
    Cipher(u8),
    /// The key does not fit.
    #[error("a key of {key} bytes at offset 33, in a block of {block}")]
    Size {
        /// Of the wrapped key.
        key: u32,
        /// Of the block.
        block: usize,
    },
}

/// A key block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBlock {
    /// What the dump is encrypted with.
    pub cipher: Cipher,
    /// AES-256-CBC takes the first 16 bytes, ChaCha20 the first 8.
    pub iv: [u8; IV],
    /// The key, encrypted with an RSA key of as many bytes.
    pub wrapped: Vec<u8>,
}

impl KeyBlock {
    /// Reads one; `block` may be longer than it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(block: &[u8]) -> Result<Self, KeyError> {
        let short = KeyError::Short(block.len());
        let (fixed, rest) = block.split_first_chunk::<FIXED>().ok_or(short)?;
        let [cipher, iv @ .., a, b, c, d] = *fixed;
        let cipher =
            Cipher::from_number(cipher).ok_or(KeyError::Cipher(cipher))?;
        let key = u32::from_be_bytes([a, b, c, d]);
        let fits = (1..=MAX_WRAPPED).contains(&key);
        let wrapped = rest.get(..key as usize).filter(|_| fits);
        let size = KeyError::Size { key, block: block.len() };
        let wrapped = wrapped.ok_or(size)?.to_vec();
        Ok(Self { cipher, iv, wrapped })
    }

    /// Writes it, padded with zeros to [`KEY_BLOCK`] bytes; `None` where a
    /// key of that size does not fit.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let key = u32::try_from(self.wrapped.len()).ok()?;
        let mut block = Vec::with_capacity(KEY_BLOCK);
        block.push(self.cipher.number());
        block.extend_from_slice(&self.iv);
        block.extend_from_slice(&key.to_be_bytes());
        block.extend_from_slice(&self.wrapped);
        if block.len() > KEY_BLOCK || !(1..=MAX_WRAPPED).contains(&key) {
            return None;
        }
        block.resize(KEY_BLOCK, 0);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cipher: u8, key: u32, len: usize) -> Vec<u8> {
        let mut block = vec![0; len];
        block[0] = cipher;
        block[33..37].copy_from_slice(&key.to_be_bytes());
        block
    }

    fn cipher(block: &[u8]) -> Result<Cipher, KeyError> {
        KeyBlock::decode(block).map(|it| it.cipher)
    }

    #[test]
    fn a_key_block_names_its_cipher() {
        assert_eq!(cipher(&block(1, 256, 512)), Ok(Cipher::Aes256Cbc));
        assert_eq!(cipher(&block(2, 512 - 37, 512)), Ok(Cipher::ChaCha20));
    }

    #[test]
    fn a_key_that_does_not_fit_is_none() {
        assert_eq!(cipher(&[1; 36]), Err(KeyError::Short(36)));
        assert_eq!(cipher(&block(0, 1, 512)), Err(KeyError::Cipher(0)));
        assert_eq!(cipher(&block(3, 1, 512)), Err(KeyError::Cipher(3)));
        for key in [0, 512 - 36, u32::MAX] {
            let e = Err(KeyError::Size { key, block: 512 });
            assert_eq!(cipher(&block(1, key, 512)), e);
        }
        let long = block(1, MAX_WRAPPED + 1, 8192);
        assert!(matches!(cipher(&long), Err(KeyError::Size { .. })));
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        let mut iv = [0; IV];
        for (n, b) in (0..).zip(&mut iv) {
            *b = n;
        }
        let wrapped = vec![7; 512];
        let it = KeyBlock { cipher: Cipher::ChaCha20, iv, wrapped };
        let bytes = it.encode().unwrap();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..4], [2, 0, 1, 2]);
        assert_eq!(bytes[32..38], [31, 0, 0, 2, 0, 7]);
        assert!(bytes[549..].iter().all(|b| *b == 0));
        assert_eq!(KeyBlock::decode(&bytes), Ok(it.clone()));
        let long = KeyBlock { wrapped: vec![7; 2049], ..it };
        assert_eq!(long.encode(), None);
    }
}
