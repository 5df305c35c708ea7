// SPDX-License-Identifier: BSD-2-Clause
//! A bitset in a file, whose set bits are in the order of something that is
//! stored: how many bits before one are set, and which are.
//!
//! In memory there is one running total for each of its pages (32768 bits),
//! so that the bits of a terabyte cost 64 KB, and a look-up counts the bits of
//! one page at most. The pages that were read last are kept: look-ups go back
//! and forth.

use crate::source::{Source, SourceError};
use lru::LruCache;
use memdev::addr::PAGE_SIZE;
use memdev::bitset::{Bitset, Rank, rank_entries};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE: u64 = PAGE_SIZE as u64;
/// Bits in one page of the bitset.
const BLOCK_BITS: u64 = PAGE * 8;
/// Blocks that are kept: the bits of 256 GB of memory.
const KEPT: usize = 2048;

/// Why bits could not be counted.
#[derive(Debug)]
pub(crate) enum CountError {
    /// The file ends here, before the bitset does.
    Truncated(u64),
    /// It cannot be read.
    Source(SourceError),
}

impl From<SourceError> for CountError {
    fn from(e: SourceError) -> Self {
        Self::Source(e)
    }
}

/// One page of the bitset.
#[derive(Debug)]
struct Block {
    index: u64,
    set: Bitset<Vec<u64>>,
    rank: Rank<Vec<u64>>,
}

/// The bitset.
#[derive(Debug)]
pub(crate) struct RankedBits {
    /// Where it starts.
    at: u64,
    /// Bits that mean something.
    bits: u64,
    /// Bits set before each block, and behind the last one all of them.
    totals: Vec<u64>,
    /// Bits set in the section behind the last one.
    excess: u64,
    kept: Mutex<LruCache<u64, Arc<Block>>>,
    /// How many blocks were read.
    read: AtomicU64,
}

impl RankedBits {
    /// Counts the bits in `[at, end)` of a file once; only the first `bits`
    /// of them exist.
    pub(crate) fn count(
        source: &dyn Source,
        at: u64,
        end: u64,
        bits: u64,
    ) -> Result<Self, CountError> {
        // A header may claim 4 GB: look before anything is sized by it.
        if let Some(len) = source.known_len().filter(|&len| len < end) {
            return Err(CountError::Truncated(len));
        }
        let capacity = end.saturating_sub(at).saturating_mul(8);
        let mut ranked = Self {
            at,
            bits: bits.min(capacity),
            totals: Vec::new(),
            excess: 0,
            kept: Mutex::new(LruCache::unbounded()),
            read: AtomicU64::new(0),
        };
        let (mut total, mut excess) = (0u64, 0u64);
        let mut totals = Vec::new();
        let mut bytes = vec![0; 16 * PAGE_SIZE];
        let mut at = at;
        while at < end {
            let left = end.saturating_sub(at);
            let n = left.min(bytes.len() as u64);
            let Some(chunk) = bytes.get_mut(..n as usize) else { break };
            let next = at.saturating_add(n);
            if source.next_data(at) >= next {
                let blocks = chunk.len() / PAGE_SIZE;
                totals.extend(std::iter::repeat_n(total, blocks));
                at = next;
                continue;
            }
            let got = source.read_at(at, chunk)?;
            if got < chunk.len() {
                let end = at.saturating_add(got as u64);
                return Err(CountError::Truncated(end));
            }
            for page in chunk.chunks(PAGE_SIZE) {
                let first = (totals.len() as u64).saturating_mul(BLOCK_BITS);
                totals.push(total);
                let bits = bits.saturating_sub(first);
                let all = count_ones(page);
                let counted = if bits >= BLOCK_BITS || all == 0 {
                    all
                } else {
                    block(page, bits).map_or(0, |set| set.count())
                };
                total = total.saturating_add(counted);
                excess = excess.saturating_add(all.saturating_sub(counted));
            }
            at = next;
        }
        totals.push(total);
        ranked.totals = totals;
        ranked.excess = excess;
        Ok(ranked)
    }

    /// Bits that exist.
    pub(crate) fn bits(&self) -> u64 {
        self.bits
    }

    /// Bits set.
    pub(crate) fn total(&self) -> u64 {
        self.totals.last().copied().unwrap_or(0)
    }

    /// Bits set that do not exist.
    pub(crate) fn excess(&self) -> u64 {
        self.excess
    }

    /// How many blocks were read since.
    pub(crate) fn blocks_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The block with this index; `None` behind the last one.
    fn block(
        &self,
        source: &dyn Source,
        index: u64,
    ) -> Result<Option<Arc<Block>>, SourceError> {
        let first = index.saturating_mul(BLOCK_BITS);
        let bits = self.bits.saturating_sub(first);
        if bits == 0 {
            return Ok(None);
        }
        if let Some(kept) = self.kept().get(&index) {
            return Ok(Some(Arc::clone(kept)));
        }
        let mut page = [0; PAGE_SIZE];
        let at = self.at.saturating_add(index.saturating_mul(PAGE));
        source.read_at(at, &mut page)?;
        self.read.fetch_add(1, Ordering::Relaxed);
        let Some(set) = block(&page, bits) else { return Ok(None) };
        let totals = vec![0; rank_entries(set.bits()) as usize];
        let Some(rank) = Rank::build(totals, &set) else { return Ok(None) };
        let new = Arc::new(Block { index, set, rank });
        let mut kept = self.kept();
        kept.put(index, Arc::clone(&new));
        if kept.len() > KEPT {
            kept.pop_lru();
        }
        Ok(Some(new))
    }

