// SPDX-License-Identifier: BSD-2-Clause
//! What `--version` prints: which build this is and what it can do.

use crate::cmd;
use clap::ValueEnum;
use memdev::arch::Machine;
use memdev::kerneldump::Compression;
use std::fmt::Write;
use std::sync::LazyLock;

/// The version alone, as `-V` and [`crate::cmd::doctor`] print it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, or "unknown"; it ends in "-dirty" when files were changed.
pub const COMMIT: &str = env!("LIVEDUMP_COMMIT");

/// The version, the commit and the features, a line each.
#[must_use]
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(compose);
    &LONG
}

fn compose() -> String {
    let machines = [Machine::Amd64, Machine::Arm64].map(Machine::name);
    let codecs = [Compression::Gzip, Compression::Zstd].map(Compression::name);
    let formats = cmd::convert::To::value_variants().iter();
    let formats: Vec<_> = formats
        .filter_map(|format| format.to_possible_value())
        .map(|value| value.get_name().to_string())
        .collect();
    let mut text = VERSION.to_string();
    for (name, value) in [
        ("commit", COMMIT.to_string()),
        ("built for", built_for()),
        ("dumps of", sources().join(", ")),
        ("reads", format!("minidumps of {}", machines.join(" and "))),
        ("compression", codecs.join(", ")),
        ("converts to", formats.join(", ")),
    ] {
        let _ = write!(text, "\n{name:<12} {value}");
    }
    text
}

fn built_for() -> String {
    use std::env::consts::{ARCH, OS};
    format!("{OS} {ARCH}")
}

/// Values of --machine, those with an argument without it.
fn sources() -> Vec<&'static str> {
    let mut names = Vec::new();
    for value in cmd::suggested::MACHINES {
        let name = value.trim_end_matches(':');
        let here = name != "kernel" || cfg!(target_os = "freebsd");
        if here && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_what_it_is_and_what_it_can_do() {
        let text = long();
        let value = |name: &str| {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}: {text}")).trim()
        };
        assert!(text.starts_with(VERSION));
        assert!(!value("commit").is_empty());
        assert!(value("built for").contains(std::env::consts::OS));
        let sources: Vec<_> = value("dumps of").split(", ").collect();
        let own = cfg!(target_os = "freebsd");
        assert_eq!(sources.contains(&"kernel"), own);
        assert_eq!(sources.iter().filter(|&&it| it == "model").count(), 1);
        assert_eq!(value("compression"), "gzip, zstd");
        assert!(value("converts to").contains("elf"));
    }
}
