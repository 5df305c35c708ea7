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
pub(super) const BLOCKS: [usize; 8] =
    [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

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

/// Between which headers a dump is.
struct Place<'a> {
    /// The header that is believed.
    header: &'a [u8; HEADER_SIZE],
    trailer_at: u64,
    block: usize,
    text: bool,
}

/// Where the other header of a dump is, by what one of them has: `None` where
/// that is no offset.
pub(super) fn trailer_of(
    h: &KernelDumpHeader<'_>,
    block: usize,
    leading_at: u64,
) -> Option<u64> {
    let data_at = leading_at.checked_add(block as u64)?;
    let data_at = data_at.checked_add(h.dumpkeysize.into())?;
    data_at.checked_add(h.dumpextent)
}

/// As [`trailer_of`], from the end.
pub(super) fn leading_of(
    h: &KernelDumpHeader<'_>,
    block: usize,
    trailer_at: u64,
) -> Option<u64> {
    let key_at = trailer_at.checked_sub(h.dumpextent)?;
    let key_at = key_at.checked_sub(h.dumpkeysize.into())?;
    key_at.checked_sub(block as u64)
}

impl DumpDev {
    /// Looks for a dump. With `force` one that has been cleared, or whose
    /// headers are damaged, is one, too.
    ///
    /// # Errors
    /// There is none, or what is wrong with it.
    pub fn find(&self, force: bool) -> Result<LocatedDump, Error> {
        let (block, trailer) = self.trailer()?;
        let h = self.decode(&trailer)?;
        if h.magic == Magic::Cleared && !force {
            return Err(Error::Cleared { path: self.path.clone() });
        }
        let mut warnings = Warnings { force, seen: Vec::new() };
        let parity = parity_ok(&trailer) || parity_before_cleared(&trailer);
        warnings.require(parity, "parity error in the last header")?;
        self.check_sizes(&h, block)?;
        let trailer_at = self.size.saturating_sub(block as u64);
        let Some(leading_at) = leading_of(&h, block, trailer_at) else {
            return Err(self.shape(format!(
                "dumpextent {} and a key block of {} bytes do not fit into {} \
                 bytes",
                h.dumpextent, h.dumpkeysize, self.size
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
        let place = Place { header: &trailer, trailer_at, block, text };
        self.located(place, warnings)
    }

    /// The dump with this leading header, which [`DumpDev::scan`] has found;
    /// whatever became of the trailing one. [`DumpDev::clear`] is not for it.
    ///
    /// # Errors
    /// There is none, or what is wrong with it.
    pub fn find_at(&self, leading_at: u64) -> Result<LocatedDump, Error> {
        let leading = self.header_at(leading_at)?;
        if !has_magic(&leading) {
            let (path, at) = (self.path.clone(), leading_at);
            return Err(Error::NoDumpAt { path, at });
        }
        let h = self.decode(&leading)?;
        let block = h.blocksize as usize;
        if !BLOCKS.contains(&block) {
            return Err(self.shape(format!("block size {block}")));
        }
        let mut warnings = Warnings { force: true, seen: Vec::new() };
        let parity = parity_ok(&leading) || parity_before_cleared(&leading);
        warnings.require(parity, "parity error in the first header")?;
        self.check_sizes(&h, block)?;
        let trailer_at = trailer_of(&h, block, leading_at);
        let Some(trailer_at) = trailer_at.filter(|at| *at <= self.size) else {
            return Err(self.shape(format!(
                "a dumpextent of {} bytes from there on does not fit into {} \
                 bytes",
                h.dumpextent, self.size
            )));
        };
        // The device may end before it, or within.
        let trailer = match self.has_block(trailer_at, block) {
            true => Some(self.header_at(trailer_at)?),
            false => None,
        };
        match trailer {
            Some(t) if t == leading => {}
            Some(t) if same(&t, &leading, true) => {
                warnings.seen.push("it has been saved before".into());
            }
            Some(t) if has_magic(&t) => warnings.seen.push(
                "its trailing header is that of another dump, which has \
                 overwritten part of it"
                    .into(),
            ),
            _ => warnings.seen.push("its trailing header is missing".into()),
        }
        let text = h.magic == Magic::Text;
        let place = Place { header: &leading, trailer_at, block, text };
        self.located(place, warnings)
    }

    /// What is between the headers.
    fn located(
        &self,
        place: Place<'_>,
        mut warnings: Warnings,
    ) -> Result<LocatedDump, Error> {
        let Place { header, trailer_at, block, text } = place;
        let h = self.decode(header)?;
        let extent = h.dumpextent;
        let plain = h.compression == Compression::None;
        warnings.require(
            !plain || h.dumplength == extent,
            "it is not compressed, and its length is not its dumpextent",
        )?;
        let whole = h.dumplength.is_multiple_of(TEXT_BLOCK as u64);
        let bare = plain && h.dumpkeysize == 0 && whole;
        if text && !(block == TEXT_BLOCK && bare) {
            return Err(self.shape(
                "a textdump that is compressed, encrypted or not in blocks \
                 of 512 bytes"
                    .into(),
            ));
        }
        let data_at = trailer_at.saturating_sub(extent);
        let key = match h.dumpkeysize {
            0 => None,
            n => Some(self.key(data_at.saturating_sub(n.into()), n)?),
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
            trailer: *header,
        })
    }

    fn shape(&self, text: String) -> Error {
        Error::Shape { path: self.path.clone(), text }
    }

    fn decode<'h>(
        &self,
        header: &'h [u8; HEADER_SIZE],
    ) -> Result<KernelDumpHeader<'h>, Error> {
        KernelDumpHeader::decode(header)
            .map_err(|source| Error::Header { path: self.path.clone(), source })
    }

    /// Whether all of a block is on the device.
    pub(super) fn has_block(&self, at: u64, block: usize) -> bool {
        at.checked_add(block as u64).is_some_and(|end| end <= self.size)
    }

    /// The lengths in a header, by themselves.
    fn check_sizes(
        &self,
        h: &KernelDumpHeader<'_>,
        block: usize,
    ) -> Result<(), Error> {
        let (extent, key_size) = (h.dumpextent, u64::from(h.dumpkeysize));
        for (what, n) in [("dumpextent", extent), ("dumpkeysize", key_size)] {
            if !n.is_multiple_of(block as u64) {
                return Err(self.shape(format!(
                    "{what} {n} is not a multiple of the block size {block}"
                )));
            }
        }
        if h.dumplength == 0 || h.dumplength > extent {
            return Err(self.shape(format!(
                "dumplength {} with a dumpextent of {extent}",
                h.dumplength
            )));
        }
        if h.dumpkeysize > MAX_BLOCK {
            return Err(self.shape(format!("dumpkeysize {key_size}")));
        }
        Ok(())
    }

    /// The 512 bytes there, read in whole blocks of any size.
    fn header_at(&self, at: u64) -> Result<[u8; HEADER_SIZE], Error> {
        let most = BLOCKS.into_iter().max().unwrap_or(0) as u64;
        let within = at.checked_rem(most).unwrap_or(0);
        let start = at.saturating_sub(within);
        let len = self.size.saturating_sub(start).min(most);
        let mut window = vec![0; usize::try_from(len).unwrap_or(0)];
        self.read(&mut window, start)?;
        let header = usize::try_from(within).ok().and_then(|within| {
            window.get(within..).and_then(|b| b.first_chunk().copied())
        });
        let path = || self.path.clone();
        header.ok_or_else(|| Error::NoDumpAt { path: path(), at })
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

pub(super) fn has_magic(header: &[u8; HEADER_SIZE]) -> bool {
    [MAGIC_KERNEL, MAGIC_TEXT, MAGIC_CLEARED]
        .iter()
        .any(|magic| header.starts_with(magic))
}

/// Whether the parity is what it was before the header was cleared:
/// savecore(8) changes the magic and nothing else.
pub(super) fn parity_before_cleared(header: &[u8; HEADER_SIZE]) -> bool {
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
pub(super) fn same(
    last: &[u8; HEADER_SIZE],
    first: &[u8; HEADER_SIZE],
    cleared: bool,
) -> bool {
    let fields = if cleared { 20..508 } else { 0..HEADER_SIZE };
    last.get(fields.clone()) == first.get(fields)
}
