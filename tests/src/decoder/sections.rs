// SPDX-License-Identifier: BSD-2-Clause
//! The sections of a minidump, and its pages by physical address.

use super::Wrong;
use super::bytes::{le32, le64, text, zero};
use std::ops::Range;

/// Where a dump of one instant says so.
const INSTANT: usize = 2048;
/// Where a dump of ours says what it has not.
const KEYS: usize = 2112;
const PAGE: usize = 4096;

/// The machine a dump is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// "minidump FreeBSD/amd64".
    Amd64,
    /// "minidump FreeBSD/arm64".
    Arm64,
}

/// An unpacked minidump without its trailer.
#[derive(Debug)]
pub struct Dump {
    /// The machine.
    pub arch: Arch,
    /// Version of the header.
    pub version: u32,
    /// First address of the kernel map.
    pub kernbase: u64,
    /// arm64: physical address at dmapbase; 0 on amd64.
    pub dmapphys: u64,
    /// The direct map.
    pub dmap: Range<u64>,
    /// arm64 version 3: flags.
    pub flags: u32,
    /// The ranges, without the terminating pair; from 0 to the end of the
    /// bitmap where the version has no such section.
    pub dump_avail: Vec<(u64, u64)>,
    /// Bits that are set and stand for no page of `dump_avail`.
    pub excess_bits: Vec<u64>,
    msgbuf: Range<usize>,
    bitmap: Range<usize>,
    pmap: Range<usize>,
    pages_at: usize,
    /// Physical addresses of the data pages, in file order.
    pas: Vec<u64>,
    plain: Vec<u8>,
}

/// The record of the keys; livedump(5) has its fields.
fn check_keys(b: &[u8]) -> Result<(), Wrong> {
    let version = le32(b, 8)?;
    if version != 1 {
        return Err(format!("keys: version {version}"));
    }
    check_sum(b).map_err(|e| format!("keys: {e}"))
}

/// A record's last word is the sum of what is before it.
fn check_sum(b: &[u8]) -> Result<(), Wrong> {
    let at = b.len() - 4;
    let sum = b[..at].iter().fold(2_166_136_261_u32, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(16_777_619)
    });
    match le32(b, at)? {
        found if found == sum => Ok(()),
        found => Err(format!("sum {found:#x}, not {sum:#x}")),
    }
}

