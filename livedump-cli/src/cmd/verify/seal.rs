// SPDX-License-Identifier: BSD-2-Clause
//! A dump held against its seal.

use crate::error::{Error, chain};
use crate::seal::Seal;
use crate::vmcore::companion::companion;
use crate::vmcore::regular;
use crate::vmcore::{Finding, Status};
use memdev::minidump::Layout;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

const CHECK: &str = "seal";
/// How many damaged places are told one by one.
const MAX_TOLD: usize = 8;

/// Opens the seal that was named, or the one beside the dump if there is one.
pub(super) fn open(
    dump: &Path,
    named: Option<&Path>,
) -> Result<Option<File>, Error> {
    let Some(path) =
        named.map(Path::to_path_buf).or_else(|| companion(dump, "seal"))
    else {
        return Ok(None);
    };
    let failed = |source| Error::Seal { path: path.clone(), source };
    match regular::open(&path) {
        Ok(Some(file)) => Ok(Some(file)),
        Ok(None) => Err(failed(io::Error::other("not a regular file"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound && named.is_none() => {
            Ok(None)
        }
        Err(e) => Err(failed(e)),
    }
}

/// What holding `dump` against `seal` finds.
pub(super) fn check(dump: &File, seal: &File, threads: usize) -> Checked {
    let seal = match Seal::read(seal) {
        Ok(seal) => seal,
        Err(e) => return Checked::failed(chain(&e)),
    };
    let damage = match seal.check(dump, threads) {
        Ok(damage) => damage,
        Err(e) => return Checked::failed(chain(&e)),
    };
    let length = damage.length.map(|now| {
        format!("the file has {now} bytes, {} were sealed", seal.size())
    });
    if damage.is_none() {
        let (size, parts) = (seal.size(), seal.parts());
        return Checked {
            holds: true,
            usable: true,
            text: Some(format!(
                "{size} bytes in {parts} parts are as they were sealed"
            )),
            damaged: Vec::new(),
        };
    }
    let damaged = damage.parts;
    Checked { holds: false, usable: true, text: length, damaged }
}

/// What came of it.
pub(super) struct Checked {
    pub(super) holds: bool,
    /// Whether the seal itself is one, and was held against the dump.
    pub(super) usable: bool,
    text: Option<String>,
    damaged: Vec<Range<u64>>,
}

impl Checked {
    fn failed(why: String) -> Self {
        let text = Some(format!("the seal cannot be used: {why}"));
        Self { holds: false, usable: false, text, damaged: Vec::new() }
    }

    /// As findings; with a layout, damage is told by section.
    pub(super) fn findings(&self, layout: Option<&Layout>) -> Vec<Finding> {
        let status = if self.holds { Status::Ok } else { Status::Wrong };
        let told = self.damaged.iter().take(MAX_TOLD).map(|range| {
            let last = range.end.saturating_sub(1);
            let within = match layout {
                Some(layout) => format!(" ({})", sections(layout, range)),
                None => String::new(),
            };
            format!(
                "bytes {} to {last}{within} are not as they were sealed",
                range.start
            )
        });
        let more = self.damaged.len().saturating_sub(MAX_TOLD);
        let more = (more > 0).then(|| format!("and {more} more places"));
        let texts = self.text.iter().cloned().chain(told).chain(more);
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
