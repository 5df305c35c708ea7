// SPDX-License-Identifier: BSD-2-Clause
//! Encrypted dumps: those that openssl(1) encrypts as kernels and netdumpd(8)
//! do are decrypted, and openssl(1) decrypts ours.

mod capture;
mod decrypt;
mod pair;
mod readers;
mod wrong;

use crate::tool::{CrashDir, Run, run};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Runs openssl(1) with this input.
#[track_caller]
fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "openssl {args:?}: {text}");
        out.stdout
    })
}

/// Key pairs, made once: of 2048 bits, of 4096, and another of 2048.
struct Keys {
    directory: tempfile::TempDir,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        for (name, bits) in
            [("2048", "2048"), ("4096", "4096"), ("other", "2048")]
        {
            let path = |kind: &str| {
                let path = directory.path().join(format!("{kind}-{name}.pem"));
                path.to_str().unwrap().to_string()
            };
            let (private, public) = (path("private"), path("public"));
            openssl(&["genrsa", "-out", &private, bits], b"");
            openssl(&["rsa", "-in", &private, "-pubout", "-out", &public], b"");
        }
        Keys { directory }
    })
}

impl Keys {
    fn private(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("private-{name}.pem"))
    }

    fn public(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("public-{name}.pem"))
    }
}

/// How a kernel encrypts.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// 1: AES-256-CBC, 2: ChaCha20.
    cipher: u8,
    /// "oaep" or "pkcs1".
    padding: &'static str,
    /// Of the dumper.
    block: usize,
    /// Of the RSA key.
    bits: &'static str,
}

const SECRET: [u8; 64] = {
    let mut secret = [0; 64];
    let mut n = 0;
    while n < 64 {
        secret[n] = (n as u8).wrapping_mul(73).wrapping_add(29);
        n += 1;
    }
    secret
};

fn iv() -> Vec<u8> {
    (0..32u8).map(|n| n.wrapping_mul(151).wrapping_add(3)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Encrypts, or decrypts (`-d`), as the key block with `iv` says.
fn enc(
    cipher: u8,
    secret: &[u8],
    iv: &[u8],
    data: &[u8],
    way: &str,
) -> Vec<u8> {
    let key = hex(&secret[..32]);
    let (name, iv) = match cipher {
        1 => ("-aes-256-cbc", hex(&iv[..16])),
        _ => ("-chacha20", format!("{}{}", hex(&[0; 8]), hex(&iv[..8]))),
    };
    openssl(&["enc", way, name, "-nopad", "-K", &key, "-iv", &iv], data)
}

impl Kernel {
    /// The key block.
    fn key(&self) -> Vec<u8> {
        let public = keys().public(self.bits);
        let padding = format!("rsa_padding_mode:{}", self.padding);
        let wrapped = openssl(
            &[
                "pkeyutl",
                "-encrypt",
                "-pubin",
                "-inkey",
                public.to_str().unwrap(),
                "-pkeyopt",
                &padding,
            ],
            &SECRET,
        );
        let mut key = vec![self.cipher];
        key.extend(iv());
        key.extend((wrapped.len() as u32).to_be_bytes());
        key.extend(&wrapped);
        key.resize(key.len().next_multiple_of(self.block), 0);
        key
    }

    /// The cipher text: what is encrypted are whole blocks, and what is saved
    /// of them is as long as the dump.
    fn encrypt(&self, data: &[u8]) -> Vec<u8> {
        let mut whole = data.to_vec();
        whole.resize(data.len().next_multiple_of(self.block), 0);
        let mut out = enc(self.cipher, &SECRET, &iv(), &whole, "-e");
        out.truncate(data.len());
        out
    }
}

/// A model's dump, and its kernel.
struct Plain {
    dir: CrashDir,
}

fn plain() -> &'static Plain {
    static PLAIN: OnceLock<Plain> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let dir = CrashDir::new();
        dir.capture("model:16M", &["--keep-kernel"]).expect(0);
        Plain { dir }
    })
}

impl Plain {
    fn bytes(&self) -> Vec<u8> {
        self.dir.read("livecore.0")
    }

    fn kernel(&self) -> PathBuf {
        self.dir.file("kernel.0")
    }
}

/// One member or frame, as the kernel's own compressor makes of a dump.
fn packed(codec: &str, data: &[u8]) -> Vec<u8> {
    match codec {
        "gzip" => {
            let level = flate2::Compression::fast();
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(data).unwrap();
            out.finish().unwrap()
        }
        "zstd" => zstd::encode_all(data, 1).unwrap(),
        _ => data.to_vec(),
    }
}

/// What `info.N` has, as savecore(8) writes it.
fn info(length: usize) -> String {
    format!(
        "Dump header from device: /dev/ada0p3\n  Architecture: amd64\n  \
         Architecture Version: 2\n  Dump Length: {length}\n  Blocksize: 512\n"
    )
}

fn decrypt(private: &Path, more: &[&OsStr]) -> Run {
    let mut args = vec![OsStr::new("decrypt"), OsStr::new("-k")];
    args.push(private.as_os_str());
    args.extend(more);
    run(args)
}
