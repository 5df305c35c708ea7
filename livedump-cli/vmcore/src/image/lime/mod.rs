// SPDX-License-Identifier: BSD-2-Clause
//! LiME, and AVML, which has the same headers: 32 bytes before each range of
//! memory. LiME (and AVML version 1) stores it as it is, AVML version 2 packs
//! it (`avml`) and leaves out blocks of zeros.

mod avml;
#[cfg(test)]
mod tests;

use super::segments::{Extents, Segments};
use super::{Checksums, Claims, Format, ImageError, MemoryImage, fields};
use crate::source::{Source, SourceError};
use std::sync::Arc;

const HEADER: u64 = 32;
/// Ranges or blocks that are read. AVML has one for 16 MB.
const MAX_RANGES: usize = 1 << 20;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lime,
    Avml,
}

impl Kind {
    fn magic(self) -> &'static [u8] {
        match self {
            Self::Lime => b"EMiL",
            Self::Avml => b"AVML",
        }
    }

    fn version(self) -> u32 {
        match self {
            Self::Lime => 1,
            Self::Avml => 2,
        }
    }
}

/// A header: the range that follows.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    /// The last byte's.
    last: u64,
}

impl Range {
    fn len(self) -> u64 {
        self.last.saturating_sub(self.start).saturating_add(1)
    }

    fn end(self) -> u64 {
        self.last.saturating_add(1)
    }
}

/// What is where a header should be.
enum Found {
    Range(Range),
    /// The file ends here.
    End,
    /// Something else.
    Other(String),
}

fn header(
    source: &dyn Source,
    at: u64,
    kind: Kind,
) -> Result<Found, SourceError> {
    let mut bytes = [0; HEADER as usize];
    let got = source.read_at(at, &mut bytes)?;
    if got == 0 {
        return Ok(Found::End);
    }
    let version = fields::u32(&bytes, 4);
    let (start, last) = (fields::u64(&bytes, 8), fields::u64(&bytes, 16));
    Ok(if got < bytes.len() {
        Found::Other("it ends inside the header of a range".into())
    } else if !bytes.starts_with(kind.magic()) {
        Found::Other("there is no header of a range".into())
    } else if version != kind.version() {
        Found::Other(format!("the header of a range has version {version}"))
    } else if last < start {
        Found::Other(format!("a range is {start:#x} to {last:#x}"))
    } else {
        Found::Range(Range { start, last })
    })
}

/// The image, if the file begins as one.
///
/// # Errors
/// It is damaged.
pub fn open(
    source: &Arc<dyn Source>,
    head: &[u8],
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    let kinds = [Kind::Lime, Kind::Avml];
    let kind = kinds.into_iter().find(|k| head.starts_with(k.magic()));
    let Some(kind) = kind else { return Ok(None) };
    if let Found::Other(what) = header(source.as_ref(), 0, kind)? {
        let part = "header";
        return Err(ImageError::Damaged { part, offset: 0, what });
    }
    let mut claims = Claims::default();
    let mut extents = Extents::default();
    let (format, source): (_, Arc<dyn Source>) = match kind {
        Kind::Lime => {
            ranges(source.as_ref(), &mut extents, &mut claims.notes)?;
            (Format::Lime, Arc::clone(source))
        }
        Kind::Avml => {
            claims.checksums = Checksums::All;
            let notes = &mut claims.notes;
            let blocks =
                avml::Blocks::index(Arc::clone(source), &mut extents, notes)?;
            (Format::Avml, Arc::new(blocks))
        }
    };
    if extents.overlap {
        claims.notes.push("ranges overlap; the first one is used".into());
    }
    if extents.unaligned {
        let note = "ranges begin or end inside a page, which is left out";
        claims.notes.push(note.into());
    }
    let image = Segments::new(format, claims, source, extents);
    Ok(Some(Arc::new(image)))
}

/// The ranges of LiME.
fn ranges(
    source: &dyn Source,
    extents: &mut Extents,
    notes: &mut Vec<String>,
) -> Result<(), SourceError> {
    let mut at = 0u64;
    for _ in 0..MAX_RANGES {
        let range = match header(source, at, Kind::Lime)? {
            Found::Range(range) => range,
            Found::End => return Ok(()),
            Found::Other(what) => {
                notes.push(format!("at {at:#x}, {what}"));
                return Ok(());
            }
        };
        let data = at.saturating_add(HEADER);
        let next = data.saturating_add(range.len());
        match source.known_len() {
            Some(end) if end < next => {
                let there = end.saturating_sub(data);
                let stop = range.start.saturating_add(there);
                extents.add(range.start, stop & !0xfff, data);
                notes.push(format!(
                    "truncated: it ends at {end:#x}, and {} bytes of memory \
                     are missing",
                    range.len().saturating_sub(there)
                ));
                return Ok(());
            }
            _ => extents.add(range.start, range.end(), data),
        }
        at = next;
    }
    notes.push(format!("ranges after the {MAX_RANGES}th are not read"));
    Ok(())
}
