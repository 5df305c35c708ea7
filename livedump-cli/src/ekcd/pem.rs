// SPDX-License-Identifier: BSD-2-Clause
//! PEM files: what is in one, by its first label.

use super::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A private key of 16384 bits takes 12 KB.
const MAX_BYTES: u64 = 256 << 10;

/// A file with a key in it. It is overwritten when it is dropped.
pub(super) struct PemFile {
    pub(super) path: PathBuf,
    text: Zeroizing<String>,
}

impl PemFile {
    /// Reads one; a pipe serves, too, as of `<(...)`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(io::ErrorKind::IsADirectory.into()));
        }
        // Not moved while it grows: what is left behind is not overwritten.
        let mut bytes = Zeroizing::new(Vec::new());
        bytes.reserve(MAX_BYTES as usize);
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
        let text = String::from_utf8(std::mem::take(&mut *bytes));
        let text = text.map_err(|e| {
            drop(Zeroizing::new(e.into_bytes()));
            let found = "no PEM key";
            Error::Kind { path: path.into(), found, hint: der_hint() }
        })?;
        Ok(Self { path: path.into(), text: Zeroizing::new(text) })
    }

    /// The first label that is not of parameters, and the text from it on.
    pub(super) fn labelled(&self) -> Option<(&str, &str)> {
        const BEGIN: &str = "-----BEGIN ";
        let mut rest = self.text.as_str();
        loop {
            let at = rest.find(BEGIN)?;
            let from = rest.get(at..)?;
            let label = from.strip_prefix(BEGIN)?;
            let end = label.find("-----")?;
            let (label, after) = label.split_at_checked(end)?;
            if !label.ends_with("PARAMETERS") {
                return Some((label, from));
            }
            rest = after;
        }
    }

    /// That it has something else than it should.
    pub(super) fn other(&self, wanted_private: bool) -> Error {
        let label = self.labelled().map_or("", |(label, _)| label);
        let (found, hint) = match (label, wanted_private) {
            ("", _) => ("no PEM key", der_hint()),
            (label, _) if label.ends_with("CERTIFICATE") => (
                "a certificate, not a key",
                match wanted_private {
                    true => "",
                    false => ": openssl x509 -pubkey -noout -in FILE",
                },
            ),
            (label, false) if label.ends_with("PRIVATE KEY") => (
                "a private key, which is not to be on this machine",
                ": openssl pkey -pubout -in FILE",
            ),
            ("OPENSSH PRIVATE KEY", true) => (
                "a private key in the format of OpenSSH",
                ": ssh-keygen -p -m PKCS8 -f FILE",
            ),
            (label, true) if label.ends_with("PUBLIC KEY") => {
                ("a public key, not a private key", "")
            }
            (label, _) if label.ends_with("KEY") => {
                ("a key that is not of RSA", "")
            }
            _ => ("no key", ""),
        };
        Error::Kind { path: self.path.clone(), found, hint }
    }
}

fn der_hint() -> &'static str {
    ": if it is DER, openssl pkey -inform DER -in FILE"
}
