// SPDX-License-Identifier: BSD-2-Clause
//! A second reader of dumps, written from the format's description alone: the
//! judge of the writer. It shares nothing with memdev, the engine or the
//! tool's reader, and what it cannot explain it refuses.
//!
//! ```text
//! file -> Trailer (512 bytes at the end)
//!      -> container: dumplength bytes, plain, gzip or zstd
//!      -> sections -> Dump: pages by physical address
//!                       '-> walk: virtual addresses, kernel lists
//! ```
//!
//! [`Dump::judge`] holds a dump to everything a writer must do, padding
//! included. [`Dump::lenient`] reads a foreign one: sparse, cut off, stripped.

pub mod bytes;
pub mod changes;
pub mod container;
pub mod lists;
pub mod sections;
pub mod trailer;
pub mod walk;

pub use sections::{Arch, Dump};
pub use trailer::Trailer;

/// What is wrong with a dump, in words.
pub type Wrong = String;

/// A file as the kernel leaves it, taken apart.
#[derive(Debug)]
pub struct RawFile {
    /// The header after the data.
    pub trailer: Trailer,
    /// What is inside.
    pub dump: Dump,
    /// The data as it is in the file, compressed or not.
    pub packed: Vec<u8>,
}

/// Takes a raw live dump apart and holds it to all of the format.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge_raw(file: &[u8]) -> Result<RawFile, Wrong> {
    let (trailer, packed) = trailer::split(file)?;
    let plain = container::unpack(packed, trailer.compression)?;
    if plain.len() as u64 != trailer.dumpextent {
        return Err(format!(
            "dumpextent is {}, the data unpacks to {}",
            trailer.dumpextent,
            plain.len()
        ));
    }
    let packed = packed.to_vec();
    let dump = Dump::judge(plain)?;
    let (arch, version) = match dump.arch {
        Arch::Amd64 => ("amd64", 2),
        Arch::Arm64 => ("aarch64", 1),
    };
    if trailer.architecture != arch || trailer.architecture_version != version {
        return Err(format!(
            "a {:?} dump under a header of {} version {}",
            dump.arch, trailer.architecture, trailer.architecture_version
        ));
    }
    Ok(RawFile { trailer, dump, packed })
}

/// Takes a file apart from which the header has been stripped.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge_stripped(file: &[u8]) -> Result<Dump, Wrong> {
    let kind = container::kind(file);
    Dump::judge(container::unpack(file, kind)?)
}
