// SPDX-License-Identifier: BSD-2-Clause
//! The manual pages describe every option and key of the tool.

use clap::CommandFactory;
use livedump_cli::args::Cli;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../man").join(name)
}

/// The lines about one command.
fn about(text: &str, command: &str) -> Vec<String> {
    let start = format!(".It Cm {command}");
    text.lines()
        .skip_while(|line| *line != start)
        .skip(1)
        .take_while(|line| !line.starts_with(".It Cm "))
        .map(String::from)
        .collect()
}

#[test]
fn every_option_of_every_command_has_its_entry() {
    let text = fs::read_to_string(page("livedump.8")).unwrap();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let lines = about(&text, name);
        assert!(!lines.is_empty(), "no entry for {name}");
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            if long == "help" {
                continue;
            }
            let entry = lines.iter().find(|line| {
                let mut words = line.split(' ');
                words.next() == Some(".It")
                    && words.next() == Some("Fl")
                    && words.any(|word| word == format!("-{long}"))
            });
            let entry =
                entry.unwrap_or_else(|| panic!("{name} --{long}: no entry"));
            if let Some(short) = arg.get_short() {
                let start = format!(".It Fl {short} , -{long}");
                assert!(entry.starts_with(&start), "{name}: {entry}");
            }
        }
        let documented =
            lines.iter().filter(|l| l.starts_with(".It Fl ")).count();
        let options = command
            .get_arguments()
            .filter(|a| a.get_long().is_some_and(|long| long != "help"))
            .count();
        assert!(
            documented <= options + 1,
            "{name}: {documented} entries for {options} options"
        );
    }
}

#[test]
fn every_key_of_a_captures_json_is_documented() {
    let text = fs::read_to_string(page("livedump.8")).unwrap();
    let json = text.split(".Sh JSON").nth(1).unwrap();
    let mut parts = json.split(".It Cm ");
    let capture = parts.find(|part| part.starts_with("capture")).unwrap();
    let crash = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_livedump"))
        .args(["capture", "-q", "--json", "--machine", "model:16M"])
        .arg(crash.path())
        .output()
        .unwrap();
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&output.stdout).unwrap();
    for key in object.keys() {
        let named = capture.split_whitespace().any(|word| word == key);
        assert!(named, "{key} is not documented");
    }
}

#[test]
fn the_pages_are_clean_mdoc() {
    for name in ["livedump.8", "livedump.4", "livedump.5"] {
        let lint = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(page(name))
            .output();
        match lint {
            Ok(output) => {
                let message = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success(), "{name}: {message}");
            }
            Err(_) => livedump_skip::skipped("there is no mandoc(1) here"),
        }
    }
}
