// SPDX-License-Identifier: BSD-2-Clause
//! Why something cannot be encrypted or decrypted.

use super::KeyError;
use livedump_vmcore::path::escape_path;
use std::io;
use std::path::PathBuf;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened or read.
    #[error("reading {}", escape_path(path))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of keys that has something else.
    #[error("{} has {found}{hint}", escape_path(path))]
    Kind {
        /// Which.
        path: PathBuf,
        /// "a certificate".
        found: &'static str,
        /// What may help.
        hint: &'static str,
    },
    /// A key that is damaged, or of another kind.
    #[error("{} is not an RSA key: {why}", escape_path(path))]
    Key {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A key that is too short, or longer than a key block takes.
    #[error(
        "{} is an RSA key of {bits} bits, expected 2048 to 16384",
        escape_path(path)
    )]
    Bits {
        /// Which.
        path: PathBuf,
        /// Of its modulus.
        bits: u64,
    },
    /// Nobody to ask.
    #[error("asking for the passphrase of {}: no terminal", escape_path(path))]
    Passphrase {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It does not decrypt the private key.
    #[error(
        "{}: wrong passphrase, or an algorithm that is not supported: {why}",
        escape_path(path)
    )]
    WrongPassphrase {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// Random numbers.
    #[error("getting random bytes: {0}")]
    Random(String),
    /// The public key cannot be used after all.
    #[error("encrypting a key with {}: {why}", escape_path(path))]
    Wrap {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// There is no key file beside a dump.
    #[error(
        "{} has no key file {}: name it with --key-file",
        escape_path(path), tried.join(" or ")
    )]
    NoKeyFile {
        /// The dump.
        path: PathBuf,
        /// Names that were looked for.
        tried: Vec<String>,
    },
    /// A dump that has no number and no key block.
    #[error(
        "{} has neither a key block nor a number to find key.N by: name the \
         key file with --key-file",
        escape_path(path)
    )]
    NoKey {
        /// The dump.
        path: PathBuf,
    },
    /// A key file that is none.
    #[error("the key block in {}", escape_path(path))]
    Block {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A private key of another size than the one it was wrapped for.
    #[error(
        "the key in {} is for an RSA key of {} bits, {} has {bits}",
        escape_path(block), wrapped.saturating_mul(8), escape_path(private)
    )]
    OtherSize {
        /// The file of the key block.
        block: PathBuf,
        /// Bytes of the wrapped key.
        wrapped: usize,
        /// The private key.
        private: PathBuf,
        /// Its bits.
        bits: usize,
    },
    /// Another private key.
    #[error(
        "{} does not open the key in {}: it is another private key, or the \
         key block is damaged",
        escape_path(private),
        escape_path(block)
    )]
    OtherKey {
        /// The file of the key block.
        block: PathBuf,
        /// The private key.
        private: PathBuf,
    },
    /// It ends early.
    #[error("{} is truncated: {have} of {want} bytes", escape_path(path))]
    Truncated {
        /// The dump.
        path: PathBuf,
        /// Bytes that are there.
        have: u64,
        /// Bytes that should be.
        want: u64,
    },
    /// It ends in half a block of AES.
    #[error(
        "{} is truncated: its {len} bytes are not a multiple of 16, which \
         aes256-cbc takes",
        escape_path(path)
    )]
    HalfBlock {
        /// The dump.
        path: PathBuf,
        /// Its bytes.
        len: u64,
    },
    /// A stream whose last 512 bytes are not its header.
    #[error(
        "{} is truncated: it starts with a key block, and its last 512 bytes \
         are not a kernel dump header",
        escape_path(path)
    )]
    NoTrailer {
        /// The dump.
        path: PathBuf,
    },
}
