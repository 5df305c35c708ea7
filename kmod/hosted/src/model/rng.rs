// SPDX-License-Identifier: BSD-2-Clause
//! Numbers from a seed, the same on every host (splitmix64), and the contents
//! of pages that are made of them.

use memdev::addr::{PAGE_SIZE, Paddr, Page};

/// Scrambles a number.
pub(super) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// One below `n`, which is not 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// An index into `len` things; `None` where there are none.
    pub(super) fn index(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.below(len as u64) as usize)
    }
}

/// Word `i` of a page of the known pattern at `pa`: every word of all memory
/// is different, so that a page in the wrong place does not pass for another.
#[must_use]
pub fn pattern_word(pa: Paddr, i: u64) -> u64 {
    (pa.0 + 8 * i) ^ 0x756d_615f_7061_6765
}

/// The page of the known pattern at `pa`.
#[must_use]
pub fn pattern_page(pa: Paddr) -> Page {
    let mut page = [0; PAGE_SIZE];
    for (i, word) in page.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&pattern_word(pa, i as u64).to_le_bytes());
    }
    page
}

/// What a page with PG_NODUMP holds: no dump may have it.
#[must_use]
pub fn nodump_page(pa: Paddr) -> Page {
    let mut page = [0; PAGE_SIZE];
    for line in page.chunks_exact_mut(16) {
        line.copy_from_slice(b"PG_NODUMP secret");
    }
    if let Some(first) = page.first_chunk_mut() {
        *first = pa.0.to_le_bytes();
    }
    page
}

/// What a page of a kernel looks like: a third of them zero, the others full
/// of pointers, small numbers and text, some incompressible. `None` is a zero
/// page.
pub(super) fn content(seed: u64) -> Option<Page> {
    let mut rng = Rng::new(seed);
    let kind = rng.below(100);
    let mut page = [0; PAGE_SIZE];
    match kind {
        0..33 => return None,
        33..88 => {
            let base = 0xffff_f800_0000_0000 | rng.below(1 << 30) << 8;
            let pool = [rng.next(), base, base, 1, 0, 0, 0x706d_6173, 0];
            for word in page.chunks_exact_mut(8) {
                let pick = rng.next();
                let n = pool.get(pick as usize % 8).copied().unwrap_or(0);
                let n =
                    if pick >> 60 == 0 { n ^ (pick >> 32 & 0xfff) } else { n };
                word.copy_from_slice(&n.to_le_bytes());
            }
        }
        _ => {
            for word in page.chunks_exact_mut(8) {
                word.copy_from_slice(&rng.next().to_le_bytes());
            }
        }
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_and_another_does_not() {
        let (mut a, mut b, mut c) = (Rng::new(1), Rng::new(1), Rng::new(2));
        let x: [u64; 4] = core::array::from_fn(|_| a.next());
        assert_eq!(x, core::array::from_fn(|_| b.next()));
        assert_ne!(x, core::array::from_fn(|_| c.next()));
        assert_eq!(content(5), content(5));
        assert_eq!(a.index(0), None);
        assert!((0..1000).all(|_| a.below(3) < 3));
    }

    #[test]
    fn a_third_of_all_contents_is_zero() {
        let zero = (0..1000).filter(|&n| content(n).is_none()).count();
        assert!((250..420).contains(&zero), "{zero}");
    }
}
