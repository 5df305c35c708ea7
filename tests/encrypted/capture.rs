// SPDX-License-Identifier: BSD-2-Clause
//! Dumps that are encrypted while they are taken.

use super::*;
use std::os::unix::fs::PermissionsExt;

/// Nothing else in memory or in a dump is like it.
const PLANTED: &str = "planted: 5f1d0c8e the quick brown daemon";

fn recipe(dir: &CrashDir) -> String {
    let message = format!("size 16M\nmessage \"{PLANTED}\"\n");
    dir.recipe(&message)
}

/// Takes one; what is in TMPDIR has to be nothing.
#[track_caller]
fn capture(dir: &CrashDir, options: &[&str]) -> Run {
    let machine = recipe(dir);
    let public = keys().public("2048");
    let temporary = tempfile::tempdir().unwrap();
    let out = Command::new(crate::tool::program())
        .args(["capture", "--machine", &machine, "--encrypt"])
        .arg(&public)
        .args(options)
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    out.into()
}

/// The secret in a key block, by openssl(1), and the block's cipher and IV.
fn unwrapped(block: &[u8]) -> (u8, Vec<u8>, Vec<u8>) {
    assert_eq!(block.len(), 4096);
    let len = u32::from_be_bytes(block[33..37].try_into().unwrap()) as usize;
    assert!(block[37 + len..].iter().all(|b| *b == 0));
    let private = keys().private("2048");
    let private = private.to_str().unwrap();
    let oaep = "rsa_padding_mode:oaep";
    let args = ["pkeyutl", "-decrypt", "-inkey", private, "-pkeyopt", oaep];
    let secret = openssl(&args, &block[37..37 + len]);
    assert_eq!(secret.len(), 64);
    (block[0], block[1..33].to_vec(), secret)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[test]
fn openssl_decrypts_it_and_so_do_we_and_readers_read_it() {
    let clear = CrashDir::new();
    clear.capture(&recipe(&clear), &["--keep-kernel"]).expect(0);
    let private = keys().private("2048");
    for (options, number, suffix) in [
        (&["--cipher", "aes256-cbc"][..], 1, ""),
        (&["--cipher", "aes-256-cbc"], 1, ""),
        (&[], 2, ""),
        (&["-z"], 2, ".gz"),
        (&["-Z", "--cipher", "chacha20"], 2, ".zst"),
    ] {
        let dir = CrashDir::new();
        let mut words = options.to_vec();
        words.extend(["--keep-kernel", "--json", dir.path().to_str().unwrap()]);
        let run = capture(&dir, &words).expect(0);
        let name = format!("livecore_encrypted.0{suffix}");
        let mut names = vec![
            "bounds".into(),
            "info.0".into(),
            "info.last".into(),
            "kernel.0".into(),
            "kernel.last".into(),
            "key.0".into(),
            "key.last".into(),
            name.clone(),
            format!("livecore_encrypted.last{suffix}"),
            "seal.0".into(),
            "seal.last".into(),
        ];
        names.sort();
        assert_eq!(dir.names(), names);
        let json = run.json();
        assert_eq!(json["file"], dir.file(&name).to_str().unwrap());
        assert_eq!(json["key"], dir.file("key.0").to_str().unwrap());
        assert_eq!(json["verdict"], "sound", "{}", run.stderr);
        // A single gzip stream has no index.
        let walked = (suffix != ".gz").then_some(true);
        assert_eq!(json["lists"].as_bool(), walked, "{options:?}");
        let cipher = json["encryption"].as_str().unwrap().to_string();
        assert!(dir.text("info.0").contains(&format!("Encryption: {cipher}")));
        for name in [&name, "key.0"] {
            let meta = fs::metadata(dir.file(name)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
        }
        // Neither plain text nor key is in a file.
        let (of_block, iv, secret) = unwrapped(&dir.read("key.0"));
        assert_eq!(of_block, number);
        let cipher_text = dir.read(&name);
        for file in dir.names() {
            let bytes = dir.read(&file);
            assert!(!contains(&bytes, PLANTED.as_bytes()), "{file}");
            assert!(!contains(&bytes, &secret[..16]), "{file}");
            assert!(!contains(&bytes, &secret[32..48]), "{file}");
        }
        let theirs = enc(number, &secret, &iv, &cipher_text, "-d");
        decrypt(
            &private,
            &["-d".as_ref(), dir.path().as_os_str(), "0".as_ref()],
        )
        .expect(0);
        let plain = dir.read(&format!("livecore.0{suffix}"));
        assert!(plain == theirs, "{options:?}");
        if suffix.is_empty() {
            assert!(plain == clear.read("livecore.0"), "{options:?}");
            assert!(contains(&plain, PLANTED.as_bytes()));
        }
        dir.judge(&format!("livecore.0{suffix}"));
        fs::remove_file(dir.file(&format!("livecore.0{suffix}"))).unwrap();

        let of = |words: &[&str], file: PathBuf, key: bool| {
            let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
            if key {
                args.extend(["--private-key".as_ref(), private.as_os_str()]);
            }
            args.push(file.as_os_str());
            let run = crate::tool::run(args);
            let text = run.text().replace(file.to_str().unwrap(), "FILE");
            (run.status, text)
        };
        for words in [&["ps", "-t"][..], &["dmesg"], &["deadlock"]] {
            let plain = of(words, clear.file("livecore.0"), false);
            assert_eq!(of(words, dir.file(&name), true), plain, "{words:?}");
        }
        let (status, text) = of(&["verify"], dir.file(&name), true);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("checksums match"), "{text}");
        let (status, text) = of(&["verify"], dir.file(&name), false);
        assert_eq!(status, Some(3), "{text}");
        assert!(text.contains("checksums match"), "{text}");
    }
}

#[test]
fn every_dump_has_its_own_key_and_its_own_number() {
    let dir = CrashDir::new();
    let path = dir.path().to_str().unwrap().to_string();
    for _ in 0..2 {
        capture(&dir, &["-Z", &path]).expect(0);
    }
    let (_, iv, secret) = unwrapped(&dir.read("key.0"));
    let (_, iv1, secret1) = unwrapped(&dir.read("key.1"));
    assert!(iv != iv1 && secret != secret1);
    // The dump that it replaces goes with its key, and plain ones beside it.
    capture(&dir, &["-m", "1", &path]).expect(0);
    let names = dir.names();
    assert!(names.contains(&"livecore_encrypted.0".into()), "{names:?}");
    assert!(!names.contains(&"livecore_encrypted.0.zst".into()), "{names:?}");
    assert!(unwrapped(&dir.read("key.0")).2 != secret);
    dir.capture("model:16M", &["-m", "1"]).expect(0);
    let names = dir.names();
    assert!(names.contains(&"livecore.0".into()), "{names:?}");
    assert!(!names.contains(&"key.0".into()), "{names:?}");
    assert!(names.contains(&"key.1".into()), "{names:?}");
    let list = run([OsStr::new("list"), dir.path().as_os_str()]);
    assert!(
        list.text().contains("livecore_encrypted.1.zst"),
        "{}",
        list.text()
    );
}

#[test]
fn as_one_stream_it_is_decrypted_from_a_pipe_and_read_as_a_file() {
    let private = keys().private("2048");
    let clear = CrashDir::new();
    clear.capture(&recipe(&clear), &["--keep-kernel"]).expect(0);
    for options in [
        &["-", "--cipher", "aes256-cbc"][..],
        &["-"],
        &["-", "-z"],
        &["-", "-Z"],
    ] {
        let dir = CrashDir::new();
        let stream = capture(&dir, options).expect(0).stdout;
        assert!(!contains(&stream, PLANTED.as_bytes()), "{options:?}");
        // As the manual says.
        let (number, iv, secret) = unwrapped(&stream[..4096]);
        let end = stream.len() - 512;
        assert!(end.is_multiple_of(4096));
        let header = &stream[end..];
        assert!(header.starts_with(b"FreeBSD Kernel Dump\0"));
        assert_eq!(header[56..60], 4096u32.to_be_bytes());
        let length = u64::from_be_bytes(header[40..48].try_into().unwrap());
        assert_eq!(length.next_multiple_of(4096) as usize, end - 4096);
        let parity = header.chunks(4).fold(0, |x, word| {
            x ^ u32::from_be_bytes(word.try_into().unwrap())
        });
        assert_eq!(parity, 0);
        let theirs = enc(number, &secret, &iv, &stream[4096..end], "-d");
        assert!(theirs[length as usize..].iter().all(|b| *b == 0));
        let theirs = &theirs[..length as usize];

        let piped = |bytes: &[u8], out: &str, private: &Path, more: &[&str]| {
            let mut child = Command::new(crate::tool::program())
                .args(["decrypt", "-", "-o", out, "-k"])
                .arg(private)
                .args(more)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let out = std::thread::scope(|scope| {
                scope.spawn(move || stdin.write_all(bytes));
                child.wait_with_output().unwrap()
            });
            Run::from(out)
        };
        let out = dir.file("out");
        let to = out.to_str().unwrap();
        piped(&stream, to, &private, &[]).expect(0);
        assert!(dir.read("out") == theirs, "{options:?}");
        let run = piped(&stream, "-", &private, &[]).expect(0);
        assert!(run.stdout == theirs, "{options:?}");
        fs::remove_file(&out).unwrap();

        // As a file.
        let file = dir.file("stream");
        fs::write(&file, &stream).unwrap();
        decrypt(&private, &["-o".as_ref(), out.as_os_str(), file.as_os_str()])
            .expect(0);
        assert!(dir.read("out") == theirs, "{options:?}");
        fs::remove_file(&out).unwrap();
        let kernel = clear.file("kernel.0");
        let ps = |file: &Path, key: bool| {
            let mut args = vec![
                OsStr::new("ps"),
                "-t".as_ref(),
                "-k".as_ref(),
                kernel.as_os_str(),
                file.as_os_str(),
            ];
            if key {
                args.extend(["--private-key".as_ref(), private.as_os_str()]);
            }
            crate::tool::run(args)
        };
        let want = ps(&clear.file("livecore.0"), false).expect(0);
        assert_eq!(ps(&file, true).expect(0).text(), want.text());
        let without = ps(&file, false).expect(2).stderr;
        assert!(without.contains("give --private-key"), "{without}");

        // Not whole, not as it was, another key: nothing is left.
        let cut = |n: usize| &stream[..stream.len() - n];
        let mut flipped = stream.clone();
        flipped[end + 60] ^= 1;
        for bytes in
            [cut(1), cut(512), cut(4096), cut(9000), &stream[..5000], &flipped]
        {
            let run = piped(bytes, to, &private, &[]).expect(2);
            let stderr = &run.stderr;
            assert!(
                stderr.contains("header") || stderr.contains("not a dump"),
                "{stderr}"
            );
            assert!(!out.exists());
            fs::write(&file, bytes).unwrap();
            let words = ["-o".as_ref(), out.as_os_str(), file.as_os_str()];
            decrypt(&private, &words).expect(2);
            assert!(!out.exists());
        }
        piped(&stream, to, &keys().private("other"), &[]).expect(2);
        piped(&stream[..100], to, &private, &[]).expect(2);
        piped(b"", to, &private, &[]).expect(2);
        assert_eq!(dir.names(), ["stream"]);
        let run = piped(cut(9000), to, &private, &["-f"]).expect(1);
        assert!(run.stderr.contains("damaged"), "{}", run.stderr);
        let got = dir.read("out");
        assert!(theirs.starts_with(&got[..got.len() - 4608]));
    }
}

#[test]
fn what_contradicts_itself_is_a_usage_error_and_leaves_nothing() {
    let dir = CrashDir::new();
    let path = dir.path().to_str().unwrap().to_string();
    for (options, words) in [
        (&["-Z", "--cipher", "aes256-cbc"][..], "cannot be used with -z or -Z"),
        (&["--stability"], "--stability"),
        (&["--cipher", "rot13"], "rot13"),
    ] {
        let mut all = options.to_vec();
        all.push(&path);
        let run = capture(&dir, &all);
        assert_eq!(run.status, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let private = keys().private("2048");
    let options = ["--encrypt", private.to_str().unwrap()];
    let run = dir.capture("model:16M", &options).expect(2);
    assert!(run.stderr.contains("has a private key"), "{}", run.stderr);
    let run = dir.capture("model:16M", &["--cipher", "chacha20"]);
    assert_eq!(run.status, Some(2), "{}", run.stderr);
    assert_eq!(dir.names(), [] as [String; 0]);
}

/// Who reads it here is not suspended; who reads standard output may be.
#[test]
fn with_processes_suspended_it_goes_into_a_directory() {
    let dir = CrashDir::new();
    let public = keys().public("2048");
    let options = ["--quiesce", "-Z", "--encrypt", public.to_str().unwrap()];
    dir.capture("model:16M", &options).expect(0);
    assert!(dir.text("info.0").contains("  Quiesced: "), "{:?}", dir.names());
    let words = ["capture", "--machine", "model:16M"];
    let run = run(words.iter().chain(&options).chain(&["-"])).expect(2);
    assert!(run.stderr.contains("may be suspended"), "{}", run.stderr);
}

/// No byte of a dump for standard output is in any file, encrypted or not.
#[test]
fn on_standard_output_it_needs_no_file() {
    let public = keys().public("2048");
    for options in [&["-Z"][..], &["--cipher", "aes256-cbc"]] {
        let mut command = crate::tool::without_files();
        command.args(["capture", "--machine", "model:16M", "--encrypt"]);
        command.arg(&public).args(options).arg("-");
        let run = Run::from(command.output().unwrap()).expect(0);
        assert!(run.stdout.len() > 100_000, "{}", run.stderr);
    }
    // What is to be a file is none.
    let dir = CrashDir::new();
    let mut command = crate::tool::without_files();
    command.args(["capture", "--machine", "model:16M", "--encrypt"]);
    command.arg(&public).arg(dir.path());
    assert_ne!(command.output().unwrap().status.code(), Some(0));
}

/// Each dump of a watch has another key; the public one is read once.
#[test]
fn a_watch_encrypts_each_dump_for_itself() {
    let dir = CrashDir::new();
    let (public, private) = (keys().public("2048"), keys().private("2048"));
    let mut words: Vec<std::ffi::OsString> = [
        "watch",
        "--machine",
        "model:16M",
        "--every",
        "1ms",
        "--count",
        "5",
        "--keep",
        "2",
        "-Z",
        "--encrypt",
    ]
    .map(Into::into)
    .into();
    words.push(public.into());
    words.push(dir.path().into());
    run(&words).expect(0);
    let kept: Vec<_> = dir
        .names()
        .into_iter()
        .filter(|n| n.starts_with("livecore_encrypted.") && !n.contains("last"))
        .collect();
    assert_eq!(kept, ["livecore_encrypted.3.zst", "livecore_encrypted.4.zst"]);
    assert!(dir.read("key.3") != dir.read("key.4"));
    assert!(!dir.names().contains(&"key.2".into()));
    for n in ["3", "4"] {
        let path = dir.path().to_owned();
        let words = ["-d".as_ref(), path.as_os_str(), n.as_ref()];
        decrypt(&private, &words).expect(0);
    }
}

#[test]
fn onto_a_dump_device_it_is_saved_and_decrypted() {
    let private = keys().private("2048");
    let clear = CrashDir::new();
    clear.capture(&recipe(&clear), &[]).expect(0);
    for (options, sector, out) in [
        (&["--cipher", "aes256-cbc"][..], "512", "vmcore.0"),
        (&[], "4096", "vmcore.0"),
        (&["-Z"], "512", "vmcore.0.zst"),
    ] {
        let dir = CrashDir::new();
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(64 << 20).unwrap();
        let path = image.path().to_str().unwrap();
        let mut words = options.to_vec();
        words.extend(["--to-device", path, "--sector-size", sector]);
        capture(&dir, &words).expect(0);
        let bytes = fs::read(image.path()).unwrap();
        assert!(!contains(&bytes, PLANTED.as_bytes()), "{options:?}");
        let save = [OsStr::new("save"), path.as_ref(), dir.path().as_os_str()];
        let run = run(save);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        assert_eq!(dir.read("key.0").len(), 4096);
        unwrapped(&dir.read("key.0"));
        decrypt(
            &private,
            &["-d".as_ref(), dir.path().as_os_str(), "0".as_ref()],
        )
        .expect(0);
        let plain = dir.read(out);
        match options {
            ["-Z"] => assert!(plain.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])),
            _ => assert!(plain == clear.read("livecore.0"), "{options:?}"),
        }
        dir.judge(out);
    }
}
