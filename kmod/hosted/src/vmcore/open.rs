// SPDX-License-Identifier: BSD-2-Clause
//! Opening a minidump as a machine: everything the file claims is held
//! against the file, and against what a kernel can be, before it is used.

use super::cache::TableCache;
use super::{VmcoreError, VmcoreMachine};
use crate::tables::Tables;
use memdev::addr::{PAGE_SIZE, Paddr, round_page};
use memdev::arch;
use memdev::bitset::{Bitset, Rank, rank_entries, words_for};
use memdev::dump_avail::{self, DumpAvail};
use memdev::kerneldump::{self, Compression, KernelDumpHeader};
use memdev::minidump::{HEADER_SIZE, Layout, MinidumpHeader};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Ranges that a kernel's dump_avail may have: `VM_PHYSSEG_MAX`.
const MAX_RANGES: usize = 64;
/// Bits of 16 TB of memory; more are a broken file, or a hostile one.
const MAX_BITS: u64 = 1 << 32;
/// Message buffers have some hundred kilobytes.
const MAX_MSGBUF: u64 = 64 << 20;
const MAX_DUMP_AVAIL: u64 = 16 * PAGE_SIZE as u64;
/// The version string where the file has no header that tells it.
const NO_VERSION: &str = "FreeBSD (version not in the dump)\n";

type Result<T> = core::result::Result<T, VmcoreError>;

const COMPRESSED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
];

struct Opened<'a> {
    path: &'a Path,
    file: File,
    len: u64,
}

impl Opened<'_> {
    fn read(
        &self,
        section: &'static str,
        offset: u64,
        out: &mut [u8],
    ) -> Result<()> {
        self.file.read_exact_at(out, offset).map_err(|source| {
            let path = self.path.into();
            VmcoreError::Read { path, section, offset, source }
        })
    }

    fn section(
        &self,
        section: &'static str,
        offset: u64,
        found: u64,
        expected: impl ToString,
    ) -> VmcoreError {
        let expected = expected.to_string();
        let path = self.path.into();
        VmcoreError::Section { path, section, offset, found, expected }
    }

    fn header(&self) -> Result<MinidumpHeader> {
        let mut head = [0; HEADER_SIZE];
        let have = HEADER_SIZE.min(usize::try_from(self.len).unwrap_or(0));
        let (start, _) = head.split_at_mut(have);
        self.read("header", 0, start)?;
        let packed = COMPRESSED.iter().find(|(m, _)| head.starts_with(m));
        if let Some((_, format)) = packed {
            let path = self.path.into();
            return Err(VmcoreError::Compressed { path, format });
        }
        let header = MinidumpHeader::decode(&head).map_err(|source| {
            VmcoreError::Header { path: self.path.into(), source }
        })?;
        if header.machine == arch::Machine::Amd64 && header.version < 2 {
            let path = self.path.into();
            return Err(VmcoreError::Version1 { path });
        }
        Ok(header)
    }

    /// The kernel dump header at the end of a file that savecore(8) has not
    /// stripped; the dump ends where that says.
    fn trailer(&mut self) -> Result<Option<(String, String)>> {
        let at = self.len.checked_sub(kerneldump::HEADER_SIZE as u64);
        let Some(at) = at else { return Ok(None) };
        let mut b = [0; kerneldump::HEADER_SIZE];
        self.read("kernel dump header", at, &mut b)?;
        let Ok(h) = KernelDumpHeader::decode(&b) else { return Ok(None) };
        if !kerneldump::parity_ok(&b)
            || h.dumplength > at
            || h.compression != Compression::None
        {
            return Ok(None);
        }
        self.len = h.dumplength;
        let text = |b| String::from_utf8_lossy(b).into_owned();
        Ok(Some((text(h.hostname), text(h.versionstring))))
    }

    fn ranges(
        &self,
        header: &MinidumpHeader,
        layout: &Layout,
    ) -> Result<Vec<(u64, u64)>> {
        let offset = layout.dump_avail;
        let size = u64::from(header.dumpavailsize);
        if !header.has_dump_avail() {
            // Bits are page numbers: one range from 0, as long as the bitset.
            let bits = u64::from(header.bitmapsize) * 8;
            return Ok(vec![(0, bits * PAGE_SIZE as u64)]);
        }
        let bad = |found, expected: &str| {
            Err(self.section("dump_avail", offset, found, expected))
        };
        if size > MAX_DUMP_AVAIL {
            return bad(size, "a page or a few");
        }
        let mut section = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read("dump_avail", offset, &mut section)?;
        let mut ranges = vec![(0, 0); MAX_RANGES + 1];
        let n = dump_avail::decode(&section, &mut ranges);
        ranges.truncate(n);
        if n > MAX_RANGES {
            return bad(16 * n as u64, "at most 64 ranges");
        }
        Ok(ranges)
    }

    fn bitset(
        &self,
        header: &MinidumpHeader,
        layout: &Layout,
        bits: u64,
    ) -> Result<Bitset<Vec<u64>>> {
        let found = u64::from(header.bitmapsize);
        let needed = words_for(bits).saturating_mul(8);
        let bad = |expected: String| {
            Err(self.section("page bitset", layout.bitmap, found, expected))
        };
        if bits == 0 || bits > MAX_BITS {
            return bad(std::format!("1 to {MAX_BITS} pages, not {bits}"));
        }
        if needed > found {
            return bad(std::format!("at least {needed}"));
        }
        let n = usize::try_from(words_for(bits)).unwrap_or(0);
        let mut words = vec![0; n];
        let mut buf = vec![0; 64 * PAGE_SIZE];
        let mut at = layout.bitmap;
        for chunk in words.chunks_mut(buf.len() / 8) {
            let (buf, _) = buf.split_at_mut(chunk.len() * 8);
            self.read("page bitset", at, buf)?;
            for (word, bytes) in chunk.iter_mut().zip(buf.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            at += buf.len() as u64;
        }
        Bitset::new(words, bits)
            .ok_or_else(|| self.section("page bitset", at, found, needed))
    }
}

