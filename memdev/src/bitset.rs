// SPDX-License-Identifier: BSD-2-Clause
//! The page bitset: 64-bit words, bit n in word n/64 at n%64.
//! C: `struct bitset`, bitset(9).
//!
//! A set knows how many bits it has; what lies after them in the last word
//! (or the last page of the section in a file) does not exist here, whatever
//! it holds: stock live dumps have heap garbage there.

/// Bits in a word.
pub const WORD_BITS: u64 = 64;

/// Words that hold `bits` bits.
#[must_use]
pub const fn words_for(bits: u64) -> u64 {
    bits.div_ceil(WORD_BITS)
}

/// A bitset of `bits` bits in `words`.
#[derive(Debug)]
pub struct Bitset<W> {
    words: W,
    bits: u64,
}

impl<W: AsRef<[u64]>> Bitset<W> {
    /// A set of `bits` bits; `None` where `words` is too short for them.
    pub fn new(words: W, bits: u64) -> Option<Self> {
        (words.as_ref().len() as u64 >= words_for(bits))
            .then_some(Self { words, bits })
    }

    /// Bits it can hold.
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// Its words, those of the last word's padding included.
    pub fn words(&self) -> &[u64] {
        self.words.as_ref()
    }

    /// Word `i` without the bits after the last one.
    pub fn word(&self, i: u64) -> u64 {
        let raw = usize::try_from(i)
            .ok()
            .and_then(|i| self.words.as_ref().get(i))
            .copied()
            .unwrap_or(0);
        raw & self.mask(i)
    }

    fn mask(&self, i: u64) -> u64 {
        let first = i.saturating_mul(WORD_BITS);
        match self.bits.saturating_sub(first) {
            0 => 0,
            n if n >= WORD_BITS => u64::MAX,
            n => (1 << n) - 1,
        }
    }

    /// Whether `bit` is set; one that does not exist is not.
    pub fn test(&self, bit: u64) -> bool {
        self.word(bit / WORD_BITS) >> (bit % WORD_BITS) & 1 == 1
    }

    /// Bits set.
    pub fn count(&self) -> u64 {
        (0..words_for(self.bits))
            .map(|i| u64::from(self.word(i).count_ones()))
            .sum()
    }

    /// The first set bit at or after `from`.
    pub fn next(&self, from: u64) -> Option<u64> {
        if from >= self.bits {
            return None;
        }
        let mut i = from / WORD_BITS;
        let mut w = self.word(i) & (u64::MAX << (from % WORD_BITS));
        while w == 0 {
            i += 1;
            if i >= words_for(self.bits) {
                return None;
            }
            w = self.word(i);
        }
        Some(i * WORD_BITS + u64::from(w.trailing_zeros()))
    }

    /// All set bits, ascending. C: `VM_PAGE_DUMP_FOREACH`.
    pub fn iter(&self) -> Iter<'_, W> {
        Iter { set: self, from: 0 }
    }
}

impl<W: AsRef<[u64]> + AsMut<[u64]>> Bitset<W> {
    fn word_mut(&mut self, bit: u64) -> Option<&mut u64> {
        if bit >= self.bits {
            return None;
        }
        let i = usize::try_from(bit / WORD_BITS).ok()?;
        self.words.as_mut().get_mut(i)
    }

    /// Sets a bit; one that does not exist is ignored, as `dump_add_page`
    /// ignores a page outside dump_avail.
    pub fn set(&mut self, bit: u64) {
        if let Some(w) = self.word_mut(bit) {
            *w |= 1 << (bit % WORD_BITS);
        }
    }

    /// Clears a bit; one that does not exist is ignored.
    pub fn clear(&mut self, bit: u64) {
        if let Some(w) = self.word_mut(bit) {
            *w &= !(1 << (bit % WORD_BITS));
        }
    }

    /// Zeroes everything after the last bit.
    pub fn clear_padding(&mut self) {
        for i in (self.bits / WORD_BITS)..self.words.as_ref().len() as u64 {
            let mask = self.mask(i);
            if let Some(w) = usize::try_from(i)
                .ok()
                .and_then(|i| self.words.as_mut().get_mut(i))
            {
                *w &= mask;
            }
        }
    }

    /// Its words, to be filled.
    pub fn words_mut(&mut self) -> &mut [u64] {
        self.words.as_mut()
    }
}

/// Set bits, ascending.
#[derive(Debug)]
pub struct Iter<'a, W> {
    set: &'a Bitset<W>,
    from: u64,
}

impl<W: AsRef<[u64]>> Iterator for Iter<'_, W> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let bit = self.set.next(self.from)?;
        self.from = bit + 1;
        Some(bit)
    }
}

/// Bits that one entry of a [`Rank`] covers.
pub const RANK_BLOCK_BITS: u64 = 4096;
const RANK_BLOCK_WORDS: u64 = RANK_BLOCK_BITS / WORD_BITS;

/// How many bits are set below a bit, without counting from the start: one
/// running total per 4096 bits (1/64 of the set's own memory).
#[derive(Debug)]
pub struct Rank<R> {
    totals: R,
}

/// Entries a [`Rank`] over `bits` bits needs: one a block, and the total.
#[must_use]
pub const fn rank_entries(bits: u64) -> u64 {
    bits.div_ceil(RANK_BLOCK_BITS) + 1
}

