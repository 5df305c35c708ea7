// SPDX-License-Identifier: BSD-2-Clause
//! The private key that opens dumps: PEM, PKCS#1 or PKCS#8; the latter may be
//! encrypted with a passphrase, which is asked for on the terminal.

use super::pem::PemFile;
use super::{Error, KeyBlock, SECRET, Secret};
use getrandom::SysRng;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::der::SecretDocument;
use rsa::pkcs8::{DecodePrivateKey, EncryptedPrivateKeyInfoRef};
use rsa::traits::PublicKeyParts;
use sha1::Sha1;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A private key. It is overwritten when it is dropped.
#[derive(Debug)]
pub struct PrivateKey {
    path: PathBuf,
    key: rsa::PrivateKey,
}

impl PrivateKey {
    /// Reads one, and asks for its passphrase where it has one.
    ///
    /// # Errors
    /// The file has none, or there is nobody to ask, or the passphrase is
    /// wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::read_with(path, |text| {
            rpassword::prompt_password(text).map(Zeroizing::new)
        })
    }

    fn read_with(
        path: &Path,
        ask: impl FnOnce(&str) -> std::io::Result<Zeroizing<String>>,
    ) -> Result<Self, Error> {
        let file = PemFile::read(path)?;
        let bad = |why: String| Error::Key { path: path.into(), why };
        let (label, text) = file.labelled().ok_or_else(|| file.other(true))?;
        match label {
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {}
            _ => return Err(file.other(true)),
        }
        if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(Error::Kind {
                path: path.into(),
                found: "a key that is encrypted in the old way of OpenSSL",
                hint: ": openssl pkcs8 -topk8 -in FILE -out NEW",
            });
        }
        let (label, der) =
            SecretDocument::from_pem(text).map_err(|e| bad(e.to_string()))?;
        let key = match label {
            "RSA PRIVATE KEY" => {
                rsa::PrivateKey::from_pkcs1_der(der.as_bytes())
                    .map_err(|e| bad(e.to_string()))?
            }
            "PRIVATE KEY" => rsa::PrivateKey::from_pkcs8_der(der.as_bytes())
                .map_err(|e| bad(e.to_string()))?,
            _ => {
                let info = EncryptedPrivateKeyInfoRef::try_from(der.as_bytes());
                let info = info.map_err(|e| bad(e.to_string()))?;
                let name = livedump_vmcore::path::escape_path(path);
                let passphrase = ask(&format!("Passphrase of {name}: "))
                    .map_err(|source| Error::Passphrase {
                        path: path.into(),
                        source,
                    })?;
                let wrong = |why: String| Error::WrongPassphrase {
                    path: path.into(),
                    why,
                };
                let der = info.decrypt(passphrase.as_bytes());
                let der = der.map_err(|e| wrong(e.to_string()))?;
                rsa::PrivateKey::from_pkcs8_der(der.as_bytes())
                    .map_err(|e| wrong(e.to_string()))?
            }
        };
        Ok(Self { path: path.into(), key })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bits of its modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.key.n().bit_width_vartime() as usize
    }

    /// The secret in a key block, which is in the file `at`: by OAEP, or, as
    /// 12 wrapped it, by PKCS#1 v1.5. A secret of another length is none; the
    /// wrong key may yield one by PKCS#1 v1.5, and only the dump tells.
    ///
    /// # Errors
    /// It is another private key.
    pub fn unwrap(&self, block: &KeyBlock, at: &Path) -> Result<Secret, Error> {
        let wrapped = block.wrapped.as_slice();
        if wrapped.len() != self.key.size() {
            return Err(Error::OtherSize {
                block: at.into(),
                wrapped: wrapped.len(),
                private: self.path.clone(),
                bits: self.bits(),
            });
        }
        let rng = &mut SysRng;
        let oaep = self.key.oaep_decrypt_with_rng::<Sha1, _>(rng, wrapped);
        let secret = oaep.ok().and_then(secret).or_else(|| {
            let old = self.key.pkcs1v15_decrypt_with_rng(rng, wrapped);
            old.ok().and_then(secret)
        });
        secret.ok_or_else(|| Error::OtherKey {
            block: at.into(),
            private: self.path.clone(),
        })
    }
}

fn secret(bytes: Vec<u8>) -> Option<Secret> {
    let bytes = Zeroizing::new(bytes);
    let bytes: &[u8; SECRET] = bytes.as_slice().try_into().ok()?;
    Some(Secret(Zeroizing::new(*bytes)))
}

#[cfg(test)]
mod tests;
