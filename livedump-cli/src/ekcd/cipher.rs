// SPDX-License-Identifier: BSD-2-Clause
//! The ciphers. C: `kerneldumpcrypto_init` and `dump_encrypt`,
//! kern_shutdown.c.
//!
//! AES-256-CBC takes the first 16 bytes of the initialization vector and is
//! one chain over the dump, without padding. ChaCha20 is the original one, of
//! a 64-bit counter from 0 and a nonce of 8 bytes, which are the first of the
//! vector. Both can be read at any offset: a block of CBC needs the block of
//! cipher text before it.

use super::Secret;
use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::{
    BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher,
    StreamCipherSeek,
};
use chacha20::ChaCha20Legacy;
use clap::ValueEnum;

/// A block of AES.
pub(super) const AES_BLOCK: usize = 16;

/// What a dump is encrypted with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Cipher {
    /// C: `KERNELDUMP_ENC_AES_256_CBC`.
    #[value(name = "aes256-cbc", aliases = ["aes-256-cbc", "aes-cbc"])]
    Aes256Cbc,
    /// C: `KERNELDUMP_ENC_CHACHA20`.
    #[default]
    #[value(name = "chacha20", alias = "chacha")]
    ChaCha20,
}

impl Cipher {
    /// Of the number in a key block.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes256Cbc),
            2 => Some(Self::ChaCha20),
            _ => None,
        }
    }

    /// The number in a key block.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Aes256Cbc => 1,
            Self::ChaCha20 => 2,
        }
    }

    /// dumpon(8)'s name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Cbc => "aes256-cbc",
            Self::ChaCha20 => "chacha20",
        }
    }

    /// Bytes that are encrypted together.
    #[must_use]
    pub fn block(self) -> usize {
        match self {
            Self::Aes256Cbc => AES_BLOCK,
            Self::ChaCha20 => 1,
        }
    }
}

/// Encrypts a dump from its start.
pub struct Encryptor {
    chain: Chain,
    /// Set once bytes were given that do not fill a block: the end.
    ended: bool,
}

enum Chain {
    Aes(Box<cbc::Encryptor<Aes256>>),
    ChaCha(Box<ChaCha20Legacy>),
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryptor(..)")
    }
}

/// The dump is not a multiple of the cipher's block, or longer than it can be.
#[derive(Debug, thiserror::Error)]
#[error("a dump of a length that {} does not take", .0.name())]
pub struct Unaligned(pub Cipher);

impl Encryptor {
    pub(super) fn new(cipher: Cipher, secret: &Secret, iv: &[u8; 32]) -> Self {
        let key = secret.key();
        let key = Array::from(*key);
        let chain = match cipher {
            Cipher::Aes256Cbc => Chain::Aes(Box::new(cbc::Encryptor::new(
                &key,
                &Array::from(first(iv)),
            ))),
            Cipher::ChaCha20 => Chain::ChaCha(Box::new(ChaCha20Legacy::new(
                &key,
                &Array::from(first(iv)),
            ))),
        };
        Self { chain, ended: false }
    }

    /// Encrypts the next bytes in place. All pieces but the last have to be a
    /// multiple of the cipher's block, and with AES the last, too.
    ///
    /// # Errors
    /// They are not.
    pub fn encrypt(&mut self, data: &mut [u8]) -> Result<(), Unaligned> {
        match &mut self.chain {
            Chain::Aes(aes) => {
                let no = Unaligned(Cipher::Aes256Cbc);
                let (blocks, rest) = Array::slice_as_chunks_mut(data);
                if self.ended || !rest.is_empty() {
                    self.ended = true;
                    return Err(no);
                }
                aes.encrypt_blocks(blocks);
                Ok(())
            }
            Chain::ChaCha(chacha) => chacha
                .try_apply_keystream(data)
                .map_err(|_| Unaligned(Cipher::ChaCha20)),
        }
    }
}

