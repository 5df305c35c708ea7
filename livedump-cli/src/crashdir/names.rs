// SPDX-License-Identifier: BSD-2-Clause
//! The names of one dump's files. Mirrors `saved_dump_remove` of savecore.c.

use memdev::kerneldump::Compression;

const SUFFIXES: [&str; 3] = ["", ".gz", ".zst"];

/// `livecore.N`, with the codec's suffix.
pub(super) fn livecore(n: u32, compression: Compression) -> String {
    format!("livecore.{n}{}", compression.suffix())
}

/// `info.N`.
pub(super) fn info(n: u32) -> String {
    format!("info.{n}")
}

/// `kernel.N`: the ELF kernel of a model machine, kept beside its dump.
pub(super) fn kernel(n: u32) -> String {
    format!("kernel.{n}")
}

/// Every name that a dump with this number (or `last`) may have left.
pub(super) fn set(n: &str) -> Vec<String> {
    let mut names =
        vec![format!("info.{n}"), format!("kernel.{n}"), format!("key.{n}")];
    for stem in ["livecore", "vmcore", "vmcore_encrypted", "textdump.tar"] {
        names.extend(SUFFIXES.map(|suffix| format!("{stem}.{n}{suffix}")));
    }
    names
}
