// SPDX-License-Identifier: BSD-2-Clause
//! That a private key belongs to a public one is known before there is a dump.

use super::*;

fn doctor(dir: &CrashDir, words: &[&OsStr]) -> Run {
    let mut args: Vec<&OsStr> =
        ["doctor", "--json", "--machine", "model:16M", "--encrypt"]
            .map(OsStr::new)
            .into();
    args.extend(words);
    args.push(dir.path().as_os_str());
    run(args)
}

/// The status of the check with this name, and what it says.
fn check(run: &Run, name: &str) -> (String, String) {
    let json = run.json();
    let checks = json["checks"].as_array().unwrap();
    let it = checks.iter().find(|it| it["name"] == name).unwrap();
    let text = |key: &str| it[key].as_str().unwrap().to_string();
    (text("status"), text("text"))
}

#[test]
fn both_keys_at_hand() {
    let dir = CrashDir::new();
    let public = keys().public("2048");
    let with = |private: &Path| {
        let words =
            [public.as_os_str(), "--private-key".as_ref(), private.as_os_str()];
        doctor(&dir, &words)
    };
    let run = with(&keys().private("2048")).expect(0);
    assert_eq!(check(&run, "key").0, "ok");
    assert!(check(&run, "encrypt").1.ends_with("RSA of 2048 bits"));
    let run = with(&keys().private("other")).expect(1);
    assert!(check(&run, "key").1.contains("another private key"));
    let run = doctor(&dir, &[public.as_os_str()]).expect(0);
    assert_eq!(check(&run, "key").0, "warning");
    let private = keys().private("2048");
    let run = doctor(&dir, &[private.as_os_str()]).expect(1);
    assert!(check(&run, "encrypt").1.contains("has a private key"));
}

#[test]
fn by_a_challenge_that_goes_to_the_other_machine() {
    let dir = CrashDir::new();
    let public = keys().public("4096");
    let file = dir.file("challenge");
    let words = [public.as_os_str(), "--challenge".as_ref(), file.as_os_str()];
    let run = doctor(&dir, &words).expect(0);
    assert_eq!(check(&run, "challenge").0, "ok");
    // It replaces nothing.
    doctor(&dir, &words).expect(1);
    let challenge = ["--challenge".as_ref(), file.as_os_str()];
    let answer = |key: &str| decrypt(&keys().private(key), &challenge);
    let run = answer("4096").expect(0);
    assert!(run.stderr.contains("can be decrypted with it"), "{}", run.stderr);
    let run = answer("2048").expect(1);
    assert!(run.stderr.contains("is for an RSA key of"), "{}", run.stderr);
    let text = dir.text("challenge");
    fs::write(&file, text.replace("sha256 ", "sha256 00")).unwrap();
    answer("4096").expect(1);
    fs::write(&file, text.replace("livedump", "livecore")).unwrap();
    answer("4096").expect(2);
}
