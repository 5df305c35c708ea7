// SPDX-License-Identifier: BSD-2-Clause
//! make install and make uninstall, by the list in dist/plist: what is put
//! below DESTDIR is what the list says, and nothing is left of it.

use crate::tool::program;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PARTS: &str = "tool service module";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Stage {
    dir: TempDir,
    make: &'static str,
}

impl Stage {
    /// `None` where there is no such make.
    fn new(make: &'static str) -> Option<Self> {
        if Command::new(make).arg("-h").output().is_err() {
            livedump_skip::skipped(format!("no {make}"));
            return None;
        }
        Some(Self { dir: TempDir::new().unwrap(), make })
    }

    /// Runs a target; whether it succeeded, and what it printed.
    fn make(&self, target: &str, more: &[&str]) -> (bool, String) {
        let module = self.dir.path().join("livedump.ko");
        if !module.exists() {
            std::fs::write(&module, "module").unwrap();
        }
        let out = Command::new(self.make)
            .current_dir(top())
            .env_remove("MAKEFLAGS")
            .arg(target)
            .arg(format!("DESTDIR={}", self.root().display()))
            .arg(format!("TOOL={}", program()))
            .arg(format!("KMOD={}", module.display()))
            .args(more)
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8(text).unwrap())
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Files and directories below DESTDIR.
    fn found(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.root()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => open.push(path),
                    false => {
                        let name = path.strip_prefix(self.root()).unwrap();
                        found.insert(format!("/{}", name.display()));
                    }
                }
            }
        }
        found
    }
}

/// As a port's pkg-plist has them, but where they are.
fn listed(parts: &[&str]) -> BTreeSet<String> {
    let out = Command::new("sh")
        .current_dir(top())
        .args(["dist/install", "list"])
        .args(parts)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let place = |line: &str| {
        let path = line.strip_prefix("@sample ").unwrap_or(line);
        let path = match path.strip_prefix("share/man/") {
            Some(_) => path.trim_end_matches(".gz"),
            None => path,
        };
        match path.starts_with('/') {
            true => path.to_string(),
            false => format!("/usr/local/{path}"),
        }
    };
    text.lines().map(place).collect()
}

fn installs_and_removes(make: &'static str) {
    let Some(stage) = Stage::new(make) else { return };
    let parts = format!("PARTS={PARTS}");
    let (done, text) = stage.make("install", &[&parts]);
    assert!(done, "{text}");
    let parts_list: Vec<_> = PARTS.split(' ').collect();
    assert_eq!(stage.found(), listed(&parts_list), "{text}");
    let local = stage.root().join("usr/local");
    let completion = local.join("share/zsh/site-functions/_livedump");
    let script = std::fs::read_to_string(completion).unwrap();
    assert!(script.contains("#compdef livedump"));
    for script in ["rc.d/livedump", "periodic/daily/510.livedump"] {
        let text = std::fs::read_to_string(local.join("etc").join(script));
        let text = text.unwrap();
        assert!(text.contains("/usr/local/sbin/livedump"), "{script}");
        assert!(!text.contains("%%"), "{script}");
    }

    // A sample that was taken over as it is goes, one that was changed stays.
    let copies = ["newsyslog.conf.d", "devd"].map(|dir| {
        let copy = local.join("etc").join(dir).join("livedump.conf");
        let sample = copy.with_extension("conf.sample");
        std::fs::copy(sample, &copy).unwrap();
        copy
    });
    let [taken, changed] = copies;
    std::fs::remove_file(&changed).unwrap();
    std::fs::write(&changed, "mine").unwrap();
    let (done, text) = stage.make("uninstall", &[&parts]);
    assert!(done, "{text}");
    assert!(!taken.exists());
    let left = BTreeSet::from(["/usr/local/etc/devd/livedump.conf".into()]);
    assert_eq!(stage.found(), left, "{text}");
}

#[test]
fn make_installs_what_is_listed_and_removes_it() {
    installs_and_removes("make");
}

#[test]
fn bmake_installs_what_is_listed_and_removes_it() {
    installs_and_removes("bmake");
}

#[test]
fn nothing_is_installed_when_a_part_is_missing() {
    let Some(stage) = Stage::new("make") else { return };
    let parts = format!("PARTS={PARTS}");
    let (done, text) =
        stage.make("install", &[&parts, "KMOD=/nonexistent/livedump.ko"]);
    assert!(!done);
    assert!(text.contains("/nonexistent/livedump.ko does not exist"), "{text}");
    assert!(stage.found().is_empty());
}
