// SPDX-License-Identifier: BSD-2-Clause
//! Which commit a release build is of, for --version. `git archive` writes it
//! into dist/commit; in a clone git is asked. Debug builds do not record it:
//! each commit would build everything again.

use std::path::Path;
use std::process::Command;

fn main() {
    let top = Path::new("..");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = match std::env::var("PROFILE").as_deref() {
        Ok("release") => archived(top).or_else(|| cloned(top)),
        _ => None,
    };
    let commit = commit.unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=LIVEDUMP_COMMIT={commit}");
}

fn archived(top: &Path) -> Option<String> {
    let file = top.join("dist/commit");
    println!("cargo::rerun-if-changed={}", file.display());
    let text = std::fs::read_to_string(file).ok()?;
    let text = text.trim();
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && text.len() >= 12).then(|| text.get(..12).map(str::to_string))?
}

fn cloned(top: &Path) -> Option<String> {
    // Not the commit of another repository that this directory is in.
    if !top.join(".git").exists() {
        return None;
    }
    for part in ["src", "vmcore/src", "../memdev/src", "../kmod"] {
        println!("cargo::rerun-if-changed={part}");
    }
    for part in [".git/HEAD", ".git/logs/HEAD"] {
        let file = top.join(part);
        if file.exists() {
            println!("cargo::rerun-if-changed={}", file.display());
        }
    }
    let run = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .args(["--exclude", "*", "--"])
        .current_dir(top)
        .output()
        .ok()?;
    let text = String::from_utf8(run.stdout).ok()?;
    (run.status.success() && !text.is_empty()).then(|| text.trim().into())
}
