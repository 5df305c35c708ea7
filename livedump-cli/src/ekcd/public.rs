// SPDX-License-Identifier: BSD-2-Clause
//! The public key that a dump is encrypted for: PEM, a SubjectPublicKeyInfo as
//! dumpon(8) takes it, or PKCS#1.

use super::pem::PemFile;
use super::{Error, SECRET, Secret};
use getrandom::SysRng;
use rsa::BoxedUint;
use rsa::pkcs1::RsaPublicKeyRef;
use rsa::pkcs8::der::{Decode, Document};
use rsa::pkcs8::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use rsa::traits::PublicKeyParts;
use sha1::Sha1;
use std::path::{Path, PathBuf};

/// What a key block takes, and what dumpon(8) since 13 takes at least.
const BITS: std::ops::RangeInclusive<usize> = 2048..=16384;
/// rsaEncryption, RFC 8017.
const RSA: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    path: PathBuf,
    key: rsa::PublicKey,
}

impl PublicKey {
    /// Reads one.
    ///
    /// # Errors
    /// The file has none, or one that is too short, or no public one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = PemFile::read(path)?;
        let bad = |why: String| Error::Key { path: path.into(), why };
        let (label, text) = file.labelled().ok_or_else(|| file.other(false))?;
        if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY") {
            return Err(file.other(false));
        }
        let (label, der) =
            Document::from_pem(text).map_err(|e| bad(e.to_string()))?;
        let key = match label {
            "RSA PUBLIC KEY" => RsaPublicKeyRef::from_der(der.as_bytes())
                .map_err(|e| bad(e.to_string())),
            _ => pkcs1_within(der.as_bytes()).map_err(bad),
        }?;
        let modulus = key.modulus.as_bytes();
        let bits = (modulus.len() as u64).saturating_mul(8);
        let short = |bits| Error::Bits { path: path.into(), bits };
        // The limit before anything is computed with it.
        if bits > *BITS.end() as u64 {
            return Err(short(bits));
        }
        let n = uint(modulus).map_err(bad)?;
        let e = uint(key.public_exponent.as_bytes()).map_err(bad)?;
        let bits = u64::from(n.bit_width_vartime());
        if !BITS.contains(&usize::try_from(bits).unwrap_or(0)) {
            return Err(short(bits));
        }
        let key = rsa::PublicKey::new_with_size_limits(n, e, BITS);
        let key = key.map_err(|e| bad(e.to_string()))?;
        Ok(Self { path: path.into(), key })
    }

    /// Bits of its modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.key.n().bit_width_vartime() as usize
    }

    /// Wraps a secret for its private key: OAEP with SHA-1, as decryptcore(8)
    /// tries first.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(super) fn wrap(&self, secret: &Secret) -> Result<Vec<u8>, Error> {
        let secret: &[u8; SECRET] = &secret.0;
        self.key.oaep_encrypt_with_rng::<Sha1, _>(&mut SysRng, secret).map_err(
            |e| Error::Wrap { path: self.path.clone(), why: e.to_string() },
        )
    }
}

/// The PKCS#1 key in a SubjectPublicKeyInfo.
fn pkcs1_within(der: &[u8]) -> Result<RsaPublicKeyRef<'_>, String> {
    let text = |e: rsa::pkcs8::der::Error| e.to_string();
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(text)?;
    if info.algorithm.oid != RSA {
        return Err(format!("its algorithm is {}", info.algorithm.oid));
    }
    let bits = info.subject_public_key.as_bytes().unwrap_or_default();
    RsaPublicKeyRef::from_der(bits).map_err(text)
}

fn uint(bytes: &[u8]) -> Result<BoxedUint, String> {
    let bits = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    BoxedUint::from_be_slice(bytes, bits.saturating_mul(8))
        .map_err(|e| e.to_string())
}
