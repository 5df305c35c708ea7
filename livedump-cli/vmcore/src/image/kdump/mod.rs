// SPDX-License-Identifier: BSD-2-Clause
//! Compressed kdumps, of makedumpfile and of QEMU's dump-guest-memory.
//!
//! ```text
//!  flat    records of a flattened file, in whose order it was written
//!  header  what the two headers say
//!  pages   a page's bit, its descriptor, its data
//!  codec   zlib, lzo, snappy, zstd
//! ```
//!
//! A page has a bit in the second bitmap; its rank there is that of its
//! descriptor, which has the offset of its data. Bitmap and descriptors stay
//! in the file. Pages without a bit are missing, whatever they were.

pub(crate) mod codec;
mod flat;
mod header;
mod pages;
#[cfg(test)]
mod tests;

use super::{Format, ImageError, MemoryImage};
use crate::source::Source;
use flat::Flat;
use std::sync::Arc;

/// What the file begins with, unless it is flattened.
const SIGNATURE: &[u8] = b"KDUMP   ";

/// The image, if the file begins as one. A flattened one may have an ELF core
/// in it.
///
/// # Errors
/// It is damaged.
pub fn open(
    source: &Arc<dyn Source>,
    head: &[u8],
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    if !head.starts_with(flat::SIGNATURE) {
        return open_as(source, head, Vec::new());
    }
    let mut notes = Vec::new();
    let flat = Flat::index(Arc::clone(source), &mut notes)?;
    let source: Arc<dyn Source> = Arc::new(flat);
    let mut head = [0; 64];
    let got = source.read_at(0, &mut head)?;
    let head = head.get(..got).unwrap_or_default();
    if let Some(image) = open_as(&source, head, notes)? {
        return Ok(Some(image));
    }
    if let Some(image) = super::elf::open(&source, head)? {
        return Ok(Some(image));
    }
    let what = "it has neither a kdump nor an ELF core".into();
    Err(ImageError::Damaged { part: "flattened file", offset: 0, what })
}

fn open_as(
    source: &Arc<dyn Source>,
    head: &[u8],
    notes: Vec<String>,
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    if head.starts_with(b"DISKDUMP") {
        let what = "diskdump files older than kdump are not read";
        return Err(ImageError::Unsupported(what.into()));
    }
    if !head.starts_with(SIGNATURE) {
        return Ok(None);
    }
    let (header, mut claims) = header::Header::read(source.as_ref())?;
    claims.notes.splice(..0, notes);
    let format = match header.qemu {
        true => Format::QemuKdump,
        false => Format::Kdump,
    };
    let image = pages::Kdump::open(source, format, &header, claims)?;
    Ok(Some(Arc::new(image)))
}
