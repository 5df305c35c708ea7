// SPDX-License-Identifier: BSD-2-Clause
//! Commands and their output, on the model machine, one file for each
//! command. Times, free space and what a file system allocates are elided;
//! `SNAPSHOTS=overwrite` writes the files anew, to be read before they are
//! kept.
//!
//! A line after `$` is for sh(1), in a directory that is empty at the start
//! of the file; `? 1` is the exit status where it is not 0.

use crate::tool::{CrashDir, program};
use snapbox::{Assert, Data, Redactions};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn transcript(name: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = here.join("cli/transcripts").join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    let dir = CrashDir::new();
    std::fs::create_dir(dir.file("bin")).unwrap();
    std::fs::create_dir(dir.file("cwd")).unwrap();
    let tool = dir.file("bin/livedump");
    std::os::unix::fs::symlink(program(), tool).unwrap();
    let mut message = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            writeln!(message, "{line}").unwrap();
            run(&dir, command, &mut message);
        } else if line.starts_with('#') || line.is_empty() {
            writeln!(message, "{line}").unwrap();
        }
    }
    Assert::new()
        .action_env("SNAPSHOTS")
        .redact_with(elided())
        .eq(message, Data::read_from(&file, None));
}

fn run(dir: &CrashDir, command: &str, message: &mut String) {
    let path = std::env::var("PATH").unwrap_or_default();
    let out = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(dir.file("cwd"))
        .env("PATH", format!("{}:{path}", dir.file("bin").display()))
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        // The number of progress lines depends on the speed.
        if !(line.contains(" pages, ") && line.ends_with(" written")) {
            writeln!(message, "{line}").unwrap();
        }
    }
    match out.status.code() {
        Some(0) => {}
        Some(status) => writeln!(message, "? {status}").unwrap(),
        None => writeln!(message, "? signal").unwrap(),
    }
}

fn elided() -> Redactions {
    let mut elided = Redactions::new();
    for (name, pattern) in [
        ("[TIME]", r"[0-9]{4}-[0-9-]{5} [0-9:.]{5,12}(?: [-+][0-9]{4})?"),
        ("[UNIX]", r#""(?:dump)?time":(?<redacted>[0-9]+)"#),
        ("[SECONDS]", r"[0-9]+\.[0-9][0-9] s"),
        ("[NS]", r#""elapsed_ns":(?<redacted>[0-9]+)"#),
        ("[PAUSE]", r"pause of about (?<redacted>[0-9.]+ ms)"),
        ("[PAUSE]", r"[Pp]aused:? +(?<redacted>[0-9.]+ ms)"),
        ("[UPTIME]", r", up (?<redacted>[0-9.]+ s)"),
        ("[FREE]", r"(?<redacted>[0-9.]+ [KMGTPE]iB) free"),
        ("[BYTES]", r#""(?:free|disk_bytes|kept_bytes)":(?<redacted>[0-9]+)"#),
        ("[DISK]", r"\((?<redacted>[0-9.]+ [KMG]iB)\): "),
        ("[DISK]", r"dumps? kept, (?<redacted>[0-9.]+ [KMG]iB)"),
        ("[FREE]", r"of (?<redacted>[0-9]+) free in"),
        ("[PARITY]", r"Dump Parity: (?<redacted>[0-9]+)"),
        ("[PID]", r"by process (?<redacted>[0-9]+)"),
        // What a system can do about it is a matter of that system.
        ("[SANDBOX]", r"(?m)^(?<redacted>(?:ok|warning) +sandbox .*)$"),
        (
            "[SANDBOX]",
            r#""sandbox",(?<redacted>"status":"[a-z]+","text":"[^"]*")"#,
        ),
        ("[SYSTEM]", r"this is (?<redacted>.*), not FreeBSD"),
    ] {
        let pattern = regex::Regex::new(pattern).unwrap();
        elided.insert(name, pattern).unwrap();
    }
    elided
}

#[test]
fn capture_reads_like_this() {
    transcript("capture.console");
}

#[test]
fn deadlock_reads_like_this() {
    transcript("deadlock.console");
}

#[test]
fn doctor_reads_like_this() {
    transcript("doctor.console");
}

#[test]
fn estimate_reads_like_this() {
    transcript("estimate.console");
}

#[test]
fn list_reads_like_this() {
    transcript("list.console");
}

#[test]
fn print_and_symbols_read_like_this() {
    transcript("print.console");
}

#[test]
fn prune_reads_like_this() {
    transcript("prune.console");
}

#[test]
fn watch_reads_like_this() {
    transcript("watch.console");
}

#[test]
fn info_verify_dmesg_and_read_read_like_this() {
    transcript("reading.console");
}

#[test]
fn save_reads_like_this() {
    transcript("save.console");
}