    fn kept(&self) -> MutexGuard<'_, LruCache<u64, Arc<Block>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bits set before a block.
    fn below(&self, index: u64) -> u64 {
        let at = usize::try_from(index).ok();
        at.and_then(|i| self.totals.get(i)).copied().unwrap_or(self.total())
    }

    /// How many bits below `bit` are set, and whether it is itself.
    pub(crate) fn rank(
        &self,
        source: &dyn Source,
        bit: u64,
    ) -> Result<(u64, bool), SourceError> {
        let index = bit / BLOCK_BITS;
        let Some(b) = self.block(source, index)? else {
            return Ok((self.total(), false));
        };
        let bit = bit % BLOCK_BITS;
        let below = b.rank.below(&b.set, bit);
        let rank = self.below(index).saturating_add(below);
        Ok((rank, b.set.test(bit)))
    }

    /// The blocks that have bits, from the one that has `from` on.
    fn next_block(
        &self,
        source: &dyn Source,
        from: u64,
    ) -> Result<Option<Arc<Block>>, SourceError> {
        let blocks = self.totals.len().saturating_sub(1) as u64;
        let index = (from..blocks)
            .find(|&i| self.below(i) < self.below(i.saturating_add(1)));
        match index {
            Some(index) => self.block(source, index),
            None => Ok(None),
        }
    }

    /// The first set bits at or after `from`, as far as they are adjacent and
    /// in one page of the bitset.
    pub(crate) fn next_run(
        &self,
        source: &dyn Source,
        from: u64,
    ) -> Result<Option<(u64, u64)>, SourceError> {
        let mut at = from;
        while let Some(b) = self.next_block(source, at / BLOCK_BITS)? {
            let base = b.index.saturating_mul(BLOCK_BITS);
            if let Some(start) = b.set.next(at.saturating_sub(base)) {
                let mut end = start;
                while b.set.test(end) {
                    end = end.saturating_add(1);
                }
                let run =
                    (base.saturating_add(start), base.saturating_add(end));
                return Ok(Some(run));
            }
            at = base.saturating_add(BLOCK_BITS);
        }
        Ok(None)
    }

    /// Calls `f` with the rank of every set bit and the bit, until it breaks.
    pub(crate) fn for_each(
        &self,
        source: &dyn Source,
        mut f: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let mut from = 0;
        while let Some(b) = self.next_block(source, from)? {
            for (rank, bit) in (self.below(b.index)..).zip(b.set.iter()) {
                let base = b.index.saturating_mul(BLOCK_BITS);
                if f(rank, base.saturating_add(bit)).is_break() {
                    return Ok(());
                }
            }
            from = b.index.saturating_add(1);
        }
        Ok(())
    }
}

/// A page of the bitset, of which at most `bits` bits exist.
fn block(page: &[u8], bits: u64) -> Option<Bitset<Vec<u64>>> {
    let words: Vec<u64> =
        page.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)).collect();
    Bitset::new(words, bits.min(BLOCK_BITS))
}

fn count_ones(page: &[u8]) -> u64 {
    let words = page.as_chunks().0.iter();
    words.map(|&b| u64::from(u64::from_ne_bytes(b).count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Plain;
    use std::io::Write;

    #[test]
    fn ranks_and_runs_are_those_of_an_array_of_bits() {
        let mut bits = vec![false; 3 * 32768];
        for (i, bit) in bits.iter_mut().enumerate() {
            // Nothing in the second block, all of it in the third's start.
            *bit = match i / 32768 {
                0 => i % 5 < 2 || i > 32700,
                1 => false,
                _ => i < 65536 + 4000,
            };
        }
        let mut bytes = vec![0; 3 * 4096];
        for (i, _) in bits.iter().enumerate().filter(|(_, b)| **b) {
            bytes[i / 8] |= 1 << (i % 8);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 512]).unwrap();
        file.write_all(&bytes).unwrap();
        let source = Plain::new(Arc::new(file), 512 + 3 * 4096);
        let n = 65536 + 3000;
        let end = 512 + 3 * 4096;
        let r = RankedBits::count(&source, 512, end, n).unwrap();
        bits.truncate(n as usize);
        let all = bits.iter().filter(|b| **b).count() as u64;
        assert_eq!((r.total(), r.excess()), (all, 1000));
        let mut rank = 0;
        for (i, &set) in bits.iter().enumerate() {
            if i % 37 == 0 {
                assert_eq!(r.rank(&source, i as u64).unwrap(), (rank, set));
            }
            rank += u64::from(set);
        }
        assert_eq!(r.rank(&source, u64::MAX).unwrap(), (all, false));
        let mut found = vec![false; n as usize];
        let mut at = 0;
        while let Some((a, b)) = r.next_run(&source, at).unwrap() {
            assert!(a >= at && b > a);
            found[a as usize..b as usize].fill(true);
            at = b;
        }
        assert_eq!(found, bits);
        assert_eq!(r.next_run(&source, u64::MAX).unwrap(), None);
        let mut next = 0;
        r.for_each(&source, |rank, bit| {
            assert_eq!(rank, next);
            assert!(bits[bit as usize]);
            next += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(next, all);
        let cut = RankedBits::count(&source, 512, end + 4096, n);
        assert!(matches!(cut, Err(CountError::Truncated(e)) if e == end));
    }
}
