// SPDX-License-Identifier: BSD-2-Clause
//! What says which pages a dump has: the page bitset, the upper page tables,
//! and the walk below them. All memory for it is taken first; then it is read,
//! by one thread while the machine runs, or by all CPUs while it is stopped,
//! which copy the pages as well.
//!
//! | step | a unit is | what is done |
//! |---|---|---|
//! | read | 512 words of the bitset; the upper tables | copied |
//! | walk | part of a table (amd64) | what is mapped joins the set |
//! | sift | 64 words | what may not be dumped leaves it; counted |
//! | rank | all | how many pages are before each stripe |
//! | copy | a stripe: 4 words; a table; a page of the message buffer | copied |

use super::copied::Copied;
use super::directory::Directory;
use super::kinds::Kinds;
use super::scan::{self, Scan};
use super::shared::{Pace, SharedSet, Steps, bits_of};
use crate::error::{Errno, Result};
use crate::kpi::{DirectMap, Kpi, Target};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::bitset::{WORD_BITS, words_for};
use memdev::dump_avail::DumpAvail;

const READ: usize = 0;
const WALK: usize = 1;
const SIFT: usize = 2;
const RANK: usize = 3;
const COPY: usize = 4;

/// Words of the bitset that are read in one go, off the stack of an interrupt.
const WORDS_AT_ONCE: usize = 32;
/// Words that a unit of `read` is.
const READ_WORDS: usize = PAGE_SIZE / 8;
/// Words of a stripe: at most 1 MB of pages.
const STRIPE_WORDS: usize = 4;
/// Stripes that a unit of `sift` is.
const SIFT_STRIPES: usize = 16;

/// Which pages a dump has.
pub(super) struct Gather<'a, K: Kpi> {
    pub(super) target: &'a Target,
    pub(super) avail: DumpAvail<'a>,
    pub(super) bits: u64,
    /// The bitset in whole pages, nothing but zeros behind its last bit.
    words: K::Array<AtomicU64>,
    pub(super) directory: Directory<K>,
    pub(super) kinds: Option<Kinds<K>>,
    /// Pages in each stripe, then before it.
    stripes: K::Array<AtomicU32>,
    pages: AtomicU64,
    steps: Steps<5>,
}

impl<'a, K: Kpi> Gather<'a, K> {
    /// All the memory that it takes.
    pub(super) fn allocate(
        kpi: &K,
        target: &'a Target,
        avail: DumpAvail<'a>,
        kinds: bool,
    ) -> Result<Self> {
        let bits = avail.bits();
        let len =
            usize::try_from(words_for(bits)).map_err(|_| Errno::ENOMEM)?;
        let len = len.next_multiple_of(READ_WORDS);
        Ok(Self {
            target,
            avail,
            bits,
            words: kpi.malloc_array(len, |_| Ok(AtomicU64::new(0)))?,
            directory: Directory::allocate(kpi, target)?,
            kinds: match kinds {
                true => Some(Kinds::new(kpi, len)?),
                false => None,
            },
            stripes: kpi
                .malloc_array(len / STRIPE_WORDS, |_| Ok(AtomicU32::new(0)))?,
            pages: AtomicU64::new(0),
            steps: Steps::new(),
        })
    }

