// SPDX-License-Identifier: BSD-2-Clause
//! Encrypted kernel dumps, as dumpon(8) -k, netdumpd(8) and this program leave
//! them and decryptcore(8) takes them. C: `struct kerneldumpcrypto`,
//! `kerneldumpcrypto_init`, kern_shutdown.c; `struct kerneldumpkey`,
//! <sys/kerneldump.h>.
//!
//! ```text
//!  private.pem --> public.pem
//!       |              | RSA, OAEP with SHA-1 (12: PKCS#1 v1.5)
//!       |              v
//!       '-- opens -- key.N   cipher, IV, 64 random bytes wrapped
//!                      |     of which the first 32 are the key
//!                      v
//!               vmcore_encrypted.N   AES-256-CBC or ChaCha20, no MAC
//! ```
//!
//! A dump is compressed before it is encrypted, and only its data are: the
//! kernel dump header is not. Nothing in the format tells a wrong key or a
//! changed byte: what comes out has to be looked at.
//!
//! The key block, and everything in it, comes from whoever wrote the dump.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod block;
mod challenge;
mod cipher;
mod error;
mod file;
mod pem;
mod plaintext;
mod private;
mod public;
mod reader;
mod recipient;

pub use block::{KEY_BLOCK, KeyBlock, KeyError, MAX_BLOCK};
pub use challenge::Challenge;
pub use cipher::{Cipher, Encryptor};
pub use error::Error;
pub use file::{EncryptedFile, Place};
pub use plaintext::{Decryptor, Plaintext};
pub use private::PrivateKey;
pub use public::PublicKey;
pub use reader::Encrypting;
pub use recipient::{Encryption, Recipient};

use zeroize::Zeroizing;

/// Bytes that are wrapped. C: `KERNELDUMP_KEY_MAX_SIZE`.
const SECRET: usize = 64;

/// What a key block wraps: the first 32 bytes are the key of both ciphers.
/// Overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; SECRET]>);

impl Secret {
    /// The key.
    fn key(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        for (to, from) in key.iter_mut().zip(self.0.iter()) {
            *to = *from;
        }
        key
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
