// SPDX-License-Identifier: BSD-2-Clause
//! The crash directory when things go wrong: an earlier dump survives, a new
//! one is whole or has no name, and the next run clears up.

#[cfg(target_os = "linux")]
mod locks;
mod property;
mod reference;
mod room;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stopped;
mod watch;

use crate::tool::CrashDir;
use livedump_tests::decoder::judge_stripped;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// Files by name: which they are, and what is in them.
type Files = BTreeMap<String, (u64, Vec<u8>)>;

/// What must hold of a crash directory at any moment. `before` is what it
/// held when a run of the tool began; whether that run's dump is there.
fn check(dir: &CrashDir, before: &Files) -> Result<bool, String> {
    let now = contents(dir);
    let mut new = false;
    for (name, file) in &now {
        let bytes = &file.1;
        if let Some(n) = name.strip_prefix("livecore.") {
            judge_stripped(bytes).map_err(|e| format!("{name}: {e}"))?;
            match before.get(name) {
                Some(old) if old.0 == file.0 && old.1 != *bytes => {
                    return Err(format!("{name} was written to"));
                }
                old => new |= old.is_none_or(|old| old.0 != file.0),
            }
            let n = n.split('.').next().unwrap_or_default();
            check_info(dir, n, bytes.len())?;
        } else if name == "bounds" {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.trim().parse::<u32>().map_err(|_| format!("bounds {text}"))?;
        } else if !["info.", "kernel.", "seal."]
            .iter()
            .any(|stem| name.starts_with(stem))
        {
            return Err(format!("{name} has no business here"));
        }
    }
    let mut dumps = before.keys().filter(|n| n.starts_with("livecore."));
    match dumps.find(|name| !now.contains_key(*name)) {
        Some(lost) if !new => Err(format!("{lost} is lost")),
        _ => Ok(new),
    }
}

/// Links that lead nowhere.
fn dangling(dir: &CrashDir) -> Vec<String> {
    let mut names = dir.names();
    names.retain(|n| n.contains(".last") && !dir.file(n).exists());
    names
}

/// info.N is of the dump next to it, or is not there.
fn check_info(dir: &CrashDir, n: &str, len: usize) -> Result<(), String> {
    let info = dir.file(&format!("info.{n}"));
    let Ok(text) = std::fs::read_to_string(info) else { return Ok(()) };
    let line = format!("  Dump Length: {len}\n");
    match text.contains(&line) {
        true => Ok(()),
        false => Err(format!("info.{n} of another dump, not {len}: {text}")),
    }
}

/// The files of a directory, links and what is left over excepted.
fn contents(dir: &CrashDir) -> Files {
    let names = dir.names().into_iter();
    let plain = names.filter(|n| !n.contains(".last") && !n.contains(".tmp."));
    plain
        .map(|n| {
            let inode = std::fs::symlink_metadata(dir.file(&n)).unwrap().ino();
            let bytes = dir.read(&n);
            (n, (inode, bytes))
        })
        .collect()
}
