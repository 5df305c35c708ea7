// SPDX-License-Identifier: BSD-2-Clause
//! Finding the dump: from the trailing header back to the leading one, each
//! step checked.

use super::contents::TEXT_BLOCK;
use super::{DumpDev, Error};
use crate::ekcd::{KeyBlock, MAX_BLOCK};
use memdev::kerneldump::{
    Compression, HEADER_SIZE, HeaderError, KernelDumpHeader, MAGIC_CLEARED,
    MAGIC_KERNEL, MAGIC_TEXT, Magic, parity_ok,
};
use std::ops::Range;

/// Sector sizes; a device has one of them, the one of an image is not known.
const BLOCKS: [usize; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// A dump that was found on a device, and where.
#[derive(Debug)]
pub struct LocatedDump {
    /// The last block's header, as it is there.
    pub(super) trailer: [u8; HEADER_SIZE],
    pub(super) trailer_at: u64,
    pub(super) block: usize,
    /// Where the dump is, of a textdump all of its blocks.
    pub(super) data: Range<u64>,
    key: Option<(Vec<u8>, &'static str)>,
    text: bool,
    compression: Compression,
    problems: Vec<String>,
}

impl LocatedDump {
    /// The kernel dump header.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER_SIZE] {
        &self.trailer
    }

    /// Whether it is a textdump(4).
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.text
    }

    /// What the kernel compressed it with.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Bytes of the dump.
    #[must_use]
    pub fn dumplength(&self) -> u64 {
        self.data.end.saturating_sub(self.data.start)
    }

    /// The key block of an encrypted dump, for key.N.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|(block, _)| block.as_slice())
    }

    /// What it is encrypted with.
    #[must_use]
    pub fn cipher(&self) -> Option<&'static str> {
        self.key.as_ref().map(|(_, name)| *name)
    }

    /// What `force` let pass.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// What `force` lets pass is noted, otherwise it is the end.
struct Warnings {
    force: bool,
    seen: Vec<String>,
}

impl Warnings {
    fn require(&mut self, right: bool, text: &str) -> Result<(), Error> {
        match (right, self.force) {
            (true, _) => {}
            (false, true) => self.seen.push(text.into()),
            (false, false) => return Err(Error::Odd { text: text.into() }),
        }
        Ok(())
    }
}

impl DumpDev {
    /// Looks for a dump. With `force` one that has been cleared, or whose
    /// headers are damaged, is one, too.
    ///
    /// # Errors
    /// There is none, or what is wrong with it.
    pub fn find(&self, force: bool) -> Result<LocatedDump, Error> {
        let shape =
            |text: String| Error::Shape { path: self.path.clone(), text };
        let (block, trailer) = self.trailer()?;
        let h = KernelDumpHeader::decode(&trailer).map_err(|source| {
            Error::Header { path: self.path.clone(), source }
        })?;
        if h.magic == Magic::Cleared && !force {
            return Err(Error::Cleared { path: self.path.clone() });
        }
        let mut warnings = Warnings { force, seen: Vec::new() };
        let parity = parity_ok(&trailer) || parity_before_cleared(&trailer);
        warnings.require(parity, "parity error in the last header")?;
        let bytes = block as u64;
        let extent = h.dumpextent;
        let key_size = u64::from(h.dumpkeysize);
        for (what, n) in [("dumpextent", extent), ("dumpkeysize", key_size)] {
            if !n.is_multiple_of(bytes) {
                return Err(shape(format!(
                    "{what} {n} is not a multiple of the block size {block}"
                )));
            }
        }
        if h.dumplength == 0 || h.dumplength > extent {
            return Err(shape(format!(
                "dumplength {} with a dumpextent of {extent}",
                h.dumplength
            )));
        }
        if h.dumpkeysize > MAX_BLOCK {
            return Err(shape(format!("dumpkeysize {key_size}")));
        }
        let trailer_at = self.size.saturating_sub(bytes);
        let data_at = trailer_at.checked_sub(extent);
        let leading_at = data_at
            .and_then(|at| at.checked_sub(key_size))
            .and_then(|at| at.checked_sub(bytes));
        let (Some(data_at), Some(leading_at)) = (data_at, leading_at) else {
            return Err(shape(format!(
                "dumpextent {extent} and a key block of {key_size} bytes do \
                 not fit into {} bytes",
                self.size
            )));
        };
        let mut leading = [0; HEADER_SIZE];
        self.read_block(&mut leading, leading_at, block)?;
        warnings.require(
            same(&trailer, &leading, h.magic == Magic::Cleared),
            "the first and the last header differ",
        )?;
        let magic = match h.magic {
            // The other copy is used.
            Magic::Cleared => {
                warnings.seen.push("it has been saved before".into());
                KernelDumpHeader::decode(&leading)
                    .map_or(Magic::Kernel, |first| first.magic)
            }
            magic => magic,
        };
        let text = magic == Magic::Text;
        let plain = h.compression == Compression::None;
        warnings.require(
            !plain || h.dumplength == extent,
            "it is not compressed, and its length is not its dumpextent",
        )?;
        let whole = h.dumplength.is_multiple_of(TEXT_BLOCK as u64);
        if text && !(block == TEXT_BLOCK && plain && key_size == 0 && whole) {
            return Err(shape(
                "a textdump that is compressed, encrypted or not in blocks \
                 of 512 bytes"
                    .into(),
            ));
        }
        let key = match key_size {
            0 => None,
            _ => {
                let key_at = data_at.saturating_sub(key_size);
                Some(self.key(key_at, h.dumpkeysize)?)
            }
        };
        // A textdump grows downwards from the end.
        let data = match text {
            true => trailer_at.saturating_sub(h.dumplength)..trailer_at,
            // No more than the extent, which ends at the trailer.
            false => data_at..data_at.saturating_add(h.dumplength),
        };
        Ok(LocatedDump {
            trailer_at,
            block,
            data,
            key,
            text,
            compression: h.compression,
            problems: warnings.seen,
            trailer,
        })
    }