impl Dump {
    /// Decodes a dump and holds it to everything a writer must do.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn judge(plain: Vec<u8>) -> Result<Self, Wrong> {
        let dump = Self::lenient(plain)?;
        dump.check_padding()?;
        let pages = dump.plain.len().checked_sub(dump.pages_at);
        let want = dump.pas.len() * PAGE;
        if pages != Some(want) {
            return Err(format!(
                "{} bits in the bitmap want {want} bytes, there are {pages:?}",
                dump.pas.len()
            ));
        }
        Ok(dump)
    }

    /// Decodes a dump of which parts may be missing.
    ///
    /// # Errors
    /// When its header or its bitmap cannot be made sense of.
    pub fn lenient(plain: Vec<u8>) -> Result<Self, Wrong> {
        let b = &plain;
        let (arch, version) = match (text(b, 0, 24)?.as_str(), le32(b, 24)?) {
            ("minidump FreeBSD/amd64", v @ 2..=3) => (Arch::Amd64, v),
            ("minidump FreeBSD/arm64", v @ 1..=3) => (Arch::Arm64, v),
            (magic, v) => return Err(format!("{magic:?} version {v}")),
        };
        let arm = arch == Arch::Arm64;
        let has_avail = version == 3 || (arm && version == 2);
        let dmapbase_at = if arm { 56 } else { 48 };
        let avail_at = dmapbase_at + 16;
        let size = |at| le32(b, at).map(|n| n as usize);
        let sizes = [
            size(28)?,
            if has_avail { size(avail_at)? } else { 0 },
            size(32)?,
            size(36)?,
        ];
        let mut at = PAGE;
        let [msgbuf, avail, bitmap, pmap] = sizes.map(|len| {
            let section = at..at + len;
            at = section.end.next_multiple_of(PAGE);
            section
        });
        for s in [&msgbuf, &avail, &bitmap, &pmap] {
            if s.end > b.len() {
                return Err(format!("section {s:x?} of {:#x}", b.len()));
            }
        }
        let bits_in_file = 8 * bitmap.len() as u64;
        let dump_avail = match has_avail {
            true => ranges(&b[avail])?,
            false => vec![(0, bits_in_file * PAGE as u64)],
        };
        let (pas, excess_bits) = pages_of(&b[bitmap.clone()], &dump_avail);
        Ok(Self {
            arch,
            version,
            kernbase: le64(b, 40)?,
            dmapphys: if arm { le64(b, 48)? } else { 0 },
            dmap: le64(b, dmapbase_at)?..le64(b, dmapbase_at + 8)?,
            flags: if arm && version == 3 { le32(b, 76)? } else { 0 },
            dump_avail,
            excess_bits,
            msgbuf,
            bitmap,
            pmap,
            pages_at: at,
            pas,
            plain,
        })
    }

    /// The record of the instant; livedump(5) has its fields.
    fn check_instant(&self) -> Result<(), Wrong> {
        let b = &self.plain[INSTANT..INSTANT + 64];
        let version = le32(b, 8)?;
        if version != 1 {
            return Err(format!("instant: version {version}"));
        }
        let (cpus, pages) = (le32(b, 12)?, le64(b, 48)?);
        if cpus == 0 || pages != self.pas.len() as u64 {
            return Err(format!("instant: {pages} pages by {cpus} CPUs"));
        }
        zero(b, 56, 60).map_err(|e| format!("instant: {e}"))?;
        check_sum(b).map_err(|e| format!("instant: {e}"))
    }

    fn check_padding(&self) -> Result<(), Wrong> {
        let b = &self.plain;
        let used = match (self.arch, self.version) {
            (Arch::Amd64, 2) => 64,
            (Arch::Amd64, _) => 68,
            (Arch::Arm64, 1) => 72,
            (Arch::Arm64, 2) => 76,
            (Arch::Arm64, _) => 80,
        };
        let rest = |from, to| {
            zero(b, from, to).map_err(|e| format!("header page: {e}"))
        };
        let mut end = used;
        if b.get(INSTANT..INSTANT + 8) == Some(b"LDFREEZE") {
            self.check_instant()?;
            rest(end, INSTANT)?;
            end = INSTANT + 64;
        }
        if b.get(KEYS..KEYS + 8) == Some(b"LDNOKEYS") {
            check_keys(&b[KEYS..KEYS + 20])?;
            rest(end, KEYS)?;
            end = KEYS + 20;
        }
        rest(end, PAGE)?;
        let text = &self.msgbuf;
        zero(b, text.end, text.end.next_multiple_of(PAGE))
            .map_err(|e| format!("behind the message buffer: {e}"))?;
        let avail = text.end.next_multiple_of(PAGE)..self.bitmap.start;
        if !avail.is_empty() {
            let used = avail.start + 16 * self.dump_avail.len();
            zero(b, used, avail.end)
                .map_err(|e| format!("behind dump_avail: {e}"))?;
        }
        for (name, s) in [("bitmap", &self.bitmap), ("pmap", &self.pmap)] {
            if !s.len().is_multiple_of(PAGE) {
                return Err(format!("{name} has {} bytes", s.len()));
            }
        }
        match self.excess_bits.first() {
            Some(bit) => Err(format!("bit {bit} stands for no page")),
            None => Ok(()),
        }
    }

    /// The message buffer's text, msgbufsize bytes.
    #[must_use]
    pub fn msgbuf(&self) -> &[u8] {
        &self.plain[self.msgbuf.clone()]
    }

    /// The bitmap section.
    #[must_use]
    pub fn bitmap(&self) -> &[u8] {
        &self.plain[self.bitmap.clone()]
    }

    /// The page table section.
    #[must_use]
    pub fn pmap(&self) -> &[u8] {
        &self.plain[self.pmap.clone()]
    }

    /// Where in the unpacked file the sections and the pages begin: header,
    /// message buffer, dump_avail, bitmap, pmap, pages, end.
    #[must_use]
    pub fn boundaries(&self) -> Vec<usize> {
        let avail = self.msgbuf.end.next_multiple_of(PAGE);
        vec![
            0,
            PAGE,
            avail,
            self.bitmap.start,
            self.pmap.start,
            self.pages_at,
            self.plain.len(),
        ]
    }

    /// The unpacked file.
    #[must_use]
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Physical addresses of the pages it has, ascending.
    #[must_use]
    pub fn pas(&self) -> &[u64] {
        &self.pas
    }

    /// Whether the page that holds `pa` is in it.
    #[must_use]
    pub fn has(&self, pa: u64) -> bool {
        self.pas.binary_search(&(pa & !0xfff)).is_ok()
    }

    /// Where in the file the byte at `pa` is.
    #[must_use]
    pub fn offset_of(&self, pa: u64) -> Option<usize> {
        let nth = self.pas.binary_search(&(pa & !0xfff)).ok()?;
        Some(self.pages_at + PAGE * nth + (pa & 0xfff) as usize)
    }

    /// The page that holds `pa`, where it is in the bitmap and in the file;
    /// what a sparse file lost reads as zero.
    #[must_use]
    pub fn page(&self, pa: u64) -> Option<&[u8]> {
        let at = self.offset_of(pa & !0xfff)?;
        self.plain.get(at..at + PAGE)
    }

    /// `len` bytes at `pa`, within one page, where the file has them: the
    /// last page of a cut off one may be there in part.
    #[must_use]
    pub fn bytes(&self, pa: u64, len: usize) -> Option<&[u8]> {
        let at = self.offset_of(pa)?;
        self.plain.get(at..at + len)
    }

    /// Every page in the file.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let data = self.plain.get(self.pages_at..).unwrap_or(&[]);
        self.pas.iter().copied().zip(data.chunks_exact(PAGE))
    }
}

/// Pairs up to the one whose end is 0.
fn ranges(section: &[u8]) -> Result<Vec<(u64, u64)>, Wrong> {
    let mut out = Vec::new();
    let mut below = 0;
    for at in (0..section.len()).step_by(16) {
        let (start, end) = (le64(section, at)?, le64(section, at + 8)?);
        if end == 0 {
            return Ok(out);
        }
        if start < below || end < start {
            return Err(format!("dump_avail [{start:#x}, {end:#x})"));
        }
        below = end;
        out.push((start, end));
    }
    Err("dump_avail has no end".into())
}

/// The page of every set bit, and the set bits that have none: the plain way,
/// page by page through the ranges.
fn pages_of(bitmap: &[u8], avail: &[(u64, u64)]) -> (Vec<u64>, Vec<u64>) {
    let is_set = |bit: usize| {
        bitmap.get(bit / 8).is_some_and(|b| b >> (bit % 8) & 1 == 1)
    };
    let mut pas = Vec::new();
    let mut bit = 0;
    for &(start, end) in avail {
        let mut pa = start & !0xfff;
        while pa < end {
            if is_set(bit) {
                pas.push(pa);
            }
            bit += 1;
            pa += PAGE as u64;
        }
    }
    let excess = (bit..8 * bitmap.len()).filter(|&b| is_set(b));
    (pas, excess.map(|b| b as u64).collect())
}
