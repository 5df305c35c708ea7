// SPDX-License-Identifier: BSD-2-Clause
//! The key block of an encrypted dump. C: `struct kerneldumpkey`,
//! <sys/kerneldump.h>; decryptcore(8) reads it from key.N.

/// Bytes before the encrypted key: cipher, initialization vector and size.
const FIXED: usize = 37;
/// Limit of the block size in a header: a key has 2 KB at most, and a block
/// 64 KB.
pub(super) const MAX: u32 = 128 << 10;

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
        /// Of the encrypted key.
        key: u32,
        /// Of the block.
        block: usize,
    },
}

/// The cipher's name, of a key block that makes sense.
pub(super) fn cipher(block: &[u8]) -> Result<&'static str, KeyError> {
    let short = KeyError::Short(block.len());
    let fixed = block.first_chunk::<FIXED>().ok_or(short)?;
    let [cipher, .., a, b, c, d] = *fixed;
    let name = match cipher {
        1 => "aes256-cbc",
        2 => "chacha20",
        n => return Err(KeyError::Cipher(n)),
    };
    let key = u32::from_be_bytes([a, b, c, d]);
    let room = block.len().saturating_sub(FIXED);
    if key == 0 || usize::try_from(key).is_ok_and(|key| key > room) {
        return Err(KeyError::Size { key, block: block.len() });
    }
    Ok(name)
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

    #[test]
    fn a_key_block_names_its_cipher() {
        assert_eq!(cipher(&block(1, 256, 512)), Ok("aes256-cbc"));
        assert_eq!(cipher(&block(2, 512 - 37, 512)), Ok("chacha20"));
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
    }
}
