// SPDX-License-Identifier: BSD-2-Clause
//! The wrong key, and files that are not whole or not as they were: said, and
//! nothing is left.

use super::*;
use std::io::Read;

struct Bench {
    dir: CrashDir,
    kernel: Kernel,
    data: Vec<u8>,
}

impl Bench {
    fn new(cipher: u8) -> Self {
        let kernel =
            Kernel { cipher, padding: "oaep", block: 512, bits: "2048" };
        let (dir, data) = (CrashDir::new(), plain().bytes());
        let it = Self { dir, kernel, data };
        it.put("vmcore_encrypted.0", &it.kernel.encrypt(&it.data));
        it.put("key.0", &it.kernel.key());
        it
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.file(name), bytes).unwrap();
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.dir.read(name);
        edit(&mut bytes);
        self.put(name, &bytes);
    }

    #[track_caller]
    fn refused(&self, key: &str, words: &str) {
        let names = self.dir.names();
        let file = self.dir.file("vmcore_encrypted.0");
        let run = decrypt(&keys().private(key), &[file.as_os_str()]).expect(2);
        assert!(run.stderr.contains(words), "{}", run.stderr);
        assert_eq!(self.dir.names(), names);
    }
}

#[test]
fn another_private_key_or_key_file() {
    for cipher in [1, 2] {
        let it = Bench::new(cipher);
        let file = it.dir.file("vmcore_encrypted.0");
        let other = decrypt(&keys().private("other"), &[file.as_os_str()]);
        let other = other.expect(2);
        // PKCS#1 v1.5 does not tell a wrong key from a right one.
        assert!(
            other.stderr.contains("it is another private key")
                || other.stderr.contains("does not decrypt to a dump"),
            "{}",
            other.stderr
        );
        assert_eq!(it.dir.names(), ["key.0", "vmcore_encrypted.0"]);
        it.refused("4096", "is for an RSA key of 2048 bits");
        // The key of another dump: it opens, and nothing comes out.
        it.edit("key.0", |key| key[1] ^= 1);
        match cipher {
            2 => it.refused("2048", "does not decrypt to a dump"),
            // One byte of the first block.
            _ => it.refused("2048", "does not decrypt to a dump"),
        }
        it.edit("key.0", |key| key[100] ^= 1);
        it.edit("key.0", |key| key.truncate(100));
        it.refused(
            "2048",
            "a key of 256 bytes at offset 33, in a block of 100",
        );
        it.put("key.0", b"");
        it.refused("2048", "0 bytes are too short");
        fs::remove_file(it.dir.file("key.0")).unwrap();
        it.refused("2048", "has no key file");
    }
}

#[test]
fn a_truncated_dump_is_refused_and_forced() {
    for cipher in [1, 2] {
        let it = Bench::new(cipher);
        let length = it.data.len();
        // By its own header and bitset.
        it.edit("vmcore_encrypted.0", |b| b.truncate(length - 4096));
        it.refused("2048", "truncated");
        // By info.N.
        it.put("info.0", info(length).as_bytes());
        let words = format!("is truncated: {} of {length}", length - 4096);
        it.refused("2048", &words);
        let file = it.dir.file("vmcore_encrypted.0");
        let forced = ["-f".as_ref(), file.as_os_str()];
        let run = decrypt(&keys().private("2048"), &forced).expect(1);
        assert!(run.stderr.contains("damaged: "), "{}", run.stderr);
        assert!(it.dir.read("vmcore.0") == it.data[..length - 4096]);
        fs::remove_file(it.dir.file("vmcore.0")).unwrap();
        fs::remove_file(it.dir.file("info.0")).unwrap();
        it.edit("vmcore_encrypted.0", |b| b.truncate(length - 5001));
        let words = match cipher {
            1 => "are not a multiple of 16",
            _ => "truncated",
        };
        it.refused("2048", words);
        it.edit("vmcore_encrypted.0", |b| b.truncate(3));
        it.refused("2048", "");
    }
}

#[test]
fn a_changed_byte_is_found_by_the_seal_and_by_the_structure() {
    let it = Bench::new(2);
    // The magic of the header.
    it.edit("vmcore_encrypted.0", |b| b[2] ^= 1);
    it.refused("2048", "does not decrypt to a dump");
    it.edit("vmcore_encrypted.0", |b| b[2] ^= 1);
    // The size of the bitmap.
    it.edit("vmcore_encrypted.0", |b| b[32] ^= 0xff);
    let file = it.dir.file("vmcore_encrypted.0");
    let run = decrypt(&keys().private("2048"), &[file.as_os_str()]);
    assert_eq!(run.status, Some(2), "{}", run.stderr);
    assert_eq!(it.dir.names(), ["key.0", "vmcore_encrypted.0"]);
}

#[test]
fn hostile_key_blocks_are_refused_soon() {
    let it = Bench::new(2);
    for (at, bytes) in [
        (0usize, vec![0]),
        (0, vec![3]),
        (33, vec![0, 0, 0, 0]),
        (33, vec![0xff; 4]),
        (33, vec![0, 0, 8, 1]),
        (33, vec![0, 0, 0, 1]),
    ] {
        let good = it.dir.read("key.0");
        it.edit("key.0", |key| {
            key[at..at + bytes.len()].copy_from_slice(&bytes);
        });
        it.refused("2048", "key");
        it.put("key.0", &good);
    }
    it.put("key.0", &vec![2; 200 << 10]);
    it.refused("2048", "key");
}

#[test]
fn keys_that_are_none_are_named() {
    let it = Bench::new(2);
    let file = it.dir.file("vmcore_encrypted.0");
    let public = keys().public("2048");
    let run = decrypt(&public, &[file.as_os_str()]).expect(2);
    assert!(run.stderr.contains("has a public key"), "{}", run.stderr);
    let run = decrypt(&it.dir.file("none"), &[file.as_os_str()]).expect(2);
    assert!(run.stderr.contains("reading "), "{}", run.stderr);
    // A passphrase, and nobody to ask.
    let locked = it.dir.file("locked.pem");
    let private = keys().private("2048");
    openssl(
        &[
            "pkcs8",
            "-topk8",
            "-in",
            private.to_str().unwrap(),
            "-passout",
            "pass:secret",
            "-out",
            locked.to_str().unwrap(),
        ],
        b"",
    );
    let out = Command::new("setsid")
        .arg("-w")
        .arg(crate::tool::program())
        .args(["decrypt", "-k"])
        .arg(&locked)
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let run = Run::from(out).expect(2);
    assert!(run.stderr.contains("no terminal"), "{}", run.stderr);
    // script(1) is a terminal.
    let program = crate::tool::program();
    let command = format!(
        "{program} decrypt -k {} -o {} {}",
        locked.display(),
        it.dir.file("out").display(),
        file.display()
    );
    let mut script = Command::new("script");
    let tried = script
        .args(["-qec", "true", "/dev/null"])
        .stdin(Stdio::null())
        .output();
    if !tried.is_ok_and(|out| out.status.success()) {
        livedump_skip::skipped("script(1) makes no terminal here");
        return;
    }
    for (word, status) in [("wrong\n", 2), ("secret\n", 0)] {
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"locked.pem: ") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        stdin.write_all(word.as_bytes()).unwrap();
        stdout.read_to_end(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let done = child.wait().unwrap();
        assert_eq!(done.code(), Some(status), "{text}");
        assert!(text.contains("Passphrase of "), "{text}");
    }
    assert!(it.dir.read("out") == it.data);
}