    /// The header in the last block, and how large blocks are.
    fn trailer(&self) -> Result<(usize, [u8; HEADER_SIZE]), Error> {
        let window =
            self.size.min(BLOCKS.into_iter().max().unwrap_or(0) as u64);
        let mut end = vec![0; usize::try_from(window).unwrap_or(0)];
        self.read(&mut end, self.size.saturating_sub(window))?;
        let mut other = None;
        for block in BLOCKS {
            let at = end.len().checked_sub(block);
            let bytes = at.and_then(|at| end.get(at..)).unwrap_or_default();
            let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else {
                continue;
            };
            match KernelDumpHeader::decode(header) {
                // Not the remains of one that had other blocks.
                Ok(h) if h.blocksize as usize == block => {
                    return Ok((block, *header));
                }
                Ok(h) => {
                    other.get_or_insert((block, h.blocksize));
                }
                Err(HeaderError::Magic) => {}
                Err(source) if has_magic(header) => {
                    let path = self.path.clone();
                    return Err(Error::Header { path, source });
                }
                Err(_) => {}
            }
        }
        let path = self.path.clone();
        Err(match other {
            Some((block, says)) => Error::Shape {
                path,
                text: format!(
                    "it is {block} bytes before the end, but its block size \
                     is {says}"
                ),
            },
            None => Error::NoDump { path, size: self.size },
        })
    }

    fn key(
        &self,
        at: u64,
        size: u32,
    ) -> Result<(Vec<u8>, &'static str), Error> {
        let mut block = vec![0; size as usize];
        self.read(&mut block, at)?;
        let name = KeyBlock::decode(&block)
            .map(|it| it.cipher.name())
            .map_err(|source| Error::Key { path: self.path.clone(), source })?;
        Ok((block, name))
    }

    /// The start of a block: a device hands out whole ones only.
    fn read_block(
        &self,
        start: &mut [u8],
        at: u64,
        block: usize,
    ) -> Result<(), Error> {
        let mut whole = vec![0; block];
        self.read(&mut whole, at)?;
        for (to, from) in start.iter_mut().zip(&whole) {
            *to = *from;
        }
        Ok(())
    }
}

fn has_magic(header: &[u8; HEADER_SIZE]) -> bool {
    [MAGIC_KERNEL, MAGIC_TEXT, MAGIC_CLEARED]
        .iter()
        .any(|magic| header.starts_with(magic))
}

/// Whether the parity is what it was before the header was cleared:
/// savecore(8) changes the magic and nothing else.
fn parity_before_cleared(header: &[u8; HEADER_SIZE]) -> bool {
    header.starts_with(MAGIC_CLEARED)
        && [MAGIC_KERNEL, MAGIC_TEXT].iter().any(|magic| {
            let mut before = *header;
            for (i, byte) in before.iter_mut().take(20).enumerate() {
                *byte = magic.get(i).copied().unwrap_or(0);
            }
            parity_ok(&before)
        })
}

/// Whether both copies agree; clearing changes magic and parity of
/// the last one.
fn same(
    last: &[u8; HEADER_SIZE],
    first: &[u8; HEADER_SIZE],
    cleared: bool,
) -> bool {
    let fields = if cleared { 20..508 } else { 0..HEADER_SIZE };
    last.get(fields.clone()) == first.get(fields)
}