impl VmcoreMachine {
    /// The machine whose memory the minidump at `path` is.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn open(path: &Path) -> Result<Self> {
        let open = |source| VmcoreError::Open { path: path.into(), source };
        let mut file = File::open(path).map_err(open)?;
        let len = file.seek(SeekFrom::End(0)).map_err(open)?;
        let mut o = Opened { path, file, len };
        let header = o.header()?;
        let texts = o.trailer()?;
        let layout = header.layout();
        if o.len < layout.pages {
            let (path, len) = (path.into(), o.len);
            let expected = layout.pages;
            return Err(VmcoreError::CutOff { path, len, expected });
        }
        let msgbuf = u64::from(header.msgbufsize);
        if msgbuf > MAX_MSGBUF {
            let most = std::format!("at most {MAX_MSGBUF}");
            let at = layout.msgbuf;
            return Err(o.section("message buffer", at, msgbuf, most));
        }
        let ranges = o.ranges(&header, &layout)?;
        let avail = DumpAvail::new(&ranges).map_err(|source| {
            let offset = layout.dump_avail;
            VmcoreError::DumpAvail { path: path.into(), offset, source }
        })?;
        let bits = avail.bits();
        let mut set = o.bitset(&header, &layout, bits)?;
        let missing = cut(&mut set, o.len - layout.pages);
        let entries = usize::try_from(rank_entries(bits)).unwrap_or(0);
        let rank = Rank::build(vec![0; entries], &set).ok_or_else(|| {
            o.section("page bitset", layout.bitmap, bits, "a rank")
        })?;
        let tables = tables(path, &header, &ranges)?;
        let (hostname, version) =
            texts.unwrap_or_else(|| (String::new(), NO_VERSION.to_owned()));
        let cache = TableCache::new();
        let (file, end) = (o.file, o.len);
        Ok(Self {
            file,
            end,
            header,
            layout,
            ranges,
            set,
            rank,
            tables,
            cache,
            missing,
            hostname,
            version,
        })
    }
}

/// The tables above the file's, behind all memory.
fn tables(
    path: &Path,
    header: &MinidumpHeader,
    ranges: &[(u64, u64)],
) -> Result<Tables> {
    let memory_end = ranges.last().map_or(0, |r| r.1);
    let pages = u64::from(header.pmapsize) / PAGE_SIZE as u64;
    let kernbase = header.kernbase;
    let level = header.machine.pmap_level(header.version);
    round_page(memory_end)
        .and_then(|base| {
            let base = Paddr(base);
            Tables::new(header.machine, base, kernbase, level, pages)
        })
        .ok_or_else(|| VmcoreError::KernelMap {
            path: path.into(),
            kernbase: kernbase.0,
            pages,
            memory_end,
        })
}

/// Clears the bits of the pages that are behind the end of the data, of
/// which there are `bytes`, and counts them.
fn cut(set: &mut Bitset<Vec<u64>>, bytes: u64) -> u64 {
    set.clear_padding();
    let total = set.count();
    let there = bytes.div_ceil(PAGE_SIZE as u64);
    let first = usize::try_from(there).ok().and_then(|n| set.iter().nth(n));
    let mut from = first.unwrap_or(set.bits());
    while let Some(bit) = set.next(from) {
        set.clear(bit);
        from = bit + 1;
    }
    total.saturating_sub(there)
}
