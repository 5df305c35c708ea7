// SPDX-License-Identifier: BSD-2-Clause
//! Proof that a private key opens what its public key wraps, before a dump
//! depends on it. A few lines of text, which tell nobody anything:
//!
//! ```text
//! livedump challenge 1
//! key 3b9f...07              a wrapped secret, as in a key block
//! sha256 e1c0...55           of that secret
//! ```

use super::{
    Cipher, Encryption, Error, KeyBlock, PrivateKey, PublicKey, Secret,
};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::path::Path;

const MAGIC: &str = "livedump challenge 1";
/// The longest key and more.
const MAX_BYTES: u64 = 16 << 10;

/// A challenge.
#[derive(Debug)]
pub struct Challenge {
    block: KeyBlock,
    digest: Vec<u8>,
}

impl Challenge {
    /// Makes one.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn new(to: &PublicKey) -> Result<Self, Error> {
        let made = Encryption::new(to, Cipher::default())?;
        let digest = digest(made.secret());
        Ok(Self { block: made.block().clone(), digest })
    }

    /// Reads one.
    ///
    /// # Errors
    /// The file has none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
        Self::parse(&text).ok_or_else(|| {
            io(io::Error::other("it is not a challenge of livedump doctor"))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let wrapped = bytes(lines.next()?.strip_prefix("key ")?)?;
        let digest = bytes(lines.next()?.strip_prefix("sha256 ")?)?;
        let (cipher, iv) = (Cipher::default(), [0; 32]);
        let block = KeyBlock { cipher, iv, wrapped };
        // As large as a key block takes.
        block.encode()?;
        Some(Self { block, digest })
    }

    /// Its file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let (key, sum) = (hex(&self.block.wrapped), hex(&self.digest));
        format!("{MAGIC}\nkey {key}\nsha256 {sum}\n")
    }

    /// Opens it; `at` is what to call it.
    ///
    /// # Errors
    /// The private key is another one.
    pub fn answer(&self, private: &PrivateKey, at: &Path) -> Result<(), Error> {
        let secret = private.unwrap(&self.block, at)?;
        match digest(&secret) == self.digest {
            true => Ok(()),
            false => Err(Error::OtherKey {
                block: at.into(),
                private: private.path().into(),
            }),
        }
    }
}

fn digest(secret: &Secret) -> Vec<u8> {
    Sha256::digest(*secret.0).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    let byte = |pair: &[u8; 2]| {
        let [high, low] = *pair;
        u8::try_from(digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?)
            .ok()
    };
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        let (cipher, iv) = (Cipher::default(), [0; 32]);
        let block = KeyBlock { cipher, iv, wrapped: vec![0xa7; 256] };
        let it = Challenge { block, digest: vec![9; 32] };
        let text = it.text();
        assert!(text.starts_with("livedump challenge 1\nkey a7a7"), "{text}");
        let read = Challenge::parse(&text).unwrap();
        assert_eq!(read.text(), text);
        for bad in [
            "",
            "livedump challenge 2\n",
            "livedump challenge 1\nkey a\nsha256 00\n",
            "livedump challenge 1\nkey \nsha256 00\n",
            "livedump challenge 1\nkey \u{e9}\u{e9}\nsha256 00\n",
        ] {
            assert!(Challenge::parse(bad).is_none(), "{bad}");
        }
        let long = text.replace("a7", &"a7".repeat(9));
        assert!(Challenge::parse(&long).is_none());
    }
}
