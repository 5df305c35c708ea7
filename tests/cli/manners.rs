// SPDX-License-Identifier: BSD-2-Clause
//! Exit status, streams, usage, and that the manual page is about this
//! program.

use crate::tool::{CrashDir, program, run};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn what_cannot_be_run_is_two_and_names_the_input() {
    let dir = CrashDir::new();
    let path = dir.path().to_str().unwrap();
    std::fs::write(dir.file("text"), "no dump\n").unwrap();
    std::fs::write(dir.file("empty"), "").unwrap();
    let text = dir.file("text");
    let text = text.to_str().unwrap();
    let empty = dir.file("empty");
    let empty = empty.to_str().unwrap();
    let missing = "/nonexistent/dir";
    for (args, named) in [
        (vec!["capture", "--machine", "model", missing], missing),
        (vec!["capture", "--machine", "modle:1", path], "modle:1"),
        (vec!["capture", "--machine", "model:12", path], "12"),
        (vec!["capture", "--machine", "model:1T2", path], "1T2"),
        (vec!["capture", "--machine", "vmcore:/none", path], "/none"),
        (vec!["capture", "-m", "0", path], "0"),
        (vec!["capture", "-z", "-Z", path], "zstd"),
        (vec!["info", missing], missing),
        (vec!["info", text], text),
        (vec!["verify", empty], empty),
        (vec!["dmesg", path], path),
        (vec!["read", text, "0"], text),
        (vec!["frobnicate"], "frobnicate"),
        (vec!["info"], "FILE"),
    ] {
        let run = run(&args).expect(2);
        assert!(run.stderr.contains(named), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(dir.names(), ["empty", "text"]);
}

#[test]
fn a_recipe_with_a_mistake_is_refused_with_its_line() {
    let dir = CrashDir::new();
    for (text, named) in [
        ("size 16M\nmachine vax\n", "vax"),
        ("size 16M\nfrob 1\n", "frob"),
        ("size lots\n", "lots"),
        ("release 11.0-RELEASE\n", "11.0-RELEASE"),
    ] {
        let run = dir.capture(&dir.recipe(text), &[]).expect(2);
        assert!(run.stderr.contains(named), "{}", run.stderr);
    }
    assert_eq!(dir.names(), Vec::<String>::new());
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &[]).expect(0);
    let mut child = Command::new(program())
        .args(["read", "--raw", "--phys"])
        .arg(dir.file("livecore.0"))
        .args(["0x200000", "1M"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(out.stderr.is_empty());
}

#[test]
fn a_dump_that_cannot_be_told_of_is_kept_and_that_is_said() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        livedump_skip::skipped("no /dev/full");
        return;
    };
    let dir = CrashDir::new();
    let out = Command::new(program())
        .args(["capture", "-q", "--json", "--machine", "model:16M"])
        .arg(dir.path())
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let message = String::from_utf8(out.stderr).unwrap();
    assert!(message.contains("the dump was kept"), "{message}");
    assert!(dir.file("livecore.0").exists());
}

#[test]
fn help_and_version_are_data() {
    for args in [["--help"], ["--version"]] {
        let run = run(args).expect(0);
        assert!(!run.stdout.is_empty() && run.stderr.is_empty());
    }
}

#[test]
fn the_version_has_what_a_report_of_a_problem_needs() {
    let long = run(["--version"]).expect(0);
    let text = long.text();
    let version = concat!("livedump ", env!("CARGO_PKG_VERSION"), "\n");
    assert!(text.starts_with(version), "{text}");
    for name in ["commit", "built for", "dumps of", "compression"] {
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(run(["-V"]).expect(0).text(), version);
}

const COMMANDS: [&str; 24] = [
    "doctor",
    "capture",
    "save",
    "receive",
    "send",
    "decrypt",
    "estimate",
    "watch",
    "list",
    "prune",
    "info",
    "verify",
    "dmesg",
    "read",
    "print",
    "symbols",
    "ps",
    "bt",
    "stacks",
    "explain",
    "deadlock",
    "report",
    "convert",
    "completions",
];

#[test]
fn help_fits_a_screen() {
    for command in [""].into_iter().chain(COMMANDS) {
        let args = [command, "--help"];
        let run = run(args.iter().filter(|arg| !arg.is_empty())).expect(0);
        let lines: Vec<_> = run.text().lines().collect();
        // Of all commands, one line each.
        let most = if command.is_empty() { COMMANDS.len() + 4 } else { 24 };
        assert!(lines.len() <= most, "{command}: {} lines", lines.len());
        for line in lines {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
    }
}

#[test]
fn every_command_is_looked_at() {
    let help = run(["--help"]).expect(0);
    let commands = help.text().split("Commands:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| line.starts_with("  "));
    // A line that continues is set in further.
    let names: Vec<_> = commands
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert_eq!(names, COMMANDS);
}

#[test]
fn every_help_has_an_example_that_parses() {
    for command in COMMANDS {
        let help = run([command, "--help"]).expect(0);
        let mut lines = help.text().lines();
        let example = lines.find_map(|l| l.strip_prefix("Example: livedump "));
        let example = example.unwrap_or_else(|| panic!("{command}: none"));
        let words = example.split(' ').filter(|word| !word.starts_with('>'));
        let args = words.map(std::ffi::OsString::from);
        let args = ["livedump".into()].into_iter().chain(args);
        let parsed = livedump_cli::args::Cli::parse_from_args(args);
        assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
    }
}

/// The words that bash completes a line to, other than files.
fn completed(script: &Path, line: &[&str]) -> Option<Vec<String>> {
    let words = line.join(" ");
    let out = Command::new("bash")
        .args(["--norc", "-c"])
        .arg(format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _livedump livedump \"${{COMP_WORDS[COMP_CWORD]}}\" \
             \"${{COMP_WORDS[COMP_CWORD-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        ))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Some(text.lines().filter(|l| !l.is_empty()).map(String::from).collect())
}

#[test]
fn bash_completes_commands_options_values_and_files() {
    let dir = CrashDir::new();
    let script = dir.file("livedump.bash");
    let out = run(["completions", "bash"]).expect(0);
    std::fs::write(&script, out.text()).unwrap();
    if Command::new("bash").arg("--version").output().is_err() {
        livedump_skip::skipped("bash is not installed");
        return;
    }
    let words = |line: &[&str]| completed(&script, line).unwrap();
    assert_eq!(words(&["livedump", "ver"]), ["verify"]);
    assert_eq!(words(&["livedump", "prune", "--ke"]), ["--keep"]);
    assert_eq!(words(&["livedump", "completions", "z"]), ["zsh"]);
    assert_eq!(
        words(&["livedump", "capture", "--machine", "''"]),
        [
            "kernel", "model", "model:", "vmcore:", "image:", "raw:",
            "physmem:", "qemu:", "libvirt:", "bhyve:"
        ]
    );
    // None of its own: bash completes files.
    assert!(words(&["livedump", "ps", "''"]).is_empty());
    assert!(words(&["livedump", "ps", "-t", "live"]).is_empty());
    // A file, not an option.
    let file = dir.file("kernel.0");
    std::fs::write(&file, "").unwrap();
    let prefix = dir.file("ker").display().to_string();
    let reply = words(&["livedump", "ps", "-k", &prefix]);
    assert_eq!(reply, [file.display().to_string()]);
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let run = run(["completions", shell]).expect(0);
        for word in ["capture", "keep-kernel", "save"] {
            assert!(run.text().contains(word), "{shell}: {word}");
        }
    }
    let run = run(["completions", "tcsh"]).expect(2);
    assert!(run.stderr.contains("tcsh"), "{}", run.stderr);
}

#[test]
fn every_flag_is_in_the_manual_page() {
    let man = Path::new(env!("CARGO_MANIFEST_DIR"));
    let man = man.join("../man/livedump.8");
    let Ok(man) = std::fs::read_to_string(&man) else {
        livedump_skip::skipped(format_args!("no {}", man.display()));
        return;
    };
    let mut missing = BTreeSet::new();
    for command in COMMANDS {
        let run = run([command, "--help"]).expect(0);
        let words = run.text().split([' ', ',', '\n', '[', ']', '=']);
        let end = |c: char| !c.is_ascii_alphanumeric();
        for flag in words.filter_map(|w| w.strip_prefix("--")) {
            let flag = flag.trim_end_matches(end);
            if !flag.is_empty() && !man.contains(&format!("-{flag}")) {
                missing.insert(format!("{command} --{flag}"));
            }
        }
        assert!(man.contains(command));
    }
    assert!(missing.is_empty(), "{missing:?}");
}
