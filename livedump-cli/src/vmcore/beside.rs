// SPDX-License-Identifier: BSD-2-Clause
//! What lies beside a dump in a crash directory and has its number.

use std::path::{Path, PathBuf};

/// Names of dumps, without their numbers. savecore(8).
const STEMS: [&str; 4] =
    ["livecore", "vmcore", "vmcore_encrypted", "textdump.tar"];

/// `seal.N` of `livecore.N.zst`, and `seal.last` of `livecore.last.zst`; whether
/// it is there is not looked at. `None` where the dump's name has no number.
#[must_use]
pub fn beside(dump: &Path, what: &str) -> Option<PathBuf> {
    let name = dump.file_name()?.to_str()?;
    let name = [".gz", ".zst"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    let (stem, n) = name.rsplit_once('.')?;
    let number = !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    let ours = STEMS.contains(&stem) && (number || n == "last");
    ours.then(|| dump.with_file_name(format!("{what}.{n}")))
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
            let found = beside(Path::new(dump), "seal");
            assert_eq!(found.as_deref(), seal.map(Path::new), "{dump}");
        }
    }
}