impl<R: AsRef<[u64]> + AsMut<[u64]>> Rank<R> {
    /// Counts `set` once; `None` where `totals` has fewer than
    /// [`rank_entries`] entries.
    pub fn build<W: AsRef<[u64]>>(
        mut totals: R,
        set: &Bitset<W>,
    ) -> Option<Self> {
        let entries = usize::try_from(rank_entries(set.bits())).ok()?;
        let mut sum = 0;
        for (block, total) in
            totals.as_mut().get_mut(..entries)?.iter_mut().enumerate()
        {
            *total = sum;
            let first = block as u64 * RANK_BLOCK_WORDS;
            sum += (first..first + RANK_BLOCK_WORDS)
                .map(|i| u64::from(set.word(i).count_ones()))
                .sum::<u64>();
        }
        Some(Self { totals })
    }
}

impl<R: AsRef<[u64]>> Rank<R> {
    /// Bits of `set` below `bit`, where `bit` is set itself.
    pub fn rank<W: AsRef<[u64]>>(
        &self,
        set: &Bitset<W>,
        bit: u64,
    ) -> Option<u64> {
        set.test(bit).then(|| self.below(set, bit))
    }

    /// Bits of `set` below `bit`, set itself or not.
    pub fn below<W: AsRef<[u64]>>(&self, set: &Bitset<W>, bit: u64) -> u64 {
        if bit >= set.bits() {
            return self.total();
        }
        let block = bit / RANK_BLOCK_BITS;
        let base = usize::try_from(block)
            .ok()
            .and_then(|block| self.totals.as_ref().get(block));
        let last = bit / WORD_BITS;
        let whole: u64 = (block * RANK_BLOCK_WORDS..last)
            .map(|i| u64::from(set.word(i).count_ones()))
            .sum();
        let below = set.word(last) & ((1u64 << (bit % WORD_BITS)) - 1);
        base.map_or(0, |base| base + whole + u64::from(below.count_ones()))
    }

    /// The bit whose rank is `n`: what [`Rank::rank`] undoes.
    pub fn select<W: AsRef<[u64]>>(
        &self,
        set: &Bitset<W>,
        n: u64,
    ) -> Option<u64> {
        let totals = self.totals.as_ref();
        let block = totals.partition_point(|&t| t <= n).checked_sub(1)?;
        let mut left = n - totals.get(block)?;
        let first = block as u64 * RANK_BLOCK_WORDS;
        for i in first..(first + RANK_BLOCK_WORDS).min(words_for(set.bits())) {
            let mut w = set.word(i);
            let ones = u64::from(w.count_ones());
            if left >= ones {
                left -= ones;
                continue;
            }
            for _ in 0..left {
                w &= w - 1;
            }
            return Some(i * WORD_BITS + u64::from(w.trailing_zeros()));
        }
        None
    }

    /// Bits set in the whole.
    pub fn total(&self) -> u64 {
        self.totals.as_ref().last().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn noise(n: u64) -> u64 {
        let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ x >> 32
    }

    fn both(bits: u64) -> (Bitset<Vec<u64>>, Vec<bool>) {
        // Garbage in the padding must not matter.
        let mut words = vec![0; words_for(bits) as usize + 3];
        words.fill(u64::MAX);
        let mut set = Bitset::new(words, bits).unwrap();
        let mut model = vec![false; bits as usize];
        for b in 0..bits {
            if noise(b).is_multiple_of(3) {
                set.set(b);
                model[b as usize] = true;
            } else {
                set.clear(b);
            }
        }
        (set, model)
    }

    #[test]
    fn it_does_what_a_vector_of_bools_does() {
        for bits in [0, 1, 63, 64, 65, 4095, 4096, 4097, 20_000] {
            let (set, model) = both(bits);
            let want: Vec<u64> =
                (0..bits).filter(|&b| model[b as usize]).collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), want, "{bits} bits");
            assert_eq!(set.count(), want.len() as u64);
            assert!(!set.test(bits));
            assert_eq!(set.next(bits), None);
        }
    }

    #[test]
    fn rank_and_select_agree_with_counting() {
        for bits in [1, 64, 4096, 4097, 50_000] {
            let (set, model) = both(bits);
            let rank = Rank::build(vec![0; rank_entries(bits) as usize], &set)
                .unwrap();
            let mut n = 0;
            for b in 0..bits {
                assert_eq!(rank.below(&set, b), n);
                if model[b as usize] {
                    assert_eq!(rank.rank(&set, b), Some(n));
                    assert_eq!(rank.select(&set, n), Some(b));
                    n += 1;
                } else {
                    assert_eq!(rank.rank(&set, b), None);
                }
            }
            assert_eq!(rank.total(), n);
            assert_eq!(rank.below(&set, bits), n);
            assert_eq!(rank.select(&set, n), None);
        }
    }

    #[test]
    fn padding_is_zeroed_and_nothing_else() {
        let mut set = Bitset::new(vec![u64::MAX; 3], 70).unwrap();
        set.clear_padding();
        assert_eq!(set.words(), [u64::MAX, 0x3f, 0]);
        let mut set = Bitset::new(vec![u64::MAX; 2], 64).unwrap();
        set.clear_padding();
        assert_eq!(set.words(), [u64::MAX, 0]);
    }

    #[test]
    fn too_few_words_are_refused() {
        assert!(Bitset::new([0u64; 1], 65).is_none());
        let set = Bitset::new([0u64; 2], 65).unwrap();
        assert!(Rank::build([0u64; 1], &set).is_none());
    }
}
