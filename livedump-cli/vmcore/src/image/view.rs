// SPDX-License-Identifier: BSD-2-Clause
//! A kernel's memory in an image, as the minidump that could be made of it:
//! its bytes are put together when they are read, so that everything that
//! reads minidumps reads images. All pages are in it that the image has of
//! dump_avail, those of user processes too.

use super::Run;
use super::kernel::KernelMemory;
use crate::MemoryError;
use crate::source::{Check, Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr, round_page};
use memdev::arch::{ENTRIES, Entry, span};
use memdev::bitset::{Bitset, Rank, WORD_BITS, rank_entries, words_for};
use memdev::dump_avail::{self, DumpAvail};
use memdev::minidump::{Layout, MinidumpHeader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: u64 = PAGE_SIZE as u64;
/// The bits of 16 TiB.
const MAX_BITS: u64 = 1 << 32;
/// What a check reads at a time.
const PIECE: usize = 256 << 10;

/// Why there is no such view.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// More than a minidump's header can say.
    #[error("{what} of {bytes} bytes is more than a minidump has")]
    Size {
        /// Which section.
        what: &'static str,
        /// Its bytes.
        bytes: u64,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A minidump that nobody has written.
#[derive(Debug)]
pub struct MinidumpView {
    memory: Arc<KernelMemory>,
    header: MinidumpHeader,
    layout: Layout,
    /// What bits are relative to.
    ranges: Vec<(u64, u64)>,
    set: Bitset<Vec<u64>>,
    rank: Rank<Vec<u64>>,
    msgbuf: Vec<u8>,
    head: Box<Page>,
    avail: Box<Page>,
    len: u64,
}

fn size(what: &'static str, bytes: u64) -> Result<u32, ViewError> {
    u32::try_from(bytes).map_err(|_| ViewError::Size { what, bytes })
}

impl MinidumpView {
    /// Looks at what the image has.
    ///
    /// # Errors
    /// It cannot be read, or is larger than any.
    pub fn new(memory: Arc<KernelMemory>) -> Result<Self, ViewError> {
        let m = memory.as_ref();
        let walker = m.walker();
        let machine = m.machine();
        let version = m.minidump_version;
        let with_avail = machine.has_dump_avail(version);
        let ranges = if with_avail {
            m.dump_avail.clone()
        } else {
            let last = m.dump_avail.last().map_or(0, |r| r.1);
            vec![(0, last)]
        };
        let bits: u64 = DumpAvail::new(&ranges).map_or(0, |a| a.bits());
        let set = present(m, &ranges, bits)?;
        let bitmap = words_for(bits).saturating_mul(8).next_multiple_of(PAGE);
        let covered = m.kva_end.0.saturating_sub(m.kernbase.0);
        let pmap = covered
            .div_ceil(machine.pmap_page_span(version))
            .saturating_mul(PAGE);
        let header = MinidumpHeader {
            machine,
            version,
            msgbufsize: m.msgbuf_bytes,
            bitmapsize: size("bitmap", bitmap)?,
            pmapsize: size("pmap section", pmap)?,
            kernbase: m.kernbase,
            dmapphys: walker.dmapphys(),
            dmapbase: walker.dmapbase(),
            dmapend: walker.dmapend(),
            dumpavailsize: if with_avail { PAGE_SIZE as u32 } else { 0 },
            flags: 0,
        };
        let entries = usize::try_from(rank_entries(bits)).unwrap_or(0);
        let rank = Rank::build(vec![0; entries], &set)
            .ok_or(ViewError::Size { what: "bitmap", bytes: bitmap })?;
        let len = header.dumpsize(rank.total()).unwrap_or(u64::MAX);
        let mut head = Box::new([0; PAGE_SIZE]);
        header.encode(&mut head);
        let mut avail = Box::new([0; PAGE_SIZE]);
        dump_avail::encode(&ranges, &mut avail);
        let mut msgbuf = vec![0; m.msgbuf_bytes as usize];
        m.copy(m.msgbuf, &mut msgbuf);
        let layout = header.layout();
        Ok(Self {
            header,
            layout,
            ranges,
            set,
            rank,
            msgbuf,
            head,
            avail,
            len,
            memory,
        })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &MinidumpHeader {
        &self.header
    }

    /// The kernel's memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<KernelMemory> {
        &self.memory
    }

    /// Copies the part of `section`, which begins at `start`, that is wanted
    /// at `at`; what is after its end is zero.
    fn copy(section: &[u8], start: u64, at: u64, out: &mut [u8]) {
        out.fill(0);
        let from = usize::try_from(at.saturating_sub(start));
        let from = from.unwrap_or(usize::MAX).min(section.len());
        let have = section.get(from..).unwrap_or_default();
        let n = have.len().min(out.len());
        if let (Some(out), Some(have)) = (out.get_mut(..n), have.get(..n)) {
            out.copy_from_slice(have);
        }
    }

    /// Bytes of the bitset.
    fn copy_bits(&self, at: u64, out: &mut [u8]) {
        let (mut into, mut rest) = (at.saturating_sub(self.layout.bitmap), out);
        while !rest.is_empty() {
            let word = self.set.word(into / 8).to_le_bytes();
            let from = word.get((into % 8) as usize..).unwrap_or_default();
            let n = from.len().min(rest.len());
            let (now, after) = rest.split_at_mut(n);
            now.copy_from_slice(from.get(..n).unwrap_or_default());
            into = into.saturating_add(n as u64);
            rest = after;
        }
    }

    /// Part of a page of the pmap section: the table there, or what a larger
    /// page would be as one.
    fn pmap(&self, at: u64, out: &mut [u8]) -> Result<(), SourceError> {
        out.fill(0);
        let h = &self.header;
        let into = at.saturating_sub(self.layout.pmap);
        let (i, within) = (into / PAGE, into % PAGE);
        let each = h.machine.pmap_page_span(h.version);
        let va = h.kernbase.0.saturating_add(i.saturating_mul(each));
        let above = h.machine.pmap_level(h.version).saturating_add(1);
        let walker = self.memory.walker();
        let (level, entry) =
            walker.entry_for(Vaddr(va), above).map_err(absent)?;
        match h.machine.decode(level, entry) {
            Entry::Table(table) if level == above => {
                let pa = Paddr(table.0.saturating_add(within));
                self.memory.image().read(pa, out).map_err(absent)
            }
            Entry::Invalid | Entry::Table(_) => Ok(()),
            Entry::Mapped(_) => {
                let mut raw = entry;
                for l in (above..level).rev() {
                    let index = va.checked_div(span(l)).unwrap_or(0) % ENTRIES;
                    let from = l.saturating_add(1);
                    raw = h.machine.split_block(raw, from, index);
                }
                let mut page = [0; PAGE_SIZE];
                for (e, slot) in (0..).zip(page.as_chunks_mut().0) {
                    *slot = h.machine.split_block(raw, above, e).to_le_bytes();
                }
                Self::copy(&page, at.saturating_sub(within), at, out);
                Ok(())
            }
        }
    }

    /// Data pages: as many bytes as are adjacent in memory, too.
    fn data(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let into = at.saturating_sub(self.layout.pages);
        let avail = DumpAvail::new(&self.ranges).ok();
        let within = into % PAGE;
        let bit = self.rank.select(&self.set, into / PAGE);
        let pa = |bit| avail.and_then(|avail| avail.pa_of(bit));
        let Some((bit, first)) = bit.and_then(|bit| Some((bit, pa(bit)?)))
        else {
            buf.fill(0);
            return Ok(buf.len());
        };
        let want = within.saturating_add(buf.len() as u64).div_ceil(PAGE);
        let adjacent = |&n: &u64| {
            let next = bit.saturating_add(n);
            let at = first.0.saturating_add(n.saturating_mul(PAGE));
            self.set.test(next) && pa(next) == Some(Paddr(at))
        };
        let pages = (1..want).take_while(adjacent).count() as u64;
        let bytes = pages.saturating_add(1).saturating_mul(PAGE);
        let bytes = bytes.saturating_sub(within).min(buf.len() as u64);
        let out = buf.get_mut(..bytes as usize).unwrap_or_default();
        let from = Paddr(first.0.saturating_add(within));
        self.memory.image().read(from, out).map_err(absent)?;
        Ok(out.len())
    }

    /// Reads pages until none is left, [`PIECE`] bytes at a time. What is no
    /// damage ends it, for all threads: where that was, and what.
    fn check_pieces(
        &self,
        next: &AtomicU64,
        end: u64,
    ) -> Result<Check, (u64, SourceError)> {
        let mut check = Check::default();
        let mut buf = vec![0; PIECE];
        loop {
            let at = next.fetch_add(PIECE as u64, Ordering::Relaxed);
            if at >= end {
                return Ok(check);
            }
            let piece = end.saturating_sub(at).min(PIECE as u64) as usize;
            let piece = buf.get_mut(..piece).unwrap_or_default();
            if self.read_at(at, piece).is_ok() {
                continue;
            }
            // Which of them it is.
            for (page, n) in piece.chunks_mut(PAGE_SIZE).zip(0..) {
                let at = at.saturating_add(PAGE.saturating_mul(n));
                match self.read_at(at, page) {
                    Err(e) if e.is_environment() => {
                        next.store(end, Ordering::Relaxed);
                        return Err((at, e));
                    }
                    Err(e) => check.add_bad(e),
                    Ok(_) => {}
                }
            }
        }
    }
}

/// What the source has nothing of.
fn absent(e: MemoryError) -> SourceError {
    match e {
        MemoryError::Source(e) => e,
        e => SourceError::Absent(crate::chain(&e)),
    }
}

/// The pages of dump_avail that the image has.
fn present(
    m: &KernelMemory,
    ranges: &[(u64, u64)],
    bits: u64,
) -> Result<Bitset<Vec<u64>>, ViewError> {
    let too_large = ViewError::Size { what: "bitmap", bytes: bits / 8 };
    if bits > MAX_BITS {
        return Err(too_large);
    }
    let Ok(avail) = DumpAvail::new(ranges) else { return Err(too_large) };
    let words = usize::try_from(words_for(bits)).unwrap_or(0);
    let Some(mut set) = Bitset::new(vec![0; words], bits) else {
        return Err(too_large);
    };
    for &(start, end) in &m.dump_avail {
        let mut at = start.saturating_sub(start % PAGE);
        let end = round_page(end).unwrap_or(end);
        while at < end {
            let Some(Run { start, end: run_end }) =
                m.image().next_run(Paddr(at))?
            else {
                break;
            };
            let last = run_end.min(end);
            if start < last
                && let Some(bit) = avail.bit_of(Paddr(start))
            {
                let pages = last.saturating_sub(start) / PAGE;
                fill(&mut set, bit, pages);
            }
            // Whatever an image does, this ends.
            at = run_end.max(at.saturating_add(PAGE));
        }
    }
    Ok(set)
}

/// Sets `n` bits from `first` on.
fn fill(set: &mut Bitset<Vec<u64>>, first: u64, n: u64) {
    let end = first.saturating_add(n).min(set.bits());
    let mut bit = first;
    while bit < end {
        let whole = bit.is_multiple_of(WORD_BITS)
            && end.saturating_sub(bit) >= WORD_BITS;
        let word = usize::try_from(bit / WORD_BITS).unwrap_or(usize::MAX);
        match set.words_mut().get_mut(word).filter(|_| whole) {
            Some(word) => {
                *word = u64::MAX;
                bit = bit.saturating_add(WORD_BITS);
            }
            None => {
                set.set(bit);
                bit = bit.saturating_add(1);
            }
        }
    }
}

impl Source for MinidumpView {
    fn known_len(&self) -> Option<u64> {
        Some(self.len)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let l = self.layout;
        let left = self.len.saturating_sub(at);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (mut done, mut at) = (0usize, at);
        while let Some(rest) = buf.get_mut(done..n).filter(|r| !r.is_empty()) {
            let page = PAGE.saturating_sub(at % PAGE) as usize;
            let piece = page.min(rest.len());
            let out = rest.get_mut(..piece).unwrap_or_default();
            let mut got = piece;
            if at < l.msgbuf {
                Self::copy(self.head.as_slice(), 0, at, out);
            } else if at < l.dump_avail {
                Self::copy(&self.msgbuf, l.msgbuf, at, out);
            } else if at < l.bitmap {
                Self::copy(self.avail.as_slice(), l.dump_avail, at, out);
            } else if at < l.pmap {
                self.copy_bits(at, out);
            } else if at < l.pages {
                self.pmap(at, out)?;
            } else {
                got = self.data(at, rest)?;
            }
            at = at.saturating_add(got as u64);
            done = done.saturating_add(got);
        }
        Ok(done)
    }

    // What the formats have of checksums is compared when a page is read.
    fn check(&self, threads: usize, limit: u64) -> Result<Check, SourceError> {
        let limited = self.len > limit;
        let end = self.len.min(limit);
        let mut all = Check { bytes: end, limited, ..Check::default() };
        let next = AtomicU64::new(self.layout.pages);
        let found: Vec<_> = std::thread::scope(|s| {
            let workers: Vec<_> = (0..threads.max(1))
                .map(|_| s.spawn(|| self.check_pieces(&next, end)))
                .collect();
            workers.into_iter().map(crate::source::joined).collect()
        });
        let mut first: Option<(u64, SourceError)> = None;
        for part in found {
            match (part, &first) {
                (Ok(part), _) => all.add(part),
                (Err(e), Some(least)) if least.0 <= e.0 => {}
                (Err(e), _) => first = Some(e),
            }
        }
        first.map_or(Ok(all), |(_, e)| Err(e))
    }
}
