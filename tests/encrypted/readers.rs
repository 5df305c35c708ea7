// SPDX-License-Identifier: BSD-2-Clause
//! Readers of an encrypted dump say what they say of a plain one.

use super::*;

/// Runs a reader on a dump; what it printed, without the dump's name.
fn read(words: &[&str], file: &Path, key: Option<&Path>) -> (Run, String) {
    let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    if let Some(key) = key {
        args.extend([OsStr::new("--private-key"), key.as_os_str()]);
    }
    let kernel = plain().kernel();
    args.extend([OsStr::new("-k"), kernel.as_os_str(), file.as_os_str()]);
    if words[0] == "read" {
        args.extend(["hz", "4"].map(OsStr::new));
    }
    let run = run(args);
    let text = run.text().replace(file.to_str().unwrap(), "FILE");
    (run, text)
}

const COMMANDS: [&[&str]; 6] = [
    &["ps", "-t", "--json"],
    &["dmesg"],
    &["deadlock"],
    &["read"],
    &["bt", "-a"],
    &["verify"],
];

#[test]
fn they_open_it_in_place_with_the_key() {
    let plain_dump = plain().bytes();
    let plain_file = CrashDir::new();
    for (cipher, codec, block) in [
        (1, "none", 4096),
        (2, "none", 512),
        (2, "gzip", 512),
        (2, "zstd", 4096),
    ] {
        let kernel = Kernel { cipher, padding: "oaep", block, bits: "2048" };
        let dir = CrashDir::new();
        let data = packed(codec, &plain_dump);
        // A name without a number: there is nothing beside it.
        let file = plain_file.file(&format!("plain-{codec}"));
        fs::write(&file, &data).unwrap();
        let encrypted = dir.file("vmcore_encrypted.7");
        fs::write(&encrypted, kernel.encrypt(&data)).unwrap();
        fs::write(dir.file("key.7"), kernel.key()).unwrap();
        let private = keys().private("2048");
        for words in COMMANDS {
            let what = format!("{words:?} {cipher} {codec}");
            let (of_plain, want) = read(words, &file, None);
            assert!(of_plain.status != Some(2), "{what}");
            let (run, got) = read(words, &encrypted, Some(&private));
            assert_eq!(run.status, of_plain.status, "{what} {}", run.stderr);
            assert_eq!(got, want, "{what}");
            let (run, _) = read(words, &encrypted, None);
            assert!(
                run.stderr.contains("give --private-key")
                    || run.text().contains("give --private-key"),
                "{what} {} {}",
                run.text(),
                run.stderr
            );
            let status = if words[0] == "verify" { 3 } else { 2 };
            assert_eq!(run.status, Some(status), "{what}");
        }
        let (of_plain, _) = read(&["info", "--json"], &file, None);
        let (run, _) = read(&["info", "--json"], &encrypted, Some(&private));
        let (a, b) = (of_plain.expect(0).json(), run.expect(0).json());
        for key in
            ["sections", "memory", "compression", "dumpsize", "truncated"]
        {
            assert_eq!(a[key], b[key], "{key}");
        }
        let (run, _) = read(&["ps"], &encrypted, Some(&keys().private("4096")));
        assert!(run.expect(2).stderr.contains("is for an RSA key of"));
    }
}

#[test]
fn a_conversion_reads_it_too() {
    let kernel =
        Kernel { cipher: 1, padding: "pkcs1", block: 512, bits: "2048" };
    let dir = CrashDir::new();
    let encrypted = dir.file("vmcore_encrypted.7");
    fs::write(&encrypted, kernel.encrypt(&plain().bytes())).unwrap();
    fs::write(dir.file("key.7"), kernel.key()).unwrap();
    fs::write(dir.file("plain"), plain().bytes()).unwrap();
    let private = keys().private("2048");
    let convert = |from: &str, to: &str, key: Option<&Path>| {
        let mut args = vec![
            "convert".into(),
            dir.file(from).into_os_string(),
            "--to".into(),
            "lime".into(),
            dir.file(to).into_os_string(),
        ];
        if let Some(key) = key {
            args.extend(["--private-key".into(), key.into()]);
        }
        run(args)
    };
    convert("plain", "a", None).expect(0);
    convert("vmcore_encrypted.7", "b", Some(&private)).expect(0);
    assert!(dir.read("a") == dir.read("b"));
    convert("vmcore_encrypted.7", "c", None).expect(2);
    assert!(!dir.file("c").exists());
}

#[test]
fn a_seal_is_of_the_encrypted_file() {
    use livedump_cli::seal::Seal;
    let kernel =
        Kernel { cipher: 2, padding: "oaep", block: 512, bits: "2048" };
    let dir = CrashDir::new();
    let encrypted = dir.file("vmcore_encrypted.0");
    fs::write(&encrypted, kernel.encrypt(&plain().bytes())).unwrap();
    fs::write(dir.file("key.0"), kernel.key()).unwrap();
    let file = fs::File::open(&encrypted).unwrap();
    let seal = Seal::of(&file, 1, &mut || false).unwrap();
    fs::write(dir.file("seal.0"), seal.text()).unwrap();
    let private = keys().private("2048");
    // Without the key the seal is all that can be checked.
    let (run, text) = read(&["verify"], &encrypted, None);
    assert_eq!(run.status, Some(3), "{text}");
    assert!(text.contains("checksums match"), "{text}");
    let (run, text) = read(&["verify"], &encrypted, Some(&private));
    assert!(text.contains("checksums match"), "{text}");
    assert_eq!(run.status, Some(0), "{text}");
    // It is not the decrypted one's.
    decrypt(&private, &[encrypted.as_os_str()]).expect(0);
    let (run, text) = read(&["verify"], &dir.file("vmcore.0"), None);
    assert!(!text.contains("checksum mismatch"), "{text}");
    assert_eq!(run.status, Some(0), "{text}");
    // A byte of a page is changed.
    let mut bytes = dir.read("vmcore_encrypted.0");
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    fs::write(&encrypted, bytes).unwrap();
    for (key, status) in [(None, 1), (Some(private.as_path()), 1)] {
        let (run, text) = read(&["verify"], &encrypted, key);
        assert!(text.contains("checksum mismatch"), "{text}");
        assert_eq!(run.status, Some(status), "{text}");
    }
}
