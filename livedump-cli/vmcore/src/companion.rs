// SPDX-License-Identifier: BSD-2-Clause
//! What lies beside a dump in a crash directory and has its number.

use std::path::{Path, PathBuf};

/// Names of dumps, without their numbers. savecore(8).
const BASENAMES: [&str; 5] = [
    "livecore",
    "vmcore",
    "livecore_encrypted",
    "vmcore_encrypted",
    "textdump.tar",
];
/// How their names end.
const SUFFIXES: [&str; 3] = ["", ".gz", ".zst"];

/// `seal.N` of `livecore.N.zst`, and `seal.last` of `livecore.last.zst`;
/// whether it is there is not looked at. `None` where the dump's name has no
/// number.
#[must_use]
pub fn companion(dump: &Path, what: &str) -> Option<PathBuf> {
    let (stem, n) = number(dump)?;
    let is_dump = BASENAMES.contains(&stem);
    is_dump.then(|| dump.with_file_name(format!("{what}.{n}")))
}

/// The checksums of a file: `seal.N` of a dump with a number, else `FILE.seal`;
/// whether it is there is not looked at. `None` where the path has no name.
#[must_use]
pub fn seal(file: &Path) -> Option<PathBuf> {
    companion(file, "seal").or_else(|| {
        let mut name = file.file_name()?.to_os_string();
        name.push(".seal");
        Some(file.with_file_name(name))
    })
}

/// Names that another dump with the number of this one can have; whether they
/// are there is not looked at.
pub fn same_number(dump: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    let n = number(dump).filter(|(stem, _)| BASENAMES.contains(stem));
    let n = n.map(|(_, n)| n);
    let all = n.into_iter().flat_map(|n| {
        BASENAMES.into_iter().flat_map(move |stem| {
            SUFFIXES.map(|suffix| format!("{stem}.{n}{suffix}"))
        })
    });
    let all = all.map(|name| dump.with_file_name(name));
    all.filter(move |path| path != dump)
}

/// The same for a dump that may have been given any name, if it kept its
/// number.
#[must_use]
pub fn companion_any(dump: &Path, what: &str) -> Option<PathBuf> {
    let (_, n) = number(dump)?;
    Some(dump.with_file_name(format!("{what}.{n}")))
}

/// Names that a kernel, or something else that may be beside a dump of any
/// name, can have, the likeliest first: of `vmcore.HOST.N`, as netdumpd(8)
/// names dumps, that with the host and that without. Where the dump's own name
/// is a link to a numbered one, that counts: not all that has a number has a
/// link.
#[must_use]
pub fn companions_of_target(dump: &Path, what: &str) -> Vec<PathBuf> {
    let target = std::fs::read_link(dump).ok();
    let target = target.filter(|to| number(to).is_some());
    let target = match target {
        Some(to) => dump.with_file_name("").join(to),
        None => dump.to_path_buf(),
    };
    let Some((stem, n)) = number(&target) else { return Vec::new() };
    let host = stem.split_once('.').filter(|_| !BASENAMES.contains(&stem));
    let host = host.map(|(_, host)| format!("{what}.{host}.{n}"));
    let names = host.into_iter().chain([format!("{what}.{n}")]);
    names.map(|name| target.with_file_name(name)).collect()
}

/// A name, and what follows its last dot: digits, or `last`.
fn number(dump: &Path) -> Option<(&str, &str)> {
    let name = dump.file_name()?.to_str()?;
    let plain = SUFFIXES.iter().filter(|suffix| !suffix.is_empty());
    let name = plain
        .filter_map(|suffix| name.strip_suffix(suffix))
        .next()
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
    fn checksums_of_a_file_have_its_number_or_its_name() {
        for (file, want) in [
            ("d/livecore.3.zst", "d/seal.3"),
            ("livecore.elf", "livecore.elf.seal"),
            ("d/memory", "d/memory.seal"),
            ("memory.3", "memory.3.seal"),
        ] {
            assert_eq!(seal(Path::new(file)), Some(want.into()), "{file}");
        }
        assert_eq!(seal(Path::new("/")), None);
    }

    #[test]
    fn dumps_with_one_number_share_what_is_beside_them() {
        let all: Vec<_> = same_number(Path::new("d/livecore.3.gz")).collect();
        assert_eq!(all.len(), 14);
        for name in ["d/livecore.3", "d/livecore.3.zst", "d/vmcore.3.zst"] {
            assert!(all.contains(&name.into()), "{name}");
        }
        for name in ["d/livecore.elf", "mylivecore.3", "/"] {
            assert_eq!(same_number(Path::new(name)).count(), 0, "{name}");
        }
    }

    #[test]
    fn a_link_is_followed_to_its_number() {
        let tmp = tempfile::tempdir().unwrap();
        let path = |name: &str| tmp.path().join(name);
        let link = path("livecore.last.zst");
        std::os::unix::fs::symlink("livecore.5.zst", &link).unwrap();
        let found = |dump: &Path| companions_of_target(dump, "kernel");
        assert_eq!(found(&link), [path("kernel.5")]);
        let plain = path("livecore.7");
        assert_eq!(found(&plain), [path("kernel.7")]);
        let gone = path("livecore.last");
        assert_eq!(found(&gone), [path("kernel.last")]);
        assert_eq!(found(&path("core")), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_kernel_beside_a_dump_over_the_net_has_its_host_or_only_its_number() {
        let found = companions_of_target(
            Path::new("d/vmcore.web.example.3.zst"),
            "kernel",
        );
        let names = ["d/kernel.web.example.3", "d/kernel.3"];
        assert_eq!(found, names.map(PathBuf::from));
    }
}
