// SPDX-License-Identifier: BSD-2-Clause
//! The names of one dump's files. Mirrors `saved_dump_remove` of savecore.c.

use memdev::kerneldump::Compression;

const SUFFIXES: [&str; 3] = ["", ".gz", ".zst"];

/// What a dump is, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basename {
    /// A live dump.
    Livecore,
    /// The dump of a panic.
    Vmcore,
    /// A live dump, encrypted; `key.N` belongs to it.
    LivecoreEncrypted,
    /// The dump of a panic, likewise.
    VmcoreEncrypted,
    /// A textdump(4).
    Textdump,
}

impl Basename {
    const ALL: [Self; 5] = [
        Self::Livecore,
        Self::Vmcore,
        Self::LivecoreEncrypted,
        Self::VmcoreEncrypted,
        Self::Textdump,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Livecore => "livecore",
            Self::Vmcore => "vmcore",
            Self::LivecoreEncrypted => "livecore_encrypted",
            Self::VmcoreEncrypted => "vmcore_encrypted",
            Self::Textdump => "textdump.tar",
        }
    }
}

/// A file beside a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companion {
    /// `kernel.N`: the ELF kernel of the dumped machine, a model or not.
    Kernel,
    /// `kernel.debug.N`: the debug file of that kernel.
    Debug,
    /// `key.N`: the key of an encrypted dump, itself encrypted.
    Key,
    /// `seal.N`: digests of the dump.
    Seal,
    /// `changed.N`: pages that changed while the dump was written.
    Changed,
    /// `core.txt.N`: a report of the dump, as crashinfo(8) names it.
    Report,
}

impl Companion {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::Kernel,
        Self::Debug,
        Self::Key,
        Self::Seal,
        Self::Changed,
        Self::Report,
    ];

    /// Its name.
    pub(super) fn name(self, n: u32) -> String {
        self.name_of(&n.to_string())
    }

    /// Its name for a number, or for `last`.
    pub(super) fn name_of(self, n: &str) -> String {
        let stem = match self {
            Self::Kernel => "kernel",
            Self::Debug => "kernel.debug",
            Self::Key => "key",
            Self::Seal => "seal",
            Self::Changed => "changed",
            Self::Report => "core.txt",
        };
        format!("{stem}.{n}")
    }
}

/// `livecore.N` and the like, with the codec's suffix: that of what comes out
/// where it is encrypted. The dump of a panic has none then, as savecore(8)
/// names it.
pub(super) fn dump(stem: Basename, n: u32, compression: Compression) -> String {
    let suffix = match stem {
        Basename::VmcoreEncrypted => "",
        _ => compression.suffix(),
    };
    format!("{}.{n}{suffix}", stem.text())
}

/// `info.N`.
pub(super) fn info(n: u32) -> String {
    format!("info.{n}")
}

/// Whether a dump of this name has a key.
pub(super) fn is_encrypted(name: &str) -> bool {
    [Basename::LivecoreEncrypted, Basename::VmcoreEncrypted].iter().any(|it| {
        let rest = name.strip_prefix(it.text());
        rest.is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The names that the dump itself may have.
pub(super) fn dumps(n: &str) -> Vec<String> {
    let mut names = Vec::new();
    for stem in Basename::ALL {
        let stem = stem.text();
        names.extend(SUFFIXES.map(|suffix| format!("{stem}.{n}{suffix}")));
    }
    names
}

/// The N of any file that belongs to a dump, `livecore.N.zst` or `info.N`.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let number: u32 = name.split('.').find_map(|part| {
        let digits =
            part.len() <= 5 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    })?;
    set(&number.to_string()).iter().any(|n| n == name).then_some(number)
}

/// Every name that a dump with this number (or `last`) may have left.
pub(super) fn set(n: &str) -> Vec<String> {
    let mut names = vec![format!("info.{n}")];
    names.extend(Companion::ALL.map(|it| it.name_of(n)));
    names.extend(dumps(n));
    names
}
