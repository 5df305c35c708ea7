// SPDX-License-Identifier: BSD-2-Clause
//! A dump compared with its seal, as a check among others.

use super::{Seal, SealError, Stopped};
use livedump_vmcore::chain;
use livedump_vmcore::companion;
use livedump_vmcore::regular;
use livedump_vmcore::{Finding, Status, is_named_encrypted};
use memdev::minidump::Layout;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

const CHECK: &str = "seal";
/// How many damaged places are listed one by one.
const MAX_LISTED: usize = 8;

/// A seal that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening the seal {}", path.display())]
pub struct NoSeal {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// A file that was named as a seal and is none.
#[derive(Debug, thiserror::Error)]
#[error("{path} is not a seal: {why}")]
pub struct NotASeal {
    /// Which.
    pub path: String,
    /// Why.
    pub why: String,
}

/// The file of a seal, or why it cannot be opened.
pub type SealFile = Result<File, NoSeal>;

/// Opens the seal that was named, or the one beside the dump if there is one.
///
/// # Errors
/// One was named and cannot be opened.
pub fn open(
    dump: &Path,
    named: Option<&Path>,
) -> Result<Option<SealFile>, NoSeal> {
    let beside = || companion::seal(dump).filter(|_| !is_decrypted(dump));
    let Some(path) = named.map(Path::to_path_buf).or_else(beside) else {
        return Ok(None);
    };
    let opened = match regular::open(&path) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(io::Error::other("not a regular file")),
        Err(e) if e.kind() == io::ErrorKind::NotFound && named.is_none() => {
            return Ok(None);
        }
        Err(e) => Err(e),
    };
    match opened.map_err(|source| NoSeal { path, source }) {
        Err(e) if named.is_some() => Err(e),
        opened => Ok(Some(opened)),
    }
}

/// Whether the dump beside it that it was decrypted from has its number, too:
/// the seal is that one's.
fn is_decrypted(dump: &Path) -> bool {
    let mut same = companion::same_number(dump);
    !is_named_encrypted(dump)
        && same.any(|path| is_named_encrypted(&path) && path.exists())
}

/// What came of it.
#[derive(Debug)]
pub struct Comparison {
    status: Status,
    /// Whether every byte was compared with a seal that is one.
    pub compared: bool,
    /// Why the file is not a seal, damaged or not: something else.
    pub no_seal: Option<String>,
    text: Option<String>,
    damaged: Vec<Range<u64>>,
}

impl Comparison {
    /// Compares `dump` with `seal`, with up to `threads` threads.
    #[must_use]
    pub fn of(dump: &File, seal: &File, threads: usize) -> Self {
        let seal = match Seal::read(seal) {
            Ok(seal) => seal,
            Err(e) => {
                let environment = matches!(e, SealError::Io(_));
                let foreign = matches!(
                    e,
                    SealError::Long | SealError::Line { line: 1, .. }
                );
                let why = chain(&e);
                let no_seal = foreign.then(|| why.clone());
                return Self { no_seal, ..Self::failed(why, environment) };
            }
        };
        let damage = match seal.check(dump, threads) {
            Ok(damage) => damage,
            Err(e) => {
                let environment = match &e {
                    Stopped::Asked => true,
                    Stopped::Read(e) => e.is_environment(),
                };
                return Self::failed(chain(&e), environment);
            }
        };
        let (size, parts) = (seal.size(), seal.parts());
        if damage.is_none() {
            let text = format!(
                "{size} bytes in {parts} part{}: checksums match",
                if parts == 1 { "" } else { "s" }
            );
            return Self {
                status: Status::Ok,
                compared: true,
                no_seal: None,
                text: Some(text),
                damaged: Vec::new(),
            };
        }
        let length = damage
            .length
            .map(|now| format!("the file has {now} bytes, expected {size}"));
        Self {
            status: Status::Fail,
            compared: true,
            no_seal: None,
            text: length,
            damaged: damage.parts,
        }
    }

    /// The same with a seal that may not be readable, which leaves it open
    /// whether the dump is as it was.
    #[must_use]
    pub fn with(dump: &File, seal: &SealFile, threads: usize) -> Self {
        match seal {
            Ok(seal) => Self::of(dump, seal, threads),
            Err(e) => Self::unreadable(chain(e)),
        }
    }

    /// With a seal that cannot be read.
    #[must_use]
    pub fn unreadable(why: String) -> Self {
        Self::failed(why, true)
    }

    /// Whether the dump is not as it was when it was sealed.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.compared && self.status == Status::Fail
    }

    /// Whether every byte of it is as it was when it was sealed.
    #[must_use]
    pub fn is_match(&self) -> bool {
        self.compared && self.status == Status::Ok
    }

    fn failed(why: String, environment: bool) -> Self {
        let status = match environment {
            true => Status::Undetermined,
            false => Status::Fail,
        };
        let text = Some(format!("the seal cannot be used: {why}"));
        let (compared, no_seal) = (false, None);
        Self { status, compared, no_seal, text, damaged: Vec::new() }
    }

    /// As findings; with a layout, damage is listed by section.
    #[must_use]
    pub fn findings(&self, layout: Option<&Layout>) -> Vec<Finding> {
        let listed = self.damaged.iter().take(MAX_LISTED).map(|range| {
            let last = range.end.saturating_sub(1);
            let within = match layout {
                Some(layout) => format!(" ({})", sections(layout, range)),
                None => String::new(),
            };
            format!(
                "bytes {} to {last}{within}: checksum mismatch",
                range.start
            )
        });
        let more = self.damaged.len().saturating_sub(MAX_LISTED);
        let more = (more > 0).then(|| format!("and {more} more places"));
        let texts = self.text.iter().cloned().chain(listed).chain(more);
        let status = self.status;
        texts.map(|text| Finding { check: CHECK, status, text }).collect()
    }
}

/// The sections of an uncompressed dump that a range has a part in.
fn sections(layout: &Layout, range: &Range<u64>) -> String {
    let starts = [
        ("header", 0),
        ("msgbuf", layout.msgbuf),
        ("dump_avail", layout.dump_avail),
        ("bitmap", layout.bitmap),
        ("pmap", layout.pmap),
        ("pages", layout.pages),
    ];
    let ends = starts.iter().skip(1).map(|s| s.1).chain([u64::MAX]);
    let within = starts.iter().zip(ends).filter(|((_, start), end)| {
        start < end && *start < range.end && range.start < *end
    });
    let names: Vec<_> = within.map(|((name, _), _)| *name).collect();
    names.join(", ")
}