/// Decrypts `data`, which is at offset `at` of the dump. With AES both are
/// multiples of its block, and `before` is the block of cipher text before
/// it, or the initialization vector's.
///
/// False where that is not so, or the offset is larger than a dump can be.
pub(super) fn decrypt(
    cipher: Cipher,
    key: &[u8; 32],
    before: &[u8; AES_BLOCK],
    at: u64,
    data: &mut [u8],
) -> bool {
    let key = Array::from(*key);
    match cipher {
        Cipher::Aes256Cbc => {
            let (blocks, rest) = Array::slice_as_chunks_mut(data);
            if !rest.is_empty() {
                return false;
            }
            let before = Array::from(*before);
            cbc::Decryptor::<Aes256>::new(&key, &before).decrypt_blocks(blocks);
            true
        }
        Cipher::ChaCha20 => {
            let nonce: [u8; 8] = first(before);
            let mut chacha = ChaCha20Legacy::new(&key, &Array::from(nonce));
            chacha.try_seek(at).is_ok()
                && chacha.try_apply_keystream(data).is_ok()
        }
    }
}

/// The first bytes of an initialization vector.
pub(super) fn first<const N: usize>(iv: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(iv) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use zeroize::Zeroizing;

    fn secret() -> Secret {
        let mut bytes = [0; 64];
        for (n, b) in (0u8..).zip(&mut bytes) {
            *b = n.wrapping_mul(37).wrapping_add(11);
        }
        Secret(Zeroizing::new(bytes))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// What openssl(1) makes of it, with this vector.
    fn openssl(name: &str, iv: &[u8], data: &[u8]) -> Vec<u8> {
        let mut child = Command::new("openssl")
            .args(["enc", name, "-nopad", "-K"])
            .arg(hex(secret().key().as_slice()))
            .args(["-iv", &hex(iv)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let data = data.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&data));
        let out = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(out.status.success());
        out.stdout
    }

    fn data(len: usize) -> Vec<u8> {
        (0..len).map(|n| ((n * n) >> 3) as u8).collect()
    }

    #[test]
    fn both_are_what_openssl_makes_and_are_read_at_any_offset() {
        let iv: [u8; 32] = std::array::from_fn(|n| 200 - n as u8);
        let plain = data(10_000 / 16 * 16);
        for cipher in [Cipher::Aes256Cbc, Cipher::ChaCha20] {
            let theirs = match cipher {
                Cipher::Aes256Cbc => openssl("-aes-256-cbc", &iv[..16], &plain),
                Cipher::ChaCha20 => {
                    let iv = [&[0; 8], &iv[..8]].concat();
                    openssl("-chacha20", &iv, &plain)
                }
            };
            let mut ours = plain.clone();
            let mut it = Encryptor::new(cipher, &secret(), &iv);
            let (a, b) = ours.split_at_mut(4096);
            it.encrypt(a).unwrap();
            it.encrypt(b).unwrap();
            assert!(ours == theirs, "{cipher:?}");
            for at in [0, 16, 4096, 9968] {
                let mut part = theirs[at..].to_vec();
                let before = match at {
                    _ if cipher == Cipher::ChaCha20 => first(&iv),
                    0 => first(&iv),
                    at => first(&theirs[at - 16..]),
                };
                let key = secret().key();
                assert!(decrypt(cipher, &key, &before, at as u64, &mut part));
                assert!(part == plain[at..], "{cipher:?} {at}");
            }
        }
    }

    #[test]
    fn the_counter_has_64_bits() {
        // Across 2^32 blocks, which is 256 GB.
        let iv: [u8; 16] = std::array::from_fn(|n| n as u8 + 1);
        let at = (1u64 << 32) - 1;
        let full = [&at.to_le_bytes()[..], &iv[..8]].concat();
        let plain = data(192);
        let mut part = openssl("-chacha20", &full, &plain);
        let key = secret().key();
        assert!(decrypt(Cipher::ChaCha20, &key, &iv, at * 64, &mut part));
        assert!(part == plain);
    }

    #[test]
    fn half_a_block_of_aes_is_refused() {
        let iv = [0; 32];
        let mut it = Encryptor::new(Cipher::Aes256Cbc, &secret(), &iv);
        it.encrypt(&mut [0; 32]).unwrap();
        assert!(it.encrypt(&mut [0; 17]).is_err());
        assert!(it.encrypt(&mut [0; 16]).is_err());
        let mut it = Encryptor::new(Cipher::ChaCha20, &secret(), &iv);
        it.encrypt(&mut [0; 17]).unwrap();
        let before = [0; 16];
        let key = secret().key();
        let aes = Cipher::Aes256Cbc;
        assert!(!decrypt(aes, &key, &before, 0, &mut [0; 17]));
    }
}
