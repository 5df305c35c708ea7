// SPDX-License-Identifier: BSD-2-Clause
//! What lies beside a dump in a crash directory and has its number.

use std::path::{Path, PathBuf};

/// Names of dumps, without their numbers. savecore(8).
const BASENAMES: [&str; 4] =
    ["livecore", "vmcore", "vmcore_encrypted", "textdump.tar"];

/// `seal.N` of `livecore.N.zst`, and `seal.last` of `livecore.last.zst`;
/// whether it is there is not looked at. `None` where the dump's name has no
/// number.
#[must_use]
pub fn companion(dump: &Path, what: &str) -> Option<PathBuf> {
    let (stem, n) = number(dump)?;
    let ours = BASENAMES.contains(&stem);
    ours.then(|| dump.with_file_name(format!("{what}.{n}")))
}

/// The same for a dump that may have been given any name, if it kept its
/// number.
#[must_use]
pub fn companion_any(dump: &Path, what: &str) -> Option<PathBuf> {
    let (_, n) = number(dump)?;
    Some(dump.with_file_name(format!("{what}.{n}")))
}

/// The same, and where the dump's own name is a link to a numbered one, beside
/// that: not all that has a number has a link.
#[must_use]
pub fn companion_of_target(dump: &Path, what: &str) -> Option<PathBuf> {
    let target = std::fs::read_link(dump).ok();
    let numbered = target.filter(|to| number(to).is_some());
    match numbered {
        Some(to) => companion(&dump.with_file_name("").join(to), what),
        None => companion(dump, what),
    }
}

/// A name, and what stands behind its dot: digits, or `last`.
fn number(dump: &Path) -> Option<(&str, &str)> {
    let name = dump.file_name()?.to_str()?;
    let name = [".gz", ".zst"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    let (stem, n) = name.rsplit_once('.')?;
    let digits = !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    (digits || n == "last").then_some((stem, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_dump_has_its_number() {
        for (dump, seal) in [
            ("livecore.3", Some("seal.3")),
            ("/var/crash/livecore.12.zst", Some("/var/crash/seal.12")),
            ("d/vmcore.0.gz", Some("d/seal.0")),
            ("vmcore_encrypted.0", Some("seal.0")),
            ("textdump.tar.7", Some("seal.7")),
            ("livecore.last.gz", Some("seal.last")),
            ("livecore", None),
            ("livecore.", None),
            ("livecore.x", None),
            ("livecore.3.bak", None),
            ("mylivecore.3", None),
            ("info.3", None),
            ("/", None),
        ] {
            let found = companion(Path::new(dump), "seal");
            assert_eq!(found.as_deref(), seal.map(Path::new), "{dump}");
        }
        let found = companion_any(Path::new("d/host.5.gz"), "changed");
        assert_eq!(found, Some("d/changed.5".into()));
        assert_eq!(companion_any(Path::new("d/host.gz"), "changed"), None);
    }

    #[test]
    fn a_link_is_followed_to_its_number() {
        let tmp = tempfile::tempdir().unwrap();
        let path = |name: &str| tmp.path().join(name);
        let link = path("livecore.last.zst");
        std::os::unix::fs::symlink("livecore.5.zst", &link).unwrap();
        let found = |dump: &Path| companion_of_target(dump, "kernel");
        assert_eq!(found(&link), Some(path("kernel.5")));
        let plain = path("livecore.7");
        assert_eq!(found(&plain), Some(path("kernel.7")));
        let gone = path("livecore.last");
        assert_eq!(found(&gone), Some(path("kernel.last")));
    }
}
