// SPDX-License-Identifier: BSD-2-Clause

use super::*;
use crate::ekcd::{Cipher, Encryption, PublicKey};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// Runs openssl(1) in a directory.
fn openssl(dir: &TempDir, line: &str) {
    let out = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "openssl {line}: {text}");
}

/// `private.pem` and `public.pem` of so many bits.
fn keys(bits: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    openssl(&dir, &format!("genrsa -out private.pem {bits}"));
    openssl(&dir, "rsa -in private.pem -pubout -out public.pem");
    dir
}

fn private(dir: &TempDir, name: &str) -> Result<PrivateKey, Error> {
    PrivateKey::read_with(&dir.path().join(name), |_| unreachable!())
}

fn public(dir: &TempDir, name: &str) -> Result<PublicKey, Error> {
    PublicKey::read(&dir.path().join(name))
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, words: &str) {
    let e = livedump_vmcore::chain(&result.err().unwrap());
    assert!(e.contains(words), "{e}");
}

#[test]
fn what_is_wrapped_is_opened_by_its_key_and_no_other() {
    let (ours, other) = (keys(2048), keys(2048));
    let to = public(&ours, "public.pem").unwrap();
    let it = Encryption::new(&to, Cipher::ChaCha20).unwrap();
    assert_eq!(it.block().wrapped.len(), 256);
    let key = private(&ours, "private.pem").unwrap();
    let at = Path::new("key.0");
    let opened = key.unwrap(it.block(), at).unwrap();
    assert!(*opened.0 == *it.secret().0);
    // openssl(1) opens it, too.
    fs::write(ours.path().join("wrapped"), &it.block().wrapped).unwrap();
    openssl(
        &ours,
        "pkeyutl -decrypt -inkey private.pem -in wrapped -out secret \
         -pkeyopt rsa_padding_mode:oaep",
    );
    assert!(fs::read(ours.path().join("secret")).unwrap() == *it.secret().0);

    let wrong = private(&other, "private.pem").unwrap();
    // Each dump has a key of its own.
    let again = Encryption::new(&to, Cipher::ChaCha20).unwrap();
    assert!(again.block().iv != it.block().iv);
    assert!(*again.secret().0 != *it.secret().0);
    match wrong.unwrap(it.block(), at) {
        // PKCS#1 v1.5 does not tell: any 64 bytes may come out.
        Ok(secret) => assert!(*secret.0 != *it.secret().0),
        Err(e) => assert!(e.to_string().contains("another private key")),
    }
}

#[test]
fn both_paddings_are_opened_and_exactly_64_bytes_are_a_secret() {
    let dir = keys(2048);
    let key = private(&dir, "private.pem").unwrap();
    for (len, opens) in [(64, true), (63, false), (65, false), (32, false)] {
        let secret: Vec<u8> = (1..=len).collect();
        fs::write(dir.path().join("secret"), &secret).unwrap();
        for padding in ["oaep", "pkcs1"] {
            openssl(
                &dir,
                &format!(
                    "pkeyutl -encrypt -pubin -inkey public.pem -in secret \
                     -out wrapped -pkeyopt rsa_padding_mode:{padding}"
                ),
            );
            let wrapped = fs::read(dir.path().join("wrapped")).unwrap();
            let (cipher, iv) = (Cipher::Aes256Cbc, [0; 32]);
            let block = KeyBlock { cipher, iv, wrapped };
            let got = key.unwrap(&block, Path::new("key.0"));
            match opens {
                true => assert!(got.unwrap().0[..] == secret[..], "{padding}"),
                false => refused(got, "does not open the key in key.0"),
            }
        }
    }
}

#[test]
fn keys_come_in_every_form_that_openssl_writes() {
    let dir = keys(3072);
    for line in [
        "pkcs8 -topk8 -nocrypt -in private.pem -out pkcs8.pem",
        "rsa -in private.pem -traditional -out pkcs1.pem",
        "rsa -in private.pem -RSAPublicKey_out -out public1.pem",
        "pkcs8 -topk8 -in private.pem -passout pass:secret -out locked.pem",
        "rsa -in private.pem -traditional -aes256 -passout pass:x -out old.pem",
        "req -x509 -key private.pem -subj /CN=x -out cert.pem",
        "rsa -in private.pem -outform DER -out private.der",
        "ecparam -name prime256v1 -genkey -out ec.pem",
        "ec -in ec.pem -pubout -out ecpub.pem",
        "genrsa -out short.pem 1024",
        "rsa -in short.pem -pubout -out shortpub.pem",
    ] {
        openssl(&dir, line);
    }
    for name in ["pkcs8.pem", "pkcs1.pem"] {
        assert_eq!(private(&dir, name).unwrap().bits(), 3072, "{name}");
    }
    for name in ["public.pem", "public1.pem"] {
        assert_eq!(public(&dir, name).unwrap().bits(), 3072, "{name}");
    }
    refused(public(&dir, "cert.pem"), "has a certificate, not a key: openssl");
    refused(public(&dir, "private.pem"), "has a private key");
    refused(public(&dir, "locked.pem"), "has a private key");
    refused(public(&dir, "private.der"), "no PEM key");
    refused(public(&dir, "ecpub.pem"), "is not an RSA key: its algorithm is");
    refused(public(&dir, "shortpub.pem"), "1024 bits, expected 2048");
    refused(public(&dir, "none.pem"), "reading");
    refused(private(&dir, "cert.pem"), "has a certificate");
    refused(private(&dir, "public.pem"), "has a public key, not a private");
    refused(private(&dir, "ec.pem"), "not of RSA");
    refused(private(&dir, "old.pem"), "openssl pkcs8 -topk8");
    // Dumps of 12 may be for one.
    assert_eq!(private(&dir, "short.pem").unwrap().bits(), 1024);

    let locked = dir.path().join("locked.pem");
    let with = |word: &'static str| {
        PrivateKey::read_with(&locked, move |asked| {
            assert!(asked.ends_with("locked.pem: "), "{asked}");
            Ok(Zeroizing::new(word.into()))
        })
    };
    assert_eq!(with("secret").unwrap().bits(), 3072);
    refused(with("wrong"), "wrong passphrase");
    let nobody =
        PrivateKey::read_with(&locked, |_| Err(std::io::Error::other("x")));
    refused(nobody, "no terminal");
}

#[test]
fn damaged_keys_are_refused() {
    let dir = keys(2048);
    let text = fs::read_to_string(dir.path().join("public.pem")).unwrap();
    let long =
        text.replace("-----END", &format!("{}\n-----END", "A".repeat(9)));
    let large = format!("-----BEGIN PUBLIC KEY-----\n{}", "A".repeat(1 << 20));
    for (name, text) in [
        ("cut", &text[..text.len() / 2]),
        ("long", long.as_str()),
        ("large", large.as_str()),
        ("empty", ""),
        ("label", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"),
        ("begin", "-----BEGIN "),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
        assert!(public(&dir, name).is_err(), "{name}");
        assert!(private(&dir, name).is_err(), "{name}");
    }
}

#[test]
fn a_wrapped_key_of_another_size_names_both() {
    let (small, large) = (keys(2048), keys(3072));
    let to = public(&large, "public.pem").unwrap();
    let it = Encryption::new(&to, Cipher::Aes256Cbc).unwrap();
    let key = private(&small, "private.pem").unwrap();
    let e = key.unwrap(it.block(), Path::new("key.0"));
    refused(e, "key.0 is for an RSA key of 3072 bits");
}
