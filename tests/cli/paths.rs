// SPDX-License-Identifier: BSD-2-Clause
//! Paths that are not UTF-8, or that a terminal would obey: JSON is whole,
//! every output is lines of printable characters, and nothing is lost.

use crate::tool::{Run, run};
use livedump_tests::dumpdisk::Disk;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Not UTF-8; sets a terminal's title; looks like two lines; a backslash.
const NAME: &[u8] = b"caf\xe9\x1b]0;x\x07\nlivedump: \tb\\x\xc2\x9b";
/// How it is shown.
const SHOWN: &str = r"caf\xe9\x1b]0;x\x07\x0alivedump: \x09b\\x\xc2\x9b";

fn directory() -> (tempfile::TempDir, PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join(OsStr::from_bytes(NAME));
    fs::create_dir(&path).unwrap();
    (tmp, path)
}

#[track_caller]
fn check_printable(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes)
        .unwrap_or_else(|e| panic!("{what}: {e}: {bytes:?}"));
    let odd = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(odd, None, "{what}: {text}");
    // Nor does it look like another line.
    assert!(!text.contains("\nlivedump: \\x09"), "{what}: {text}");
    assert!(!text.contains("\nlivedump: b"), "{what}: {text}");
}

/// Every command that names a file.
fn commands(path: &std::path::Path) -> Vec<Vec<OsString>> {
    let dump = path.join("livecore.0").into_os_string();
    let directory = path.as_os_str().to_os_string();
    let device = path.join("device").into_os_string();
    let command = |words: &[&str], rest: &[&OsString]| -> Vec<OsString> {
        let words = words.iter().map(OsString::from);
        words.chain(rest.iter().map(|word| (*word).clone())).collect()
    };
    let model = ["--machine", "model:16M"];
    vec![
        command(&["capture", model[0], model[1]], &[&directory]),
        command(&["capture", "-Z", model[0], model[1]], &[&directory]),
        command(&["save", "-C"], &[&device]),
        command(&["save", "-k"], &[&device, &directory]),
        command(&["estimate", model[0], model[1]], &[&directory]),
        command(
            &[
                "watch", model[0], model[1], "--every", "1ms", "--count", "1",
                "--keep", "9",
            ],
            &[&directory],
        ),
        command(&["list"], &[&directory]),
        command(&["prune", "-n", "--keep", "1"], &[&directory]),
        command(&["doctor", model[0], model[1]], &[&directory]),
        command(&["info"], &[&dump]),
        command(&["verify"], &[&dump]),
        command(&["dmesg"], &[&dump]),
        command(&["read"], &[&dump, &"allproc".into()]),
        command(&["ps"], &[&dump]),
        command(&["bt"], &[&dump, &"100000".into()]),
        command(&["deadlock"], &[&dump]),
    ]
}

fn prepare(path: &std::path::Path) {
    let mut capture: Vec<&OsStr> =
        ["capture", "-q", "--keep-kernel", "--machine", "model:16M"]
            .map(OsStr::new)
            .into();
    capture.push(path.as_os_str());
    run(capture).expect(0);
    let disk = Disk::new(vec![7; 40 * 4096]);
    fs::write(path.join("device"), disk.image()).unwrap();
}

#[test]
fn json_is_whole_and_printable_whatever_a_path_is() {
    let (_tmp, path) = directory();
    prepare(&path);
    for mut command in commands(&path) {
        command.insert(1, "--json".into());
        let it = run(&command);
        let what = format!("{command:?}: {}", it.stderr);
        assert_ne!(it.status, Some(2), "{what}");
        check_printable(&what, &it.stdout);
        check_printable(&what, it.stderr.as_bytes());
        let json: serde_json::Value = serde_json::from_slice(&it.stdout)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(json.is_object(), "{what}");
        let text = json.to_string();
        let shown = serde_json::to_string(SHOWN).unwrap();
        let shown = shown.trim_matches('"');
        assert!(text.contains(shown), "{what}: {text}");
    }
}

#[test]
fn text_and_messages_are_printable_whatever_a_path_is() {
    let (_tmp, path) = directory();
    prepare(&path);
    for command in commands(&path) {
        let it = run(&command);
        let what = format!("{command:?}");
        assert_ne!(it.status, Some(2), "{what}: {}", it.stderr);
        check_printable(&what, &it.stdout);
        check_printable(&what, it.stderr.as_bytes());
    }
}

#[test]
fn errors_are_printable_whatever_a_path_is() {
    let (_tmp, path) = directory();
    let name = OsString::from_vec(NAME.to_vec());
    fs::write(path.join("livecore.0"), "no dump").unwrap();
    fs::write(path.join("device"), "no dump").unwrap();
    fs::create_dir(path.join("bounds")).unwrap();
    let mut runs: Vec<(String, Run)> = Vec::new();
    for command in commands(&path) {
        runs.push((format!("{command:?}"), run(&command)));
    }
    for (i, _) in commands(&path).iter().enumerate() {
        let command = &commands(&path.join("none"))[i];
        let what = format!("{command:?}");
        let it = run(command);
        // doctor reports it.
        let right = [Some(1), Some(2)].contains(&it.status);
        assert!(right, "{what}: {}", it.stderr);
        runs.push((what, it));
    }
    // Arguments that are none.
    for words in [
        vec![name.clone()],
        vec!["info".into(), "a".into(), name.clone()],
        vec!["capture".into(), "--machine".into(), name.clone()],
        vec!["capture".into(), "--level".into(), name.clone()],
    ] {
        runs.push((format!("{words:?}"), run(&words).expect(2)));
    }
    for (what, it) in &runs {
        check_printable(what, &it.stdout);
        check_printable(what, it.stderr.as_bytes());
    }
}

/// Kernels that do not have every call, and sandboxes that refuse them: what
/// libraries use instead is allowed, and no command is killed or fails.
#[cfg(target_os = "linux")]
#[test]
fn commands_work_on_kernels_without_newer_calls() {
    use crate::tool::refused;
    let calls =
        ["statx", "getrandom", "rseq", "clone3", "membarrier", "faccessat2"];
    let tmp = tempfile::tempdir().unwrap();
    prepare(tmp.path());
    for command in commands(tmp.path()) {
        let args: Vec<_> = command.iter().map(OsString::as_os_str).collect();
        let with = run(&args);
        let without = refused(&calls, nix::libc::ENOSYS, &args);
        let what = format!("{command:?}: {}", without.stderr);
        assert_eq!(without.status, with.status, "{what}");
        assert_ne!(without.status, Some(2), "{what}");
    }
}
