// SPDX-License-Identifier: BSD-2-Clause
//! Every layout that a release or netdumpd(8) leaves.

use super::*;

/// Decrypts one layout and compares.
#[track_caller]
fn opens(kernel: Kernel, codec: &str, file: &str, key: &str, out: &str) {
    let what = format!("{kernel:?} {codec} {file}");
    let dir = CrashDir::new();
    let data = packed(codec, &plain().bytes());
    fs::write(dir.file(file), kernel.encrypt(&data)).unwrap();
    fs::write(dir.file(key), kernel.key()).unwrap();
    if kernel.block == 512 {
        let name = key.replace("key", "info");
        fs::write(dir.file(&name), info(data.len())).unwrap();
    }
    let private = keys().private(kernel.bits);
    let path = dir.file(file);
    let run = decrypt(&private, &["--json".as_ref(), path.as_os_str()]);
    let run = run.expect(0);
    assert!(dir.read(out) == data, "{what}");
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(dir.file(out)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode, 0o600, "{what}");
    let json = &run.json()["dumps"][0];
    assert_eq!(json["output"], dir.file(out).to_str().unwrap(), "{what}");
    assert_eq!(json["key"], dir.file(key).to_str().unwrap(), "{what}");
    assert_eq!(json["dumplength"], data.len(), "{what}");
    assert_eq!(json["compression"], codec, "{what}");
    assert_eq!(json["format"], "minidump", "{what}");
    assert!(!dir.names().iter().any(|n| n.starts_with('.')), "{what}");
    // Nothing is replaced.
    let again = decrypt(&private, &[path.as_os_str()]).expect(2);
    assert!(again.stderr.contains("it exists"), "{}", again.stderr);
}

#[test]
fn every_cipher_padding_block_size_codec_and_layout() {
    let suffix = |codec: &str| match codec {
        "gzip" => ".gz",
        "zstd" => ".zst",
        _ => "",
    };
    for (cipher, codec) in [(1, "none"), (2, "none"), (2, "gzip"), (2, "zstd")]
    {
        for padding in ["oaep", "pkcs1"] {
            for (block, bits) in [(512, "2048"), (4096, "4096")] {
                let kernel = Kernel { cipher, padding, block, bits };
                let s = suffix(codec);
                // savecore(8) has no suffix for it.
                let (file, out) = ("vmcore_encrypted.3", "vmcore.3");
                opens(kernel, codec, file, "key.3", &format!("{out}{s}"));
                if padding == "pkcs1" || block == 512 {
                    continue;
                }
                // netdumpd(8), and this program.
                for (stem, key) in [
                    ("vmcore_encrypted.web.example", "key.web.example.0"),
                    ("livecore_encrypted", "key.0"),
                    ("vmcore_encrypted", "key.0"),
                ] {
                    let out = stem.replace("_encrypted", "");
                    opens(
                        kernel,
                        codec,
                        &format!("{stem}.0{s}"),
                        key,
                        &format!("{out}.0{s}"),
                    );
                }
            }
        }
    }
}

#[test]
fn by_number_by_link_by_named_key_and_to_a_name() {
    let kernel =
        Kernel { cipher: 2, padding: "oaep", block: 512, bits: "2048" };
    let data = plain().bytes();
    let dir = CrashDir::new();
    let private = keys().private("2048");
    fs::write(dir.file("vmcore_encrypted.0"), kernel.encrypt(&data)).unwrap();
    fs::write(dir.file("key.0"), kernel.key()).unwrap();
    let words = |words: &[&str]| {
        let mut all = vec!["-d".to_string()];
        all.push(dir.path().to_str().unwrap().into());
        all.extend(
            words
                .iter()
                .map(|word| word.replace('@', dir.path().to_str().unwrap())),
        );
        let all: Vec<_> = all.iter().map(OsStr::new).collect();
        decrypt(&private, &all)
    };
    let run = words(&["0"]).expect(0);
    assert!(run.stderr.contains("decrypted (chacha20)"), "{}", run.stderr);
    assert!(dir.read("vmcore.0") == data);
    let none = words(&["1"]).expect(2);
    assert!(none.stderr.contains("no encrypted dump 1"), "{}", none.stderr);
    let link = dir.file("vmcore_encrypted.last");
    std::os::unix::fs::symlink("vmcore_encrypted.0", link).unwrap();
    words(&["@/vmcore_encrypted.last", "-o", "@/one"]).expect(0);
    assert!(dir.read("one") == data);
    fs::rename(dir.file("key.0"), dir.file("k")).unwrap();
    fs::rename(dir.file("vmcore_encrypted.0"), dir.file("e")).unwrap();
    let none = words(&["@/e"]).expect(2);
    assert!(none.stderr.contains("--key-file"), "{}", none.stderr);
    words(&["--key-file", "@/k", "@/e"]).expect(0);
    assert!(dir.read("e.decrypted") == data);
    let out = words(&["--key-file", "@/k", "@/e", "-o", "-"]).expect(0);
    assert!(out.stdout == data);
    // -f replaces.
    fs::write(dir.file("one"), "old").unwrap();
    words(&["--key-file", "@/k", "@/e", "-o", "@/one"]).expect(2);
    assert_eq!(dir.read("one"), b"old");
    words(&["-f", "--key-file", "@/k", "@/e", "-o", "@/one"]).expect(0);
    assert!(dir.read("one") == data);
}

#[test]
fn pages_of_zeros_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let kernel =
        Kernel { cipher: 2, padding: "oaep", block: 512, bits: "2048" };
    let mut data = plain().bytes();
    let zeros = 4 << 20;
    let at = data.len() - zeros;
    data[at..].fill(0);
    let dir = CrashDir::new();
    let file = dir.file("vmcore_encrypted.0");
    fs::write(&file, kernel.encrypt(&data)).unwrap();
    fs::write(dir.file("key.0"), kernel.key()).unwrap();
    decrypt(&keys().private("2048"), &[file.as_os_str()]).expect(0);
    assert!(dir.read("vmcore.0") == data);
    let meta = fs::metadata(dir.file("vmcore.0")).unwrap();
    let (length, disk) = (meta.len(), meta.blocks() * 512);
    assert!(disk + (zeros as u64) / 2 < length, "{disk} {length}");
}
