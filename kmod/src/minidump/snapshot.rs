// SPDX-License-Identifier: BSD-2-Clause
//! The private copies: bitset, message buffer, dump_avail, upper tables,
//! linked pages, registers.
//! C: `struct minidumpstate`, and what `minidumpsys` duplicates for a live
//! dump.

use super::Options;
use super::directory::Directory;
use super::frozen::Frozen;
use super::instant::Instant;
use super::kinds::Kinds;
use super::plan::{self, Planned};
use super::scan;
use crate::error::{Errno, Result, Stage};
use crate::kpi::{Kpi, Target};
use crate::progress::Progress;
use memdev::addr::PAGE_SIZE;
use memdev::bitset::{Bitset, WORD_BITS, words_for};
use memdev::changes::Kind;
use memdev::dump_avail::DumpAvail;

/// Ranges that dump_avail may have: `VM_PHYSSEG_MAX` is 63 or 64.
pub(super) const MAX_RANGES: usize = 66;

/// Everything but the data pages.
pub(super) struct Snapshot<'a, K: Kpi> {
    pub(super) target: &'a Target,
    pub(super) avail: DumpAvail<'a>,
    /// The bitset in whole pages, nothing but zeros behind its last bit.
    pub(super) words: K::Words,
    pub(super) bits: u64,
    pub(super) msgbuf: K::Pages,
    pub(super) directory: Directory<K>,
    pub(super) frozen: Frozen<K>,
    pub(super) instant: Option<Instant<K>>,
    pub(super) kinds: Option<Kinds<K>>,
    pub(super) planned: Planned,
}

impl<'a, K: Kpi> Snapshot<'a, K> {
    pub(super) fn take(
        kpi: &K,
        target: &'a Target,
        ranges: &'a mut [(u64, u64)],
        options: Options,
        progress: &Progress,
    ) -> Result<Self> {
        progress.stage(Stage::Scan);
        let avail = dump_avail(kpi, target, ranges)?;
        let bits = avail.bits();
        let len =
            usize::try_from(words_for(bits)).map_err(|_| Errno::ENOMEM)?;
        let mut words =
            kpi.malloc_words(len.next_multiple_of(PAGE_SIZE / 8))?;
        let mut kinds = match options.stability {
            true => Some(Kinds::new(kpi, words.len())?),
            false => None,
        };
        let directory =
            scanned(kpi, target, avail, &mut words, kinds.as_mut())?;
        let set = Bitset::new(&mut *words, bits).ok_or(Errno::EINTEGRITY)?;
        let mut instant = match options.registers {
            true => Some(Instant::take(kpi, target)?),
            false => None,
        };
        let frozen = Frozen::take(kpi, avail, set)?;
        if let Some(instant) = &mut instant {
            instant.clear_late_oncpu(kpi, &frozen)?;
        }
        let msgbuf = msgbuf(kpi, target)?;
        progress.stage(Stage::Plan);
        let set = Bitset::new(&mut *words, bits).ok_or(Errno::EINTEGRITY)?;
        let planned =
            plan::plan(kpi, target, avail, set, directory.pmap_pages())?;
        progress.planned(planned.pages, planned.dumpsize);
        Ok(Self {
            target,
            avail,
            words,
            bits,
            msgbuf,
            directory,
            frozen,
            instant,
            kinds,
            planned,
        })
    }

    /// What the page of a bit is to the kernel.
    pub(super) fn kind(&self, bit: u64) -> Kind {
        let known = self.kinds.as_ref();
        known.map_or(Kind::DirectMap, |kinds| kinds.of(self.bits, bit))
    }
}

/// The ranges that give bits their meaning: the kernel's, or, where bits are
/// absolute page numbers, one range from 0.
fn dump_avail<'a, K: Kpi>(
    kpi: &K,
    target: &Target,
    ranges: &'a mut [(u64, u64)],
) -> Result<DumpAvail<'a>> {
    let n = if target.machine.has_dump_avail(target.minidump_version) {
        kpi.dump_avail(ranges)
    } else {
        let end = target.bitset_bits.checked_mul(PAGE_SIZE as u64);
        let whole = (0, end.ok_or(Errno::EINTEGRITY)?);
        *ranges.first_mut().ok_or(Errno::EINTEGRITY)? = whole;
        1
    };
    let ranges = ranges.get(..n).ok_or(Errno::EINTEGRITY)?;
    let avail = DumpAvail::new(ranges).map_err(|_| Errno::EINTEGRITY)?;
    // With fewer bits than pages the copy would read past the bitset.
    let has = target.bitset_bits.next_multiple_of(WORD_BITS);
    if avail.bits() == 0 || avail.bits() > has {
        return Err(Errno::EINTEGRITY);
    }
    Ok(avail)
}

/// The bitset with everything the page tables map, and the upper tables as
/// they were when it was made.
fn scanned<K: Kpi>(
    kpi: &K,
    target: &Target,
    avail: DumpAvail<'_>,
    words: &mut K::Words,
    kinds: Option<&mut Kinds<K>>,
) -> Result<Directory<K>> {
    let bits = avail.bits();
    let mut directory = Directory::allocate(kpi, target)?;
    copy_bitset(kpi, words, bits);
    let set = Bitset::new(&mut **words, bits).ok_or(Errno::EINTEGRITY)?;
    scan::scan(kpi, target, avail, set, &mut directory, kinds)?;
    Ok(directory)
}

/// Every word, then nothing behind the last bit. The stock facility of 13.2
/// copies an eighth of the words, that of 15.1 leaves heap garbage behind.
fn copy_bitset<K: Kpi>(kpi: &K, words: &mut K::Words, bits: u64) {
    words.fill(0);
    let len = usize::try_from(words_for(bits)).unwrap_or(0);
    if let Some(used) = words.get_mut(..len) {
        kpi.copy_bitset(used);
    }
    if let Some(mut set) = Bitset::new(&mut **words, bits) {
        set.clear_padding();
    }
}

fn msgbuf<K: Kpi>(kpi: &K, target: &Target) -> Result<K::Pages> {
    let len = target.msgbuf_bytes as usize;
    let mut pages = kpi.malloc_pages(len.div_ceil(PAGE_SIZE))?;
    if let Some(text) = pages.as_flattened_mut().get_mut(..len) {
        kpi.copy_msgbuf(text);
    }
    Ok(pages)
}