    pub(super) fn set(&self) -> Result<SharedSet<'_>> {
        SharedSet::new(&self.words, self.bits).ok_or(Errno::EINTEGRITY)
    }

    /// Words of the set, whole pages of them.
    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    /// Pages in it, once they have been counted.
    pub(super) fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    /// As if nothing had been read.
    pub(super) fn restart(&self) {
        self.steps.restart();
    }

    /// What all who took part came to: every page has been copied, or why not.
    pub(super) fn finished(&self) -> Result<()> {
        self.steps.finished()
    }

    /// Everything from the bitset to the walk. `EAGAIN` where `all` is to be
    /// kept, and the map has grown out of the memory for it.
    pub(super) fn read<M: DirectMap>(
        &self,
        memory: &M,
        pace: &impl Pace,
        all: bool,
    ) -> Result<()> {
        let set = self.set()?;
        let units = 1 + self.words.len() / READ_WORDS;
        self.steps.run(READ, units, pace, |unit| {
            match unit.checked_sub(1) {
                Some(nth) => self.read_words(memory, set, nth * READ_WORDS),
                None => {
                    self.directory.read(memory, self.target);
                    if all && !self.directory.has_room(memory) {
                        return Err(Errno::EAGAIN);
                    }
                }
            }
            Ok(())
        })?;
        let kinds = self.kinds.as_ref();
        let scan = Scan {
            memory,
            machine: self.target.machine,
            avail: self.avail,
            set,
            kinds: kinds.and_then(|kinds| kinds.sets(self.bits)),
        };
        let units = scan::units(&self.directory);
        self.steps.run(WALK, units, pace, |unit| {
            scan.unit(&self.directory, unit);
            Ok(())
        })
    }

    /// Every word, and nothing behind the last bit. The stock facility of 13.2
    /// copies an eighth of the words, that of 15.1 leaves heap garbage behind.
    fn read_words<M: DirectMap>(
        &self,
        memory: &M,
        set: SharedSet<'_>,
        first: usize,
    ) {
        let mut words = [0; WORDS_AT_ONCE];
        for from in (first..first + READ_WORDS).step_by(WORDS_AT_ONCE) {
            words.fill(0);
            if (from as u64) < words_for(self.bits) {
                memory.copy_bitset(from, &mut words);
            }
            for (i, word) in words.iter().enumerate() {
                set.put_word(from + i, *word);
            }
        }
    }

    /// Takes out pages outside the direct map or marked PG_NODUMP, and counts
    /// the rest.
    pub(super) fn sift<M: DirectMap>(
        &self,
        memory: &M,
        pace: &impl Pace,
    ) -> Result<()> {
        let set = self.set()?;
        let units = self.stripes.len().div_ceil(SIFT_STRIPES);
        self.steps.run(SIFT, units, pace, |unit| {
            let from = unit * SIFT_STRIPES;
            let stripes = self.stripes.iter().enumerate().skip(from);
            for (nth, stripe) in stripes.take(SIFT_STRIPES) {
                let mut pages = 0;
                for i in words_of(nth) {
                    pages += self.sift_word(memory, set, i);
                }
                stripe.store(pages, Relaxed);
            }
            Ok(())
        })?;
        self.steps.run(RANK, 1, pace, |_| {
            let mut before = 0u32;
            for stripe in self.stripes.iter() {
                let pages = stripe.load(Relaxed);
                stripe.store(before, Relaxed);
                before = before.checked_add(pages).ok_or(Errno::E2BIG)?;
            }
            self.pages.store(u64::from(before), Relaxed);
            Ok(())
        })
    }

    fn sift_word<M: DirectMap>(
        &self,
        memory: &M,
        set: SharedSet<'_>,
        i: usize,
    ) -> u32 {
        let word = set.word(i);
        let mut kept = word;
        for bit in bits_of(i, word) {
            let belongs = self.avail.pa_of(bit).is_some_and(|pa| {
                memory.phys_in_dmap(pa) && memory.vm_phys_is_dumpable(pa)
            });
            if !belongs {
                kept &= !(1 << (bit % WORD_BITS));
            }
        }
        if kept != word {
            set.put_word(i, kept);
        }
        kept.count_ones()
    }

    /// Calls `page` with each page of a word, and which data page it is.
    fn pages_of(
        &self,
        i: usize,
        word: u64,
        first: usize,
        mut page: impl FnMut(usize, Paddr) -> Result<()>,
    ) -> Result<()> {
        for (nth, bit) in bits_of(i, word).enumerate() {
            let pa = self.avail.pa_of(bit).ok_or(Errno::EINTEGRITY)?;
            page(first + nth, pa)?;
        }
        Ok(())
    }

    /// Copies every page of the set, and what else the dump has.
    pub(super) fn copy<M: DirectMap>(
        &self,
        memory: &M,
        pace: &impl Pace,
        copied: &Copied<K>,
    ) -> Result<()> {
        let set = self.set()?;
        // What takes longest comes first.
        let stripes = self.stripes.len();
        let units = stripes + copied.tables() + copied.msgbuf_pages();
        self.steps.run(COPY, units, pace, |unit| {
            let Some(other) = unit.checked_sub(stripes) else {
                let base = self.stripes.get(unit).ok_or(Errno::EINTEGRITY)?;
                let mut nth = base.load(Relaxed) as usize;
                for i in words_of(unit) {
                    let word = set.word(i);
                    if word != 0 {
                        pace.check()?;
                    }
                    self.pages_of(i, word, nth, |nth, pa| {
                        copied.take_page(memory, nth, pa)
                    })?;
                    nth += word.count_ones() as usize;
                }
                return Ok(());
            };
            match other.checked_sub(copied.tables()) {
                Some(nth) => copied.take_msgbuf(nth),
                None => match self.directory.elsewhere(other) {
                    Some(pa) => copied.take_table(memory, other, pa),
                    None => Ok(()),
                },
            }
        })
    }
}

fn words_of(stripe: usize) -> core::ops::Range<usize> {
    let from = stripe * STRIPE_WORDS;
    from..from + STRIPE_WORDS
}
