// SPDX-License-Identifier: BSD-2-Clause
//! `--live`: the dump is taken first.

use super::TWO;
use crate::tool::{CrashDir, run};

#[test]
fn live_takes_a_dump_and_leaves_none() {
    let dir = CrashDir::new();
    let machine = dir.recipe(TWO);
    let temporary = tempfile::tempdir().unwrap();
    let found = std::process::Command::new(crate::tool::program())
        .args(["deadlock", "--live", "--machine", &machine])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(found.stdout.starts_with(b"deadlock: 2 threads"));
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0);
}

#[test]
fn live_keeps_the_dump_where_it_is_told() {
    let dir = CrashDir::new();
    let machine = dir.recipe("size 16M");
    let live = format!("--live={}", dir.path().display());
    run(["deadlock", &live, "--machine", &machine]).expect(0);
    let names = dir.names();
    for name in ["livecore.0", "kernel.0", "info.0"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
}

#[test]
fn what_cannot_be_is_usage() {
    run(["deadlock"]).expect(2);
    run(["deadlock", "--live", "file"]).expect(2);
    run(["deadlock", "--machine", "model", "file"]).expect(2);
}
